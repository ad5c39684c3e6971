"""Folders that a notebook writes into, kept beside its variables."""

import os

import pytest

START = "import keepstate, os, pathlib\ns = keepstate.start(store='store', interval=3600)\n"


@pytest.fixture
def script(run_script):
    """Run a script under guard and return the last line that it printed."""
    return lambda code: run_script(code, start=START).stdout.splitlines()[-1]


def test_files_come_back_where_they_are_missing(script, tmp_path):
    """The folder is watched again, so a third session has what the second one wrote; a live file stays."""
    script("""
        name = keepstate.watch('outputs/')
        os.makedirs('outputs/deep')
        pathlib.Path('outputs/deep/a.bin').write_bytes(b'a' * 3_000_000)
        pathlib.Path('outputs/b.txt').write_text('kept')
        assert (name, keepstate.status().tracked) == ('outputs/', ('outputs/',))
    """)
    (tmp_path / "outputs" / "deep" / "a.bin").unlink()
    (tmp_path / "outputs" / "b.txt").write_text("newer")
    shown = script("""
        assert s.restored.restored == ('outputs/',), s.restored
        pathlib.Path('outputs/c.txt').write_text('second')
        print(len(pathlib.Path('outputs/deep/a.bin').read_bytes()), pathlib.Path('outputs/b.txt').read_text())
    """)
    assert shown == "3000000 newer"
    (tmp_path / "outputs" / "c.txt").unlink()
    assert script("print(pathlib.Path('outputs/c.txt').read_text())") == "second"


def test_what_is_no_longer_watched_leaves_the_next_snapshot(script):
    """Older ones keep it, and give it back."""
    shown = script("""
        keepstate.watch('outputs')
        os.makedirs('outputs'); pathlib.Path('outputs/a').write_text('1'); os.utime('outputs/a', (1e9, 1e9))
        x = 1; keepstate.track('x'); keepstate.snapshot()
        keepstate.unwatch('outputs')
        x = 2; newest = keepstate.snapshot()
        os.remove('outputs/a')
        report = keepstate.restore('outputs/', at=keepstate.snapshots()[1])
        print(newest.names, report.restored, pathlib.Path('outputs/a').read_text())
    """)
    assert shown == "('x',) ('outputs/',) 1"


def test_variables_come_back_when_a_folder_cannot(script, tmp_path):
    """A file in the way of the folder costs the folder alone; it is carried on and comes back later."""
    script("""
        keepstate.watch('outputs/'); os.makedirs('outputs'); pathlib.Path('outputs/a').write_text('1')
        x = [1]; keepstate.track(x)
    """)
    os.rename(tmp_path / "outputs", tmp_path / "away")
    (tmp_path / "outputs").write_text("in the way")
    assert script("print(x, list(s.restored.failed)); x.append(2)") == "[1] ['outputs/']"
    (tmp_path / "outputs").unlink()
    assert script("print(x, pathlib.Path('outputs/a').read_text())") == "[1, 2] 1"


def test_a_wrong_folder_is_refused(script):
    """With what to do instead, and nothing is watched."""
    shown = script("""
        for path in ('/', '~', 'script.py', ''):
            try: keepstate.watch(path)
            except keepstate.InvalidInputError as error: assert 'watch' in str(error)
            else: raise SystemExit(path)
        print(keepstate.status().tracked)
    """)
    assert shown == "()"


def test_what_could_not_be_put_back_is_not_replaced_by_watching_again(script, tmp_path):
    """The kept files come back first; then the folder is watched with what is there now."""
    script("""
        keepstate.watch('outputs/'); os.makedirs('outputs'); pathlib.Path('outputs/model').write_text('1')
        x = [1]; keepstate.track(x)
    """)
    os.rename(tmp_path / "outputs", tmp_path / "away")
    (tmp_path / "outputs").write_text("in the way")
    shown = script("""
        os.remove('outputs'); os.makedirs('outputs'); pathlib.Path('outputs/new').write_text('2')
        keepstate.watch('outputs/'); keepstate.snapshot()
        print(sorted(os.listdir('outputs')), s.restored.failed.keys() >= {'outputs/'})
    """)
    assert shown == "['model', 'new'] True"


def test_untracking_is_all_or_nothing(script):
    """A folder is no longer watched only if every name of the call was tracked."""
    shown = script("""
        keepstate.watch('outputs/'); keepstate.watch('./more')
        try: keepstate.untrack('outputs/', 'nope')
        except keepstate.NotFoundError: pass
        before = keepstate.status().tracked
        keepstate.untrack('outputs/'); keepstate.unwatch('./more')
        print(before, keepstate.status().tracked)
    """)
    assert shown == "('more/', 'outputs/') ()"
