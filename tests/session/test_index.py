"""What the children that save, one after the other, know of each other's indexes."""

from histories import HISTORY, MEMBER, PROJECT, Shape, make_history

SAVES = """
    import keepstate
    from pathlib import Path
    keepstate.start(store="store", interval=3600, **{whose})
    large, seen = bytearray(5_000_000), set()
    keepstate.track("large")
    for v0000 in range(4):
        keepstate.snapshot()
        seen |= set(Path("store").rglob("*.index"))
    print(len(seen))
"""


def test_an_index_is_not_written_again_by_the_next_save(run_script, tmp_path):
    """Each save is a child that was forked from a session that saw 32 packs before the first of them."""
    make_history(tmp_path / "store", Shape(snapshots=32, names=2, cells=1, sessions=1, recent=32))
    whose = {"project": PROJECT, "member": MEMBER, "notebook": HISTORY}
    out = run_script(SAVES.format(whose=whose)).stdout
    assert out.endswith("\n1\n")
