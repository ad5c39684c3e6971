"""How pickle, joblib, dill and Kishu save and restore the state of a notebook."""

from __future__ import annotations

import importlib
import json
import os
import pickle
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import notebooks
from bench.alone import seconds_of
from bench.kernel import Kernel
from bench.memory import family, forget_peak, held_bytes, peak_bytes, shared_out_bytes, watching
from bench.section import ROOT, WORKING, Found, folder

if TYPE_CHECKING:
    from collections.abc import Callable

FILES = ("pickle", "joblib", "dill")
"""Dill last: importing it changes pickle's Python class, which joblib builds upon."""
SLOW_SECONDS = 10.0
"""Who took longer once is not asked again: whole saves after a small change cost what the first one did."""
KISHU_PYTHON = ROOT / ".venv-kishu" / "bin" / "python"

_INIT = "from kishu import init_kishu\ninit_kishu()"
"""Outside any cell: its hooks must see the beginning of a cell whose end they see."""
_EMPTY_NOTEBOOK = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


# One whole file each time. In a process of its own


def save_files(workload: str, place: str, rounds: int) -> Found:
    """First saves, and saves after small changes, in turns; closed and synced, as a careful user would."""
    space: dict[str, Any] = {}
    exec(notebooks.build(workload, str(WORKING)), space)
    names = notebooks.variables(workload)
    found: Found = {peer: {"first": [], "later": []} for peer in FILES}
    _save(
        "pickle", {name: space[name] for name in names}, Path(place) / "scratch"
    )  # fetches memory for files
    for turn in range(-1, rounds):
        if turn >= 0:
            exec(notebooks.step(workload, turn), space)
        state = {name: space[name] for name in names}
        digest = notebooks.digest(workload, space)
        for peer in FILES:
            own = found[peer]
            if "error" in own or (turn >= 0 and own["first"][0]["seconds"] > SLOW_SECONDS):
                continue
            path = Path(place) / peer
            path.unlink(missing_ok=True)  # so that all of them find its memory, or that of the one before
            try:
                own["first" if turn < 0 else "later"].append(_save(peer, state, path))
                own["digest"] = digest
            except Exception as error:  # noqa: BLE001 - some cannot save some states
                own["error"] = f"{type(error).__name__}: {error}"[:100]
                path.unlink(missing_ok=True)
    return found


def _save(peer: str, state: dict[str, Any], path: Path) -> Found:
    module = importlib.import_module(peer)
    dump: Callable[..., object] = module.dump
    protocol = () if peer == "joblib" else (5,)
    forget_peak()
    before = held_bytes()
    began = time.perf_counter()
    with path.open("wb") as file:
        dump(state, file, *protocol)
        file.flush()
        os.fsync(file.fileno())
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "written": path.stat().st_size, "extra": peak_bytes() - before}


def restore(workload: str, peer: str, path: str) -> Found:
    """In a process that has imported everything before the clock starts."""
    exec("import numpy, pandas", {})
    for library in {"W3": ("sklearn.ensemble", "sklearn.linear_model"), "W5": ("torch",)}.get(workload, ()):
        importlib.import_module(library)
    space: dict[str, Any] = {}
    if peer == "keepstate":
        import keepstate
        from keepstate._api import _load

        _load()

        def call() -> None:
            keepstate.start(store=path, namespace=space, restore="eager", interval=86400)
    else:
        module = pickle if peer == "pickle" else importlib.import_module(peer)

        def call() -> None:
            with Path(path).open("rb") as file:
                space.update(module.load(file))

    forget_peak()
    before = held_bytes()
    seconds = seconds_of(call)
    extra = peak_bytes() - before
    return {"seconds": seconds, "extra": extra, "digest": notebooks.digest(workload, space)}


# Kishu, which holds each cell until it has saved


def kishu(workload: str, scale: float) -> Found:
    """The cells with and without Kishu, in kernels of its environment, and a checkout in a fresh one."""
    with folder() as place:
        notebook = place / "notebook.ipynb"
        notebook.write_text(json.dumps(_EMPTY_NOTEBOOK))
        surroundings = {
            "TEST_NOTEBOOK_PATH": str(notebook),  # instead of asking a server for it
            "ENV_KISHU_TEST_MODE": "1",  # no front end that could save the notebook
            "BENCH_SCALE": str(scale),
        }
        with Kernel(place, python=str(KISHU_PYTHON), **surroundings) as bare:
            plain = [_cell(bare, cell) for cell in _cells(workload)]
        database = place / "notebook.kishudb"
        with Kernel(place, python=str(KISHU_PYTHON), **surroundings) as kernel:
            kernel.ask("None", first=_INIT)
            with_it = [_cell(kernel, cell, database) for cell in _cells(workload)]
            commit = kernel.ask("_kishu._kishu_branch.get_head().commit_id")
            digest = kernel.ask(f"__import__('bench.notebooks').notebooks.digest({workload!r}, globals())")
        with Kernel(place, python=str(KISHU_PYTHON), **surroundings) as fresh:
            fresh.run("import numpy, pandas")
            fresh.ask("None", first=_INIT)
            seconds = fresh.ask(
                f"__import__('bench.alone').alone.seconds_of(lambda: _kishu.checkout({commit!r}))"
            )
            try:
                back = fresh.ask(f"__import__('bench.notebooks').notebooks.digest({workload!r}, globals())")
            except RuntimeError as error:  # it lacks a name
                back = str(error)
    held = [one["seconds"] - each["seconds"] for one, each in zip(with_it, plain, strict=True)]
    extra = [one["peak"] - each["peak"] for one, each in zip(with_it, plain, strict=True)]
    saves = [
        {"seconds": seconds, "written": one["grown"], "extra": more}
        for seconds, one, more in zip(held, with_it, extra, strict=True)
    ]
    restored = {"seconds": seconds, "digest": back}
    return {"first": saves[:1], "later": saves[1:], "restore": [restored], "digest": digest, "scale": scale}


def _cells(workload: str) -> list[str]:
    return [notebooks.build(workload, str(WORKING)), notebooks.step(workload, 0)]


def _cell(kernel: Kernel, cell: str, database: Path | None = None) -> Found:
    def size() -> int:
        return (
            0 if database is None else sum(path.stat().st_size for path in database.parent.glob("*.kishudb*"))
        )

    before = size()
    with watching(kernel.mark) as peak:
        seconds = kernel.run(cell)
    peak.bytes = max(peak.bytes, shared_out_bytes(family(kernel.mark)))
    return {"seconds": seconds, "grown": size() - before, "peak": peak.bytes}
