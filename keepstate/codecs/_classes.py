"""Classes of the notebook: made empty, then given what stood in their ``__dict__``.

The class is made by ``type.__new__``, never by its metaclass, and hooks of notebook classes
(``__init_subclass__``, ``__set_name__``) do not run again: what they did is in the state already.
Nothing is registered anywhere, so decoding never returns or changes a class that is alive.
The division in shell and state is cloudpickle's.
"""

from __future__ import annotations

import abc
import pickle
import threading
import types
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from keepstate.codecs import _calls
from keepstate.codecs._functions import reference_to
from keepstate.codecs._generated import complete, is_of_this_python, make_again, unbuilt_in

if TYPE_CHECKING:
    import enum
    from collections.abc import Iterator

    from keepstate.codecs._pickler import StreamPickler

_HEAP_TYPE = 1 << 9
"""``Py_TPFLAGS_HEAPTYPE``: made by a class statement or the like."""
_TYPES = {value: name for name, value in vars(types).items() if type(value) is type}
_SHELL = ("__module__", "__slots__", "__orig_bases__")
"""What must be there when the class is made."""
_SEEN_BY_PYDANTIC = "__pydantic_parent_namespace__"
"""Where pydantic keeps what the code around a class could see. To it a cell of IPython 7 or 8 is no
``<module>``, so that this is the whole notebook, where it looks anyway."""
_MADE_ANEW = ("__dict__", "__weakref__", "_abc_impl", "__module__", "__annotate_func__", "__slotnames__")


def reduce_class(pickler: StreamPickler, cls: type) -> Any:
    """Reduce a class."""
    if cls in _TYPES and getattr(types, cls.__name__, None) is not cls:
        return _calls.named("attribute"), ("types", _TYPES[cls])
    reference = reference_to(pickler, cls)
    if reference is not None:
        return reference
    if cls in (type(None), type(...), type(NotImplemented)):
        return NotImplemented
    if not cls.__flags__ & _HEAP_TYPE:
        raise pickle.PicklingError(f"the type {cls.__module__}.{cls.__qualname__} cannot be imported")
    return (
        _calls.named("class_"),
        (type(cls), cls.__name__, cls.__bases__, _shell(cls)),
        _state(cls),
        None,
        None,
        _calls.named("set_class_state"),
    )


def _shell(cls: type) -> dict[str, object]:
    attributes = vars(cls)
    shell = {name: attributes[name] for name in _SHELL if name in attributes}
    shell["__qualname__"] = cls.__qualname__
    return shell


def _state(cls: type) -> dict[str, object]:
    state: dict[str, object] = {
        name: value
        for name, value in vars(cls).items()
        if not (name in _MADE_ANEW or _is_own_slot(cls, value) or is_of_this_python(name, value))
    }
    around = state.get(_SEEN_BY_PYDANTIC)
    if isinstance(around, dict) and "get_ipython" in around:
        state[_SEEN_BY_PYDANTIC] = None
    if isinstance(cls, abc.ABCMeta):
        registry = [found for ref in abc._get_dump(cls)[0] if (found := ref()) is not None]  # type: ignore[attr-defined]
        if registry:
            state["_abc_registry"] = sorted(
                registry, key=lambda found: (found.__module__, found.__qualname__)
            )
    return state


def _is_own_slot(cls: type, value: object) -> bool:
    return isinstance(value, types.MemberDescriptorType) and value.__objclass__ is cls


def reduce_enum_member(pickler: StreamPickler, member: enum.Enum) -> Any:
    """Reduce a member of an enumeration: by value, unless its class is part of this stream."""
    cls = type(member)
    if reference_to(pickler, cls) is not None:
        return NotImplemented
    kind: Any = cls._member_type_  # type: ignore[attr-defined]
    raw = kind.__getnewargs__(member) if hasattr(kind, "__getnewargs__") else ()
    return _calls.named("enum_member"), (cls, kind, raw), dict(vars(member))


# --- decoding

_hooks = threading.RLock()


def make_class(
    metaclass: type, name: str, bases: tuple[type, ...], shell: dict[str, object], module: str
) -> type:
    """Make the empty class.

    Args:
        metaclass: Its metaclass; it is not called.
        name: Its name.
        bases: Its bases.
        shell: What must be in its ``__dict__`` from the start.
        module: Name of the notebook, whose classes' ``__init_subclass__`` is not run.
    """
    maker = abc.ABCMeta if issubclass(metaclass, abc.ABCMeta) else type
    with _hooks, _without_hooks(bases, module):
        try:
            return maker.__new__(metaclass, name, bases, shell)
        except TypeError:
            # A metaclass written in C insists on making its classes itself.
            if metaclass.__new__ is maker.__new__:
                raise
            return types.new_class(name, bases, {"metaclass": metaclass}, lambda space: space.update(shell))


def _do_nothing(_cls: type, /, **_options: object) -> None:
    """Stand in for ``__init_subclass__``."""


@contextmanager
def _without_hooks(bases: tuple[type, ...], module: str) -> Iterator[None]:
    owners = {
        owner: vars(owner)["__init_subclass__"]
        for base in bases
        for owner in base.__mro__
        if owner.__module__ == module and "__init_subclass__" in vars(owner)
    }
    for owner in owners:
        type.__setattr__(owner, "__init_subclass__", classmethod(_do_nothing))
    try:
        yield
    finally:
        for owner, hook in owners.items():
            type.__setattr__(owner, "__init_subclass__", hook)


def set_class_state(cls: type, state: dict[str, Any]) -> None:
    """Give a class what stood in its ``__dict__``."""
    registry = state.pop("_abc_registry", ())
    unbuilt = {name for name, value in state.items() if unbuilt_in(value) is not None}
    for name, value in state.items():
        if name not in _SHELL and name not in unbuilt:
            type.__setattr__(cls, name, value)
    if unbuilt:
        make_again(cls, unbuilt)
        for name in unbuilt - vars(cls).keys():
            type.__setattr__(cls, name, state[name])  # still there at the end, it makes the decoding fail
    complete(cls)
    for registered in registry:
        abc.ABCMeta.register(cls, registered)  # type: ignore[arg-type]


def make_enum_member(cls: type, kind: type, raw: tuple[object, ...]) -> object:
    """Make a member of an enumeration whose class is being made."""
    return kind.__new__(cls, *raw)
