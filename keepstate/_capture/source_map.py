"""Where the statements and calls of a code object are, told by its positions and its source.

An instruction knows the lines and columns that it came from (``co_positions``); the syntax tree of the same
source knows which of those begin a statement and what a call names. Without source nothing is known, and
nothing is claimed. Source: PEP 657.
"""

from __future__ import annotations

import ast
import dis
import linecache
import os
from bisect import bisect_right
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from types import CodeType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


_KEPT = 512
_COMPREHENSIONS = {"<listcomp>": ast.ListComp, "<setcomp>": ast.SetComp, "<dictcomp>": ast.DictComp}


Position = tuple[int | None, int | None, int | None, int | None]
"""First line, last line, first column, end column, as of an instruction."""
Positions = tuple[Position, ...]
Place = tuple[int, int]
"""Line and column."""
Span = tuple[Place, Place]
"""Of a simple statement, or of the head of a compound one: where it begins and where it ends."""


@dataclass(slots=True)
class _Tree:
    """What is known of one file."""

    spans: list[Span]
    """In order; none reaches into another."""
    whole: frozenset[int] = frozenset()
    """Lines that hold whole statements only, so that arriving there cannot be in the middle of one."""
    calls: dict[Place, ast.Call] = field(default_factory=dict)
    """By where they end: every call ends with a parenthesis of its own."""
    comprehensions: dict[Position, ast.expr] = field(default_factory=dict)
    turns: set[Position] = field(default_factory=set)
    """Where a loop goes round and nothing else is under way: ``for`` statements, and comprehensions that are
    all of a statement's value."""
    compiled: frozenset[tuple[object, ...]] | None = None
    """For a file, which may have been edited since: what its source compiles to today."""

    def statement_at(self, place: Place) -> int | None:
        """Number of the statement at *place*."""
        index = bisect_right(self.spans, place, key=lambda span: span[0]) - 1
        return index if index >= 0 and place < self.spans[index][1] else None


@dataclass(frozen=True, slots=True)
class SourceMap:
    """What is known of one code object."""

    code: CodeType
    names: tuple[str, ...]
    """Operation at each instruction, by offset / 2, as compiled."""
    positions: Positions
    tree: _Tree | None
    begins: frozenset[int]
    """Offsets at which a statement begins."""
    lines: frozenset[int]
    """Lines that are one statement or more, whole: arriving there is between two statements."""

    tight: bool = False
    """Whether it has a loop in which no line is arrived at between two statements."""

    def begins_statement(self, offset: int, line: int | None) -> bool:
        """Whether the instruction at *offset*, at which *line* is entered, lies between two statements."""
        if offset in self.begins:
            return True
        if self.tree is not None and self._operation(offset) == "FOR_ITER":
            return self._position(offset) in self.tree.turns
        return line is not None and line in self.lines

    def call_at(self, offset: int) -> ast.Call | None:
        """The plain call that the instruction at *offset* makes, if it is one."""
        if self.tree is None or self._operation(offset) not in _CALLS:
            return None
        _, end_line, _, end_column = self._position(offset)
        if end_line is None or end_column is None:
            return None
        return self.tree.calls.get((end_line, end_column))

    def comprehension_at(self, offset: int, name: str) -> bool:
        """Whether the instruction at *offset* runs the comprehension whose frame is called *name*."""
        kind = _COMPREHENSIONS.get(name)
        if kind is None or self.tree is None or self._operation(offset) not in _CALLS:
            return False
        found = self.tree.comprehensions.get(self._position(offset))
        return isinstance(found, kind)

    def _operation(self, offset: int) -> str:
        return self.names[offset // 2] if 0 <= offset // 2 < len(self.names) else ""

    def _position(self, offset: int) -> Position:
        return self.positions[offset // 2] if 0 <= offset // 2 < len(self.positions) else (None,) * 4


_CALLS = frozenset({"CALL", "CALL_KW", "CALL_FUNCTION_EX"})

_maps: OrderedDict[int, SourceMap] = OrderedDict()
"""By identity: equal code objects may come from different places."""
_trees: OrderedDict[str, tuple[object, _Tree | None]] = OrderedDict()


def source_map(code: CodeType) -> SourceMap:
    """Find out about *code*; cached."""
    found = _maps.get(id(code))
    if found is None:
        found = _maps[id(code)] = _examine(code)
        while len(_maps) > _KEPT:
            _maps.popitem(last=False)
    return found


def _examine(code: CodeType) -> SourceMap:
    names = _operations(code)
    positions = tuple(code.co_positions())
    tree = _tree_of(code)
    if code.co_name in _COMPREHENSIONS:
        return SourceMap(code, names, positions, tree, begins=frozenset(), lines=frozenset())
    begins = _begins_without_source(names, positions) if tree is None else _begins(names, positions, tree)
    lines = frozenset() if tree is None else tree.whole
    known = SourceMap(code, names, positions, tree, frozenset(begins), lines)
    return replace(known, tight=_is_tight(known))


def _is_tight(known: SourceMap) -> bool:
    arrivals = [
        offset for offset, line in dis.findlinestarts(known.code) if known.begins_statement(offset, line)
    ]
    return any(not any(begin < offset <= jump for offset in arrivals) for begin, jump in _loops(known.code))


def _operations(code: CodeType) -> tuple[str, ...]:
    """The operation at each offset / 2; a prefix or an inline cache has the name of what it belongs to."""
    names = [""] * (len(code.co_code) // 2)
    for instruction in dis.get_instructions(code):
        names[instruction.offset // 2] = instruction.opname
    for index in range(1, len(names)):
        names[index] = names[index] or names[index - 1]
    for index in range(len(names) - 2, -1, -1):
        if names[index] == "EXTENDED_ARG":
            names[index] = names[index + 1]
    return tuple(names)


def _loops(code: CodeType) -> Iterator[tuple[int, int]]:
    """Where each loop begins, and from where it goes back there."""
    for instruction in dis.get_instructions(code):
        if "JUMP_BACKWARD" in instruction.opname and isinstance(instruction.argval, int):
            yield instruction.argval, instruction.offset


# -- statements ----------------------------------------------------------------------------------------


def _begins(names: tuple[str, ...], positions: Positions, tree: _Tree) -> Iterator[int]:
    """The first instruction of each statement."""
    seen: set[int] = set()
    for index, (line, _, column, _) in enumerate(positions):
        if line is None or column is None or names[index] in _NOTHING:
            continue
        statement = tree.statement_at((line, column))
        if statement is not None and statement not in seen:
            seen.add(statement)
            yield index * 2


_NOTHING = frozenset({"", "RESUME", "NOP", "CACHE", "COPY_FREE_VARS", "MAKE_CELL"})


def _begins_without_source(names: tuple[str, ...], positions: Positions) -> Iterator[int]:
    """The first instruction of each line that nothing reaches over: too few places, but no wrong one."""
    used = [
        (index, first, last or first)
        for index, (first, last, *_) in enumerate(positions)
        if first is not None and names[index] not in _NOTHING
    ]
    broken = {
        line
        for index, first, last in used
        if last > first and not names[index].startswith(_MAY_COVER_A_BLOCK)
        for line in range(first, last + 1)
    }
    seen: set[int] = set()
    before = "STORE_"
    for index, line, _ in used:
        if line not in seen and line not in broken and before.startswith(_END_OF_STATEMENT):
            yield index * 2
        seen.add(line)
        before = names[index]


_MAY_COVER_A_BLOCK = ("LOAD_CONST", "RETURN_", "POP_JUMP_")
"""The test of a loop, and what a module returns at its end, are placed on the whole loop."""
_END_OF_STATEMENT = ("STORE_", "DELETE_", "POP_TOP", "RETURN_", "RAISE_")


# -- source --------------------------------------------------------------------------------------------


def _tree_of(code: CodeType) -> _Tree | None:
    lines = linecache.getlines(code.co_filename)
    if not lines:
        return None
    source = "".join(lines)
    known = _trees.get(code.co_filename)
    if known is None or known[0] != source:
        known = _trees[code.co_filename] = (source, _parse(source, code.co_filename))
        while len(_trees) > _KEPT:
            _trees.popitem(last=False)
    tree = known[1]
    edited = tree is not None and tree.compiled is not None and _fingerprint(code) not in tree.compiled
    return None if edited else tree


def _parse(source: str, filename: str) -> _Tree | None:
    flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    try:
        syntax = compile(source, filename, "exec", flags, dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None  # not the source that was compiled
    spans = sorted(_span(node) for node in ast.walk(syntax) if isinstance(node, ast.stmt))
    tree = _Tree(spans, whole=frozenset(_whole_lines(spans)))
    for node in ast.walk(syntax):
        if isinstance(node, ast.Call):
            tree.calls[node.end_lineno or 0, node.end_col_offset or 0] = node
        elif isinstance(node, (ast.ListComp, ast.SetComp, ast.DictComp)):
            tree.comprehensions[_place(node)] = node
        elif isinstance(node, ast.For):
            tree.turns |= {_place(node), _place(node.iter)}
        value = getattr(node, "value", None) if isinstance(node, _WITH_A_VALUE) else None
        if isinstance(value, (ast.ListComp, ast.SetComp, ast.DictComp)):
            # 3.11 and 3.12 place the turn on the whole, later ones on what is gone through.
            tree.turns |= {_place(value), *(_place(part.iter) for part in value.generators)}
    if os.path.isfile(filename):
        tree.compiled = frozenset(_fingerprints(compile(source, filename, "exec", dont_inherit=True)))
    return tree


_WITH_A_VALUE = (ast.Assign, ast.AnnAssign, ast.Expr, ast.Return)


def _fingerprints(code: CodeType) -> Iterator[tuple[object, ...]]:
    yield _fingerprint(code)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _fingerprints(constant)


def _fingerprint(code: CodeType) -> tuple[object, ...]:
    return code.co_name, code.co_firstlineno, code.co_code, code.co_linetable


def _whole_lines(spans: list[Span]) -> Iterator[int]:
    broken = {line for (first, _), (last, _) in spans if last > first for line in range(first, last + 1)}
    return (first for (first, _), (last, _) in spans if first == last and first not in broken)


def _span(node: ast.stmt) -> Span:
    begin = (node.lineno, node.col_offset)
    for decorator in getattr(node, "decorator_list", []):
        begin = min(begin, (decorator.lineno, decorator.col_offset))
    end = (node.end_lineno or node.lineno, node.end_col_offset or 0)
    inside = [part for part in ast.iter_child_nodes(node) if isinstance(part, _BODIES)]
    if inside:
        # The head ends where its last expression does; without one (try, else) it is the word alone.
        end = (node.lineno, node.col_offset + 1)
        for part in ast.iter_child_nodes(node):
            if not isinstance(part, _BODIES):
                end = max([end, *map(_end, ast.walk(part))])
    return begin, end


_BODIES = (ast.stmt, ast.ExceptHandler, ast.match_case)


def _end(node: ast.AST) -> Place:
    return getattr(node, "end_lineno", None) or 0, getattr(node, "end_col_offset", None) or 0


def _place(node: ast.stmt | ast.expr) -> Position:
    return node.lineno, node.end_lineno, node.col_offset, node.end_col_offset
