"""What a piece of code reads, imports and binds, told without running it; and what it is, without its place.

Attributes are told apart from names, unlike in ``_notebook/behind.py``: there a name too many costs a wait,
here it would have a function run again for a change that it does not see.
"""

from __future__ import annotations

import dis
import re
import sys
import types
from dataclasses import dataclass, field
from functools import lru_cache

_ROADS = frozenset({"globals", "eval", "exec", "get_ipython", "input", "breakpoint", "__import__"})
"""Functions through which code may reach any name, run any code, or ask the user."""
_ROADS_OF_CELLS = frozenset({"locals", "vars", "dir"})
"""At the top of a cell these show the notebook; in a function its own variables."""
_ROADS_BY_NAME = frozenset(
    {"f_globals", "f_locals", "f_back", "_getframe", "_current_frames", "currentframe", "__globals__"}
    | {"user_ns", "user_global_ns", "get_ipython", "run_cell", "run_line_magic", "run_cell_magic"}
    | {"set_trace", "__subclasses__", "get_objects", "get_referrers", "get_type_hints"}
)  # fmt: skip
ROAD_FUNCTIONS = frozenset(
    {("builtins", name) for name in _ROADS}
    | {
        ("importlib", "import_module"),
        ("importlib", "reload"),
        ("sys", "_getframe"),
        ("sys", "_current_frames"),
    }
    | {("inspect", "stack"), ("inspect", "trace"), ("inspect", "currentframe"), ("pkgutil", "resolve_name")}
    | {("runpy", "run_path"), ("runpy", "run_module"), ("gc", "get_objects"), ("gc", "get_referrers")}
)
"""Such functions by module and name, under whatever name code has them."""
_BY_TEXT = frozenset({"getattr", "hasattr", "vars", "dir", "attrgetter"})
"""Functions by which an attribute is found that code does not say."""
_SEEDS = frozenset({"seed", "manual_seed", "set_seed", "set_random_seed", "seed_everything"})
"""By calling these, code gives the global random numbers a state that does not depend on the one before."""
_SEE_TEXT = frozenset({"query", "eval"})
"""Methods of frames, and of pandas, that look up the names in a text where they were called."""
_READS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_WRITES = frozenset({"STORE_GLOBAL", "DELETE_GLOBAL"})
_WORD = re.compile(r"[^\W\d]\w*")


@dataclass(frozen=True, slots=True)
class Facts:
    """What a code object does, with the code inside it."""

    reads: frozenset[str] = frozenset()
    """Names that it looks up among its globals."""
    attributes: frozenset[str] = frozenset()
    """All names that it says, attributes among them."""
    imports: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()
    """Globals that it binds or deletes by a ``global`` statement."""
    sees_texts: bool = False
    """Whether it may ask a library to look up the names that are in a text."""
    any_attribute: bool = False
    """Whether it may use attributes that it does not say."""
    seeds: frozenset[str] = frozenset()
    """Names by which it may seed the global random numbers, if they are those of modules; empty: by any."""
    tables: frozenset[str] = frozenset()
    """Names of which it uses ``modules``, as of ``sys``."""
    road: str = ""
    """By what it may do more than can be told; empty: by nothing."""


@dataclass(slots=True)
class _Found:
    reads: set[str] = field(default_factory=set)
    attributes: set[str] = field(default_factory=set)
    imports: set[str] = field(default_factory=set)
    writes: set[str] = field(default_factory=set)
    texts: set[str] = field(default_factory=set)
    star: bool = False
    seeds: set[str] = field(default_factory=set)
    tables: set[str] = field(default_factory=set)
    sys: set[str] = field(default_factory=lambda: {"sys"})
    """Names that ``sys`` is imported under."""


@lru_cache(maxsize=4096)
def facts_of(code: types.CodeType) -> Facts:
    """Look into *code*, and the code inside it."""
    found = _Found()
    _look(code, found)
    if found.attributes & _SEE_TEXT:
        found.reads.update(word for text in found.texts for word in _WORD.findall(text))
    return Facts(
        reads=frozenset(found.reads),
        attributes=frozenset(found.attributes),
        imports=frozenset(found.imports),
        writes=frozenset(found.writes),
        sees_texts=bool(found.attributes & _SEE_TEXT),
        any_attribute=bool(found.attributes & (_BY_TEXT | {"__dict__"})),
        seeds=frozenset(found.seeds),
        tables=frozenset(found.tables),
        road=_road(code, found),
    )


def _look(code: types.CodeType, found: _Found) -> None:
    found.attributes.update(code.co_names)
    before: list[tuple[str, object]] = [("", None), ("", None)]
    for each in dis.get_instructions(code):
        if each.argval == "modules":
            found.tables.add("sys" if each.opname == "IMPORT_FROM" else str(before[1][1]))
        elif before[1] == ("IMPORT_NAME", "sys") and each.opname != "IMPORT_FROM":
            found.sys.add(str(each.argval))
        if each.argval in _SEEDS:
            found.seeds |= _seeded_by(each, *before[1], found)
        if each.opname in _READS:
            found.reads.add(str(each.argval))
        elif each.opname in _WRITES:
            found.writes.add(str(each.argval))
        elif each.opname == "IMPORT_NAME":
            level = before[0][1] if isinstance(before[0][1], int) else 0
            found.imports.add(f"{'.' * level}{each.argval}")
        elif each.opname == "IMPORT_STAR" or (
            each.opname == "CALL_INTRINSIC_1" and each.argrepr == "INTRINSIC_IMPORT_STAR"
        ):
            found.star = True
        before = [before[1], (each.opname, each.argval)]
    constants = list(code.co_consts)
    while constants:
        each = constants.pop()
        if isinstance(each, types.CodeType):
            _look(each, found)
        elif isinstance(each, str):
            found.texts.add(each)
        elif isinstance(each, tuple | frozenset):
            constants += each


def _seeded_by(instruction: dis.Instruction, before: str, owner: object, found: _Found) -> set[str]:
    """Give the name by which a function that seeds is called; it is empty for that of any object.

    Of what a cell imports itself, Python looks up a method as if it was any attribute.
    """
    if instruction.opname == "LOAD_ATTR" and not (sys.version_info >= (3, 12) and (instruction.arg or 0) & 1):
        return {str(owner)} if before in _READS or owner in found.imports else set()
    return {""} if instruction.opname in {*_READS, "LOAD_METHOD", "LOAD_ATTR"} else set()


def _road(code: types.CodeType, found: _Found) -> str:
    of_cell = _ROADS_OF_CELLS if code.co_name == "<module>" else frozenset()
    if called := sorted(found.reads & (_ROADS | of_cell)):
        return f"it calls {called[0]}()"
    if named := sorted(found.attributes & _ROADS_BY_NAME):
        return f"it uses {named[0]}"
    if found.star:
        return "it imports all names of a module"
    by_name = "__main__" in found.texts and found.attributes & {"modules", "import_module"}
    if by_name or "__main__" in found.imports:
        return "it reaches the notebook as a module"
    if found.tables & found.sys:
        return "it uses sys.modules"
    if texts := sorted(found.texts & _ROADS_BY_NAME):
        return f"it says {texts[0]!r}"
    if found.attributes & _SEE_TEXT and any(text.rstrip().endswith("@") for text in found.texts):
        return "it puts the name of a variable into the text of a query"
    return ""


def outline(code: types.CodeType) -> tuple[object, ...]:
    """Give what *code* does as plain values; where it stands, and what its file is called, is not among it.

    Code objects inside it stand among the constants as they are.
    """
    return (
        code.co_name,
        code.co_qualname,
        code.co_argcount,
        code.co_posonlyargcount,
        code.co_kwonlyargcount,
        code.co_flags,
        code.co_code,
        code.co_exceptiontable,
        code.co_names,
        code.co_varnames,
        code.co_freevars,
        code.co_cellvars,
    )
