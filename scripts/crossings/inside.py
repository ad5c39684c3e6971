"""Runs inside one stack: makes the state and keeps it, or restores it, and says what it is like.

    python inside.py write|read STORES ANSWER
    python inside.py keep|check STREAMS ANSWER

Each case has a store of its own below STORES. STREAMS is a file of the bare streams of all cases, which the
tests keep. Run as a script, so that its namespace is a notebook's.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import linecache
import sys
import traceback
import warnings
import zlib
from pathlib import Path
from typing import Any

import cases
import msgspec
import numpy as np
import pandas as pd

import keepstate
from keepstate import codecs
from keepstate._model.parts import Member, StoredGroup
from keepstate.errors import KeepstateError

FEW = 100
"""Values of which each is told; of more, what they hash to."""


def array(values: Any) -> list[object]:
    """Tell dtype, shape, values and flags of an array."""
    plain = np.asarray(values)
    dtype = repr(plain.dtype.descr) if plain.dtype.names else plain.dtype.str
    told = list(map(str, plain.ravel().tolist())) if plain.size <= FEW else _digest(plain.tobytes())
    return [dtype, list(plain.shape), told, bool(plain.flags.c_contiguous), bool(plain.flags.writeable)]


def frame(values: Any) -> dict[str, object]:
    """Tell columns, dtypes, values and index of a frame."""
    columns = [values.iloc[:, at] for at in range(values.shape[1])]
    told = [[_value(each) for each in column.tolist()] for column in columns]
    index = values.index
    return {
        "columns": [
            [str(label), _dtype(column.dtype)] for label, column in zip(values.columns, columns, strict=True)
        ],
        "values": told if values.size <= FEW else _digest(repr(told).encode()),
        "index": [type(index).__name__, [_value(each) for each in index.tolist()[:FEW]], _dtype(index.dtype)],
        "names": [list(map(str, index.names)), list(map(str, values.columns.names))],
    }


def _dtype(dtype: Any) -> str:
    """Name a dtype; that of texts whose missing ones are NaN had another name before pandas 2.3."""
    return "str" if getattr(dtype, "storage", None) == "pyarrow_numpy" else str(dtype)


def _value(value: Any) -> str:
    item = value.item() if isinstance(value, np.generic) else value  # numpy 2 shows its scalars otherwise
    return f"{type(item).__name__}:{item}"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def fails(call: Any) -> bool:
    """Say whether a call raises."""
    try:
        call()
    except Exception:  # noqa: BLE001 - that is the question
        return True
    return False


def _notebook() -> dict[str, Any]:
    """Give the namespace, with what every case finds there."""
    space = vars(sys.modules["__main__"])
    space.update(np=np, pd=pd, sys=sys, A=array, F=frame, fails=fails)
    return space


def _run(cell: str, number: int, space: dict[str, Any]) -> None:
    """Run a cell, its text left where IPython leaves it."""
    name = f"<ipython-input-{number}-0>"
    linecache.cache[name] = (len(cell), None, cell.splitlines(keepends=True), name)
    exec(compile(cell, name, "exec", dont_inherit=True), space)


def _look(case: cases.Case, space: dict[str, Any]) -> object:
    return json.loads(json.dumps(eval(case.look, space), default=str))


def write(store: Path, case: cases.Case, number: int, space: dict[str, Any]) -> dict[str, object]:
    """Make a case, keep it, and say what it is like."""
    before = set(space)
    _run(case.cell, number, space)
    session = keepstate.start(store=store, restore="off", namespace=space, interval=3600)
    try:
        session.track(*(name for name in space if name not in before and not name.startswith("_")))
        kept = session.snapshot()
    finally:
        session.stop(snapshot=False)
    return {"look": _look(case, space), "failed": dict(kept.skipped)}


def read(store: Path, case: cases.Case, number: int, space: dict[str, Any]) -> dict[str, object]:
    """Restore a case, and say what it is like."""
    del number
    session = keepstate.start(store=store, restore="eager", namespace=space, interval=3600)
    try:
        report = session.restored
    finally:
        session.stop(snapshot=False)
    if report is None:
        raise RuntimeError("nothing was restored")
    if "x" in report.failed:
        return {"failed": dict(report.failed), "remarks": list(report.remarks)}
    return {"look": _look(case, space), "failed": dict(report.failed), "remarks": list(report.remarks)}


MOST_BYTES = 20_000
"""Of the parts of a case whose streams are kept for the tests."""


def keep(streams: dict[str, Any], case: cases.Case, number: int, space: dict[str, Any]) -> dict[str, object]:
    """Make a case, and keep its streams."""
    before = set(space)
    _run(case.cell, number, space)
    bound = {name: space[name] for name in space if name not in before and not name.startswith("_")}
    encoding = codecs.encode(bound, namespace=space)
    if sum(group.logical_bytes for group in encoding.groups) <= MOST_BYTES:
        streams[case.kind] = [
            [
                [[m.name, m.role, m.type, m.bind, m.source] for m in group.members],
                group.stream,
                [[bytes(part.memory), part.itemsize, part.writable] for part in group.parts],
            ]
            for group in encoding.groups
        ]
    return {"look": _look(case, space), "failed": dict(encoding.skipped)}


class _Part:
    """A part whose bytes are here."""

    def __init__(self, data: bytes, itemsize: int, writable: bool) -> None:
        self._data, self.itemsize, self.writable = data, itemsize, writable
        self.nbytes = len(data)

    def read_into(self, memory: memoryview) -> None:
        """Fill *memory*."""
        memory[:] = self._data


def check(streams: dict[str, Any], case: cases.Case, number: int, space: dict[str, Any]) -> dict[str, object]:
    """Decode the streams of a case, and say what it is like."""
    del number
    failed = {}
    values: dict[str, object] = {}
    for members, stream, parts in streams[case.kind]:
        group = StoredGroup(
            members[0][0],
            tuple(Member(*member) for member in members),
            stream,
            [_Part(*part) for part in parts],  # type: ignore[misc]
            values.__getitem__,
        )
        try:
            values.update(codecs.decode(group, namespace=space))
        except (KeepstateError, KeyError) as error:
            failed |= {member[0]: str(error) for member in members}
    space.update(values)
    return {"failed": failed} if "x" in failed else {"look": _look(case, space), "failed": failed}


def main(what: str, stores: Path, answer: Path) -> None:
    """Do one side of all cases."""
    do: Any = {"write": write, "read": read, "keep": keep, "check": check}[what]
    streams: dict[str, Any] = (
        {} if what != "check" else msgspec.msgpack.decode(zlib.decompress(stores.read_bytes()))
    )
    found: dict[str, dict[str, object]] = {}
    space = _notebook()
    before = dict(space)
    for number, case in enumerate(cases.read_cases()):
        store = stores / case.kind if what in ("write", "read") else streams
        there = case.kind in streams if what == "check" else what != "read" or store.exists()
        if not (there and (what in ("read", "check") or eval(case.needs, space))):
            continue
        try:
            found[case.kind] = do(store, case, number, space)
        except Exception as error:  # noqa: BLE001 - one case costs itself alone
            found[case.kind] = {"error": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}
        for name in set(space) - set(before):
            del space[name]
    answer.write_text(json.dumps(found))
    if what == "keep":
        stores.write_bytes(zlib.compress(msgspec.msgpack.encode(streams), 9))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    with contextlib.redirect_stdout(io.StringIO()):
        main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
