"""What is kept: runs every kind of object in tests/kinds in real kernels, and writes docs/coverage.md.

``python scripts/coverage.py STACK [FILE …]`` measures under the name of a set of library versions, all files
or some, and leaves the other results of docs/coverage.json as they are; without arguments it writes the page.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from kinds import campaign, kind  # noqa: E402 - found by the line above

from keepstate._base.clock import SYSTEM_CLOCK  # noqa: E402

RAW = ROOT / "docs" / "coverage.json"
PAGE = ROOT / "docs" / "coverage.md"
OUTCOMES = ("kept", "rebuilt", "reported", "wrong")
DATA = "kept as data"
"""An outcome of those that are kept."""
HEAD = """# What is kept

Written by `make coverage` from tests/kinds. Each kind of object is made in a notebook, kept, changed, kept
again; the kernel is killed with `kill -9`, a new one restores it, makes the same object anew and compares
the two by the library's own equality, and checks that the change was seen, that what was shared still is,
and that the object is of use. *Kept*: all of that holds. *As data*: `load(name, data_only=True)`,
which runs nobody's code, gives it too. *Rebuilt*: it cannot be kept, and
`keepstate.rebuild()` makes it again from the recorded cells. *Reported*: the name is left unbound, with the
reason shown here. *Wrong*: anything else.
"""


def measure(stack, files):
    """Run the kinds of these files, and remember what came of them."""
    found = json.loads(RAW.read_text()) if RAW.exists() else {}
    mine = found.setdefault(stack, {})
    for name, library in kind.every().items():
        if files and name not in files:
            continue
        if library.missing():
            mine[name] = {"library": library.name, "skipped": library.missing()}
            continue
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
            results = campaign.run(library, Path(place))
        mine[name] = {
            "library": library.name,
            "versions": _versions(library),
            "kinds": {
                one.kind.name: [DATA if one.is_data else one.outcome, _told(one.detail, place)]
                for one in results
            },
        }
        print(name, {one.kind.name: one.detail for one in results if not one.as_expected} or "as expected")
    found[stack]["_"] = {"python": platform.python_version(), "date": f"{SYSTEM_CLOCK.utc_now():%Y-%m-%d}"}
    RAW.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")


def _versions(library):
    modules = ("numpy", *library.needs) if library.needs else library.needs
    distributions = importlib.metadata.packages_distributions()
    names = {name for module in modules for name in distributions.get(module, [])[:1]}
    return {name: importlib.metadata.version(name) for name in sorted(names)}


def _told(detail, place):
    last = detail.strip().splitlines()[-1] if detail.strip() else ""
    return last.replace(place, "…")[:200]


def page(found):
    """Write the page from what was measured."""
    columns = ("kept", "of these as data", *OUTCOMES[1:])
    lines = [HEAD, "| stack | Python | measured | kinds | " + " | ".join(columns) + " | skipped files |"]
    lines.append("|" + "---|" * (len(columns) + 5))
    for stack, files in found.items():
        counts = dict.fromkeys(("kept", DATA, *OUTCOMES[1:]), 0)
        for each in files.values():
            for outcome, _ in each.get("kinds", {}).values():
                counts[outcome] += 1
        kinds = sum(counts.values())
        counts["kept"] += counts[DATA]
        skipped = [f"{each['library']} ({each['skipped']})" for each in files.values() if "skipped" in each]
        about = files["_"]
        row = [
            stack,
            about["python"],
            about["date"],
            kinds,
            *counts.values(),
            "; ".join(skipped),
        ]
        lines.append("| " + " | ".join(map(str, row)) + " |")
    stacks = list(found)
    for name in sorted({name for files in found.values() for name in files} - {"_"}):
        lines += _table(name, stacks, found)
    PAGE.write_text("\n".join(lines) + "\n")


def _table(name, stacks, found):
    here = {stack: found[stack][name] for stack in stacks if "kinds" in found[stack].get(name, {})}
    if not here:
        return []
    title = next(iter(here.values()))["library"]
    versions = {
        stack: ", ".join(f"{package} {version}" for package, version in each["versions"].items())
        for stack, each in here.items()
    }
    lines = ["", f"## {title[0].upper()}{title[1:]}", ""]
    lines += [f"*{stack}*: {text}  " for stack, text in versions.items() if text]
    lines += ["", "| kind | " + " | ".join(here) + " | why not |", "|" + "---|" * (len(here) + 2)]
    for one in dict.fromkeys(kind_ for each in here.values() for kind_ in each["kinds"]):
        results = [each["kinds"].get(one, ["—", ""]) for each in here.values()]
        why = next((detail for _, detail in results if detail), "").replace("|", "\\|").replace("<", "&lt;")
        lines.append("| " + " | ".join([one, *(outcome for outcome, _ in results), why]) + " |")
    return lines


if __name__ == "__main__":
    os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"  # what older kernels would say about it
    if len(sys.argv) > 1:
        measure(sys.argv[1], sys.argv[2:])
    page(json.loads(RAW.read_text()))
