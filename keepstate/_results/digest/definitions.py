"""Functions, classes and modules: by name where a library has them, else by all that they refer to."""

from __future__ import annotations

import builtins
import functools
import importlib.util
import sys
import types
import typing
from typing import TYPE_CHECKING, Any

from blake3 import blake3

from keepstate._results import modules
from keepstate._results.code import ROAD_FUNCTIONS, facts_of, outline
from keepstate._results.digest import as_imported
from keepstate._results.digest.no_key import NoKeyError
from keepstate._results.digest.patches import (
    take_patches,
    take_patches_by_name,
    take_patches_of_class,
    take_registered,
)
from keepstate.codecs import is_importable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from keepstate._results.code import Facts
    from keepstate._results.digest.digester import Digester

_MADE_ANEW = frozenset(
    {"__dict__", "__weakref__", "_abc_impl", "__module__", "__slotnames__", "__firstlineno__"}
    | {"__static_attributes__", "__annotate_func__", "__annotations_cache__", "__qualname__"}
)  # fmt: skip
"""What a class has of its own making, or of where it stands."""
_RANDOM_STATE = frozenset(
    {"fork_rng", "get_rng_state", "set_rng_state", "getstate", "setstate", "get_state", "set_state"}
)
"""By these code may draw from the global random numbers, and leave them as they were."""
_DATA = frozenset({int, float, complex, bool, str, bytes, tuple, list, dict, set, frozenset})
_NAMED_TYPES = frozenset(value for value in vars(types).values() if type(value) is type)


def take_function(digester: Digester, function: types.FunctionType) -> None:
    """Take in a function: one of a library by name, any other by its code and what that refers to."""
    scope = function.__globals__
    own = modules.origin_of(scope.get("__name__"))
    if own == modules.origin_of(function.__module__) == "library" and is_importable(function):
        _refuse_road(function.__module__, function.__name__)
        _library(digester, function.__module__)
        digester.write(b"function", function.__module__.encode(), function.__qualname__.encode())
        return
    digester.number(function)
    digester.definitions += 1
    try:
        digester.write(b"own function", str(function.__module__).encode())
        take_code(digester, function.__code__)
        digester.take((function.__name__, function.__qualname__, function.__doc__))
        for part in (function.__defaults__, function.__kwdefaults__, dict(function.__dict__)):
            digester.take(part)
        digester.take(_annotations(function))
        for cell in function.__closure__ or ():
            take_cell(digester, cell)
        if own == "library":
            _library(digester, str(scope["__name__"]))
        elif digester.exact and digester.follows:
            _take_globals(digester, function.__code__, scope)
            if own == "local":
                _take_content(digester, str(scope["__name__"]))
    finally:
        digester.definitions -= 1


def take_code(digester: Digester, code: types.CodeType) -> None:
    """Take in what code says, without what it refers to."""
    digester.write(b"code")
    digester.take(outline(code))
    digester.definitions += 1
    try:
        digester.take_all(code.co_consts)
    finally:
        digester.definitions -= 1


def take_cell(digester: Digester, cell: types.CellType) -> None:
    """Take in a variable of an enclosing function."""
    if id(cell) in digester.numbers:
        digester.write(b"again", digester.numbers[id(cell)].encode())
        return
    digester.number(cell, shared=True)
    try:
        contents = cell.cell_contents
    except ValueError:
        digester.write(b"empty cell")
        return
    digester.write(b"cell")
    digester.take(contents)


def _take_globals(digester: Digester, code: types.CodeType, scope: Mapping[str, object]) -> None:
    """Take in what a function of the user's looks up among its globals."""
    facts = facts_of(code)
    if facts.road:
        raise NoKeyError(f"what it depends on cannot be told, because in {code.co_name} {facts.road}")
    if facts.writes:
        name = min(facts.writes)
        raise NoKeyError(f"{code.co_name} binds the global {name}, which its result would not do again")
    take_names(digester, sorted(facts.reads), scope, facts)
    take_imports(digester, facts, scope)


def take_names(digester: Digester, names: Iterable[str], scope: Mapping[str, object], facts: Facts) -> None:
    """Take in globals by name, each under a label of its own."""
    outer, digester.definitions = digester.definitions, 0
    if any(scope.get(name) is sys for name in facts.tables):
        raise NoKeyError("what it depends on cannot be told, because it uses sys.modules")
    seeds = any(type(scope.get(name)) in (type(None), types.ModuleType) for name in facts.seeds)
    digester.may_hide_draws |= seeds or bool(facts.attributes & _RANDOM_STATE)
    if facts.sees_texts:
        digester.asking.append((scope, facts))
    module = scope.get("__name__")
    prefix = f"{module}." if modules.origin_of(module) == "local" else ""
    try:
        for name in names:
            if name in scope:
                _take_name(digester, f"{prefix}{name}", scope[name], facts)
            else:
                _take_builtin_name(digester, name)
    finally:
        digester.definitions = outer


def _take_builtin_name(digester: Digester, name: str) -> None:
    """Take in a builtin by name; the notebook may have put something of its own there."""
    inside = vars(builtins)
    digester.write(b"builtin" if name in inside else b"unbound", name.encode())
    value = inside.get(name)
    if type(value) in _DATA or modules.origin_of(type(value).__module__) != "library":
        digester.apart(f"builtins.{name}", lambda: digester.take(value))
    else:
        take_patches(digester, "builtins", inside, (name,))


def _take_name(digester: Digester, label: str, value: object, facts: Facts | None) -> None:
    digester.write(label.encode())
    if type(value) is types.ModuleType:
        take_module(digester, value, facts)
    else:
        digester.apart(label, lambda: digester.take(value))


def take_imports(digester: Digester, facts: Facts, scope: Mapping[str, object]) -> None:
    """Take in what code imports: the files of the user's, the names of libraries, and what they hold by now.

    Raises:
        NoKeyError: No file defines it.
    """
    for said in sorted(facts.imports):
        name = _resolved(said, scope)
        own = modules.origin_of(name)
        loaded = sys.modules.get(name)
        if own == "notebook":
            if sys.modules.get(modules.top_of(name)) is not None:
                raise NoKeyError(f"it imports {name!r}, which no file defines")
            digester.write(b"not there", name.encode())
        elif own == "library":
            _library(digester, name)
            _look_into_library(digester, loaded, facts)
            if name != modules.top_of(name):
                _look_into_library(digester, sys.modules.get(modules.top_of(name)), facts)
        else:
            _take_content(digester, name)
            _take_loaded(digester, name, facts)


def _resolved(said: str, scope: Mapping[str, object]) -> str:
    """Give the name of a module that code of a package may say from where it stands."""
    package = scope.get("__package__") or str(scope.get("__name__")).rpartition(".")[0]
    try:
        return importlib.util.resolve_name(said, str(package)) if said.startswith(".") else said
    except ImportError as error:
        raise NoKeyError(f"it imports {said}, which is nothing here: {error}") from error


def _take_loaded(digester: Digester, name: str, facts: Facts) -> None:
    """Take in what a module of the user's holds that code imports when it runs, and the packages it is in.

    That is what is in its file, unless the file or the module was changed since. So a module that is as it
    was right after its import counts as one that is not imported yet.
    """
    parts = name.split(".")
    for each in (".".join(parts[:end]) for end in range(1, len(parts) + 1)):
        module = sys.modules.get(each)
        if module is None:
            as_imported.expect(digester, each, facts)
        elif not as_imported.holds(digester, module, facts):
            _take_name(digester, each, module, facts)


def _take_content(digester: Digester, module: str) -> None:
    """Take in the files of a package of the user's."""
    top = modules.top_of(module)
    if top not in digester.seen.contents:
        try:
            found = sorted(modules.content_of(top))
        except (modules.TooManyFilesError, OSError) as error:
            raise NoKeyError(f"it uses {top}, whose files cannot be looked at: {error}") from error
        digester.seen.contents[top] = blake3(repr(found).encode()).digest()
        digester.inputs[f"the file of {top}" if len(found) == 1 else f"the files of {top}"] = (
            digester.seen.contents[top]
        )
    digester.write(b"content", top.encode(), digester.seen.contents[top])


def take_module(digester: Digester, module: types.ModuleType, facts: Facts | None = None) -> None:
    """Take in a module, by name and, if it is the user's, by its files and by what it holds.

    Args:
        digester: What takes it in.
        module: The module.
        facts: Of the code that uses it; ``None``: any code may.
    """
    name = module.__name__
    own = modules.origin_of(name)
    if own == "notebook":
        raise NoKeyError(f"it holds the module {name!r}, which no file defines")
    digester.kept.append(module)
    digester.write(b"module", name.encode())
    if own == "library":
        _library(digester, name)
        _look_into_library(digester, module, facts)
        return
    _take_content(digester, name)
    looked = id(module), facts
    if not digester.exact or looked in digester.seen.modules:
        return
    digester.seen.modules.add(looked)
    # What the program itself may have put there counts, and not only what is in the file.
    inside = vars(module)
    names = {each for each in inside if not each.startswith("__")}
    if facts is not None and not facts.any_attribute:
        names &= facts.attributes
    for each in sorted(names):
        _take_name(digester, f"{name}.{each}", inside[each], facts)


def _look_into_library(digester: Digester, module: object, facts: Facts | None) -> None:
    """Take in what the notebook has put into a library that code uses; refuse what may reach anything."""
    if not isinstance(module, types.ModuleType) or facts is None or not digester.exact:
        return
    looked = digester.seen.names.setdefault(module.__name__, set())
    names = facts.attributes - looked
    looked |= names
    if not names:
        return
    inside = vars(module)
    for name in names & inside.keys():
        if isinstance(inside[name], types.FunctionType | types.BuiltinFunctionType):
            _refuse_road(inside[name].__module__, inside[name].__name__)
    digester.seen.looked_into.clear()
    take_patches(digester, module.__name__, inside, names)
    for value in list(inside.values()):
        if isinstance(value, type):
            take_patches_by_name(digester, value, names)


def _refuse_road(module: object, name: str) -> None:
    if (module, name) in ROAD_FUNCTIONS:
        raise NoKeyError(f"what it depends on cannot be told, because {module}.{name} may reach anything")


def take_class(digester: Digester, cls: Any) -> None:
    """Take in a class: one of a library by name, any other by all that is in it."""
    own = modules.origin_of(cls.__module__)
    if own == "library" and is_importable(cls):
        _library(digester, cls.__module__)
        digester.write(b"class", cls.__module__.encode(), cls.__qualname__.encode())
        take_patches_of_class(digester, cls)
        return
    if not digester.exact and "<locals>" not in cls.__qualname__:
        digester.write(b"class", str(cls.__module__).encode(), cls.__qualname__.encode())
        return
    if cls in (type(None), type(...), type(NotImplemented)) or cls in _NAMED_TYPES:
        digester.write(b"type", cls.__name__.encode())
        return
    digester.number(cls)
    digester.definitions += 1
    try:
        digester.write(b"own class", str(cls.__module__).encode(), cls.__qualname__.encode())
        digester.take(type(cls))
        digester.take(cls.__bases__)
        inside = type.__dict__["__dict__"].__get__(cls)
        names = inside.keys() - _MADE_ANEW
        digester.take(tuple(name for name in inside if name in names and not str(name).startswith("__")))
        for name in sorted(names, key=str):  # a restored class has the others in another order
            value = inside[name]
            digester.write(str(name).encode())
            if not isinstance(value, types.GetSetDescriptorType | types.MemberDescriptorType):
                digester.take(value)
        take_registered(digester, cls)
        if own == "local" and digester.exact:
            _take_content(digester, cls.__module__)
    finally:
        digester.definitions -= 1


def take_named(digester: Digester, value: Any, name: str) -> None:
    """Take in what pickle would look up by its name."""
    module = getattr(value, "__module__", None) or _module_with(value, name)
    if modules.origin_of(module) != "library":
        raise NoKeyError(f"it holds {name} of {module or 'the notebook'}, which is only known by its name")
    _library(digester, str(module))
    digester.write(b"named", str(module).encode(), name.encode())


def _library(digester: Digester, module: str) -> None:
    digester.libraries.add(modules.top_of(module))


def _take_method(digester: Digester, method: types.MethodType) -> None:
    digester.write(b"method")
    digester.take(method.__func__)
    digester.take(method.__self__)


def _take_builtin(digester: Digester, function: Any) -> None:
    owner = function.__self__
    if owner is None or type(owner) is types.ModuleType:
        module = getattr(function, "__module__", None) or "builtins"
        _refuse_road(module, function.__name__)
        _library(digester, module)
        digester.write(b"builtin function", module.encode(), function.__qualname__.encode())
        return
    digester.write(b"builtin method", function.__name__.encode())
    digester.take(owner)


def _take_descriptor(digester: Digester, descriptor: Any) -> None:
    digester.write(b"descriptor", descriptor.__name__.encode())
    digester.take(descriptor.__objclass__)


def _take_wrapper(digester: Digester, wrapper: Any) -> None:
    digester.write(type(wrapper).__name__.encode())
    digester.take(wrapper.__func__)


def _take_property(digester: Digester, prop: property) -> None:
    digester.write(b"property")
    for part in (prop.fget, prop.fset, prop.fdel):
        digester.take(part)


def _take_cached_property(digester: Digester, prop: Any) -> None:
    digester.write(b"cached_property")
    digester.take(prop.func)
    digester.take(prop.attrname)


def _take_cached_function(digester: Digester, function: Any) -> None:
    digester.number(function)
    digester.write(b"lru_cache")
    digester.take(function.__wrapped__)
    digester.take(function.cache_parameters())
    digester.take({name: value for name, value in vars(function).items() if name != "__wrapped__"})


def _take_type_variable(digester: Digester, variable: Any) -> None:
    digester.number(variable)
    digester.write(b"type variable", type(variable).__name__.encode(), variable.__name__.encode())
    for fact in ("__bound__", "__constraints__", "__supertype__"):
        digester.take(getattr(variable, fact, None))


def _annotations(function: types.FunctionType) -> object:
    if sys.version_info >= (3, 14):
        return getattr(function, "__annotate__", None)  # asking for them would run it
    return dict(function.__annotations__)


def _module_with(value: object, name: str) -> str | None:
    """Find the module that has *value* under *name*, as pickle does."""
    for module_name, module in list(sys.modules.items()):
        inside = getattr(module, "__dict__", {})  # not getattr(module, name): some import what they are asked
        if module_name not in ("__main__", "__mp_main__") and inside.get(name) is value:
            return module_name
    return None


BY_TYPE: dict[type, Callable[[Digester, Any], None]] = {
    types.FunctionType: take_function,
    types.CodeType: take_code,
    types.CellType: take_cell,
    types.ModuleType: take_module,
    types.MethodType: _take_method,
    types.BuiltinFunctionType: _take_builtin,
    types.MethodWrapperType: _take_builtin,
    types.WrapperDescriptorType: _take_descriptor,
    types.MethodDescriptorType: _take_descriptor,
    types.ClassMethodDescriptorType: _take_descriptor,
    types.GetSetDescriptorType: _take_descriptor,
    types.MemberDescriptorType: _take_descriptor,
    staticmethod: _take_wrapper,
    classmethod: _take_wrapper,
    property: _take_property,
    functools.cached_property: _take_cached_property,
    typing.TypeVar: _take_type_variable,
    typing.ParamSpec: _take_type_variable,
    typing.TypeVarTuple: _take_type_variable,
    typing.NewType: _take_type_variable,
    functools._lru_cache_wrapper: _take_cached_function,
}
