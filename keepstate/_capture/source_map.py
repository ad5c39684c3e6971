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
from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from types import CodeType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

Place = tuple[int, int]
"""Line and column at which something ends."""
Positions = tuple[tuple[int | None, int | None, int | None, int | None], ...]
"""First line, last line, first column, end column of each instruction."""

_KEPT = 512
_COMPREHENSIONS = {"<listcomp>": ast.ListComp, "<setcomp>": ast.SetComp, "<dictcomp>": ast.DictComp}


@dataclass(slots=True)
class _Tree:
    """What is known of one file."""

    calls: dict[Place, ast.Call] = field(default_factory=dict)
    """By where they end: every call ends with a parenthesis of its own."""
    comprehensions: dict[tuple[int, int, int, int], ast.expr] = field(default_factory=dict)
    first_of: dict[int, int] = field(default_factory=dict)
    """Each line of a statement that shares none of its lines with another → the first of them."""
    whole: frozenset[int] = frozenset()
    """Lines that hold whole statements only, so that arriving there cannot be in the middle of one."""
    compiled: frozenset[tuple[object, ...]] | None = None
    """For a file, which may have been edited since: what its source compiles to today."""

    @staticmethod
    def of(spans: list[tuple[int, int]]) -> _Tree:
        """Know first and last line of each simple statement, and of the head of each compound one."""
        covering = Counter(line for first, last in spans for line in range(first, last + 1))
        broken = {line for first, last in spans if last > first for line in range(first, last + 1)}
        alone = [
            (first, last) for first, last in spans if all(covering[n] == 1 for n in range(first, last + 1))
        ]
        return _Tree(
            first_of={line: first for first, last in alone for line in range(first, last + 1)},
            whole=frozenset(first for first, last in spans if first == last and first not in broken),
        )


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

    def begins_statement(self, offset: int, line: int | None) -> bool:
        """Whether the instruction at *offset*, at which *line* is entered, lies between two statements."""
        if self._operation(offset) == "FOR_ITER" or offset in self.begins:
            return True
        return line is not None and line in self.lines

    def goes_round(self, offset: int, destination: int) -> bool:
        """Whether a jump is the turn of a loop, at which a statement is over."""
        return destination < offset and self.begins_statement(destination, None)

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
        found = self.tree.comprehensions.get(self._position(offset))  # type: ignore[arg-type] - None finds none
        return isinstance(found, kind)

    def _operation(self, offset: int) -> str:
        return self.names[offset // 2] if 0 <= offset // 2 < len(self.names) else ""

    def _position(self, offset: int) -> tuple[int | None, int | None, int | None, int | None]:
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
    return SourceMap(
        code=code,
        names=names,
        positions=positions,
        tree=tree,
        begins=frozenset(_begins(names, positions, tree or _without_source(names, positions))),
        lines=frozenset() if tree is None else tree.whole,
    )


def _operations(code: CodeType) -> tuple[str, ...]:
    """The operation at each offset / 2; a prefix and an inline cache go by the name of what they belong to."""
    names = [""] * (len(code.co_code) // 2)
    for instruction in dis.get_instructions(code):
        names[instruction.offset // 2] = instruction.opname
    for index in range(1, len(names)):
        names[index] = names[index] or names[index - 1]
    for index in range(len(names) - 2, -1, -1):
        if names[index] == "EXTENDED_ARG":
            names[index] = names[index + 1]
    return tuple(names)


# -- statements ----------------------------------------------------------------------------------------


def _begins(names: tuple[str, ...], positions: Positions, tree: _Tree) -> Iterator[int]:
    """The first instruction of each statement that is alone on its lines."""
    seen: set[int] = set()
    before = 0
    for index, (line, *_) in enumerate(positions):
        if line is None or names[index] in _NOTHING:
            continue
        first = tree.first_of.get(line)
        # Entered from below, it is the rest of a statement that was begun there.
        if first is not None and first not in seen and before <= line:
            yield index * 2
        if first is not None:
            seen.add(first)
        before = line


_NOTHING = frozenset({"", "RESUME", "NOP", "CACHE", "COPY_FREE_VARS", "MAKE_CELL"})


def _without_source(names: tuple[str, ...], positions: Positions) -> _Tree:
    """Take everything that reaches over several lines for one statement: too few places, but no wrong one."""
    found = {(p[0], p[1]) for p, name in zip(positions, names, strict=False) if name not in _NOTHING}
    return _Tree.of([(first, last) for first, last in found if first is not None and last is not None])


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
    spans = [_span(node) for node in ast.walk(syntax) if isinstance(node, ast.stmt)]
    tree = _Tree.of(spans)
    for node in ast.walk(syntax):
        if isinstance(node, ast.Call):
            tree.calls[node.end_lineno or 0, node.end_col_offset or 0] = node
        elif isinstance(node, (ast.ListComp, ast.SetComp, ast.DictComp)):
            place = (node.lineno, node.end_lineno or 0, node.col_offset, node.end_col_offset or 0)
            tree.comprehensions[place] = node
    if os.path.isfile(filename):
        tree.compiled = frozenset(_fingerprints(compile(source, filename, "exec", dont_inherit=True)))
    return tree


def _fingerprints(code: CodeType) -> Iterator[tuple[object, ...]]:
    yield _fingerprint(code)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _fingerprints(constant)


def _fingerprint(code: CodeType) -> tuple[object, ...]:
    return code.co_name, code.co_firstlineno, code.co_code, code.co_linetable


def _span(node: ast.stmt) -> tuple[int, int]:
    decorators = getattr(node, "decorator_list", [])
    first = min([node.lineno, *(decorator.lineno for decorator in decorators)])
    body = getattr(node, "body", None) or getattr(node, "cases", None)
    if not body:
        return first, node.end_lineno or node.lineno
    parts = (ast.stmt, ast.ExceptHandler, ast.match_case)
    heads = [child for child in ast.iter_child_nodes(node) if not isinstance(child, parts)]
    ends = [getattr(child, "end_lineno", None) or _last_line(child) for child in heads]
    return first, max([node.lineno, *ends])


def _last_line(node: ast.AST) -> int:
    """Of a node without a position of its own, as ``arguments`` and ``withitem``."""
    return max((getattr(child, "end_lineno", None) or 0 for child in ast.walk(node)), default=0)
