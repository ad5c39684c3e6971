"""Makes the stacks, crosses from each to each other one, and writes ``docs/crossings.md``.

    PYTHONPATH=scripts python -m crossings

Environments go to ``.venv-cross``. A stack whose Python is not on this machine is left out, and named. Ends
with 1 if anything came back wrong.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from crossings.cases import read_cases

ROOT = Path(__file__).parents[2]
INSIDE = Path(__file__).with_name("inside.py")
WIDTH = 110


@dataclass(frozen=True)
class Stack:
    """One Python with libraries."""

    name: str
    python: str
    pins: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """Where its environment is."""
        return ROOT / ".venv-cross" / self.name


STACKS = (
    Stack("py311-np126-pd22", "3.11", ("numpy==1.26.4", "pandas==2.2.3", "pyarrow==17.*")),
    Stack("py311-newest", "3.11", ("numpy", "pandas>=3", "pyarrow")),
    Stack("py312-np20-pd22", "3.12", ("numpy==2.0.*", "pandas==2.2.*", "pyarrow")),
    Stack("py313-newest", "3.13", ("numpy", "pandas>=3", "pyarrow")),
)


def find_python(version: str) -> str | None:
    """Find an interpreter where pyenv keeps them, or on the path."""
    found = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    return str(found[-1]) if found else shutil.which(f"python{version}")


def make(stack: Stack) -> bool:
    """Make the environment of a stack, unless it is there; say whether it is now."""
    mark = stack.folder / ".installed"
    wanted = "\n".join(stack.pins)
    if mark.exists() and mark.read_text() == wanted:
        return True
    python = find_python(stack.python)
    if python is None:
        return False
    print(f"making {stack.folder}", flush=True)
    subprocess.run([python, "-m", "venv", str(stack.folder)], check=True)
    pip = [str(stack.folder / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "-e", str(ROOT), "scikit-learn", *stack.pins], check=True)
    mark.write_text(wanted)
    return True


def run(stack: Stack, what: str, stores: Path, answer: Path) -> dict[str, dict[str, object]]:
    """Run one side of all cases under a stack."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [str(stack.folder / "bin/python"), str(INSIDE), what, str(stores), str(answer)]
    subprocess.run(command, check=True, env=variables)
    found: dict[str, dict[str, object]] = json.loads(answer.read_text())
    return found


def versions(stack: Stack) -> str:
    """Say what a stack is made of."""
    code = (
        "import importlib.metadata as m, platform\n"
        "names = ('numpy', 'pandas', 'pyarrow', 'scipy', 'scikit-learn')\n"
        "libraries = [f'{name} {m.version(name)}' for name in names]\n"
        "print(f'Python {platform.python_version()}', *libraries, sep=', ')"
    )
    done = subprocess.run(
        [str(stack.folder / "bin/python"), "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@dataclass(frozen=True)
class Crossing:
    """What came of one case on its way from one stack to another."""

    kind: str
    source: str
    target: str
    outcome: str
    """``kept``, ``reported`` or ``wrong``."""
    why: str = ""


def judge(kind: str, source: str, target: str, made: dict[str, object], came: dict[str, object]) -> Crossing:
    """Compare what a value was like with what it is like now."""
    if "look" in came:
        if came["look"] == made["look"]:
            return Crossing(kind, source, target, "kept")
        return Crossing(kind, source, target, "wrong", f"it was {made['look']}, and is {came['look']}")
    failed = came.get("failed")
    if isinstance(failed, dict) and "x" in failed:
        return Crossing(kind, source, target, "reported", str(failed["x"]).partition("; no older")[0])
    return Crossing(kind, source, target, "wrong", str(came.get("error", "it did not come back")))


def cross(stacks: list[Stack], folder: Path) -> tuple[list[Crossing], list[str]]:
    """Write under each stack, and read under each; give what came of it, and what could not be made."""
    crossings, unmade = [], []
    for source in stacks:
        made = run(source, "write", folder / source.name, folder / f"{source.name}.json")
        for kind, told in made.items():
            failed = told.get("failed")
            if "error" in told or (isinstance(failed, dict) and "x" in failed):
                unmade.append(f"{kind} under {source.name}: {told.get('error') or failed}")
        for target in stacks:
            answer = folder / f"{source.name}--{target.name}.json"
            came = run(target, "read", folder / source.name, answer)
            crossings += [
                judge(kind, source.name, target.name, told, came.get(kind, {}))
                for kind, told in made.items()
                if f"{kind} under {source.name}" not in {each.partition(":")[0] for each in unmade}
            ]
    return crossings, unmade


def page(stacks: list[Stack], crossings: list[Crossing], unmade: list[str], missing: list[str]) -> str:
    """Write the page."""
    kinds = len(read_cases())
    counts = Counter(each.outcome for each in crossings)
    lines = [
        "# Across versions",
        "",
        f"{kinds} kinds of objects are made and kept under each stack, and restored under each one. They are",
        "the same if an expression that looks at them (`scripts/crossings/cases.txt`) gives the same answer",
        "on both sides: values, dtypes, flags, and what functions and methods return. *Reported* is a name",
        "that `restore` names with the reason, and leaves unbound; the others come back beside it. Written",
        "by `make crossings`.",
        "",
        f"**{counts['kept']} kept, {counts['reported']} reported, {counts['wrong']} wrong.**",
        "",
        "## Stacks",
        "",
        *[f"- `{stack.name}`: {versions(stack)}" for stack in stacks],
        *[f"- not on this machine: {name}" for name in missing],
        "",
        "## Kept / reported / wrong",
        "",
        "| written under | " + " | ".join(f"read under `{stack.name}`" for stack in stacks) + " |",
        "|---|" + "---|" * len(stacks),
    ]
    for source in stacks:
        cells = []
        for target in stacks:
            found = Counter(
                each.outcome for each in crossings if (each.source, each.target) == (source.name, target.name)
            )
            cells.append(f"{found['kept']} / {found['reported']} / {found['wrong']}")
        lines.append(f"| `{source.name}` | " + " | ".join(cells) + " |")
    for outcome in ("wrong", "reported"):
        lines += ["", f"## {outcome.capitalize()}", ""]
        lines += _listed([each for each in crossings if each.outcome == outcome]) or ["Nothing."]
    if unmade:
        lines += ["", "## Not made", "", *[f"- {each}" for each in unmade]]
    lines += ["", "## Kinds", "", *_wrapped(", ".join(f"`{case.kind}`" for case in read_cases()))]
    return "\n".join(lines) + "\n"


def _listed(crossings: list[Crossing]) -> list[str]:
    ways: dict[tuple[str, str], list[str]] = {}
    for each in crossings:
        ways.setdefault((each.kind, each.why), []).append(f"`{each.source}` → `{each.target}`")
    rows = []
    for (kind, why), found in sorted(ways.items()):
        rows.append(f"- `{kind}` ({', '.join(found)}): {_without_paths(why)}")
    return rows


def _without_paths(text: str) -> str:
    return " ".join("…" if str(ROOT) in word else word for word in text.split())


def _wrapped(text: str) -> list[str]:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) > WIDTH:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def main() -> int:
    """Do all of it."""
    stacks, missing = [], []
    for stack in STACKS:
        if make(stack):
            stacks.append(stack)
        else:
            missing.append(f"{stack.name}, for want of Python {stack.python}")
    with tempfile.TemporaryDirectory(prefix="crossings-") as folder:
        crossings, unmade = cross(stacks, Path(folder))
    (ROOT / "docs/crossings.md").write_text(page(stacks, crossings, unmade, missing), encoding="utf-8")
    for each in crossings:
        if each.outcome == "wrong":
            print(f"WRONG {each.kind}: {each.source} → {each.target}: {each.why}")
    counts = Counter(each.outcome for each in crossings)
    print(f"{counts['kept']} kept, {counts['reported']} reported, {counts['wrong']} wrong")
    return 1 if counts["wrong"] or unmade else 0


if __name__ == "__main__":
    sys.exit(main())
