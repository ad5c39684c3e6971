"""Which names of the notebook a cell can reach by whatever it says or calls, told before it runs.

When in doubt the answer is "all": a name that is wrongly taken to be reached costs a wait, one that is missed
a ``NameError``, or a cell that finds "it is not there" and decides wrongly. Nothing of the user's is run.
"""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from keepstate._notebook.behind import ROADS, Everything, names_behind, refuse_road, words_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SEE_THEIR_TEXT = frozenset({
    "HTML", "SVG", "alias", "autoreload", "bash", "cat", "cd", "colors", "conda", "config", "cp", "dhist",
    "env", "file", "html", "javascript", "js", "la", "latex", "less", "ll", "load_ext", "ls", "mamba",
    "markdown", "matplotlib", "micromamba", "mkdir", "more", "mv", "perl", "pinfo", "pinfo2", "pip", "popd",
    "precision", "pushd", "pwd", "reload_ext", "rm", "rmdir", "ruby", "script", "set_env", "sh", "svg", "sx",
    "system", "tensorboard", "unload_ext", "uv", "writefile", "xmode",
})  # fmt: skip
"""Magics that see no more of the notebook than what their text names (``!echo {df}`` counts as one)."""
RUN_THEIR_TEXT = frozenset({"capture", "prun", "time", "timeit"})
"""Magics whose text is run like a cell."""
OPTIONS = re.compile(r"\s*(?:-{1,2}[\w-]+(?:[ =]?[\d.]+)?(?:\s+|$))*")


def names_reached(
    source: str, namespace: Mapping[str, object], *, transform: Callable[[str], str] = str
) -> frozenset[str] | None:
    """Give the names that *source* can reach; ``None`` for all.

    Args:
        source: Python, magics already turned into calls.
        namespace: The user's globals: what is bound there already is looked into.
        transform: Turns magics into calls; may raise SyntaxError.

    >>> sorted(names_reached("b = f(a).query('x > @limit')", {}))
    ['a', 'f', 'limit', 'x']
    >>> names_reached("exec(text)", {}) is None
    True
    """
    try:
        return names_behind(_Code(transform).names_in(source), namespace)
    except (Everything, SyntaxError, ValueError, RecursionError):
        return None


class _Code:
    """Finds what one cell says."""

    def __init__(self, transform: Callable[[str], str]) -> None:
        self._transform = transform
        self._found: set[str] = set()

    def names_in(self, source: str) -> set[str]:
        waiting: list[ast.AST] = [ast.parse(source)]
        while waiting:
            node = waiting.pop()
            if (magic := call_of_shell(node)) is not None:
                self._run(*magic)
            else:
                self._look_at(node)
                waiting += ast.iter_child_nodes(node)
        return self._found

    def _look_at(self, node: ast.AST) -> None:
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load | ast.Del):
            if node.id in ROADS:
                raise Everything
            refuse_road(node.id)
            self._found.add(node.id)
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            self._found.add(node.target.id)
        elif isinstance(node, ast.Global | ast.Nonlocal):
            self._found.update(node.names)
        elif isinstance(node, ast.Attribute):
            refuse_road(node.attr, owner=node.value.id if isinstance(node.value, ast.Name) else "")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            self._found.update(set(words_of(node.value)) - ROADS)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            modules = (
                [node.module] if isinstance(node, ast.ImportFrom) else [each.name for each in node.names]
            )
            if "__main__" in modules or any(each.name == "*" for each in node.names):
                raise Everything

    def _run(self, call: str, texts: list[str]) -> None:
        """Look at what the shell is called for."""
        is_magic = call in ("run_line_magic", "run_cell_magic") and texts
        name, *rest = texts if is_magic else ["system", *texts]
        if name == "keep" and len(rest) == 2:  # names, and a cell
            self._found.update(words_of(rest[0]))
            self.names_in(self._transform(rest[1]))
        elif name in RUN_THEIR_TEXT:
            for text in rest:
                options = OPTIONS.match(text)
                end = 0 if options is None else options.end()
                self._found.update(words_of(text[:end]))
                self.names_in(self._transform(text[end:]))
        elif name in SEE_THEIR_TEXT and (is_magic or call in ("system", "getoutput")):
            words = {word for text in rest for word in words_of(text)}
            if words & ROADS:  # braces hold code
                raise Everything
            self._found |= words
        else:
            raise Everything


def call_of_shell(node: ast.AST) -> tuple[str, list[str]] | None:
    """Take ``get_ipython().call('text', …)`` apart, which is what magics are turned into."""
    if not (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Call)
        and isinstance(node.func.value.func, ast.Name)
        and node.func.value.func.id == "get_ipython"
        and not node.keywords
    ):
        return None
    texts = [
        each.value for each in node.args if isinstance(each, ast.Constant) and isinstance(each.value, str)
    ]
    return (node.func.attr, texts) if len(texts) == len(node.args) else None
