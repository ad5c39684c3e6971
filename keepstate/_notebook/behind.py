"""Which names of the notebook are behind others: in the code of functions, and of methods of what is bound.

Values are looked into as the garbage collector does it, which runs no code of theirs.
"""

from __future__ import annotations

import dis
import gc
import re
import types
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

MOST_OBJECTS = 20_000
"""How many objects are looked into for one cell: 20 ms here."""
_WORD = re.compile(r"[^\W\d]\w*")
ROADS = frozenset({"globals", "locals", "vars", "dir", "eval", "exec", "get_ipython", "input", "breakpoint"})
"""Functions through which code may reach any name, or ask which there are."""
_ROADS_BY_NAME = frozenset(
    {"f_globals", "f_locals", "f_back", "_getframe", "currentframe", "__globals__", "__main__", "user_ns"}
    | {"user_global_ns", "run_cell", "run_line_magic", "run_cell_magic", "set_trace"}
    | {"read_pickle", "Unpickler"}
)  # fmt: skip
"""Names and attributes through which it comes to the namespace of its caller or of the notebook, or loads a
pickle, which looks up classes and functions in ``__main__``."""
_UNPICKLE = frozenset({"load", "loads"})
_HARMLESS = frozenset(
    {"json", "keepstate", "np", "numpy", "yaml", "tomllib", "toml", "orjson", "ujson", "msgpack"}
)
"""Modules whose ``load`` does not."""
_PICKLES = frozenset({"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "torch", "shelve"})
_PLAIN = frozenset({int, float, complex, bool, str, bytes, bytearray, type(None), type(...), range, slice})
_CONTAINERS = (list, tuple, set, frozenset, dict)
_CLOSED = (types.ModuleType, types.BuiltinFunctionType, types.CodeType)
"""Not looked into: they have no way to the notebook but through what others say."""
_STANDING_CODE: Mapping[type, str] = {
    types.GeneratorType: "gi_code",
    types.CoroutineType: "cr_code",
    types.AsyncGeneratorType: "ag_code",
}


class Everything(Exception):  # noqa: N818 - not an error: an answer
    """Any name may be reached."""


def refuse_road(name: str, *, owner: str = "") -> None:
    """Raise if a name, or an attribute of *owner*, is a road to any name.

    Raises:
        Everything: It is.
    """
    if name in _ROADS_BY_NAME or (name in _UNPICKLE and owner not in _HARMLESS):
        raise Everything


def words_of(text: str) -> list[str]:
    """Give what could be names in a text.

    Raises:
        Everything: It speaks of the notebook's own module.
    """
    words = _WORD.findall(text)
    if "__main__" in words:
        raise Everything
    return words


def names_behind(names: Iterable[str], namespace: Mapping[str, object]) -> frozenset[str]:
    """Add to *names* what is behind them.

    Args:
        names: What code says.
        namespace: The user's globals.

    Raises:
        Everything: A road leads to any name, or there is too much to look into.
    """
    walk = _Walk(namespace)
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            if name in namespace:
                waiting += walk.behind(namespace[name])
    return frozenset(found)


def names_behind_object(thing: object, namespace: Mapping[str, object]) -> frozenset[str] | None:
    """Give the names that calling *thing* may use; ``None``: any."""
    try:
        return names_behind(_Walk(namespace).behind(thing), namespace)
    except Everything:
        return None


class _Walk:
    def __init__(self, namespace: Mapping[str, object]) -> None:
        self._namespace = namespace
        self._seen: dict[int, object] = {id(namespace): namespace}

    def behind(self, value: object) -> set[str]:
        """Give the names that code uses which hangs on *value*."""
        found: set[str] = set()
        waiting = [value]
        while waiting:
            thing = waiting.pop()
            kind = type(thing)
            if kind in _PLAIN or id(thing) in self._seen or _is_plain(thing):
                continue
            if len(self._seen) >= MOST_OBJECTS:
                raise Everything
            self._seen[id(thing)] = thing
            if kind is types.FunctionType:
                found.update(self._function(thing, waiting))  # type: ignore[arg-type]
            elif issubclass(kind, type):
                waiting += _parts_of_class(thing)
            elif not issubclass(kind, _CLOSED) and not _is_ours(kind):
                if kind in _STANDING_CODE:
                    found.update(_names_of(getattr(thing, _STANDING_CODE[kind])))
                waiting.append(kind)
                waiting += gc.get_referents(thing)
        return found

    def _function(self, function: types.FunctionType, waiting: list[object]) -> Iterator[str]:
        """Follow what it holds; its names count if they are those of the notebook."""
        waiting += [function.__closure__, function.__defaults__, function.__kwdefaults__, function.__dict__]
        if function.__globals__ is self._namespace:
            yield from _names_of(function.__code__)


def _is_plain(thing: object) -> bool:
    """Say whether it holds numbers and texts alone; that is quick, also for many."""
    if type(thing) not in _CONTAINERS:
        return False
    kinds = set(map(type, thing))  # type: ignore[call-overload]
    if type(thing) is dict:
        kinds.update(map(type, thing.values()))
    return kinds <= _PLAIN


def _parts_of_class(kind: object) -> list[object]:
    """Give what a class of the notebook holds; those of libraries know nothing of it."""
    own = _dict_of(kind)
    if own.get("__module__") != "__main__":
        return []
    return [*own.values(), *type.__dict__["__mro__"].__get__(kind), type(kind)]


def _is_ours(kind: type) -> bool:
    return str(_dict_of(kind).get("__module__")).startswith("keepstate.")


def _dict_of(kind: object) -> Mapping[str, object]:
    """Give the attributes of a class without asking its metaclass."""
    found: Mapping[str, object] = type.__dict__["__dict__"].__get__(kind)
    return found


def _names_of(code: types.CodeType) -> set[str]:
    found = set(code.co_names)
    if found & _ROADS_BY_NAME or (found & _UNPICKLE and (found & _PICKLES or not found & _HARMLESS)):
        raise Everything
    if found & ROADS and any(
        each.argval in ROADS
        for each in dis.get_instructions(code)
        if each.opname in ("LOAD_GLOBAL", "LOAD_NAME")
    ):
        raise Everything  # and it is no attribute that is called so, such as model.eval()
    constants = list(code.co_consts)
    while constants:
        each = constants.pop()
        if isinstance(each, str):
            found.update(words_of(each))
        elif isinstance(each, types.CodeType):
            found |= _names_of(each)
        elif isinstance(each, tuple | frozenset):
            constants += each
    return found
