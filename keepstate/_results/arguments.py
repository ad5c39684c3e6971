"""The arguments of a call by the names of the parameters that take them.

As the function itself takes them: not as what it wraps would, or as its ``__signature__`` says. joblib's
``filter_args`` reads those, and leaves out what is taken by place alone.
"""

from __future__ import annotations

import inspect
import types
from typing import TYPE_CHECKING, Any

from joblib.func_inspect import filter_args

from keepstate.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

POSITIONAL, KEYWORDS = "*", "**"
"""Names, as joblib has them, of what no other parameter takes."""
_IGNORED = "(ignored)"
_BY_PLACE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_NAMES: dict[object, str] = {
    inspect.Parameter.VAR_POSITIONAL: POSITIONAL,
    inspect.Parameter.VAR_KEYWORD: KEYWORDS,
}


def arguments_of(
    function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], ignore: Collection[str]
) -> dict[str, Any]:
    """Give the arguments by name, with the defaults, and without those to be ignored.

    Raises:
        TypeError: They do not fit.
        InvalidInputError: An argument to be ignored is none.
    """
    if not inspect.isfunction(function) and not inspect.ismethod(function):
        found: dict[str, Any] = filter_args(function, list(ignore), args, kwargs)
        return found
    if inspect.ismethod(function):
        args = (function.__self__, *args)
        function = function.__func__
        if not inspect.isfunction(function):
            return {POSITIONAL: args, KEYWORDS: dict(kwargs)}
    signature = inspect.signature(_bare(function))
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()
    kinds = {name: each.kind for name, each in signature.parameters.items()}
    found = {_NAMES.get(kinds[name], name): value for name, value in bound.arguments.items()}
    for name in ignore:
        if name in found:
            del found[name]
        elif not _ignore_behind(function, name, signature, found):
            raise InvalidInputError(
                f"ignore: {name!r} is no argument of {function.__qualname__}{inspect.signature(function)}"
            )
    return found


def _bare(function: types.FunctionType) -> types.FunctionType:
    """Make the function without what it says of itself; it is not called."""
    bare = types.FunctionType(
        function.__code__, {}, function.__name__, function.__defaults__, function.__closure__
    )
    bare.__kwdefaults__ = function.__kwdefaults__
    return bare


def _ignore_behind(function: Any, name: str, own: inspect.Signature, found: dict[str, Any]) -> bool:
    """Leave out an argument that goes through to what the function wraps; say if there is one."""
    shown = list(inspect.signature(function).parameters)
    if name not in shown:
        return False
    if KEYWORDS in found:
        found[KEYWORDS] = {key: value for key, value in found[KEYWORDS].items() if key != name}
    at = shown.index(name) - sum(each.kind in _BY_PLACE for each in own.parameters.values())
    if POSITIONAL in found and 0 <= at < len(found[POSITIONAL]):
        found[POSITIONAL] = (*found[POSITIONAL][:at], _IGNORED, *found[POSITIONAL][at + 1 :])
    return True
