"""Methods that a library wrote for a class: made again where their byte code is of another Python.

Dataclasses and named tuples have methods without a source text. The class itself says how they are made.
"""

from __future__ import annotations

import collections
import dataclasses
import sys
import types
from typing import Any

from keepstate.errors import CodecError


class Unbuilt:
    """Stands for a function whose code cannot be rebuilt here; it must be replaced before anyone sees it.

    Args:
        why: The reason, as a sentence.
    """

    __slots__ = ("__weakref__", "why")

    def __init__(self, why: str) -> None:
        self.why = why


def unbuilt_in(value: object) -> Unbuilt | None:
    """Return what stands for a function in an attribute of a class."""
    if isinstance(value, staticmethod | classmethod):
        value = value.__func__
    if isinstance(value, property):
        value = value.fget
    return value if type(value) is Unbuilt else None


def make_again(cls: Any, names: set[str]) -> None:
    """Make those of the methods *names* again that a library had written for *cls*; others stay missing."""
    if issubclass(cls, tuple) and "_fields" in vars(cls):
        _as_named_tuple(cls, names)
    elif "__dataclass_params__" in vars(cls):
        _as_dataclass(cls, names)


def is_of_this_python(name: str, value: object) -> bool:
    """Tell a method that only some versions of Python write: it is left out, and made where it belongs."""
    return name == "__replace__" and getattr(value, "__module__", None) in ("collections", "dataclasses")


def complete(cls: Any) -> None:
    """Give *cls* what this version of Python has and the one that kept it may not have had.

    Raises:
        CodecError: That cannot be made.
    """
    if sys.version_info >= (3, 13) and "__replace__" not in vars(cls):
        if "__dataclass_fields__" in vars(cls):
            type.__setattr__(cls, "__replace__", vars(dataclasses)["_replace"])
        elif issubclass(cls, tuple) and "_field_defaults" in vars(cls):
            type.__setattr__(cls, "__replace__", vars(cls)["_replace"])
    if vars(cls).get("_is_protocol") and ("__protocol_attrs__" in vars(cls)) != (sys.version_info >= (3, 12)):
        raise CodecError(f"the protocol {cls.__qualname__} was kept under another version of Python")


def dataclass_params(facts: dict[str, object]) -> Any:
    """Make the parameters of a dataclass, which each version of Python has more of."""
    kind: Any = dataclasses._DataclassParams  # type: ignore[attr-defined]
    made = kind.__new__(kind)
    for name in kind.__slots__:
        setattr(made, name, facts.get(name, name == "match_args"))
    return made


def _as_named_tuple(cls: Any, names: set[str]) -> None:
    defaults = list(getattr(cls, "_field_defaults", {}).values())
    model = collections.namedtuple(cls.__name__, cls._fields, defaults=defaults)  # type: ignore[misc]  # noqa: PYI024
    for name in names & vars(model).keys():
        type.__setattr__(cls, name, vars(model)[name])


def _as_dataclass(cls: Any, names: set[str]) -> None:
    params, fields = cls.__dataclass_params__, cls.__dataclass_fields__
    own = [name for name in vars(cls).get("__annotations__", {}) if name in fields]
    slots = {
        name: value
        for name in own
        if isinstance(value := vars(cls).get(name), types.MemberDescriptorType) and value.__objclass__ is cls
    }
    for name in own:
        type.__setattr__(cls, name, fields[name])
    options = {option: getattr(params, option) for option in ("init", "repr", "eq", "unsafe_hash", "frozen")}
    dataclasses.dataclass(**options, order="__lt__" in names, match_args=False)(cls)
    for name, slot in slots.items():
        type.__setattr__(cls, name, slot)
    cls.__dataclass_params__ = params
