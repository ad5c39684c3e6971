"""What a cell does with names, told from its code alone: which it reads, binds, changes and unbinds.

A name that the cell has certainly bound before is not read. The body of a function counts where it is called,
not where it is defined; that of a lambda, and of a function with a decorator, counts at once.
"""

from __future__ import annotations

import ast
import textwrap
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from keepstate._notebook.reaching import OPTIONS, RUN_THEIR_TEXT, SEE_THEIR_TEXT, call_of_shell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_OPEN = frozenset({"exec", "eval", "globals", "locals", "vars", "input", "breakpoint"})
"""Functions through which code may read or bind any name."""
_CHANGE_FIRST = frozenset({"next", "setattr", "delattr"})
"""Functions that change their first argument."""
_CHANGE_FIRST_OF_MODULES = frozenset(
    {"shuffle", "heappush", "heappop", "heapify", "heapreplace", "heappushpop"}
    | {"insort", "insort_left", "insort_right", "copyto", "put_along_axis", "fill_diagonal"}
)
"""Functions of ``random``, ``heapq``, ``bisect`` and numpy that do."""
_FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
_COMPREHENSION = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@dataclass(slots=True)
class Names:
    """What code does with the names of the notebook."""

    reads: set[str] = field(default_factory=set)
    """Must be there before."""
    used: set[str] = field(default_factory=set)
    """Read, also after the code itself has bound them."""
    binds: set[str] = field(default_factory=set)
    changes: set[str] = field(default_factory=set)
    """Changed for certain: an item or attribute of theirs is bound."""
    methods: dict[str, set[str]] = field(default_factory=dict)
    """Name → methods that are called of it; whether that changes it depends on what it is."""
    deletes: set[str] = field(default_factory=set)
    parameters: set[str] = field(default_factory=set)
    """Of a function: parameters whose argument it may change."""
    order: tuple[str, ...] = ()
    """Of a function: its positional parameters."""
    is_open: bool = False
    """Whether it may do more than this."""

    def join(self, other: Names) -> None:
        """Add what another function does, which is called by this one."""
        self.reads |= other.reads
        self.used |= other.used
        self.join_effects(other)

    def join_effects(self, other: Names) -> None:
        """Add what it does, without what it reads."""
        self.binds |= other.binds
        self.changes |= other.changes
        for name, methods in other.methods.items():
            self.methods.setdefault(name, set()).update(methods)
        self.is_open |= other.is_open


def _nothing(_name: str) -> Names | None:
    return None


def names_of_code(
    source: str, *, behind: Callable[[str], Names | None] = _nothing, transform: Callable[[str], str] = str
) -> Names:
    """Tell what a cell does.

    Args:
        source: Python, magics already turned into calls.
        behind: Gives what calling the function, class or object of a name does.
        transform: Turns magics into calls.

    Raises:
        SyntaxError, ValueError, RecursionError: It is no Python.

    >>> names = names_of_code("import os\\ntotal = sum(rows)\\nlog.append(total)\\ntable['x'] = os.name")
    >>> sorted(names.reads), sorted(names.binds), sorted(names.changes), names.methods
    (['log', 'rows', 'sum', 'table'], ['os', 'total'], ['table'], {'log': {'append'}})
    """
    reader = _Reader(behind, transform)
    reader.statements(ast.parse(source).body)
    return reader.found


def names_of_function(source: str) -> Names:
    """Tell what calling a function does, from its ``def`` or ``lambda``.

    Raises:
        SyntaxError, ValueError, RecursionError: It is none.

    >>> names = names_of_function("def add(table, value):\\n    table.append(value)\\n    seen.add(limit)")
    >>> sorted(names.reads), names.parameters, names.methods
    (['limit', 'seen'], {'table'}, {'seen': {'add'}})
    """
    tree = ast.parse(textwrap.dedent(source))
    for node in ast.walk(tree):
        if isinstance(node, (*_FUNCTION, ast.Lambda)):
            reader = _Reader(_nothing, str)
            arguments = node.args
            reader.found.order = tuple(each.arg for each in (*arguments.posonlyargs, *arguments.args))
            reader.body(node, outermost=True)
            return reader.found
    raise ValueError("there is no function in it")


class _Reader:
    """Walks code in the order in which it runs."""

    def __init__(self, behind: Callable[[str], Names | None], transform: Callable[[str], str]) -> None:
        self.found = Names()
        self._behind = behind
        self._transform = transform
        self._sure: set[str] = set()
        """Names of the notebook that are bound by now whatever happens."""
        self._scopes: list[set[str]] = []
        """Names that are not the notebook's, innermost last."""
        self._parameters: frozenset[str] = frozenset()
        self._functions = 0
        """How many bodies of functions this is in."""
        self._maybe = 0
        """How many blocks that may not run this is in."""

    # -- names ----------------------------------------------------------------------------------------

    def _is_local(self, name: str) -> bool:
        return any(name in scope for scope in self._scopes)

    def _load(self, name: str) -> None:
        if self._is_local(name):
            return
        if name in _OPEN:
            self.found.is_open = True
        self._need(name)
        behind = self._behind(name)
        if behind is not None:
            for other in behind.reads:
                self._need(other)
            self.found.join_effects(behind)

    def _need(self, name: str) -> None:
        self.found.used.add(name)
        if name not in self._sure:
            self.found.reads.add(name)

    def _store(self, name: str) -> None:
        if self._scopes and name in self._scopes[-1]:
            return
        if self._is_local(name):
            return
        self.found.binds.add(name)
        self.found.deletes.discard(name)
        if not self._functions:
            self._sure.add(name)

    def _unbind(self, name: str) -> None:
        if self._is_local(name):
            return
        self._need(name)
        self.found.deletes.add(name)
        self._sure.discard(name)
        if not self._functions and not self._maybe:
            self.found.binds.discard(name)

    def _change(self, node: ast.AST | None) -> None:
        """Note that something in what *node* names is changed."""
        name = _root(node)
        if name is None:
            return
        if not self._is_local(name):
            self.found.changes.add(name)
        elif name in self._parameters:
            self.found.parameters.add(name)

    # -- walking --------------------------------------------------------------------------------------

    def statements(self, body: Iterable[ast.AST]) -> None:
        """Walk what runs one after the other."""
        for node in body:
            self.visit(node)

    def visit(self, node: ast.AST | None) -> None:
        """Walk a part of the code."""
        if node is None:
            return
        if (magic := call_of_shell(node)) is not None:
            self._shell(*magic)
            return
        own = getattr(self, f"_see_{type(node).__name__.lower()}", None)
        if own is not None:
            own(node)
        elif isinstance(node, _COMPREHENSION):
            self._comprehension(node)
        else:
            self.statements(ast.iter_child_nodes(node))

    def _blocks(self, *blocks: Sequence[ast.AST]) -> None:
        """Walk blocks of which one runs; what all of them bind is bound."""
        before, after = set(self._sure), []
        self._maybe += 1
        for block in blocks:
            self._sure = set(before)
            self.statements(block)
            after.append(self._sure)
        self._maybe -= 1
        self._sure = set.intersection(*after)

    def _see_name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self._load(node.id)
        elif isinstance(node.ctx, ast.Store):
            self._store(node.id)
        else:
            self._unbind(node.id)

    def _see_attribute(self, node: ast.Attribute) -> None:
        if not isinstance(node.ctx, ast.Load):
            self._change(node.value)
        self.visit(node.value)

    def _see_subscript(self, node: ast.Subscript) -> None:
        if not isinstance(node.ctx, ast.Load):
            self._change(node.value)
        self.visit(node.value)
        self.visit(node.slice)

    def _see_assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        self.statements(node.targets)

    def _see_augassign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            self._load(node.target.id)
            self._change(node.target)  # a list grows in place, for whoever else holds it
        self.visit(node.value)
        self.visit(node.target)

    def _see_annassign(self, node: ast.AnnAssign) -> None:
        self.visit(node.annotation)
        if node.value is not None:
            self.visit(node.value)
            self.visit(node.target)

    def _see_namedexpr(self, node: ast.NamedExpr) -> None:
        self.visit(node.value)
        inner, self._scopes = self._scopes, [each for each in self._scopes if not isinstance(each, _Inner)]
        self.visit(node.target)
        self._scopes = inner

    def _see_for(self, node: ast.For | ast.AsyncFor) -> None:
        self.visit(node.iter)
        before = set(self._sure)
        self._maybe += 1
        self.visit(node.target)
        self.statements(node.body)
        self.statements(node.orelse)
        self._maybe -= 1
        self._sure &= before

    _see_asyncfor = _see_for

    def _see_while(self, node: ast.While) -> None:
        self.visit(node.test)
        self._blocks([*node.body, *node.orelse], [])

    def _see_if(self, node: ast.If) -> None:
        self.visit(node.test)
        self._blocks(node.body, node.orelse)

    def _see_try(self, node: ast.Try) -> None:
        handlers = [[each] for each in node.handlers]
        self._blocks([*node.body, *node.orelse], *handlers)
        self.statements(node.finalbody)

    _see_trystar = _see_try

    def _see_excepthandler(self, node: ast.ExceptHandler) -> None:
        self.visit(node.type)
        self._scopes.append({node.name} if node.name else set())
        self.statements(node.body)
        self._scopes.pop()

    def _see_match(self, node: ast.Match) -> None:
        self.visit(node.subject)
        self._blocks(*([each] for each in node.cases), [])

    def _see_matchas(self, node: ast.MatchAs | ast.MatchStar) -> None:
        self.visit(getattr(node, "pattern", None))
        if node.name:
            self._store(node.name)

    _see_matchstar = _see_matchas

    def _see_matchmapping(self, node: ast.MatchMapping) -> None:
        self.statements(ast.iter_child_nodes(node))
        if node.rest:
            self._store(node.rest)

    def _see_import(self, node: ast.Import) -> None:
        for each in node.names:
            self._store(each.asname or each.name.partition(".")[0])

    def _see_importfrom(self, node: ast.ImportFrom) -> None:
        for each in node.names:
            if each.name == "*":
                self.found.is_open = True
            else:
                self._store(each.asname or each.name)

    # -- calls ----------------------------------------------------------------------------------------

    def _see_call(self, node: ast.Call) -> None:
        self.visit(node.func)
        self.statements([*node.args, *node.keywords])
        first = node.args[0] if node.args else None
        if isinstance(node.func, ast.Attribute):
            if node.func.attr in _CHANGE_FIRST_OF_MODULES:
                self._change(first)
            self._method(node)
        elif isinstance(node.func, ast.Name) and not self._is_local(node.func.id):
            if node.func.id in _CHANGE_FIRST:
                self._change(first)
            self._arguments(node, self._behind(node.func.id))

    def _method(self, node: ast.Call) -> None:
        assert isinstance(node.func, ast.Attribute)
        name = _root(node.func.value)
        if name is None:
            return
        in_place = any(each.arg == "inplace" and not _is_false(each.value) for each in node.keywords)
        if self._is_local(name):
            if name in self._parameters and (in_place or node.func.attr not in HARMLESS_METHODS):
                self.found.parameters.add(name)
        else:
            self.found.methods.setdefault(name, set()).add(node.func.attr)
            if in_place:
                self.found.changes.add(name)

    def _arguments(self, node: ast.Call, called: Names | None) -> None:
        """Note which arguments a function of the notebook changes."""
        if called is None or not called.parameters:
            return
        for name, each in zip(called.order, node.args, strict=False):
            if name in called.parameters:
                self._change(each)
        for keyword in node.keywords:
            if keyword.arg in called.parameters:
                self._change(keyword.value)

    def _shell(self, call: str, texts: list[str]) -> None:
        """Walk what the shell is called for."""
        is_magic = call in ("run_line_magic", "run_cell_magic") and texts
        name, *rest = texts if is_magic else ["system", *texts]
        if name == "keep" and len(rest) == 2:  # names, and a cell
            self.statements(ast.parse(self._transform(rest[1])).body)
        elif name in RUN_THEIR_TEXT:
            for number, text in enumerate(rest):
                options = OPTIONS.match(text)
                code = text[0 if options is None else options.end() :]
                if name == "capture" and number == 0 and code.strip().isidentifier():
                    self._store(code.strip())  # where the output goes
                else:
                    self.statements(ast.parse(self._transform(code)).body)
        elif not (name in SEE_THEIR_TEXT and (is_magic or call in ("system", "getoutput"))):
            self.found.is_open = True

    # -- scopes ---------------------------------------------------------------------------------------

    def _see_functiondef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.statements(node.decorator_list)
        self._signature(node.args)
        self.visit(node.returns)
        if node.decorator_list or self._functions:
            self.body(node)
        self._store(node.name)

    _see_asyncfunctiondef = _see_functiondef

    def _see_lambda(self, node: ast.Lambda) -> None:
        self._signature(node.args)
        self.body(node)

    def _signature(self, arguments: ast.arguments) -> None:
        self.statements([*arguments.defaults, *(each for each in arguments.kw_defaults if each is not None)])
        for each in _arguments_of(arguments):
            self.visit(each.annotation)

    def body(
        self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, *, outermost: bool = False
    ) -> None:
        """Walk the body of a function as if it were called."""
        parameters = {each.arg for each in _arguments_of(node.args)}
        statements = [node.body] if isinstance(node, ast.Lambda) else node.body
        before = self._parameters
        if outermost:
            self._parameters = frozenset(parameters)
        else:
            self._parameters -= parameters
        sure = set(self._sure)
        self._functions += 1
        self._scopes.append(parameters | _bound_in(statements))
        self.statements(statements)
        self._scopes.pop()
        self._functions -= 1
        self._sure = sure
        self._parameters = before

    def _see_classdef(self, node: ast.ClassDef) -> None:
        self.statements([*node.decorator_list, *node.bases, *node.keywords])
        self._scopes.append(_bound_in(node.body))
        self.statements(node.body)
        self._scopes.pop()
        self._store(node.name)

    def _comprehension(self, node: ast.AST) -> None:
        generators: list[ast.comprehension] = node.generators  # type: ignore[attr-defined]
        self.visit(generators[0].iter)
        own = _Inner(
            name.id for each in generators for name in ast.walk(each.target) if isinstance(name, ast.Name)
        )
        self._scopes.append(own)
        for number, each in enumerate(generators):
            if number:
                self.visit(each.iter)
            self.visit(each.target)
            self.statements(each.ifs)
        for part in ("key", "value", "elt"):
            self.visit(getattr(node, part, None))
        self._scopes.pop()


class _Inner(set[str]):
    """The scope of a comprehension, out of which ``:=`` binds."""

    __slots__ = ()


def _arguments_of(arguments: ast.arguments) -> list[ast.arg]:
    more = [each for each in (arguments.vararg, arguments.kwarg) if each is not None]
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *more]


def _bound_in(statements: Sequence[ast.AST]) -> set[str]:
    """Give the names that belong to a function or class because its body binds them."""
    found: set[str] = set()
    elsewhere: set[str] = set()
    waiting = list(statements)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            found.add(node.id)
        elif isinstance(node, ast.Global | ast.Nonlocal):
            elsewhere.update(node.names)
        elif isinstance(node, (*_FUNCTION, ast.ClassDef)):
            found.add(node.name)
            continue
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found.update(each.asname or each.name.partition(".")[0] for each in node.names)
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            found.add(node.name)
        elif isinstance(node, ast.MatchMapping) and node.rest:
            found.add(node.rest)
        elif isinstance(node, ast.Lambda):
            continue
        elif isinstance(node, _COMPREHENSION):
            waiting += [each for each in ast.walk(node) if isinstance(each, ast.NamedExpr)]
            continue
        waiting += ast.iter_child_nodes(node)
    return found - elsewhere


def _root(node: ast.AST | None) -> str | None:
    """Give the name of which *node* is an item or attribute, or which it is."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Starred):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def _is_false(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


HARMLESS_METHODS = frozenset({
    "all", "any", "argmax", "argmin", "as_posix", "astype", "capitalize", "casefold", "center", "columns",
    "copy", "corr", "count", "cov", "cumsum", "decode", "describe", "diff", "difference", "dot", "drop",
    "dropna", "dtype", "dtypes", "encode", "endswith", "eq", "equals", "exists", "expanduser", "fillna",
    "filter", "find", "flatten", "format", "get", "get_params", "getvalue", "groupby", "head", "hex",
    "idxmax", "idxmin", "iloc", "index", "info", "intersection", "is_dir", "is_file", "isalpha", "isdigit",
    "isdisjoint", "isin", "isna", "isnull", "isoformat", "issubset", "issuperset", "item", "items",
    "iterrows", "itertuples", "join", "joinpath", "keys", "lower", "lstrip", "map", "max", "mean", "median",
    "melt", "merge", "min", "mode", "name", "nlargest", "notna", "nsmallest", "nunique", "parameters",
    "pivot", "pivot_table", "predict", "predict_log_proba", "predict_proba", "quantile", "query", "ravel",
    "relative_to", "rename", "replace", "reset_index", "resolve", "rfind", "rolling", "round", "rpartition",
    "rsplit", "rstrip", "sample", "score", "select", "set_index", "shape", "sort_index", "sort_values",
    "split", "splitlines", "stack", "startswith", "state_dict", "std", "strftime", "strip", "sum",
    "summary", "swapcase", "symmetric_difference", "tail", "title", "to_csv", "to_dict", "to_dicts",
    "to_frame", "to_json", "to_list", "to_numpy", "to_parquet", "to_string", "tobytes", "tolist",
    "total_seconds", "transform", "translate", "transpose", "union", "unique", "unstack", "upper",
    "value_counts", "values", "var", "with_columns", "with_name", "with_suffix", "zfill",
})  # fmt: skip
"""Methods that change nothing in the types that people use, ``inplace=True`` aside."""
