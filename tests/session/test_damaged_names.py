"""A session whose newest snapshot no longer says which names it has."""

import json

from histories import HISTORY, MEMBER, PROJECT, Shape, make_history

from keepstate._repository import Repository

START = """
    import json
    import keepstate
    session = keepstate.start(store="store", restore="eager", interval=3600, **{whose})
    keepstate.stop(snapshot=False)
    report = session.restored
    kept = report.snapshot and report.snapshot.id
    print(json.dumps([kept, len(report.restored), len(report.failed), report.remarks]))
"""


def spoil(path, head):
    """Flip a bit of the record that says where the names are."""
    reader = Repository.open(path, create=False)._members.reader(MEMBER)
    (home,) = reader._locate(head.apart.contents)
    raw = bytearray(home.path.read_bytes())
    raw[home.entry.offset + 64] ^= 1
    home.path.write_bytes(raw)


def test_an_older_snapshot_is_restored_and_that_is_told(run_script, tmp_path):
    """Of all names, and never a few of the newer ones; if there is no older one, all of them are named."""
    store = tmp_path / "store"
    make_history(store, Shape(snapshots=2, names=250, cells=1, sessions=1, recent=2))
    newer, older = Repository.open(store, create=False).heads()
    code = START.format(whose={"project": PROJECT, "member": MEMBER, "notebook": HISTORY})
    spoil(store, newer)
    kept, restored, failed, remarks = json.loads(run_script(code).stdout.splitlines()[-1])
    assert (kept, restored, failed) == (older.id, 250, 0)
    assert f"Snapshot {newer.id[:10]}" in remarks[0]
    spoil(store, older)
    kept, restored, failed, remarks = json.loads(run_script(code).stdout.splitlines()[-1])
    assert (kept, restored, failed, len(remarks)) == (None, 0, 250, 2)
