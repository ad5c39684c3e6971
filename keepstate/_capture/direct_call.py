"""Whether one frame of the notebook called the next one itself, with no C code in between.

Told without running anything of the user's: the call's source names something, and what that name stands for
is looked up by reading dictionaries only. In doubt the answer is no.
"""

from __future__ import annotations

import ast
import inspect
import sys
from types import CodeType, FrameType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Final, cast

from keepstate._capture.source_map import source_map

if TYPE_CHECKING:
    from collections.abc import Mapping

_SUSPENDING: Final = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
_UNKNOWN: Final = object()


def calls_directly(caller: FrameType, called: CodeType) -> bool:
    """Whether *caller* stands at a plain call of the function whose code is *called*."""
    if called.co_flags & _SUSPENDING:
        return False  # driven by whoever asks for the next value
    known = source_map(caller.f_code)
    if known.comprehension_at(caller.f_lasti, called.co_name):
        return True
    call = known.call_at(caller.f_lasti)
    return call is not None and _code_of(_value_of(call.func, caller)) is called


def named_as_cell(code: CodeType) -> bool:
    """Whether *code* has the name of code that is in no function: of a module, or of a cell."""
    # IPython 7.3x and early 8 rename the code of each top-level statement.
    return code.co_name == "<module>" or code.co_name.startswith("<cell line: ")


def _code_of(value: object) -> CodeType | None:
    if type(value) in (MethodType, staticmethod, classmethod):
        value = cast("MethodType", value).__func__
    return value.__code__ if type(value) is FunctionType else None


def _value_of(expression: ast.expr, frame: FrameType) -> object:
    if isinstance(expression, ast.Name):
        return _value_of_name(expression.id, frame)
    if isinstance(expression, ast.Attribute):
        owner = _value_of(expression.value, frame)
        return _UNKNOWN if owner is _UNKNOWN else _value_of_attribute(owner, expression.attr)
    return _UNKNOWN


def _value_of_name(name: str, frame: FrameType) -> object:
    code = frame.f_code
    if code.co_flags & inspect.CO_OPTIMIZED:
        if name in code.co_varnames or name in code.co_cellvars or name in code.co_freevars:
            return local_variables(frame).get(name, _UNKNOWN)
        return frame.f_globals.get(name, _UNKNOWN)
    if not named_as_cell(code) or name in code.co_varnames:
        return _UNKNOWN  # the body of a class, or the variable of an inlined comprehension
    value = frame.f_globals.get(name, _UNKNOWN)
    return value if frame.f_locals.get(name, value) is value else _UNKNOWN


def _value_of_attribute(owner: object, name: str) -> object:
    kind = owner if isinstance(owner, type) else type(owner)
    plain: tuple[object, ...] = (object.__getattribute__, type.__getattribute__, ModuleType.__getattribute__)
    try:
        if inspect.getattr_static(type(owner), "__getattribute__") not in plain:
            return _UNKNOWN
        value = inspect.getattr_static(owner, name)
    except AttributeError:
        return _UNKNOWN
    if isinstance(owner, (type, ModuleType)) or kind is type(owner):
        # A property or another descriptor would run; only what these types do by themselves is known.
        described = inspect.getattr_static(type(value), "__get__", None) is not None
        if described and type(value) not in (FunctionType, staticmethod, classmethod):
            return _UNKNOWN
    return value


def local_variables(frame: FrameType) -> Mapping[str, object]:
    """Read the variables of a function's frame, leaving nothing alive that the function lets go of.

    Up to 3.12 reading them makes the frame keep a dictionary of them until it ends.
    """
    if sys.version_info >= (3, 13):
        return frame.f_locals
    variables = dict(frame.f_locals)
    forget_local_variables(frame)
    return variables


def forget_local_variables(frame: FrameType) -> None:
    """Empty that dictionary, unless the user has it too (as what ``locals()`` returned).

    Not while the frame runs a trace function, at whose end the dictionary is written back.
    """
    if sys.version_info >= (3, 13) or not frame.f_code.co_flags & inspect.CO_OPTIMIZED:
        return
    variables = frame.f_locals
    if sys.getrefcount(variables) <= _REFERENCES_OF_OUR_OWN:
        cast("dict[str, object]", variables).clear()


_REFERENCES_OF_OUR_OWN: Final = 3
"""The frame, the variable, the argument of getrefcount."""
