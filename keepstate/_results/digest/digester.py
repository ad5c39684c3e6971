"""Takes values in: tells who takes in what, and knows again what has been taken in before."""

from __future__ import annotations

import marshal
import re
import struct
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
from blake3 import blake3

from keepstate._results.code import Facts
from keepstate._results.digest import containers, definitions, memory
from keepstate._results.digest.definitions import (
    take_class,
    take_code,
    take_imports,
    take_module,
    take_names,
)
from keepstate._results.digest.instances import KindFacts, take_instance
from keepstate._results.digest.memory import (
    Span,
    take_dtype,
    take_scalar,
    take_subclass_array,
    take_tensor,
)
from keepstate._results.digest.no_key import NoKeyError

if TYPE_CHECKING:
    import types
    from collections.abc import Callable, Iterable, Mapping

    from keepstate._results import modules

_ATOMS = frozenset({int, float, complex, bool, str, bytes, type(None), type(...)})
_VARIABLE = re.compile(r"@([^\W\d]\w*)")
_WORD = re.compile(r"[^\W\d]\w*")
_NOTHING = Facts()
_SLICE = 65536
"""Elements that are written at once; a copy of them is made."""
_MOST_TEXTS = 1000
"""Of more that stand together none is taken for the text of a query."""
HANDLERS: dict[type, Callable[[Digester, Any], None]] = {}
"""For types of ours that wrap something of the user's."""
_BY_TYPE = {**containers.BY_TYPE, **memory.BY_TYPE, **definitions.BY_TYPE}


class Seen:
    """What has been looked at of modules and classes, which is not looked at again."""

    def __init__(self) -> None:
        self.origins: dict[str, modules.Origin] = {}
        """Of modules by name."""
        self.unpatched: set[type] = set()
        """Classes of libraries in which all that is the notebook's has been found."""
        self.looked_into: set[str] = set()
        """Modules in which patches are being looked for."""
        self.kinds: dict[type, KindFacts] = {}
        """What is to be known of the classes of instances."""
        self.names: dict[str, set[str]] = {}
        """Library → names under which all that is the notebook's has been found."""
        self.modules: set[tuple[int, Facts | None]] = set()
        """Modules of the user's, by id, and what code was looking."""
        self.contents: dict[str, bytes] = {}
        """Package of the user's → digest of its files."""


class Digester:
    """Digests of several values, which may share objects.

    Args:
        exact: For what goes into a function: the order of sets counts, and functions and classes count with
            all that they refer to. Otherwise for what comes out of one, to tell whether it came back: sets
            have no order, and what the notebook defines is told by name, functions by their code.
        memory: Whether what is in arrays counts; without it, only :attr:`shared` is of use.
        follows: Whether what functions refer to counts, besides what they hold themselves.
    """

    def __init__(self, *, exact: bool = True, memory: bool = True, follows: bool = True) -> None:
        self.exact = exact
        self.follows = follows
        self._reads_memory = memory
        self._hash = blake3()
        self._orders = blake3()
        self.label = ""
        """Of what is being taken in."""
        self.count = 0
        """Of the objects that have a number under it."""
        self.numbers: dict[int, str] = {}
        """Id → label and number, of each object that was taken in."""
        self.roots: dict[int, str] = {}
        """Likewise, of what owns memory."""
        self.spans: dict[int, list[Span]] = {}
        """Id of what owns memory → which of it arrays have shown so far; in order."""
        self.kept: list[object] = []
        """What has a number must live on, or another object may get its id."""
        self.definitions = 0
        """How many functions and classes are being taken in, one inside the other."""
        self.frames = 0
        """Likewise frames, whose parts nobody has but themselves."""
        self.indexes = 0
        """Likewise their indexes, which nobody changes."""
        self.seen = Seen()
        self.inputs: dict[str, bytes] = {}
        """What was looked at → digest: each value, and each global of the notebook behind it."""
        self.shared: dict[int, object] = {}
        """Id → object, of each that may change and be shared: of memory, the array that owns it."""
        self.framed: dict[int, object] = {}
        """Likewise, of each that is part of a frame: a frame cannot tell it from a copy, an array can."""
        self.libraries: set[str] = set()
        self.asking: list[tuple[Mapping[str, object], Facts]] = []
        """Scope and facts of code that may have a library look up names that are in a text."""
        self.texts: list[str] = []
        """What such a text could be, or a part of."""
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
            return self.apart(label, lambda: self.take(value))
        except RecursionError as error:
            raise NoKeyError("its parts are nested too deeply") from error

    def add_code(self, label: str, code: types.CodeType) -> bytes:
        """Give the digest of what code says, without what it refers to."""
        return self.apart(label, lambda: take_code(self, code))

    def add_names(self, label: str, names: Iterable[str], scope: Mapping[str, object], facts: Facts) -> bytes:
        """Give the digest of what code means by *names*, each of which is noted too, and of its imports.

        Raises:
            NoKeyError: It cannot be told reliably.
        """

        def fill() -> None:
            take_names(self, sorted(names), scope, facts)
            take_imports(self, facts, scope)

        try:
            return self.apart(label, fill)
        except RecursionError as error:
            raise NoKeyError("its parts are nested too deeply") from error

    def add_asked(self) -> None:
        """Take in the globals that are named in texts, where code has a library look up names in one.

        Raises:
            NoKeyError: What one of them is cannot be told reliably.
        """
        done: set[tuple[int, str]] = set()
        while self.asking:
            marked = {word for text in self.texts for word in _VARIABLE.findall(text)}
            words = marked | {word for text in self.texts for word in _WORD.findall(text)}
            new = [
                (name, scope)
                for scope, facts in self.asking
                for name in sorted((words if _asks_pandas(scope, facts) else marked) & scope.keys())
                if (id(scope), name) not in done
            ]
            if not new:
                return
            for name, scope in new:
                if (id(scope), name) not in done:
                    done.add((id(scope), name))
                    self.add_names(f"{name}, which a text names", [name], scope, _NOTHING)

    def apart(self, label: str, fill: Callable[[], None]) -> bytes:
        """Have a digest of its own for what *fill* writes, which then counts where it stands."""
        outer, self._hash = self._hash, blake3()
        outer_label, self.label = self.label, label
        outer_count, self.count = self.count, 0
        try:
            fill()
            digest = self._hash.digest()
        finally:
            self._hash, self.label, self.count = outer, outer_label, outer_count
        self.inputs.setdefault(label, digest)
        self.write(b"part", digest)
        return digest

    def alone(self, value: object) -> bytes:
        """Give the digest that *value* has wherever it stands."""
        inner = self.another()
        inner.definitions = self.definitions
        digest = inner.add("", value)
        self.add_from(inner)
        return digest

    def another(self) -> Digester:
        """Make one of the same kind that has seen nothing."""
        return Digester(exact=self.exact, follows=self.follows)

    def add_from(self, other: Digester) -> None:
        """Note what another one has seen besides digests."""
        self.shared |= other.shared
        self.framed |= other.framed
        self.libraries |= other.libraries
        self.may_hide_draws |= other.may_hide_draws
        self.asking += other.asking
        self.texts += other.texts
        self.kept.append(other)

    def add_module(self, module: types.ModuleType, facts: Facts) -> bytes:
        """Give the digest of what code with these facts may find in a module.

        Raises:
            NoKeyError: It cannot be told reliably.
        """
        try:
            return self.apart("", lambda: take_module(self, module, facts))
        except RecursionError as error:
            raise NoKeyError("its parts are nested too deeply") from error

    def note_order(self, digests: Iterable[bytes]) -> None:
        """Remember in which order the elements of a set come, where that is by chance."""
        self._orders.update(b"".join(digests))

    def number(self, value: object, *, shared: bool = False) -> None:
        """Remember an object, so that it is known again. Labels keep the numbers of others as they are."""
        self.count += 1
        self.numbers[id(value)] = f"{self.label} {self.count}"
        self.kept.append(value)
        if shared:
            self.shared[id(value)] = value

    def write(self, *pieces: bytes) -> None:
        """Go on with *pieces*, each of which ends where it says."""
        for piece in pieces:
            self._hash.update(struct.pack("<Q", len(piece)))
            self._hash.update(piece)

    def write_memory(self, memory: memoryview) -> None:
        """Go on with what is in memory; it is not copied."""
        self._hash.update(struct.pack("<Q", memory.nbytes))
        self._hash.update(memory)

    def skips(self, nbytes: int) -> bool:
        """Say whether these bytes of memory need not be looked at: they do not count, or there are none."""
        if not self._reads_memory:
            self.write(struct.pack("<Q", nbytes))
        return not self._reads_memory or not nbytes

    def take(self, value: Any) -> None:
        """Go on with *value*, which says where it was taken in if it was."""
        kind = type(value)
        if kind in _ATOMS:
            self.write(b"atom", marshal.dumps(value, 2))
            if kind is str:
                self.texts.append(value)
            return
        known = self.numbers.get(id(value))
        if known is not None:
            self.write(b"again", known.encode())
            return
        handler = _BY_TYPE.get(kind) or HANDLERS.get(kind)
        if handler is not None:
            handler(self, value)
        elif issubclass(kind, type):
            take_class(self, value)
        elif issubclass(kind, np.ndarray):
            take_subclass_array(self, value)
        elif issubclass(kind, np.dtype):
            take_dtype(self, value)
        elif issubclass(kind, np.generic):
            take_scalar(self, value)
        elif _is_of(kind, "torch", "Tensor"):
            take_tensor(self, value)
        elif _is_of(kind, "pyarrow", "Buffer"):
            self.write(b"buffer")
            self.write_memory(memoryview(value).cast("B"))  # its reduce would copy it
        else:
            take_instance(self, value)

    def take_all(self, values: Any) -> None:
        """Go on with what a list or tuple holds."""
        self.write(struct.pack("<Q", len(values)))
        kinds = set(map(type, values))
        if kinds <= _ATOMS:
            if str in kinds and len(values) <= _MOST_TEXTS:
                self.texts += [each for each in values if type(each) is str]
            for start in range(0, len(values), _SLICE):
                self.write(marshal.dumps(values[start : start + _SLICE], 2))
            return
        for each in values:
            self.take(each)


def _asks_pandas(scope: Mapping[str, object], facts: Facts) -> bool:
    """Say whether code may call ``pandas.eval``, where a variable has no mark."""
    pandas = sys.modules.get("pandas")
    if pandas is None or "eval" not in facts.attributes:
        return False
    return "pandas" in facts.imports or any(scope.get(name) is pandas for name in facts.reads)


def _is_of(kind: type, module: str, name: str) -> bool:
    return module in sys.modules and any(
        base.__name__ == name and base.__module__.partition(".")[0] == module for base in kind.__mro__
    )
