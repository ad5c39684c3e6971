"""Do something right after a library is first imported, and be invisible otherwise.

A finder at the head of ``sys.meta_path`` lets the others find the module, and follows the end of its
``exec_module``. The module keeps its own loader and spec. It goes once nothing is waited for.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType


class _Finder:
    """Finds nothing itself."""

    def __init__(self) -> None:
        self.wanted: dict[str, list[Callable[[str], None]]] = {}

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Let the other finders find *name*, and follow its loading if it is wanted."""
        if name not in self.wanted:
            return None
        for finder in list(sys.meta_path):
            find = None if finder is self else getattr(finder, "find_spec", None)
            spec: ModuleSpec | None = None if find is None else find(name, path, target)
            if spec is not None:
                self._follow(spec)
                return spec
        return None

    def _follow(self, spec: ModuleSpec) -> None:
        loader = spec.loader
        load = getattr(loader, "exec_module", None)
        # One that several modules share may be followed already, by somebody who only asked where one is.
        if load is None or "exec_module" in getattr(loader, "__dict__", {}):
            return

        def exec_module(module: ModuleType) -> None:
            del loader.exec_module  # type: ignore[union-attr]  # the class has one
            load(module)
            if module.__name__ in self.wanted:
                self._loaded(module.__name__)

        try:
            loader.exec_module = exec_module  # type: ignore[method-assign,union-attr]
        except AttributeError:
            pass  # a loader without attributes of its own: the state stays pending and is carried on

    def _loaded(self, name: str) -> None:
        calls = self.wanted.pop(name, [])
        if not self.wanted:
            _remove()
        for call in calls:
            call(name)


_finder = _Finder()


def after_import(names: Iterable[str], call: Callable[[str], None]) -> None:
    """Call *call* with each of *names* right after its import; replaces what was asked of *call* before."""
    wanted = {name: [each for each in calls if each != call] for name, calls in _finder.wanted.items()}
    for name in names:
        wanted.setdefault(name, []).append(call)
    _finder.wanted = {name: calls for name, calls in wanted.items() if calls}
    _remove()
    if _finder.wanted:
        sys.meta_path.insert(0, _finder)


def _remove() -> None:
    if _finder in sys.meta_path:
        sys.meta_path.remove(_finder)
