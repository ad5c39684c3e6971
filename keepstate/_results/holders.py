"""Who else holds an object: told before it is taken for one that a cell alone may change.

Other variables are looked into as the garbage collector does it, which runs no code of theirs.
"""

from __future__ import annotations

import gc
import re
import sys
import types
from typing import TYPE_CHECKING, Any

import numpy as np

from keepstate._results import modules
from keepstate._results.digest import Digester, copies_on_write
from keepstate.codecs import root_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

MOST_OBJECTS = 200_000
"""How many are looked into: 0.2 s here. Where there are more it is not told."""
_PLAIN = frozenset({int, float, complex, bool, str, bytes, type(None), type(...)})
_CLOSED = (types.CodeType, types.BuiltinFunctionType)
_HISTORY = re.compile(r"In|Out|_+|_i+|_i?\d+|_[io]h|_dh|__\w+__")
"""Names of the shell, and of Python: what was shown is no variable."""


def other_holder(values: Iterable[object], namespace: Mapping[str, object], own: Collection[str]) -> str:
    """Say which other variable holds something that one of *values* is made of; empty: none.

    Args:
        values: What is changed.
        namespace: The user's globals.
        own: Names that do not count: those that are kept together with the values.

    Raises:
        NoKeyError: It cannot be told what one of *values* is made of.
    """
    digester = Digester(exact=False, memory=False)
    for number, value in enumerate(values):
        digester.add(str(number), value)
    wanted = digester.shared.keys()
    framed = wanted | digester.framed.keys()
    seen: dict[int, object] = {id(namespace): namespace}
    for name, value in list(namespace.items()):
        if name in own or _HISTORY.fullmatch(name) or type(value) in _PLAIN:
            continue
        waiting = [(value, False)]
        while waiting:
            thing, in_frame = waiting.pop()
            if id(thing) in wanted or _memory_of(thing) & (wanted if in_frame else framed):
                return name
            if id(thing) in seen or isinstance(thing, _CLOSED) or _is_of_library(thing):
                continue
            if len(seen) >= MOST_OBJECTS:
                return f"{name}, or another one that holds too much to look into,"
            seen[id(thing)] = thing
            in_frame = in_frame or copies_on_write(type(thing))
            waiting += [(each, in_frame) for each in gc.get_referents(thing) if type(each) not in _PLAIN]
    return ""


def _is_of_library(thing: object) -> bool:
    return isinstance(thing, types.ModuleType) and modules.origin_of(thing.__name__) == "library"


def _memory_of(thing: Any) -> set[int]:
    """Give what an array or tensor shows, as a digester tells it."""
    if isinstance(thing, np.ndarray):
        root: Any = root_of(thing)
        base = root.base.obj if isinstance(root.base, memoryview) else root.base
        return {id(root), id(base)}
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(thing, torch.Tensor) and thing.layout is torch.strided:
        return {thing.untyped_storage().data_ptr()}
    return set()
