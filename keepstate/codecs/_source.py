"""Source text of functions and classes, from what the notebook's cells left in ``linecache``.

IPython puts the text of every cell there under the file name of its code; restored code puts its own there
(see ``_code.py``). Everything here is best effort: what cannot be found is ``""``, and nothing raises.
"""

from __future__ import annotations

import ast
import hashlib
import linecache
import sys
import types
from functools import _lru_cache_wrapper, lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

RESTORED = "<keepstate-"
"""File names of restored code begin so; the text under each is the source of one function."""
_Block = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda


@lru_cache(maxsize=128)
def _blocks(text: str) -> tuple[_Block, ...]:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ()  # not Python, or not this Python's
    return tuple(node for node in ast.walk(tree) if isinstance(node, _Block))


def show_source(source: str) -> str:
    """Put *source* where tracebacks and ``inspect`` look for it; return its file name."""
    filename = f"{RESTORED}{hashlib.blake2b(source.encode(), digest_size=8).hexdigest()}>"
    # An entry without a time is never checked against a file.
    linecache.cache.setdefault(filename, (len(source), None, source.splitlines(keepends=True), filename))
    return filename


def _first_line(node: _Block) -> int:
    decorators = [] if isinstance(node, ast.Lambda) else node.decorator_list
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


def _text(filename: str) -> str:
    return "".join(linecache.getlines(filename))


def _cut(text: str, node: _Block) -> str:
    if isinstance(node, ast.Lambda):
        return ast.get_source_segment(text, node) or ""
    lines = text.splitlines(keepends=True)[_first_line(node) - 1 : node.end_lineno]
    return "".join(lines)


def source_of_code(code: types.CodeType) -> str:
    """Return the text of the ``def`` or ``lambda`` that *code* comes from, as it stands in its cell."""
    text = _text(code.co_filename)
    if not text:
        return ""
    if code.co_filename.startswith(RESTORED) and code.co_firstlineno == 1:
        return text  # columns are those of the cell that it came from, so a lambda could not be found
    found = [node for node in _blocks(text) if _made(node, code)]
    if code.co_name == "<lambda>" and len(found) > 1:
        found = [node for node in found if isinstance(node, ast.Lambda) and _spans(node, code)]
    return _cut(text, min(found, key=_width)) if found else ""


def _width(node: _Block) -> int:
    return (node.end_lineno or 0) - node.lineno


def _made(node: _Block, code: types.CodeType) -> bool:
    if _first_line(node) != code.co_firstlineno or isinstance(node, ast.ClassDef):
        return False
    return code.co_name == ("<lambda>" if isinstance(node, ast.Lambda) else node.name)


def _spans(node: ast.Lambda, code: types.CodeType) -> bool:
    """Tell lambdas of one line apart by the columns of their bodies."""
    body = node.body
    places = {place for place in code.co_positions() if None not in place and place[3] != 0}
    return any(
        place == (body.lineno, body.end_lineno, body.col_offset, body.end_col_offset) for place in places
    )


def source_of_class(cls: type) -> str:
    """Return the text of the ``class`` statement that made *cls*."""
    for filename in _files_of(cls):
        text = _text(filename)
        if cls.__name__ not in text:
            continue
        for node in reversed(_blocks(text)):
            if isinstance(node, ast.ClassDef) and node.name == cls.__name__ and _fits(node, cls):
                return _cut(text, node)
    return ""


def _fits(node: ast.ClassDef, cls: type) -> bool:
    attributes = vars(cls)
    names = {
        statement.name
        for statement in node.body
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    }
    annotated = {
        statement.target.id
        for statement in node.body
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
    }
    known = attributes.get("__annotations__")
    return names <= set(attributes) and (not isinstance(known, dict) or annotated == set(known))


def _files_of(cls: type) -> Iterator[str]:
    """Yield the files of its methods; then, for a class without any of its own, cells from the newest."""
    methods = (_function_in(value) for value in vars(cls).values())
    yield from dict.fromkeys(method.__code__.co_filename for method in methods if method is not None)
    yield getattr(sys.modules.get(cls.__module__), "__file__", None) or ""
    for filename in reversed(list(linecache.cache)):
        if filename.startswith("<") or "ipykernel" in filename:
            yield filename


def _function_in(value: object) -> types.FunctionType | None:
    if isinstance(value, staticmethod | classmethod):
        value = value.__func__
    if isinstance(value, property):
        value = value.fget
    return value if isinstance(value, types.FunctionType) else None


def source_of(thing: object) -> str:
    """Return the source of a function or class; ``""`` where it is unknown."""
    if isinstance(thing, _lru_cache_wrapper):
        thing = thing.__wrapped__
    if isinstance(thing, types.FunctionType):
        return source_of_code(thing.__code__)
    return source_of_class(thing) if isinstance(thing, type) else ""
