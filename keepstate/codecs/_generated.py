"""Methods that a library wrote for a class: made again where their byte code is of another Python.

Dataclasses and named tuples have methods without a source text. The class itself says how they are made.
"""

from __future__ import annotations

import collections
import dataclasses
import inspect
import sys
import types
import typing
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


_MADE_AGAIN = ("__main__", "collections", "dataclasses", "typing")
"""Modules whose functions are not looked for: what they gave to a class is made again as a whole."""
_OF_PROTOCOLS = ("__protocol_attrs__", "__non_callable_proto_members__", "__callable_proto_members_only__")
"""What versions of ``typing`` have noted in a protocol."""


class Unbuilt:
    """Stands for a function whose code cannot be rebuilt here; it must be replaced before anyone sees it.

    Args:
        why: The reason, as a sentence.
        facts: Of the code, where its source is not known.
    """

    __slots__ = ("__weakref__", "facts", "why")

    def __init__(self, why: str, facts: Mapping[str, Any] | None = None) -> None:
        self.why = why
        self.facts = facts

    def as_in_library(self, scope: Mapping[str, Any]) -> types.CodeType | Unbuilt:
        """Find the same function in the library that it is of, as it is here; else return this.

        Args:
            scope: Globals of the function.
        """
        name = str(scope.get("__name__"))
        module = sys.modules.get(name)
        if self.facts is None or module is None or vars(module) is not scope or name in _MADE_AGAIN:
            return self
        found = _code_at(scope, str(self.facts["co_qualname"]).split("."))
        return found if found is not None and _is_alike(found, self.facts) else self


def _code_at(scope: Mapping[str, Any], path: list[str]) -> types.CodeType | None:
    """Follow a qualified name through classes, and through the code of functions behind ``<locals>``."""
    thing: Any = scope.get(path[0])
    at = 1
    while at < len(path) and path[at] != "<locals>":
        thing = vars(thing).get(path[at]) if isinstance(thing, type) else None
        at += 1
    code = getattr(inspect.unwrap(thing) if callable(thing) else thing, "__code__", None)
    for name in path[at:]:
        if name == "<locals>" or code is None:
            continue
        inner = [c for c in code.co_consts if isinstance(c, types.CodeType) and c.co_name == name]
        code = inner[0] if len(inner) == 1 else None
    return code if isinstance(code, types.CodeType) else None


def _is_alike(code: types.CodeType, facts: Mapping[str, Any]) -> bool:
    """Say whether *code* takes the same arguments and the same variables from around it."""
    counts = ("co_argcount", "co_posonlyargcount", "co_kwonlyargcount")
    arguments = sum(facts[name] for name in ("co_argcount", "co_kwonlyargcount"))
    return (
        all(getattr(code, name) == facts[name] for name in counts)
        and code.co_varnames[:arguments] == tuple(facts["co_varnames"])[:arguments]
        and code.co_freevars == tuple(facts["co_freevars"])
    )


def unbuilt_in(value: object) -> Unbuilt | None:
    """Return what stands for a function in an attribute of a class, or in one that is wrapped there."""
    if isinstance(value, staticmethod | classmethod):
        value = value.__func__
    if isinstance(value, property):
        value = value.fget
    if isinstance(value, types.FunctionType):
        return _unbuilt_within(value)
    return value if type(value) is Unbuilt else None


def _unbuilt_within(function: types.FunctionType) -> Unbuilt | None:
    for cell in function.__closure__ or ():
        try:
            held = cell.cell_contents
        except ValueError:
            continue
        if type(held) is Unbuilt:
            return held
    return None


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
    """Give *cls* what this version of Python has and the one that kept it may not have had."""
    if sys.version_info >= (3, 13) and "__replace__" not in vars(cls):
        if "__dataclass_fields__" in vars(cls):
            type.__setattr__(cls, "__replace__", vars(dataclasses)["_replace"])
        elif issubclass(cls, tuple) and "_field_defaults" in vars(cls):
            type.__setattr__(cls, "__replace__", vars(cls)["_replace"])
    if vars(cls).get("_is_protocol"):
        checked = bool(vars(cls).get("_is_runtime_protocol"))
        if {name for name in _OF_PROTOCOLS if name in vars(cls)} != _noted(checked=checked):
            _as_protocol(cls, checked=checked)


def dataclass_params(facts: dict[str, object]) -> Any:
    """Make the parameters of a dataclass, which each version of Python has more of."""
    kind: Any = dataclasses._DataclassParams  # type: ignore[attr-defined]
    made = kind.__new__(kind)
    for name in kind.__slots__:
        setattr(made, name, facts.get(name, name == "match_args"))
    return made


def _noted(*, checked: bool) -> set[str]:
    """Give what this version of ``typing`` notes in a protocol."""
    model: Any = types.new_class("Model", (typing.Protocol,))
    if checked:
        typing.runtime_checkable(model)
    return {name for name in _OF_PROTOCOLS if name in vars(model)}


def _as_protocol(cls: Any, *, checked: bool) -> None:
    """Have ``typing`` look at a protocol again: each version notes something else of what it finds."""
    for name in _OF_PROTOCOLS:
        if name in vars(cls):
            type.__delattr__(cls, name)
    hook = vars(cls).get("__subclasshook__")
    if getattr(getattr(hook, "__func__", hook), "__module__", None) == "typing" or unbuilt_in(hook):
        type.__delattr__(cls, "__subclasshook__")
    made = vars(cls).get("__init__")
    if getattr(made, "__module__", None) == "typing":
        type.__delattr__(cls, "__init__")
    typing.Protocol.__init_subclass__.__func__(cls)  # type: ignore[attr-defined]
    if sys.version_info >= (3, 12):
        cls.__protocol_attrs__ = vars(typing)["_get_protocol_attrs"](cls)
        if checked:
            typing.runtime_checkable(cls)


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
