"""What is recorded of objects that cannot be kept, whatever they do when they are asked."""

import pytest

CLASS = """
import os, sys, threading, time
class Odd:
    def __init__(self): self.lock, self.live = threading.Lock(), (x for x in 'ab')
    def __repr__(self): {}
"""


def lost_of(kernel, name):
    from keepstate._repository import Repository

    return Repository.open(kernel.cwd / "store", create=False).manifests()[0].lost[name]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("return 'plain'", "plain"),
        ("return 'x' * 100_000", "x" * 299 + "…"),
        ("raise RuntimeError('no')", ""),
        ("raise SystemExit", ""),
        ("return self", ""),
        ("print('printed', flush=True); return 'quiet'", "quiet"),
        ("time.sleep(60); return 'late'", ""),
        ("self.lock.acquire(); self.lock.acquire()", ""),
        ("os._exit(1)", ""),
        ("os.kill(os.getpid(), 11)", ""),
        ("return repr(self)", ""),
        ("return 'ghp_' + 'a' * 36", "<secret>"),
        ("return '\\ud800'", "?"),
        ("return '\\x1b[2Jgone'", "?[2Jgone"),
        ("os.fork(); return 'two'", "two"),
    ],
)
def test_a_hostile_repr_costs_nothing_but_itself(guarded, body, expected):
    """The snapshot is whole, another lost object is told, and the kernel has seen and said nothing."""
    one = guarded(capture="fork")
    one.run(CLASS.format(body))
    said = one.run(
        "odd = Odd(); kept = [1]; zoo = (x for x in 'ab'); keepstate.track('odd', 'kept', 'zoo')"
    ).text
    taken = one.run("snap = keepstate.snapshot(); print(snap.names, sorted(snap.skipped))").text
    assert taken == "('kept',) ['odd', 'zoo']\n"
    assert "printed" not in said
    lost = lost_of(one, "odd")
    assert (lost.type, lost.repr) == ("__main__.Odd", expected)
    assert lost.line.startswith("odd = Odd()")
    assert lost_of(one, "zoo").repr.startswith("<generator object <genexpr>>")


def test_a_repr_is_asked_for_once(guarded, tmp_path):
    """A later snapshot of the same object takes it over."""
    one = guarded(capture="fork")
    one.run(CLASS.format("open('asked', 'a').write('x'); return 'plain'"))
    one.run("odd = Odd(); n = 0; keepstate.track('odd', 'n')")
    for _ in range(3):
        one.run("n += 1; s.snapshot()")
    assert (tmp_path / "asked").read_text() == "x"
    assert lost_of(one, "odd").repr == "plain"
    one.run("odd = Odd(); n += 1")
    one.run("s.snapshot()")
    assert (tmp_path / "asked").read_text() == "xx"


def test_the_users_own_process_is_never_asked(guarded, tmp_path):
    """Where pictures are copies, the type alone is told."""
    one = guarded(capture="stage")
    one.run(CLASS.format("open('asked', 'a').write('x'); return 'plain'"))
    one.run("odd = Odd(); zoo = (x for x in 'ab'); n = 0; keepstate.track('odd', 'zoo', 'n')")
    one.settle()
    assert not (tmp_path / "asked").exists()
    assert lost_of(one, "odd").type == "__main__.Odd"
    assert lost_of(one, "zoo").repr.startswith("<generator object <genexpr>>")


def test_shape_and_length_are_told(guarded):
    """Where they are cheap."""
    one = guarded(capture="fork")
    one.run(CLASS.format("return 'plain'") + "    def __len__(self): return 12")
    one.run("import numpy as np\nclass Shaped(Odd):\n    shape = (3, 4)")
    one.run("odd, shaped, n = Odd(), Shaped(), 1; keepstate.track('odd', 'shaped', 'n')")
    one.settle()
    assert (lost_of(one, "odd").shape, lost_of(one, "shaped").shape) == ("12 items", "(3, 4)")


def test_secrets_are_not_shown(guarded):
    """Neither by their values nor by their names."""
    one = guarded(track="all", capture="fork")
    one.run("password = 'hunter2'; auth_token = (x for x in 'ab'); n = 1")
    one.settle()
    assert lost_of(one, "password").repr == ""
    assert lost_of(one, "auth_token").repr == ""
    assert lost_of(one, "auth_token").type == "generator"
