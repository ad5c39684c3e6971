"""What runs in the kernels of the matrix: the new one builds each kind anew, and compares."""

from __future__ import annotations

import json
import traceback


def judge(space, imports, kinds, names, load=None):
    """Compare what is bound in *space* with what is built here.

    Args:
        space: Variables of the notebook.
        imports: Code of the first cell.
        kinds: name → (build, change, same, use).
        names: Which to look at.
        load: Gives another copy of what is kept; without it a change is not looked for.

    Returns:
        name → what is wrong with it, as JSON; empty where nothing is.
    """
    return json.dumps({name: _one(space, imports, *kinds[name], name, load) for name in names})


def read_as_data(space, imports, kinds, names, load, refusal):
    """Load *names* as data alone.

    Args:
        load: Gives another copy of what is kept, and runs no code of anyone's.
        refusal: What it raises if it would have to.

    Returns:
        name → empty, or what is wrong with what was loaded, as JSON; names that are no data are left out.
    """
    found = {}
    for name in names:
        build, change, same, _ = kinds[name]
        try:
            found[name] = load(name)
        except refusal:
            continue
        except BaseException:
            found[name] = traceback.format_exc(limit=-3)
            continue
        equal = _same(found[name], _built(imports, build, change), same, space)
        found[name] = "" if equal else f"read as data it is another: {_told(found[name])}"
    return json.dumps(found)


def _one(space, imports, build, change, same, use, name, load):
    try:
        changed = _built(imports, build, change)
        if not _same(space[name], changed, same, space):
            return f"{same} does not hold: {_told(space[name])}, not {_told(changed['x'])}"
        if load is not None and change and _same(load(name), _built(imports, build, ""), same, space):
            return f"the change cannot be seen: {same} holds without it, too"
        if load is not None and use:
            again = _built(imports, build, change)
            exec(use, {**again, "x": load(name), "y": again["x"], "main": space})
    except BaseException:
        return traceback.format_exc(limit=-3)
    return ""


def _built(imports, build, change):
    space = {"__name__": "__main__", "__builtins__": __builtins__}
    for code in (imports, build, change):
        exec(code, space)
    return space


def _same(found, built, same, space):
    return eval(same, {**built, "x": found, "y": built["x"], "main": space})


def _told(thing):
    try:
        return repr(thing)[:200]
    except Exception as error:
        return f"(its repr raises {error!r})"
