"""An exact digest of a value: equal digests only for values that no function could tell apart.

It goes through objects as pickle does, by what they say is needed to make them again, and through functions
and classes of the notebook by their code and all that this refers to. Types count (``1``, ``True`` and
``1.0`` differ), and so do the order of dictionaries, the layout of arrays, and which objects are one and the
same. Where nothing reliable can be said, it raises. Why ``joblib.hash`` is not enough: docs/decisions/0011.

Nothing is written to, no random number is drawn, and nothing of the user's is called but what pickle calls.
"""

from __future__ import annotations

import builtins
import copyreg
import functools
import marshal
import struct
import sys
import types
import typing
from typing import TYPE_CHECKING, Any

import numpy as np
from blake3 import blake3

from keepstate._results import modules
from keepstate._results.code import facts_of, outline
from keepstate.codecs import is_importable, is_plain, is_value_type, refusal, root_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from keepstate._results.code import Facts

_ATOMS = frozenset({int, float, complex, bool, str, bytes, type(None), type(...)})
_SEEDLESS = frozenset({int, float, complex, bool})
"""The order of a set of these follows from how it was made, in every process."""
_SLICE = 65536
"""Elements that are written at once; a copy of them is made."""
_MADE_ANEW = frozenset(
    {"__dict__", "__weakref__", "_abc_impl", "__module__", "__slotnames__", "__firstlineno__"}
    | {"__static_attributes__", "__annotate_func__", "__annotations_cache__", "__qualname__"}
)  # fmt: skip
"""What a class has of its own making, or of where it stands."""
_RANDOM_STATE = frozenset(
    {"fork_rng", "get_rng_state", "set_rng_state", "getstate", "setstate", "get_state", "set_state"}
)
"""By these code may draw from the global random numbers, and leave them as they were."""
_MODULES = types.ModuleType
_HEAP_TYPE = 1 << 9
"""``Py_TPFLAGS_HEAPTYPE``: of others nobody can change an attribute."""
HANDLERS: dict[type, Callable[[Digester, Any], None]] = {}
"""For types of ours that wrap something of the user's."""


class NoKeyError(Exception):
    """It cannot be told reliably what this value is; the message says why, and begins with ``it``."""


class Digester:
    """Digests of several values, which may share objects.

    Args:
        exact: For what goes into a function: the order of sets counts, and functions and classes count with
            all that they refer to. Otherwise for what comes out of one, to tell whether it came back: sets
            have no order, and what the notebook defines is told by name, functions by their code.
        memory: Whether what is in arrays counts; without it, only :attr:`shared` is of use.
    """

    def __init__(self, *, exact: bool = True, memory: bool = True) -> None:
        self._exact = exact
        self._reads_memory = memory
        self._hash = blake3()
        self._label = ""
        self._numbers: dict[int, str] = {}
        self._kept: list[object] = []
        """What has a number must live on, or another object may get its id."""
        self._roots: dict[int, str] = {}
        self._count = 0
        self._definitions = 0
        self._frames = 0
        self._orders = blake3()
        self._origins: dict[str, modules.Origin] = {}
        self._unpatched: set[type] = set()
        self._looked_into: set[str] = set()
        self._contents: dict[str, bytes] = {}
        self.inputs: dict[str, bytes] = {}
        """What was looked at → digest: each value, and each global of the notebook behind it."""
        self.shared: dict[int, object] = {}
        """Id → object, of each that may change and be shared: of memory, the array that owns it."""
        self.libraries: set[str] = set()
        self.may_hide_draws = False
        """Whether own code may put the global random numbers back as they were."""

    @property
    def orders(self) -> bytes:
        """Digest of the orders of all sets whose order is by chance."""
        return self._orders.digest(16)

    def add(self, label: str, value: object) -> bytes:
        """Give the digest of *value*, and note it under *label*.

        Raises:
            NoKeyError: It cannot be told reliably.
        """
        try:
            return self._apart(label, lambda: self._add(value))
        except RecursionError as error:
            raise NoKeyError("its parts are nested too deeply") from error

    def add_code(self, label: str, code: types.CodeType) -> bytes:
        """Give the digest of what code says, without what it refers to."""
        return self._apart(label, lambda: self._code(code))

    def add_names(self, label: str, names: Iterable[str], scope: Mapping[str, object], facts: Facts) -> bytes:
        """Give the digest of what code means by *names*, each of which is noted too, and of its imports.

        Raises:
            NoKeyError: It cannot be told reliably.
        """

        def fill() -> None:
            self._names(sorted(names), scope, facts)
            self._imports(facts)

        try:
            return self._apart(label, fill)
        except RecursionError as error:
            raise NoKeyError("its parts are nested too deeply") from error

    def _apart(self, label: str, fill: Callable[[], None]) -> bytes:
        """Have a digest of its own for what *fill* writes, which then counts where it stands."""
        outer, self._hash = self._hash, blake3()
        outer_label, self._label = self._label, label
        outer_count, self._count = self._count, 0
        try:
            fill()
            digest = self._hash.digest()
        finally:
            self._hash, self._label, self._count = outer, outer_label, outer_count
        self.inputs.setdefault(label, digest)
        self._write(b"part", digest)
        return digest

    def _write(self, *pieces: bytes) -> None:
        for piece in pieces:
            self._hash.update(struct.pack("<Q", len(piece)))
            self._hash.update(piece)

    def _memory(self, memory: memoryview) -> None:
        self._hash.update(struct.pack("<Q", memory.nbytes))
        self._hash.update(memory)

    def _skips(self, nbytes: int) -> bool:
        if not self._reads_memory:
            self._write(struct.pack("<Q", nbytes))
        return not self._reads_memory or not nbytes

    # --- one value

    def _add(self, value: Any) -> None:
        kind = type(value)
        if kind in _ATOMS:
            self._write(b"atom", marshal.dumps(value, 2))
            return
        known = self._numbers.get(id(value))
        if known is not None:
            self._write(b"again", known.encode())
            return
        handler = _BY_TYPE.get(kind) or HANDLERS.get(kind)
        if handler is not None:
            handler(self, value)
        elif issubclass(kind, type):
            self._class(value)
        elif issubclass(kind, np.ndarray):
            self._subclass_array(value)
        elif issubclass(kind, np.dtype):
            self._dtype(value)
        elif issubclass(kind, np.generic):
            self._scalar(value)
        elif _is_of(kind, "torch", "Tensor"):
            self._tensor(value)
        elif _is_of(kind, "pyarrow", "Buffer"):
            self._write(b"buffer")
            self._memory(memoryview(value).cast("B"))  # its reduce would copy it
        else:
            self._instance(value)

    def _number(self, value: object, *, shared: bool = False) -> None:
        """Remember an object, so that it is known again. Labels keep the numbers of others as they are."""
        self._count += 1
        self._numbers[id(value)] = f"{self._label} {self._count}"
        self._kept.append(value)
        if shared:
            self.shared[id(value)] = value

    def _items(self, values: Any) -> None:
        """Write what a list or tuple holds."""
        self._write(struct.pack("<Q", len(values)))
        if set(map(type, values)) <= _ATOMS:
            for start in range(0, len(values), _SLICE):
                self._write(marshal.dumps(values[start : start + _SLICE], 2))
            return
        for each in values:
            self._add(each)

    def _tuple(self, values: tuple[object, ...]) -> None:
        self._write(b"tuple")
        self._items(values)

    def _list(self, values: list[object]) -> None:
        self._number(values, shared=not self._frames)
        self._write(b"list")
        self._items(values)

    def _dict(self, values: dict[object, object]) -> None:
        self._number(values, shared=not self._frames)
        self._write(b"dict")
        self._items(list(values))
        self._items(list(values.values()))

    def _set(self, values: Any) -> None:
        if type(values) is set:
            self._number(values, shared=not self._frames)
        self._write(type(values).__name__.encode())
        if self._exact and not self._definitions and set(map(type, values)) <= _SEEDLESS:
            self._items(list(values))
            return
        # Texts are in another order in each process, which is no change of the value. Within one it may be.
        each = [self._alone(value) for value in values]
        if self._exact and not self._definitions:
            self._orders.update(b"".join(each))
        self._write(*sorted(each))

    def _alone(self, value: object) -> bytes:
        inner = Digester(exact=self._exact)
        inner._definitions = self._definitions
        digest = inner.add("", value)
        self.libraries |= inner.libraries
        self._kept.append(inner)
        return digest

    def _bytearray(self, values: bytearray) -> None:
        self._number(values, shared=not self._frames)
        self._write(b"bytearray", bytes(values))

    # --- memory

    def _array(self, values: Any) -> None:
        self._write(b"array", type(values).__name__.encode())
        if not self._frames:
            self._number(values)
            self._root(values)
        self._dtype(values.dtype)
        flags = values.flags
        strides = () if flags.c_contiguous or flags.f_contiguous else values.strides
        layout = bool(flags.c_contiguous), bool(flags.f_contiguous), strides, bool(flags.writeable)
        self._write(marshal.dumps((values.shape, layout), 2))
        if not is_plain(values.dtype):
            elements = values.ravel().tolist()
            self._kept.append(elements)
            frames, self._frames = self._frames, 0  # what stands in a column is the user's
            self._items(elements)
            self._frames = frames
            return
        if self._skips(values.nbytes):
            return
        plain = values.view(np.ndarray)
        flat = plain.T if flags.f_contiguous and not flags.c_contiguous else plain
        seen: Any = np.ascontiguousarray(flat).reshape(-1).view(np.uint8)
        self._memory(memoryview(seen))

    def _root(self, values: Any) -> None:
        """Say whether another array shows the same memory, and whether it may be shared."""
        root: Any = root_of(values)
        known = self._roots.get(id(root))
        if known is not None:
            offset = values.__array_interface__["data"][0] - root.__array_interface__["data"][0]
            self._write(b"shows", known.encode(), struct.pack("<q", offset))
            return
        self._roots[id(root)] = f"{self._label} {self._count}"
        self._kept.append(root)
        if values.size:
            self.shared[id(root)] = root
            base = root.base.obj if isinstance(root.base, memoryview) else root.base
            if base is not None:
                self.shared[id(base)] = base
                self._kept.append(base)

    def _subclass_array(self, values: Any) -> None:
        self._number(values)
        self._write(b"subclass")
        self._add(type(values))
        self._add(np.asarray(values))
        self._add(dict(vars(values)) if hasattr(values, "__dict__") else {})

    def _dtype(self, dtype: Any) -> None:
        reduced = dtype.__reduce__()
        self._write(b"dtype", type(dtype).__name__.encode())
        self._kept.append(reduced)
        for part in reduced[1:] if isinstance(reduced, tuple) else (reduced,):
            self._add(tuple(dict(e) if isinstance(e, types.MappingProxyType) else e for e in part))

    def _scalar(self, value: Any) -> None:
        if value.dtype.hasobject:
            self._instance(value)
            return
        self._write(b"scalar", type(value).__name__.encode(), value.tobytes())
        self._dtype(value.dtype)

    def _tensor(self, tensor: Any) -> None:
        torch = sys.modules["torch"]
        self._number(tensor)
        if tensor.requires_grad and not tensor.is_leaf:
            raise NoKeyError("it holds a tensor that is part of an autograd graph")
        if tensor.layout is not torch.strided or tensor.is_quantized:
            self._instance(tensor)
            return
        self.libraries.add("torch")
        plain = tensor.detach()
        self._write(b"tensor")
        self._add(type(tensor))
        facts = str(tensor.dtype), tensor.device.type, tuple(tensor.shape), tensor.stride()
        self._write(repr((facts, tensor.requires_grad, tensor.is_conj(), tensor.is_neg())).encode())
        storage = tensor.untyped_storage()
        known = self._roots.get(storage.data_ptr())
        if known is not None:
            self._write(b"shows", known.encode(), struct.pack("<q", tensor.storage_offset()))
        elif storage.nbytes():
            self._roots[storage.data_ptr()] = f"{self._label} {self._count}"
            self.shared[storage.data_ptr()] = tensor
            self._kept.append(storage)
        if not self._skips(tensor.numel()):
            flat = plain.resolve_conj().resolve_neg().cpu().contiguous().reshape(-1)
            self._memory(memoryview(flat.view(torch.uint8).numpy()))
        self._add(tensor.grad)
        self._add({key: value for key, value in vars(tensor).items() if key != "_backward_hooks"})

    # --- anything else, by how it is made again

    def _instance(self, value: Any) -> None:
        kind = type(value)
        if kind is object:
            raise NoKeyError("it holds a bare object(), which is only known by its identity")
        is_frame, is_index = _pandas_kind(kind)
        try:
            reducer = copyreg.dispatch_table.get(kind)
            reduced = reducer(value) if reducer is not None else value.__reduce_ex__(4)
        except (NoKeyError, RecursionError):
            raise
        except Exception as error:
            raise NoKeyError(refusal(value, error)) from error
        if isinstance(reduced, str):
            self._named(value, reduced)
            return
        if not (is_index or kind in _VALUES or (self._frames and kind.__module__.startswith("pandas"))):
            self._number(value, shared=not (self._frames or is_value_type(kind)))
        self._kept.append(reduced)
        function, arguments, state, entries, pairs = (*reduced, None, None, None)[:5]
        self._frames += is_frame or is_index
        try:
            self._write(b"object")
            self._add(function)
            self._add(arguments)
            self._add(_without_cache(kind, state))
            for iterator in (entries, pairs):
                self._items([] if iterator is None else list(iterator))
        finally:
            self._frames -= is_frame or is_index

    def _named(self, value: Any, name: str) -> None:
        module = getattr(value, "__module__", None) or _module_with(value, name)
        if modules.origin_of(module) != "library":
            raise NoKeyError(
                f"it holds {name} of {module or 'the notebook'}, which is only known by its name"
            )
        self._library(str(module))
        self._write(b"named", str(module).encode(), name.encode())

    def _library(self, module: str) -> None:
        self.libraries.add(modules.top_of(module))

    # --- definitions

    def _function(self, function: types.FunctionType) -> None:
        scope = function.__globals__
        own = modules.origin_of(scope.get("__name__"))
        if own == modules.origin_of(function.__module__) == "library" and is_importable(function):
            self._library(function.__module__)
            self._write(b"function", function.__module__.encode(), function.__qualname__.encode())
            return
        self._number(function)
        self._definitions += 1
        try:
            self._write(b"own function", str(function.__module__).encode())
            self._code(function.__code__)
            for part in (function.__defaults__, function.__kwdefaults__, dict(function.__dict__)):
                self._add(part)
            self._add(_annotations(function))
            for cell in function.__closure__ or ():
                self._cell(cell)
            if own == "library":
                self._library(str(scope["__name__"]))
            elif self._exact:
                self._globals(function.__code__, scope)
                if own == "local":
                    self._content(str(scope["__name__"]))
        finally:
            self._definitions -= 1

    def _code(self, code: types.CodeType) -> None:
        self._write(b"code")
        self._add(outline(code))
        self._definitions += 1
        try:
            self._items(code.co_consts)
        finally:
            self._definitions -= 1

    def _cell(self, cell: types.CellType) -> None:
        if id(cell) in self._numbers:
            self._write(b"again", self._numbers[id(cell)].encode())
            return
        self._number(cell, shared=True)
        try:
            contents = cell.cell_contents
        except ValueError:
            self._write(b"empty cell")
            return
        self._write(b"cell")
        self._add(contents)

    def _globals(self, code: types.CodeType, scope: Mapping[str, object]) -> None:
        """Take in what a function of the user's looks up among its globals."""
        facts = facts_of(code)
        if facts.road:
            raise NoKeyError(f"what it depends on cannot be told, because in {code.co_name} {facts.road}")
        if facts.writes:
            name = min(facts.writes)
            raise NoKeyError(f"{code.co_name} binds the global {name}, which its result would not do again")
        self._names(sorted(facts.reads), scope, facts)
        self._imports(facts)

    def _names(self, names: Iterable[str], scope: Mapping[str, object], facts: Facts) -> None:
        """Take in globals by name, each under a label of its own."""
        outer, self._definitions = self._definitions, 0
        self.may_hide_draws |= bool(facts.attributes & _RANDOM_STATE)
        module = scope.get("__name__")
        prefix = f"{module}." if modules.origin_of(module) == "local" else ""
        try:
            for name in names:
                if name in scope:
                    self._value_of_name(f"{prefix}{name}", scope[name], facts)
                else:
                    builtin = vars(builtins).get(name)
                    self._write(b"builtin" if builtin is not None else b"unbound", name.encode())
                    self._patches("builtins", vars(builtins), (name,))
        finally:
            self._definitions = outer

    def _value_of_name(self, label: str, value: object, facts: Facts) -> None:
        self._write(label.encode())
        if type(value) is not _MODULES:
            self._apart(label, lambda: self._add(value))
            return
        self._add(value)
        if modules.origin_of(value.__name__) == "library":
            self._looked_into.clear()
            self._patches(value.__name__, vars(value), facts.attributes)
        if modules.origin_of(value.__name__) == "local":
            # What the program itself may have put there counts, and not only what is in the file.
            inside = vars(value)
            for name in sorted(facts.attributes & inside.keys()):
                if id(inside[name]) not in self._numbers:
                    self._value_of_name(f"{value.__name__}.{name}", inside[name], facts)

    def _patches(self, owner: str, inside: Mapping[str, object], names: Iterable[str]) -> None:
        """Take in what the notebook has put into a library in the place of what was there.

        Nothing else is written: what a module has loaded so far is no part of any value.
        """
        if not self._exact:
            return
        for name in sorted(inside.keys() & names):
            value: Any = inside[name]
            if isinstance(value, staticmethod | classmethod):
                value = value.__func__
            elif isinstance(value, property):
                value = value.fget
            if type(value) is _MODULES:
                if value.__name__.startswith(f"{owner}.") and value.__name__ not in self._looked_into:
                    self._looked_into.add(value.__name__)
                    self._patches(value.__name__, vars(value), names)
            elif type(value) is types.FunctionType:
                self._patch(f"{owner}.{name}", value, value.__globals__.get("__name__"))
            elif isinstance(value, type):
                self._patch(f"{owner}.{name}", value, value.__module__)
                self._patches_of_class(value)

    def _patch(self, label: str, value: object, module: object) -> None:
        if self._origin(module) != "library" and id(value) not in self._numbers:
            self._apart(label, lambda: self._add(value))

    def _patches_of_class(self, cls: type) -> None:
        for base in cls.__mro__:
            known = base in self._unpatched or not base.__flags__ & _HEAP_TYPE
            if not known and self._origin(base.__module__) == "library":
                self._unpatched.add(base)
                inside = type.__dict__["__dict__"].__get__(base)
                methods = [name for name, value in inside.items() if not isinstance(value, type)]
                self._patches(base.__qualname__, inside, methods)

    def _origin(self, module: object) -> modules.Origin:
        """Say where a module comes from; of most classes hundreds of functions are asked for."""
        key = str(module)
        if key not in self._origins:
            self._origins[key] = modules.origin_of(module)
        return self._origins[key]

    def _imports(self, facts: Facts) -> None:
        for name in sorted(facts.imports):
            if name and modules.origin_of(name) == "local":
                self._content(name)
            elif name and modules.origin_of(name) == "library":
                self._library(name)

    def _content(self, module: str) -> None:
        """Take in the files of a package of the user's."""
        top = modules.top_of(module)
        if top not in self._contents:
            try:
                found = sorted(modules.content_of(top))
            except (modules.TooManyFilesError, OSError) as error:
                raise NoKeyError(f"it uses {top}, whose files cannot be looked at: {error}") from error
            self._contents[top] = blake3(repr(found).encode()).digest()
            self.inputs[f"the file of {top}" if len(found) == 1 else f"the files of {top}"] = self._contents[
                top
            ]
        self._write(b"content", top.encode(), self._contents[top])

    def _module(self, module: types.ModuleType) -> None:
        name = module.__name__
        own = modules.origin_of(name)
        if own == "notebook":
            raise NoKeyError(f"it holds the module {name!r}, which no file defines")
        self._number(module)
        self._write(b"module", name.encode())
        if own == "local":
            self._content(name)
        else:
            self._library(name)

    def _class(self, cls: Any) -> None:
        own = modules.origin_of(cls.__module__)
        if own == "library" and is_importable(cls):
            self._library(cls.__module__)
            self._write(b"class", cls.__module__.encode(), cls.__qualname__.encode())
            self._patches_of_class(cls)
            return
        if not self._exact and "<locals>" not in cls.__qualname__:
            self._write(b"class", str(cls.__module__).encode(), cls.__qualname__.encode())
            return
        if cls in (type(None), type(...), type(NotImplemented)) or cls in _NAMED_TYPES:
            self._write(b"type", cls.__name__.encode())
            return
        self._number(cls)
        self._definitions += 1
        try:
            self._write(b"own class", str(cls.__module__).encode(), cls.__qualname__.encode())
            self._add(type(cls))
            self._add(cls.__bases__)
            inside = type.__dict__["__dict__"].__get__(cls)
            for name in sorted(inside.keys() - _MADE_ANEW, key=str):  # a restored class has another order
                value = inside[name]
                self._write(str(name).encode())
                if not isinstance(value, types.GetSetDescriptorType | types.MemberDescriptorType):
                    self._add(value)
            if own == "local" and self._exact:
                self._content(cls.__module__)
        finally:
            self._definitions -= 1

    def _method(self, method: types.MethodType) -> None:
        self._write(b"method")
        self._add(method.__func__)
        self._add(method.__self__)

    def _builtin(self, function: Any) -> None:
        owner = function.__self__
        if owner is None or type(owner) is _MODULES:
            module = getattr(function, "__module__", None) or "builtins"
            self._library(module)
            self._write(b"builtin function", module.encode(), function.__qualname__.encode())
            return
        self._write(b"builtin method", function.__name__.encode())
        self._add(owner)

    def _descriptor(self, descriptor: Any) -> None:
        self._write(b"descriptor", descriptor.__name__.encode())
        self._add(descriptor.__objclass__)

    def _wrapper(self, wrapper: Any) -> None:
        self._write(type(wrapper).__name__.encode())
        self._add(wrapper.__func__)

    def _property(self, prop: property) -> None:
        self._write(b"property")
        for part in (prop.fget, prop.fset, prop.fdel):
            self._add(part)

    def _cached_property(self, prop: Any) -> None:
        self._write(b"cached_property")
        self._add(prop.func)
        self._add(prop.attrname)

    def _cached_function(self, function: Any) -> None:
        self._number(function)
        self._write(b"lru_cache")
        self._add(function.__wrapped__)
        self._add(function.cache_parameters())

    def _proxy(self, proxy: types.MappingProxyType[Any, Any]) -> None:
        values = dict(proxy)
        self._kept.append(values)
        self._write(b"proxy")
        self._items(list(values))
        self._items(list(values.values()))

    def _type_variable(self, variable: Any) -> None:
        self._number(variable)
        self._write(b"type variable", type(variable).__name__.encode(), variable.__name__.encode())
        for fact in ("__bound__", "__constraints__", "__supertype__"):
            self._add(getattr(variable, fact, None))

    def _index_of_slice(self, value: slice) -> None:
        self._write(b"slice")
        for part in (value.start, value.stop, value.step):
            self._add(part)


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


def _is_of(kind: type, module: str, name: str) -> bool:
    return module in sys.modules and any(
        base.__name__ == name and base.__module__.partition(".")[0] == module for base in kind.__mro__
    )


def _pandas_kind(kind: type) -> tuple[bool, bool]:
    """Say whether it is a frame whose arrays nobody can change through another one, and whether an index."""
    pandas = sys.modules.get("pandas")
    if pandas is None or not kind.__module__.startswith("pandas"):
        return False, False
    try:
        if issubclass(kind, pandas.Index):
            return False, True
        if not issubclass(kind, pandas.DataFrame | pandas.Series):
            return False, False
        copies = int(pandas.__version__.partition(".")[0]) >= 3 or pandas.options.mode.copy_on_write is True
    except AttributeError:  # it is just being imported
        return False, False
    return copies, False


def _without_cache(kind: type, state: object) -> object:
    """Leave out what pandas has computed for itself, which grows as it is used."""
    if kind.__module__.startswith("pandas") and type(state) is dict and "_cache" in state:
        return {name: value for name, value in state.items() if name != "_cache"}
    return state


def _value_types() -> Iterable[type]:
    import datetime as dt
    import decimal
    import fractions
    import pathlib
    import re
    import uuid

    yield from (dt.date, dt.datetime, dt.time, dt.timedelta, dt.timezone)
    yield from (decimal.Decimal, fractions.Fraction, uuid.UUID, re.Pattern, range)
    yield from (pathlib.PosixPath, pathlib.PurePosixPath, pathlib.WindowsPath, pathlib.PureWindowsPath)


_VALUES = frozenset(_value_types())
"""Equal is as good as the same: which of them are one object is chance."""
_NAMED_TYPES = frozenset(value for value in vars(types).values() if type(value) is type)
_BY_TYPE: dict[type, Callable[[Digester, Any], None]] = {
    tuple: Digester._tuple,
    list: Digester._list,
    dict: Digester._dict,
    set: Digester._set,
    frozenset: Digester._set,
    bytearray: Digester._bytearray,
    slice: Digester._index_of_slice,
    np.ndarray: Digester._array,
    np.memmap: Digester._array,
    types.FunctionType: Digester._function,
    types.CodeType: Digester._code,
    types.CellType: Digester._cell,
    types.ModuleType: Digester._module,
    types.MethodType: Digester._method,
    types.BuiltinFunctionType: Digester._builtin,
    types.MethodWrapperType: Digester._builtin,
    types.WrapperDescriptorType: Digester._descriptor,
    types.MethodDescriptorType: Digester._descriptor,
    types.ClassMethodDescriptorType: Digester._descriptor,
    types.GetSetDescriptorType: Digester._descriptor,
    types.MemberDescriptorType: Digester._descriptor,
    types.MappingProxyType: Digester._proxy,
    staticmethod: Digester._wrapper,
    classmethod: Digester._wrapper,
    property: Digester._property,
    functools.cached_property: Digester._cached_property,
    typing.TypeVar: Digester._type_variable,
    typing.ParamSpec: Digester._type_variable,
    typing.TypeVarTuple: Digester._type_variable,
    typing.NewType: Digester._type_variable,
    functools._lru_cache_wrapper: Digester._cached_function,
}
