"""Stores for the tests of the command line: real objects saved through the repository, without a kernel."""

from datetime import UTC, datetime, timedelta

from standing_still import StandStill

from keepstate._model.kernel import Cell
from keepstate._repository import Repository
from keepstate._snapshot import Occasion, Save

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def snapshot_id(number):
    """Ids that begin differently: 01…, 02…"""
    return f"{number:02x}" + "ab" * 9


def save(path, values, *, number=1, namespace=None, cells=(), **more):
    """Keep *values* as one snapshot; of member ``ana``, project ``p``, notebook ``n`` by default."""
    repository = Repository.open(path, create=True)
    facts = {
        "id": snapshot_id(number),
        "project": "p",
        "member": "ana",
        "notebook": "n",
        "lineage": "session-1",
        "sequence": number,
        "parents": {},
        "restored_from": "",
        "created_at": NOON + timedelta(seconds=number),
        "reason": "manual",
        "consistency": "cell",
        "started": 0.0,
        "cells": tuple(Cell(at, source) for at, source in cells),
        "host": "plain",
    }
    occasion = Occasion(**{**facts, **more})
    work = Save(
        occasion,
        values,
        namespace={"__name__": "__main__", **(namespace or {}), **values},
        repository=repository,
        known={},
        seed=7,
    )
    tools = StandStill()
    work.prepare(tools)
    work.write(tools)
    return repository.manifest(occasion.id)


def files(path, suffix):
    return sorted(each for each in path.rglob(f"*{suffix}") if each.is_file())


def spoil(path):
    """Flip one bit in the middle of a file."""
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
