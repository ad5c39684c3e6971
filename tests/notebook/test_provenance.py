"""What is recorded of cells, from real kernels to the bytes on the disk."""

import json
import subprocess
import sys

from keepstate._repository import Repository
from keepstate._snapshot import decode_cells


def record(kernel):
    """Give the cells of the newest snapshot, and their bytes."""
    repository = Repository.open(kernel.cwd / "store", create=False)
    manifest = repository.manifests()[0]
    raw = repository.read(manifest.cells, member=manifest.member)
    return decode_cells(raw), raw


def by_line(kernel):
    return {cell.source.partition("\n")[0]: cell for cell in record(kernel)[0]}


def names(cell):
    return cell.reads, cell.binds, cell.changes


def test_each_cell_has_the_names_that_it_used(guarded):
    """Read, bound and changed, by what the objects are; functions of the notebook are looked into."""
    one = guarded(track="all")
    one.run("import pandas as pd\nlimit = 2; rows = [1, 2, 3]; log = []")
    one.run("def small(of):\n    log.append(len(of))\n    return [each for each in of if each <= limit]")
    one.run("chosen = small(rows)")
    one.run("df = pd.DataFrame({'x': chosen})")
    one.run("df['y'] = df.x * 2")
    one.run("top = df.head(1); text = 'a'.join(['b'])")
    one.run("it = iter(rows)")
    one.run("for each in it: break")
    one.run("class Box:\n    def fill(self): self.rows = rows")
    one.run("box = Box()")
    one.run("box.fill()")
    one.run("again = df")
    one.run("again.loc[0, 'x'] = 5")
    one.run("def reset(what): what.clear()")
    one.run("reset(log)")
    one.run("last = 1")
    one.settle()
    cells = by_line(one)
    assert names(cells["chosen = small(rows)"]) == (["limit", "log", "rows", "small"], ["chosen"], ["log"])
    assert names(cells["def small(of):"]) == ([], ["small"], [])
    assert names(cells["df['y'] = df.x * 2"]) == (["df"], [], ["df"])
    assert names(cells["top = df.head(1); text = 'a'.join(['b'])"]) == (["df"], ["text", "top"], [])
    assert names(cells["for each in it: break"]) == (["it"], ["each"], ["it"])
    assert names(cells["box.fill()"]) == (["box", "rows"], [], ["box"])
    assert names(cells["again.loc[0, 'x'] = 5"]) == (["again"], [], ["again", "df"])
    assert names(cells["reset(log)"]) == (["log", "reset"], [], ["log"])


def test_magics_and_shell_lines_are_understood(guarded):
    """As IPython understands them; the record has what the user wrote."""
    one = guarded(track="all")
    one.run("a = 2\nfiles = !ls")
    one.run("%time b = a * 2")
    one.run("%%capture out\nc = a + b")
    one.run("%%keep kept\nkept = a * 2")
    one.run("!echo {a} > out.txt")
    one.run("%run -i nothing.py", ok=False)
    one.run("last = 1")
    one.settle()
    cells = by_line(one)
    assert names(cells["a = 2"])[1] == ["a", "files"]
    assert names(cells["%time b = a * 2"]) == (["a"], ["b"], [])
    assert names(cells["%%keep kept"])[:2] == (["a"], ["kept"])
    assert names(cells["%%capture out"])[:2] == (["a", "b"], ["c", "out"])
    assert not cells["!echo {a} > out.txt"].is_open
    assert cells["%run -i nothing.py"].is_open


def test_how_a_cell_ended_and_when_is_recorded(guarded):
    """An error, a cell that never began, and one that took a while."""
    one = guarded(track="all")
    one.run("x = 1\n1 / 0\ny = 2", ok=False)
    one.run("x = = 1", ok=False)
    one.run("import time; time.sleep(0.2)")
    one.run("last = 1")
    one.settle()
    cells = by_line(one)
    failed = cells["x = 1"]
    assert (failed.ended, failed.binds) == ("error", ["x"])
    assert (cells["x = = 1"].ended, cells["x = = 1"].binds) == ("refused", [])
    slept = cells["import time; time.sleep(0.2)"]
    assert slept.ended == "well"
    assert slept.seconds >= 0.2
    assert slept.began_at.endswith("Z")


def test_a_session_goes_on_with_the_list_of_the_one_before(guarded):
    """Each cell says in which session it ran."""
    first = guarded(track="all")
    first.run("x = 1")
    first.settle()
    first.kill()
    second = guarded()
    second.run("y = x")
    second.settle()
    cells = by_line(second)
    assert cells["x = 1"].session != cells["y = x"].session != ""
    assert len(record(second)[0]) == 4


def test_secrets_are_in_no_byte_of_the_record(guarded):
    """Wherever they stand in a cell; what runs is what the user wrote."""
    one = guarded(track=["n"])
    one.run("password = 'hunter2'; n = len(password)")
    one.run("%env MY_API_KEY=hunter2")
    one.run("!echo hunter2 --password hunter2x > /dev/null", ok=False)
    one.run("url = 'postgresql://ana:hunter2@host/db'; n += 1")
    one.run("broken = = dict(token='hunter2')", ok=False)
    one.run("# api_key = 'hunter2'\nn += 1")
    assert one.run("print(n, password)").text == "9 hunter2\n"
    one.run("n += 1")
    one.settle()
    cells, raw = record(one)
    said = raw.decode().replace("!echo hunter2 --password", "")
    assert "hunter2" not in said
    assert [cell.is_redacted for cell in cells if cell.source.startswith("# api_key")] == [False]
    assert [cell.is_redacted for cell in cells if cell.source.startswith("password")] == [True]


def test_the_code_is_shown_in_the_terminal(guarded):
    """``show ID --cells``, as text and as JSON."""
    one = guarded(track="all")
    one.run("x = 1")
    one.run("y = [x]\ny.append(2)")
    one.run("gen = (z for z in y)")
    one.settle()
    snapshot = one.run("print(keepstate.snapshots()[0].id)").text.strip()

    def show(*options):
        command = [sys.executable, "-m", "keepstate", "show", snapshot, "--store", str(one.cwd / "store")]
        return subprocess.run([*command, *options], capture_output=True, text=True, check=True).stdout

    text = show("--cells")
    assert "reads x → binds y" in text
    assert "    y = [x]\n    y.append(2)\n" in text
    document = json.loads(show("--cells", "--json"))
    cell = next(each for each in document["cells"] if each["source"] == "y = [x]\ny.append(2)")
    assert (cell["reads"], cell["binds"], cell["ended"]) == (["x"], ["y"], "well")
    assert document["lost"]["gen"]["type"] == "generator"
    assert "<generator object <genexpr>>" in " ".join(show().split())
