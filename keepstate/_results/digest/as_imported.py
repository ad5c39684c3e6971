"""Modules of the user's as they were right after their import.

Code that imports a module when it runs finds in it what its file says, if nobody has changed the one or the
other since. Whether somebody has is told by a digest that is taken when the import ends.
"""

from __future__ import annotations

import sys
import types
from typing import TYPE_CHECKING

from keepstate._capture import import_hook

if TYPE_CHECKING:
    from keepstate._results.code import Facts
    from keepstate._results.digest.digester import Digester

_expected: dict[str, dict[Facts, Digester]] = {}
"""Module → facts of code that will use it, and what to look at it with."""
_known: dict[tuple[str, Facts], tuple[object, bytes]] = {}
"""Module, and facts of code that uses it → the module, and the digest of what that code found in it."""


def expect(digester: Digester, name: str, facts: Facts) -> None:
    """Look at a module when it is imported.

    Args:
        digester: Gives others of its kind.
        name: Of the module.
        facts: Of the code that imports it.
    """
    _expected.setdefault(name, {})[facts] = digester.another()
    import_hook.after_import(_expected, _imported)


def holds(digester: Digester, module: types.ModuleType, facts: Facts) -> bool:
    """Say whether a module, and its file, are as they were when it was imported, as far as was looked."""
    then = _known.get((module.__name__, facts))
    if then is None or then[0] is not module:
        return False
    now = digester.another()
    if _look(now, module, facts) != then[1]:
        return False
    digester.add_from(now)
    return True


def _look(digester: Digester, module: types.ModuleType, facts: Facts) -> bytes:
    return digester.add_module(module, facts)


def _imported(name: str) -> None:
    module = sys.modules.get(name)
    for facts, digester in _expected.pop(name, {}).items():
        try:
            if isinstance(module, types.ModuleType):
                _known[name, facts] = module, _look(digester, module, facts)
        except Exception:  # noqa: BLE001 - an import must not fail; it counts by what it holds then
            continue
