"""``keepstate.rebuild()``: a plan that shows which cells make missing names, and runs them when told.

Nothing that is there is replaced. While a cell runs again it may bind what it likes; afterwards whatever was
there is there again, and only names that were missing stay. Of what it may change in place it has a copy.
A picture that is taken meanwhile shows the notebook as it was before.
"""

from __future__ import annotations

import copy
import html
import threading
import types
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import xxhash

from keepstate import codecs
from keepstate._capture import interrupts
from keepstate._model.rebuild import RebuildReport
from keepstate._session.effects import effects_of
from keepstate._session.recovery import run_recipe
from keepstate._session.slicing import Slicer, title
from keepstate.errors import RebuildError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from keepstate._base.clock import Clock
    from keepstate._model.cells import Cell
    from keepstate._model.kernel import Kernel
    from keepstate._session.recovery import Recovery
    from keepstate._session.saving import Saving
    from keepstate._session.slicing import Slice, Step
    from keepstate._tracking import Selection

MOST_CHECKED_BYTES = 256 << 20
"""What is larger is not looked at before and after: Python objects take a second for 70 MB."""
_PLAIN = (int, float, complex, bool, str, bytes, type(None))
_MADE_ANEW = (types.ModuleType, types.FunctionType, type)
"""What a cell that runs again makes as it was."""


@dataclass(frozen=True, slots=True)
class Rebuilding:
    """Makes plans, and runs them."""

    kernel: Kernel
    selection: Selection
    recovery: Recovery
    saving: Saving
    clock: Clock

    def plan(self, names: Sequence[str]) -> RebuildPlan:
        """Say what makes *names* again; none: all that is known and missing."""
        live = self._live()
        wanted = list(names) or sorted(name for name in self.recovery.failed if name.isidentifier())
        there = tuple(name for name in wanted if name in live)
        wanted = [name for name in wanted if name not in live]
        recipes = {**self.recovery.recipes, **self.recovery.to_make, **self.selection.recipes}
        cells = tuple(self.saving.cells)
        slicer = Slicer(cells, live=live, recipes=recipes.keys() - live, is_constant=self._is_constant)
        found = slicer.make(wanted)
        return RebuildPlan(
            names=tuple(name for name in wanted if name not in found.impossible),
            cells=tuple(cells[at] for at in sorted(found.steps)),
            impossible=found.impossible,
            there=there,
            _found=found,
            _all_cells=cells,
            _slicer=slicer,
            _recipes={name: recipes[name] for name in found.by_recipe},
            _run=self._run,
        )

    def _live(self) -> set[str]:
        return set(self.kernel.namespace) | set(self.recovery.coming_names()) | set(self.recovery.to_make)

    def _is_constant(self, name: str) -> bool:
        return issubclass(type(self.kernel.namespace.get(name)), _MADE_ANEW)

    def _run(self, plan: RebuildPlan) -> RebuildReport:
        if threading.current_thread() is not threading.main_thread():
            raise RebuildError(
                "a plan is run on the main thread, in a cell: objects may belong to their thread"
            )
        began = self.clock.monotonic()
        self.recovery.bring()  # what comes while a cell runs could not be told from what that cell binds
        run = _Run(plan, self.kernel)
        prints = self._prints(plan)
        view = self.saving.view  # a cell that runs again may run a plan
        self.saving.view = dict(self.kernel.namespace) if view is None else view
        try:
            run.go()
        except BaseException:
            with interrupts.deferred():
                run.undo()
            raise
        finally:
            self.saving.view = view
        for name in run.made:
            self.recovery.forget(name)
        now = self._prints(plan)
        return RebuildReport(
            made=tuple(sorted(run.made)),
            failed={
                **plan.impossible,
                **{name: run.broken[name] for name in plan.names if name in run.broken},
            },
            seconds=self.clock.monotonic() - began,
            not_bound=tuple(sorted(run.on_the_way)),
            changed=tuple(name for name, seen in prints.items() if seen and now.get(name) not in (seen, "")),
            unchecked=tuple(name for name, seen in prints.items() if not seen),
        )

    def _prints(self, plan: RebuildPlan) -> dict[str, str]:
        """Give a fingerprint of each value that cells are given as it is; empty: none is to be had."""
        names = sorted({name for step in plan._found.steps.values() for name in step.live - step.copies})
        known = {} if self.recovery.manifest is None else self.recovery.manifest.names
        found: dict[str, str] = {}
        for name in names:
            value = self.kernel.namespace.get(name)
            if issubclass(type(value), (*_MADE_ANEW, *_PLAIN)):
                continue
            large = name in known and known[name].logical_bytes > MOST_CHECKED_BYTES
            found[name] = "" if large else _print_of(name, value, self.kernel.namespace)
        return found


@dataclass(slots=True)
class RebuildPlan:
    """What would be run to make missing names again; show it, then :meth:`run` it."""

    names: tuple[str, ...]
    """Names that it makes."""
    cells: tuple[Cell, ...]
    """The cells that it runs, in order."""
    impossible: Mapping[str, str]
    """name → why it cannot be made."""
    there: tuple[str, ...] = ()
    """Names that were asked for and are there already."""
    report: RebuildReport | None = None
    """What came of it, once it has been run."""
    _found: Slice = field(kw_only=True, repr=False)
    _all_cells: Sequence[Cell] = field(kw_only=True, repr=False)
    _slicer: Slicer = field(kw_only=True, repr=False)
    _recipes: Mapping[str, Callable[[], object]] = field(kw_only=True, repr=False)
    _run: Callable[[RebuildPlan], RebuildReport] = field(kw_only=True, repr=False)

    def run(self) -> RebuildReport:
        """Run the recipes and cells, and bind the names that were missing.

        A cell that fails costs the names that hang on it. Interrupted, it leaves everything as it was.

        Raises:
            RebuildError: This plan has been run, or it is not the main thread that calls.
            SessionError: The session has ended.
        """
        if self.report is not None:
            raise RebuildError("this plan has been run: keepstate.rebuild() makes a new one")
        self.report = self._run(self)
        return self.report

    def _remarks(self) -> list[str]:
        """Sentences that belong to no single cell."""
        said = [f"{name} is made by its recipe." for name in sorted(self._found.by_recipe)]
        said += [f"{name} is there already." for name in self.there]
        for name, (reads, later) in sorted(self._found.newer.items()):
            said.append(
                f"{name} is taken as it is now, which is newer than what {title(self._all_cells[reads])} had "
                f"read: {title(self._all_cells[later])} has changed it."
            )
        said += [f"{name} cannot be made: {why}." for name, why in self.impossible.items()]
        return said

    def _of_step(self, step: Step) -> list[str]:
        """Say what to know of one cell."""
        cell = self._all_cells[step.at]
        said = [f"makes {_list(step.makes)}"]
        if step.live:
            said.append(f"uses {_list(step.live)} as restored")
        if step.copies:
            said.append(f"may change {_list(step.copies)}: it is given copies, and yours stay as they are")
        also = set(cell.binds) & self._slicer.live - step.makes
        if also:
            said.append(f"also binds {_list(also)}: yours stay as they are")
        if cell.is_open:
            said.append("may do more than its code says")
        return said + [f"WARNING: {what}" for what in effects_of(cell.source)]

    def _title(self) -> str:
        if not self.names and not self.impossible:
            return "keepstate: nothing is missing"
        what = f"{len(self.cells)} cell{'' if len(self.cells) == 1 else 's'}"
        state = "has been run" if self.report is not None else "nothing has run yet; .run() runs it"
        return f"keepstate: {_list(self.names) or 'nothing'} can be made by {what} ({state})"

    def __str__(self) -> str:
        lines = [self._title(), *self._remarks()]
        for at in sorted(self._found.steps):
            cell = self._all_cells[at]
            lines += ["", f"{_heading(cell)}: {'; '.join(self._of_step(self._found.steps[at]))}"]
            lines += [f"    {line}" for line in cell.source.rstrip().split("\n")]
        if self.report is not None:
            lines += ["", str(self.report)]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        parts = [f"<p>{html.escape(self._title())}</p>"]
        parts += [f"<p>{html.escape(sentence)}</p>" for sentence in self._remarks()]
        for at in sorted(self._found.steps):
            cell = self._all_cells[at]
            said = html.escape("; ".join(self._of_step(self._found.steps[at])))
            parts.append(
                f"<details open><summary>{html.escape(_heading(cell))}: {said}</summary>"
                f"<pre>{html.escape(cell.source)}</pre></details>"
            )
        if self.report is not None:
            parts.append(self.report._repr_html_())
        return "".join(parts)


def _print_of(name: str, value: object, namespace: Mapping[str, object]) -> str:
    encoding = codecs.encode({name: value}, namespace=namespace)
    own = [group for group in encoding.groups if any(member.name == name for member in group.members)]
    state = xxhash.xxh3_128()
    for group in own:
        state.update(group.stream)
        for part in group.parts:
            state.update(part.memory)
    return state.hexdigest() if own else ""


def _list(names: Sequence[str] | set[str]) -> str:
    return ", ".join(sorted(names))


def _heading(cell: Cell) -> str:
    return "a cell" if cell.number is None else f"cell [{cell.number}]"


class _Run:
    """One run of a plan."""

    def __init__(self, plan: RebuildPlan, kernel: Kernel) -> None:
        self._plan = plan
        self._kernel = kernel
        self._namespace = kernel.namespace
        self._before = dict(kernel.namespace)
        self._overlay: dict[str, object] = {}
        """Names that were missing, as far as they have been made."""
        self.broken: dict[str, str] = {}
        """name → why it could not be made."""
        self.made: list[str] = []
        self.on_the_way: list[str] = []

    def go(self) -> None:
        """Run everything; nothing stays if it is interrupted."""
        plan, found = self._plan, self._plan._found
        for name in sorted(found.by_recipe):
            made, why = run_recipe(name, plan._recipes[name])
            if why:
                self.broken[name] = why
            else:
                self._overlay[name] = made
        bound: set[str] = set()
        for at in sorted(found.steps):
            step, cell = found.steps[at], plan._all_cells[at]
            lacking = sorted(step.needs & self.broken.keys())
            why = (
                f"it needs {lacking[0]!r}: {self.broken[lacking[0]]}"
                if lacking
                else self._run_step(step, cell)
            )
            if why:
                self.broken.update(dict.fromkeys(step.makes, why))
            else:
                bound |= set(cell.binds) - self._before.keys()
        self._bind(bound | found.by_recipe)

    def undo(self) -> None:
        """Have everything as it was."""
        for step in self._plan._found.steps.values():
            self._put_back(self._own(step), self._before)

    def _own(self, step: Step) -> set[str]:
        """Give the names that a cell may have bound, and those that it was given."""
        cell = self._plan._all_cells[step.at]
        if cell.is_open:
            return {*self._namespace, *self._before}
        return {*cell.binds, *cell.deletes, *step.copies, *self._overlay}

    def _bind(self, names: set[str]) -> None:
        """Bind what is as it was at the end; what later cells changed is not what the name stands for."""
        steps = self._plan._found.steps
        for name in sorted(names & self._overlay.keys() - self.broken.keys()):
            last = self._plan._slicer.last_change(name)
            if name in self._plan._found.by_recipe or last is None or last in steps:
                if self._namespace.setdefault(name, self._overlay[name]) is self._overlay[name]:
                    self.made.append(name)
            else:
                self.on_the_way.append(name)

    def _run_step(self, step: Step, cell: Cell) -> str:
        """Run one cell; return why that failed, empty if it did not."""
        where = title(cell)
        copies: dict[str, object] = {}
        for name in sorted(step.copies):
            try:
                copies[name] = copy.deepcopy(self._before[name])
            except Exception as error:  # noqa: BLE001 - it is the user's code
                said = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
                return f"{where} may change {name!r}, of which no copy can be made: {said}"
        try:
            code = self._kernel.compile_cell(cell.source)
        except SyntaxError as error:
            return f"{where} can only be run by the notebook itself: {error.msg}"
        start = dict(self._namespace)
        self._namespace.update({**self._overlay, **copies})
        try:
            exec(code, self._namespace)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - it is the user's code
            return f"{where} failed: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
        else:
            now = dict(self._namespace)
            fresh = now.keys() - start.keys() if cell.is_open else self._own(step)
            self._overlay.update(
                {name: now[name] for name in fresh if name in now and name not in self._before}
            )
            return ""
        finally:
            with interrupts.deferred():
                self._put_back(self._own(step), start)

    def _put_back(self, names: set[str], start: Mapping[str, object]) -> None:
        for name in names:
            if name in start:
                self._namespace[name] = start[name]
            else:
                self._namespace.pop(name, None)
