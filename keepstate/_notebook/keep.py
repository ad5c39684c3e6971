"""``%%keep``: a cell that does not run again while its code, and what it reads, are as they were."""

from __future__ import annotations

import ast
import contextlib
import io
import sys
import types
from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING, Any

from blake3 import blake3

from keepstate import codecs
from keepstate._base import table
from keepstate._notebook.cell_names import DEFINITIONS, names_of_cell
from keepstate._results import modules
from keepstate._results.calls import common_of, run_kept, usable
from keepstate._results.code import facts_of
from keepstate._results.digest import Digester, NoKeyError
from keepstate._results.holders import other_holder
from keepstate._results.key import CODE, Inputs, changed, key_of
from keepstate._tracking import check_name
from keepstate.errors import KeepstateError, SessionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from keepstate._model.manifest import Head, ResultRecord
    from keepstate._results.store import Results

CELL = "cell"
"""What results of cells are found by."""
SHOWN, PRINTED = ":shown", ":printed"
"""Names under which the value of the last line and what was printed are kept; no variable is called so."""
NAMES = "what it reads"
DEFINED = "(what it defines)"
TEXT_CHARACTERS = 1 << 20
"""Of what was printed; more is not shown again."""


class Keep:
    """The magic of one shell.

    Args:
        shell: That of IPython.
        find_results: Gives where results are kept.
    """

    def __init__(self, shell: Any, find_results: Callable[[], Results | None]) -> None:
        self._shell = shell
        self._find_results = find_results

    def keep(self, line: str, cell: str) -> object:
        """Keep what this cell computes: it runs again only if its code, or what it reads, has changed.

        ``%%keep`` keeps all variables that the cell binds, and those that it changes in place; ``%%keep model
        scores`` those of them that are named, and the others are unbound when they were not computed. One
        line says whether the cell ran, and why. When it does not run, its variables are bound, its imports
        and definitions are carried out, and what it printed and the value of its last line are shown again;
        figures and what else it displayed are not, nor what went to stderr.

        It runs each time, and says so, if what it depends on cannot be told (magics and shell commands,
        ``eval``, ``globals()``, a star import), if it draws from the global random numbers, deletes a
        variable, sets something in a library, or changes what it defines, or what another variable holds as
        well. What it reads from files or the network is not seen, nor settings of libraries that it makes by
        calling them: those belong into a cell of their own.
        """
        work = _Cell(self._shell, cell, _names_in(line))
        try:
            results = self._find_results()
        except SessionError:
            results = None
        if results is None:
            _say("running: no session keeps anything here, keepstate.start() begins one")
            return work.execute()
        try:
            inputs = work.look()
        except NoKeyError as error:
            _say(f"running: not kept, because {error}")
            return work.execute()
        except Exception as error:  # noqa: BLE001 - what the user's objects raise when they are looked at
            _say(f"running: not kept, because what it reads cannot be looked at: {error}")
            return work.execute()
        why = self._serve(results, work, inputs)
        if why is None:
            return work.shown
        _say(f"running: {why}")
        _, trouble, _ = run_kept(results, work, inputs)
        if trouble:
            _say(f"not kept, because {trouble}")
        return work.shown

    def _serve(self, results: Results, work: _Cell, inputs: Inputs) -> str | None:
        """Bind what is kept; or say why the cell must run."""
        try:
            head = results.find(inputs.key)
            if head is None or head.result is None:
                return _why_not_there(results, work, inputs)
            if why := usable(head, inputs) or work.hindrance(head.result):
                return why
            work.define()
            if why := work.defined_otherwise(head.result):
                return why
            work.bind(results.read(head), head.result)
        except (KeepstateError, OSError, MemoryError) as error:
            return f"what is kept cannot be used: {error}"
        _say(_served(head, work))
        if work.printed:
            sys.stdout.write(work.printed)
        return None


def _served(head: Head, work: _Cell) -> str:
    assert head.result is not None
    names = sorted(name for name in head.result.values if not name.startswith(":"))
    bound = f"bound {', '.join(names)} " if names else ""
    missing = f"; not kept: {', '.join(head.result.unbound)}" if head.result.unbound else ""
    when = datetime.fromisoformat(head.created_at)
    ran = f"the cell was not run, which took {table.duration(head.result.call_seconds)}"
    but = ", but for its imports and definitions" if work.has_definitions else ""
    return f"kept: {bound}from {when:%Y-%m-%d %H:%M:%S} UTC, {ran}{but}{missing}"


def _why_not_there(results: Results, work: _Cell, inputs: Inputs) -> str:
    """Say what differs from the newest result of what seems to be the same cell."""
    same_code = same_names = None
    for head in results.of_function(CELL):
        record = head.result
        if record is None or record.cleared:
            continue
        if record.inputs.get(CODE) == inputs.parts[CODE]:
            same_code = same_code or record
        elif work.binds and work.binds <= {*record.values, *record.unbound}:
            same_names = same_names or record
    if same_code is not None:
        what = [label for label in changed(inputs.parts, same_code.inputs) if label != NAMES]
        what += [label for label in inputs.parts.keys() - same_code.inputs.keys() if label != NAMES]
        return (
            f"{', '.join(sorted(what))} changed" if what else "other names are to be kept, or Python changed"
        )
    return "the code changed" if same_names is not None else "first time"


class _Cell:
    """One cell, as :class:`~keepstate._results.calls.Work`.

    Args:
        shell: That of IPython.
        source: As the user wrote it.
        wanted: Which names are to be kept; ``None``: all.
    """

    def __init__(self, shell: Any, source: str, wanted: frozenset[str] | None) -> None:
        self.name: str = CELL
        self.wanted = wanted
        self.shown: object = None
        """Value of its last line."""
        self.printed = ""
        self._shell = shell
        plain = shell.transform_cell(source)
        self._tree: ast.Module = shell.transform_ast(shell.compile.ast_parse(plain))
        self._file: str = shell.compile.cache(plain, shell.execution_count)
        self._code = compile(self._tree, self._file, "exec", dont_inherit=True)
        self._facts = facts_of(self._code)
        self._names = names_of_cell(self._tree)
        self._given = {name: self._space[name] for name in self._names.reads if name in self._space}
        """What it reads, as it was bound before."""
        self._scope = dict(self._space) if self._facts.sees_texts else self._given
        """What it may look up, likewise: a text may name any variable."""
        self._before: Inputs | None = None
        self._noting = _Noting(self._space)
        self._defined: dict[str, tuple[object, object]] = {}
        """What it defines at its top → the thing, and what it was when it was made."""
        self._changed: list[str] = []
        self._unbound: list[str] = []
        self._trouble = ""

    @property
    def _space(self) -> dict[str, object]:
        space: dict[str, object] = self._shell.user_ns
        return space

    @property
    def binds(self) -> set[str]:
        """Names that it binds."""
        return self._names.binds

    @property
    def has_definitions(self) -> bool:
        """Whether it imports or defines something at its top."""
        return bool(self._names.definitions)

    def look(self) -> Inputs:
        """Look at its code and what it reads, as that was bound before it ran.

        Raises:
            NoKeyError: What it depends on cannot be told, or it does what cannot be done again.
        """
        if why := self._refusal():
            raise NoKeyError(why)
        digester = Digester()
        digester.add_code(CODE, self._code)
        digester.add_names(NAMES, self._names.reads, {**self._scope, "__name__": "__main__"}, self._facts)
        wanted = "all" if self.wanted is None else " ".join(sorted(self.wanted))
        found = Inputs(key_of(f"{CELL} {wanted}", digester), digester)
        self._before = self._before or found
        return found

    def _refusal(self) -> str:
        if "get_ipython" in self._facts.road:
            return "what a magic or a shell command does cannot be told"
        if self._facts.road:
            return f"what it depends on cannot be told: {self._facts.road}"
        if self._names.deletes:
            return f"it deletes {', '.join(sorted(self._names.deletes))}"
        if set_in := [name for name in sorted(self._names.sets_in) if self._is_library(name)]:
            return f"it sets something in {set_in[0]}, which would not be done again"
        if self._names.entangled:
            return f"the definition of {self._names.entangled} needs what the cell computes"
        known = self._names.binds | self._names.defines | self._names.reads
        if self.wanted is not None and (strange := self.wanted - known):
            return f"it does not bind {', '.join(sorted(strange))}"
        return ""

    def _is_library(self, name: str) -> bool:
        """Say whether a name stands for a library, or for something that the cell imports from one."""
        value = self._given.get(name)
        module = value.__name__ if isinstance(value, types.ModuleType) else self._names.imports.get(name)
        return module is not None and modules.origin_of(module) == "library"

    def defined_otherwise(self, result: ResultRecord) -> str:
        """Say that a definition came out as another than when the result was kept; empty: none did."""
        same = result.inputs.get(DEFINED) == self._shapes()
        return "" if same else "its definitions come out otherwise than when it was kept"

    def hindrance(self, result: ResultRecord) -> str:
        """Say why a result must not be bound in this notebook as it is now."""
        changed = [self._given[name] for name in result.changed if name in self._given]
        holder = other_holder(changed, self._space, result.values.keys()) if changed else ""
        return f"{holder} holds what it changes in {', '.join(result.changed)}" if holder else ""

    # --- running

    def execute(self, local: dict[str, object] | None = None) -> object:
        """Run it as any cell; give the value of its last line.

        Args:
            local: Takes what it binds; ``None``: the notebook.
        """
        body = list(self._tree.body)
        last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
        for defines, statements in groupby(body, lambda each: isinstance(each, DEFINITIONS)):
            if defines:
                self._define(statements, local)
            else:
                self._run(ast.Module(list(statements), []), "exec", local)
        self.shown = (
            self._run(ast.Expression(last.value), "eval", local) if isinstance(last, ast.Expr) else None
        )
        return self.shown

    def _run(self, tree: ast.AST, mode: str, local: dict[str, object] | None = None) -> object:
        code = self._shell.compile(tree, self._file, mode)
        local = self._space if local is None else local
        if mode == "eval":
            return eval(code, self._space, local)
        exec(code, self._space, local)
        return None

    def define(self) -> None:
        """Carry out its imports and definitions."""
        self._define(self._names.definitions)

    def _define(self, statements: Iterable[ast.stmt], local: dict[str, object] | None = None) -> None:
        for statement in statements:
            self._run(ast.Module([statement], []), "exec", local)
            name = getattr(statement, "name", "")
            if isinstance(self._space.get(name), types.FunctionType | type):
                self._defined[name] = self._space[name], _shape_of(self._space[name])

    def _shapes(self) -> bytes:
        """Give a digest of how its definitions came out, as far as that can be told."""
        shapes = [(name, _shape_of(thing)) for name, (thing, _) in sorted(self._defined.items())]
        told = [each for each in shapes if isinstance(each[1], bytes)]
        return blake3(repr(told).encode()).digest()

    def bind(self, values: dict[str, object], result: ResultRecord) -> None:
        """Bind what was kept."""
        self.shown = values.pop(SHOWN, None)
        self.printed = str(values.pop(PRINTED, ""))
        for name in result.unbound:
            # What an older cell has bound must not pass for what this one computes.
            self._space.pop(name, None)
        self._space.update(values)

    def run(self) -> dict[str, object]:
        """Run it, and give what is to be kept."""
        copy = _Copy(sys.stdout)
        with contextlib.redirect_stdout(copy):
            self.execute(self._noting)
        values: dict[str, object] = {}
        try:
            if self._before is not None:
                values = self._values(self._before)
        except NoKeyError as error:
            self._trouble = f"it has changed what it reads: {error}"
        if copy.text:
            values[PRINTED] = copy.text
        return values

    def _values(self, before: Inputs) -> dict[str, object]:
        touched = (self._noting.touched - (self._names.defines - self._names.binds)) | self._names.writes
        bound = {name: self._space[name] for name in touched if name in self._space}
        now = self.look()
        what = [label for label in before.changed_to(now.parts) if label not in (NAMES, CODE)]
        what += sorted(now.parts.keys() - before.parts.keys())
        strange = [label for label in what if label not in self._given and label not in bound]
        in_place = {name: self._given[name] for name in what if name in self._given}
        self._changed = sorted(in_place)
        values = bound if self.wanted is None else {n: v for n, v in bound.items() if n in self.wanted}
        self._unbound = sorted(touched - values.keys())
        values |= {name: value for name, value in in_place.items() if self._space.get(name) is value}
        # What refers to a name that the cell binds anew differs, and is none the worse for it.
        is_other = now.key != before.key and not (what or (touched | self._names.defines) & now.parts.keys())
        if strange or is_other:
            self._trouble = f"it changes {', '.join(strange) or 'what it uses'}"
        elif needed := sorted(self._names.needed & in_place.keys()):
            self._trouble = f"a definition needs {needed[0]}, which it changes"
        elif other := [name for name, (thing, shape) in self._defined.items() if _shape_of(thing) != shape]:
            self._trouble = f"it changes {other[0]}, which it defines"
        elif functions := [name for name, value in in_place.items() if isinstance(value, _DEFINED)]:
            self._trouble = f"it changes what {functions[0]} is or uses"
        elif classes := [name for name, value in values.items() if isinstance(value, type)]:
            self._trouble = f"it binds the class {classes[0]} otherwise than by a definition at its top"
        elif in_place and (holder := other_holder(in_place.values(), self._space, values.keys())):
            self._trouble = f"{holder} holds what it changes in {', '.join(in_place)}"
        if self.shown is not None and self._may_keep_shown(before, in_place):
            values[SHOWN] = self.shown
        return values

    def _may_keep_shown(self, before: Inputs, in_place: dict[str, object]) -> bool:
        """Say whether the value of the last line can be shown again; what cannot is no reason to run."""
        try:
            digester = Digester(exact=False, memory=False)
            digester.add(SHOWN, self.shown)
            return not (
                self._shared(digester, before, in_place)
                or codecs.encode({SHOWN: self.shown}, namespace=self._space).skipped
            )
        except NoKeyError:
            return False

    @staticmethod
    def _shared(given: Digester, before: Inputs, in_place: dict[str, object]) -> dict[int, object]:
        """Give what values share with what was there before, and does not come back with them."""
        own = Digester(exact=False, memory=False)
        for name, value in in_place.items():
            own.add(name, value)
        common = common_of(given, before.digester)
        return {
            each: value for each, value in common.items() if each not in own.shared and each not in own.framed
        }

    def harm(self, inputs: Inputs, given: Digester) -> str:
        """Say what it did that its values would not do again."""
        if self._trouble:
            return self._trouble
        in_place = {name: self._given[name] for name in self._changed}
        shared = self._shared(given, inputs, in_place)
        if shared:
            kind = type(next(iter(shared.values()))).__name__
            return f"what it binds holds a {kind} that was there before, and a kept one would be another"
        return ""

    def said(self) -> dict[str, Any]:
        """Give what its record says besides."""
        return {"changed": self._changed, "unbound": self._unbound, "inputs": {DEFINED: self._shapes()}}


_DEFINED = (types.FunctionType, type, types.ModuleType)


def _shape_of(thing: object) -> bytes | list[tuple[str, int]]:
    """Give what a function or class is, without what it refers to; by identity what else cannot be told."""
    try:
        return Digester(follows=False).add("", thing)
    except Exception:  # noqa: BLE001 - what is in a class may raise anything when it is looked at
        return [(name, id(value)) for name, value in vars(thing).items()]


class _Noting(dict[str, object]):
    """What a cell has for its local variables: it binds them in the notebook, and they are noted.

    It is always empty, so that a name is looked up in the notebook.
    """

    def __init__(self, space: dict[str, object]) -> None:
        super().__init__()
        self._space = space
        self.touched: set[str] = set()
        """Names that were bound or unbound."""

    def __setitem__(self, name: str, value: object) -> None:
        if name == _ANNOTATIONS and name in self._space:
            return  # Python asks for them here and takes those of the notebook then
        self._space[name] = value
        self.touched.add(name)

    def __delitem__(self, name: str) -> None:
        del self._space[name]
        self.touched.add(name)


_ANNOTATIONS = "__annotations__"


class _Copy(io.TextIOBase):
    """Writes to a stream and keeps the text."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.text = ""

    def write(self, text: str) -> int:
        """Write *text*."""
        if len(self.text) < TEXT_CHARACTERS:
            self.text += text
        return int(self._stream.write(text) or 0)

    def flush(self) -> None:
        """Show what was written."""
        self._stream.flush()

    def isatty(self) -> bool:
        """Say what the stream says."""
        return bool(self._stream.isatty())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _names_in(line: str) -> frozenset[str] | None:
    words = line.replace(",", " ").split()
    return frozenset(map(check_name, words)) if words else None


def _say(text: str) -> None:
    sys.stdout.write(f"keepstate: {text}\n")
