"""Code objects: byte code for the Python that wrote it, source text for any other.

Byte code of one minor version crashes another, so it is only ever used where its magic number is the same;
elsewhere the code is compiled again from its source. Line numbers count from the first line of that source,
so that moving a function in its cell changes nothing that is stored.
"""

from __future__ import annotations
import __future__

import ast
import importlib.util
import textwrap
import types
from typing import Any

from keepstate.codecs import _calls
from keepstate.codecs._generated import Unbuilt
from keepstate.codecs._source import show_source

_ARGUMENTS = (
    "co_argcount",
    "co_posonlyargcount",
    "co_kwonlyargcount",
    "co_nlocals",
    "co_stacksize",
    "co_flags",
    "co_code",
    "co_consts",
    "co_names",
    "co_varnames",
    "co_filename",
    "co_name",
    "co_qualname",
    "co_firstlineno",
    "co_linetable",
    "co_exceptiontable",
    "co_freevars",
    "co_cellvars",
)
"""What ``types.CodeType`` takes, in order (Python 3.11 to 3.14)."""
_FUTURE_ANNOTATIONS = __future__.annotations.compiler_flag
"""The only future statement of Python 3.11 to 3.14 that changes what code does; the cell had it, not the
function's own source."""
_CONSTS = _ARGUMENTS.index("co_consts")
_FILENAME = _ARGUMENTS.index("co_filename")
_QUALNAME = _ARGUMENTS.index("co_qualname")


class CodeSpec:
    """A code object on its way into a stream.

    Args:
        code: The code.
        source: Text of its function; ``""`` where it is unknown.
        first_line: Line of the cell that becomes line 1.
        inner: Whether it is a constant of another code object.
    """

    __slots__ = ("code", "first_line", "inner", "source")

    def __init__(self, code: types.CodeType, source: str, first_line: int, *, inner: bool = False) -> None:
        self.code = code
        self.source = source
        self.first_line = first_line
        self.inner = inner

    def __reduce__(self) -> tuple[object, ...]:
        code = self.code.replace(
            co_filename="", co_firstlineno=max(1, self.code.co_firstlineno - self.first_line + 1)
        )
        consts = tuple(
            CodeSpec(const, self.source, self.first_line, inner=True)
            if isinstance(const, types.CodeType)
            else const
            for const in code.co_consts
        )
        values = [getattr(code, name) for name in _ARGUMENTS]
        values[_CONSTS] = consts
        magic = importlib.util.MAGIC_NUMBER
        return _calls.named("code"), (magic, tuple(values), self.source, self.inner)


def names_used(code: types.CodeType) -> set[str]:
    """Return the names that *code* and the code inside it may look up as globals."""
    names = set(code.co_names)
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            names |= names_used(const)
    return names


def make_code(
    magic: bytes, values: tuple[Any, ...], source: str, inner: bool
) -> types.CodeType | Unbuilt | None:
    """Rebuild a code object.

    Returns:
        The code; ``None`` for inner code of another Python, which its outer code brings along; for code of
        another Python whose source is unknown or does not give it, something that stands for it.
    """
    filename = show_source(source) if source else "<keepstate>"
    if magic == importlib.util.MAGIC_NUMBER:
        make: Any = types.CodeType
        code: types.CodeType = make(*values[:_FILENAME], filename, *values[_FILENAME + 1 :])
        return code
    return None if inner else _compiled(source, filename, dict(zip(_ARGUMENTS, values, strict=False)))


def _compiled(source: str, filename: str, facts: dict[str, Any]) -> types.CodeType | Unbuilt:
    name, qualname, free = facts["co_name"], facts["co_qualname"], tuple(facts["co_freevars"])
    problem = f"{qualname} was compiled by another version of Python"
    if not source:
        return Unbuilt(f"{problem}, and its source is not known", facts)
    try:
        tree = ast.parse(textwrap.dedent(source))
        tree = _wrapped(tree, free, _class_of(qualname))
        candidates = _inside(
            compile(tree, filename, "exec", _FUTURE_ANNOTATIONS & facts["co_flags"], dont_inherit=True)
        )
    except (SyntaxError, ValueError) as error:
        return Unbuilt(f"{problem}, and its source does not compile: {error}")
    for code in candidates:
        if code.co_name == name and set(code.co_freevars) == set(free):
            return code.replace(co_qualname=qualname)
    return Unbuilt(f"{problem}, and its source does not give it again")


def _class_of(qualname: str) -> str:
    names = qualname.split(".")
    return names[-2] if len(names) > 1 and names[-2] != "<locals>" else ""


def _wrapped(tree: ast.Module, free: tuple[str, ...], class_name: str) -> ast.Module:
    """Put a function where it stood: inside its class, for private names, and inside the cells it had."""
    body = tree.body
    if class_name and body and not isinstance(body[0], ast.Expr):
        shell = ast.parse("class _shell: pass").body[0]
        assert isinstance(shell, ast.ClassDef)
        shell.name, shell.body = class_name, body
        body = [shell]
    free = tuple(name for name in free if name != "__class__" or not class_name)
    if free:
        assignment = ast.parse("".join(f"{name} = " for name in free) + "None").body
        outer = ast.parse("def _outer(): pass").body[0]
        assert isinstance(outer, ast.FunctionDef)
        outer.body = [*assignment, *body]
        body = [outer]
    return ast.fix_missing_locations(ast.Module(body=body, type_ignores=[]))


def _inside(code: types.CodeType) -> list[types.CodeType]:
    found = [const for const in code.co_consts if isinstance(const, types.CodeType)]
    return [inner for outer in found for inner in (outer, *_inside(outer))]
