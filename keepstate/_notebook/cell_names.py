"""What a cell reads before it has bound it, and what it binds, told from its code.

When in doubt a name counts as read: it may have the cell run once more, and never gives a wrong value.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from keepstate._results.code import facts_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import CodeType

DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)
"""Statements that are carried out in any case where they stand at the top of a cell."""
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@dataclass(slots=True)
class CellNames:
    """The names of one cell."""

    reads: set[str] = field(default_factory=set)
    """Globals that it may look up before it has bound them itself."""
    binds: set[str] = field(default_factory=set)
    """Names that it binds, but for those of :attr:`defines`."""
    defines: set[str] = field(default_factory=set)
    """Names of imports and definitions at its top."""
    writes: set[str] = field(default_factory=set)
    """Those of :attr:`binds` that a ``global`` statement is for."""
    deletes: set[str] = field(default_factory=set)
    sets_in: set[str] = field(default_factory=set)
    """Names of what it sets an attribute or an element of, or of what that is in."""
    imports: dict[str, str] = field(default_factory=dict)
    """Names that it imports at its top → the module that it says."""
    needed: set[str] = field(default_factory=set)
    """Names that its definitions need when they are made."""
    definitions: list[ast.stmt] = field(default_factory=list)
    """Those imports and definitions, in order."""
    entangled: str = ""
    """A definition that needs, when it is made, what the cell computes; empty: none does."""


def names_of_cell(tree: ast.Module) -> CellNames:
    """Look at a cell.

    >>> names = names_of_cell(ast.parse("import re\\nx = f(a)\\ny = x + b"))
    >>> sorted(names.reads), sorted(names.binds), sorted(names.defines)
    (['a', 'b', 'f'], ['x', 'y'], ['re'])
    """
    found = CellNames()
    _block(tree.body, set(), found.reads)
    for statement in tree.body:
        if isinstance(statement, DEFINITIONS):
            found.definitions.append(statement)
            found.defines |= _bound_by(statement)
            if isinstance(statement, ast.Import | ast.ImportFrom):
                found.imports |= _imported_by(statement)
        else:
            found.binds |= _bound_by(statement)
    found.writes = set(facts_of(_compiled(tree.body)).writes)
    found.binds |= found.writes
    found.reads |= found.writes  # whether a function does it is not seen, so what was there before counts
    found.sets_in = {root for node in ast.walk(tree) if (root := _root_of_target(node))}
    found.deletes = {
        node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Del)
    }
    for statement in found.definitions:
        needed = _needed_at_once(statement)
        found.needed |= needed
        if needed & found.binds:
            found.entangled = min(_bound_by(statement), default="")
    return found


def _compiled(statements: Iterable[ast.stmt]) -> CodeType:
    return compile(ast.Module(list(statements), []), "<cell>", "exec", dont_inherit=True)


def _looked_up(statement: ast.stmt) -> frozenset[str]:
    if isinstance(statement, ast.Match | ast.Break | ast.Continue):  # alone, the end of a loop is an error
        statement = ast.copy_location(ast.While(ast.Constant(value=True), [statement], []), statement)
        ast.fix_missing_locations(statement)
    return facts_of(_compiled([statement])).reads


def _in_expression(expression: ast.expr) -> frozenset[str]:
    return _looked_up(ast.copy_location(ast.Expr(expression), expression))


def _block(statements: Sequence[ast.stmt], bound: set[str], reads: set[str]) -> set[str]:
    """Go through statements in order; give what is bound for certain behind them."""
    for statement in statements:
        bound = _statement(statement, bound, reads)
    return bound


def _statement(node: ast.stmt, bound: set[str], reads: set[str]) -> set[str]:
    if isinstance(node, ast.If):
        reads |= _in_expression(node.test) - bound
        return _block(node.body, set(bound), reads) & _block(node.orelse, set(bound), reads)
    if isinstance(node, ast.For | ast.AsyncFor):
        reads |= (_in_expression(node.iter) | _used_by(node.target)) - bound
        _block(node.body, bound | _targets(node.target), reads)
        _block(node.orelse, set(bound), reads)
        return bound
    if isinstance(node, ast.While):
        reads |= _in_expression(node.test) - bound
        _block(node.body, set(bound), reads)
        _block(node.orelse, set(bound), reads)
        return bound
    if isinstance(node, ast.With | ast.AsyncWith):
        for item in node.items:
            reads |= _in_expression(item.context_expr) - bound
            if item.optional_vars is not None:
                reads |= _used_by(item.optional_vars) - bound
                bound = bound | _targets(item.optional_vars)
        _block(node.body, set(bound), reads)
        return bound  # a context may swallow what ends its body early
    if isinstance(node, ast.Try | ast.TryStar):
        inside = _block(node.body, set(bound), reads)
        _block(node.orelse, inside, reads)
        for handler in node.handlers:
            if handler.type is not None:
                reads |= _in_expression(handler.type) - bound
            _block(handler.body, bound | ({handler.name} if handler.name else set()), reads)
        return _block(node.finalbody, set(bound), reads)
    reads |= _looked_up(node) - bound
    return bound if isinstance(node, ast.Match) else bound | _bound_by(node)


def _targets(target: ast.expr) -> set[str]:
    return {
        node.id for node in ast.walk(target) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }


def _imported_by(statement: ast.Import | ast.ImportFrom) -> dict[str, str]:
    said = statement.module or "" if isinstance(statement, ast.ImportFrom) else None
    return {
        alias.asname or alias.name.partition(".")[0]: alias.name if said is None else said
        for alias in statement.names
    }


def _used_by(target: ast.expr) -> set[str]:
    """Give the names that a target uses without binding them, as ``d`` in ``for d['k'] in …``."""
    return {
        node.id for node in ast.walk(target) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }


def _root_of_target(node: ast.AST) -> str:
    """Give the name that an attribute or element begins with, if it is set; empty: it is not."""
    if not isinstance(node, ast.Attribute | ast.Subscript) or isinstance(node.ctx, ast.Load):
        return ""
    within: ast.expr = node
    while isinstance(within, ast.Attribute | ast.Subscript):
        within = within.value
    return within.id if isinstance(within, ast.Name) else ""


def _bound_by(node: ast.AST) -> set[str]:
    """Give the names of the notebook that a statement binds."""
    if isinstance(node, _SCOPES):
        return set() if isinstance(node, ast.Lambda) else {node.name}
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {alias.asname or alias.name.partition(".")[0] for alias in node.names}
    if isinstance(node, _COMPREHENSIONS):
        inside = [each for each in ast.walk(node) if isinstance(each, ast.NamedExpr)]
        return {name for each in inside for name in _targets(each.target)}
    found = set()
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        found.add(node.id)
    elif isinstance(node, ast.MatchAs | ast.MatchStar | ast.ExceptHandler) and node.name:
        found.add(node.name)
    elif isinstance(node, ast.MatchMapping) and node.rest:
        found.add(node.rest)
    for child in ast.iter_child_nodes(node):
        found |= _bound_by(child)
    return found


def _needed_at_once(statement: ast.stmt) -> frozenset[str]:
    """Give the names that are looked up when a definition is made, and not when it is called."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
        empty = ast.copy_location(ast.Pass(), statement)
        kind = type(statement)
        shell = kind(**{name: getattr(statement, name) for name in statement._fields} | {"body": [empty]})
        return _looked_up(ast.copy_location(shell, statement))
    return _looked_up(statement)
