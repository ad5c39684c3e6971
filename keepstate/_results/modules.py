"""Where a module comes from: the notebook, files of the user's, or a library; and what of it counts.

Of a library its version counts, of the user's files what is in them. Which of them are loaded does not: a
function may import one only when it runs.
"""

from __future__ import annotations

import ast
import importlib.util
import site
import sys
import sysconfig
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from blake3 import blake3

if TYPE_CHECKING:
    from collections.abc import Iterator

Origin = Literal["notebook", "local", "library"]

_INSTALLED = frozenset({"site-packages", "dist-packages"})
_OURS = "keepstate"
_MADE_BY_LIBRARIES = ("_cython_",)
"""Beginnings of names of modules without a file that stand for no notebook's code: types of Cython."""
MOST_FILES = 2000
"""Of a package that is no library; more is no project of one notebook."""
_ENDINGS = (".py", ".so", ".pyd")
# fmt: off
ALWAYS = (
    "numpy", "pandas", "scipy", "sklearn", "torch", "pyarrow", "polars", "tensorflow", "jax", "xgboost",
    "lightgbm",
)
# fmt: on
"""Libraries whose versions count wherever they are loaded: others use them unseen."""


class TooManyFilesError(Exception):
    """A package of the user's has more files than can be looked at."""


def top_of(name: str) -> str:
    """Give the name of the package that a module is in."""
    return name.partition(".")[0]


def origin_of(name: object) -> Origin:
    """Say where the module of that name comes from."""
    if not isinstance(name, str) or name in ("__main__", "__mp_main__"):
        return "notebook"
    top = top_of(name)
    if top == _OURS or top.startswith(_MADE_BY_LIBRARIES):
        return "library"
    path = _place(top)
    if path is None:
        return "library" if top in sys.stdlib_module_names else "notebook"
    return "library" if _is_installed(path) else "local"


def _place(top: str) -> Path | None:
    """Where the package is; ``None``: built in, made by a program, or not to be found."""
    module = sys.modules.get(top)
    file = getattr(module, "__file__", None)
    if isinstance(file, str):
        return Path(file)
    paths = list(getattr(module, "__path__", ()))
    if paths:
        return Path(str(paths[0]))
    if module is not None:
        return None
    return _to_be_found(top)


def _to_be_found(top: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError, AttributeError):
        return None
    if spec is None:
        return None
    if spec.origin not in (None, "built-in", "frozen"):
        return Path(str(spec.origin))
    return Path(next(iter(spec.submodule_search_locations))) if spec.submodule_search_locations else None


def _is_installed(path: Path) -> bool:
    if _INSTALLED & set(path.parts):
        return True
    return any(path.is_relative_to(folder) for folder in _library_folders())


@lru_cache(maxsize=1)
def _library_folders() -> tuple[Path, ...]:
    named = [sysconfig.get_path(which) for which in ("stdlib", "platstdlib", "purelib", "platlib")]
    folders = [Path(folder) for folder in [*named, site.getusersitepackages()] if folder]
    return tuple(dict.fromkeys([*folders, *(folder.resolve() for folder in folders)]))


def content_of(top: str) -> Iterator[tuple[str, bytes]]:
    """Give name and digest of each file of a package of the user's, and of those that it imports.

    Raises:
        TooManyFilesError: There are too many.
        OSError: One cannot be read.
    """
    done: set[str] = set()
    waiting = [top]
    while waiting:
        name = waiting.pop()
        if name in done:
            continue
        done.add(name)
        place = _place(name)
        if place is None:
            continue
        for path in _files(place, name):
            content = path.read_bytes()
            digest = blake3(content).digest()
            yield f"{name}/{path.relative_to(place.parent)}", digest
            if path.suffix == ".py":
                waiting += [each for each in _imports(digest, content) if origin_of(each) == "local"]


def _files(place: Path, name: str) -> list[Path]:
    if place.is_file() and place.stem != "__init__":
        return [place]
    folder = place if place.is_dir() else place.parent
    found = sorted(path for path in folder.rglob("*") if path.suffix in _ENDINGS and path.is_file())
    if len(found) > MOST_FILES:
        raise TooManyFilesError(f"the package {name} has {len(found)} files and is no installed library")
    return found


_known_imports: dict[bytes, tuple[str, ...]] = {}


def _imports(digest: bytes, content: bytes) -> tuple[str, ...]:
    """Give the packages that a file imports, at its top or anywhere else."""
    known = _known_imports.get(digest)
    if known is None:
        known = _known_imports[digest] = tuple(sorted(set(_imported(content))))
    return known


def _imported(content: bytes) -> Iterator[str]:
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (top_of(alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield top_of(node.module)


# --- versions


def versions_of(names: set[str]) -> dict[str, str]:
    """Give the versions of these libraries, and of those that always count where they are loaded."""
    wanted = names | {name for name in ALWAYS if name in sys.modules}
    found = {name: version_of(name) for name in sorted(wanted) if name not in sys.stdlib_module_names}
    return {name: version for name, version in found.items() if version}


def version_of(name: str) -> str:
    """Give the version of a library, loaded or not; empty where none is known."""
    version = getattr(sys.modules.get(name), "__version__", None)
    if isinstance(version, str):
        return str(version)  # torch has a subclass of str
    try:
        return metadata.version(_distributions().get(name, [name])[0])
    except (metadata.PackageNotFoundError, ValueError):
        return ""


@lru_cache(maxsize=1)
def _distributions() -> dict[str, list[str]]:
    """Give the distributions of each package (0.1 s and more): asked only for one that is not loaded."""
    return dict(metadata.packages_distributions())


def changed_versions(recorded: dict[str, str]) -> str:
    """Say which of the recorded libraries has another version now; empty: none."""
    for name, version in recorded.items():
        now = version_of(name)
        if now != version:
            return f"{name} was {version} and is {now or 'not there'} now"
    return ""
