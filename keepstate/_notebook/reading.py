"""Which names a cell may read, told from its code before it runs.

When in doubt the answer is "all": a name that is wrongly taken for read costs a hint, never a value.
"""

from __future__ import annotations

import ast
import types
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_ROUNDABOUT = frozenset({"globals", "locals", "vars", "eval", "exec", "get_ipython"})
"""Names through which a cell may reach any other."""


def names_read(source: str, namespace: Mapping[str, object]) -> frozenset[str] | None:
    """Give the names that *source* may read, also through functions of the notebook; ``None`` for all.

    Args:
        source: Python, magics already turned into calls.
        namespace: The user's globals; functions found there are looked into, without being run.

    >>> sorted(names_read("b = f(a)", {}))
    ['a', 'f']
    >>> names_read("exec(text)", {}) is None
    True
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return None
    found: set[str] = set()
    waiting = list(_loaded(tree))
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        if name in _ROUNDABOUT:
            return None
        found.add(name)
        value = namespace.get(name)
        if type(value) is types.FunctionType:
            waiting += _names_in(value.__code__)
        elif isinstance(value, type) and getattr(value, "__module__", None) == "__main__":
            waiting += _names_in_class(value)
    return frozenset(found)


def _loaded(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, (ast.Load, ast.Del)):
            yield node.id
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            yield node.target.id
        elif isinstance(node, (ast.Global, ast.Nonlocal)):
            yield from node.names


def _names_in(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names_in(constant)


def _names_in_class(kind: type) -> Iterator[str]:
    for member in vars(kind).values():
        if isinstance(member, types.FunctionType):
            yield from _names_in(member.__code__)
