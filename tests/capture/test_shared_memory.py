"""Memory that a fork does not freeze is copied at the moment of the picture."""

from __future__ import annotations

from keepstate._capture.mappings import Mapping, Mappings

BUFFERS = """
import numpy as np
class Buffers:
    '''Takes the buffers as they come, as the layer above does.'''
    def __init__(self, arrays):
        self.arrays = arrays
    def prepare(self, tools):
        views = [memoryview(a.reshape(-1).view(np.uint8)) for a in self.arrays]
        tools.claim(views)
        self.views = [tools.substitute(view) for view in views]
    def write(self, tools):
        tools.stall_seconds()
        while not os.path.exists("go"):
            time.sleep(0.01)
        def held(view):
            return bool(view) and set(view) == {view[0]} and view[0]
        return json.dumps([[view.nbytes, held(view)] for view in self.views]).encode()
def go():
    open("go", "w").close()
def needs(arrays):
    go()
    try:
        fork.take(Buffers(arrays), reason="").finish()
    except NeedsCopy as error:
        return error.ranges
    finally:
        os.unlink("go")
"""


def test_shared_memory_is_named_and_then_copied(each_python):
    """Mapped files and shared memory hold, in the picture, what they held when it was taken."""
    shown = each_python(
        "from still import *\n"
        + BUFFERS
        + """
from multiprocessing import shared_memory
np.arange(5000, dtype=np.uint8).tofile("data")
mapped = np.memmap("data", mode="r+", shape=(5000,), dtype=np.uint8); mapped[:] = 1
block = shared_memory.SharedMemory(create=True, size=100_000)
shared = np.frombuffer(block.buf, dtype=np.uint8); shared[:] = 1
readonly = np.memmap("data", mode="r", shape=(5000,), dtype=np.uint8)
copied = np.memmap("data", mode="c", shape=(5000,), dtype=np.uint8)
own = np.ones(300_000, dtype=np.uint8)
arrays = [mapped[10:2000], shared, own, mapped[1000:3000], readonly, copied]
ranges = needs(arrays)
taken = fork.take(Buffers(arrays), reason="", copy_ranges=ranges)
mapped[:] = 2; shared[:] = 2; own[:] = 2
go()
result = json.loads(taken.finish())
del shared, arrays
block.close(); block.unlink()
show([len(ranges), result])
""",
        prelude=False,
    )
    assert shown[0] == 4
    assert shown[1] == [[1990, 1], [100_000, 1], [300_000, 1], [2000, 1], [5000, 1], [5000, 1]]


def test_ordinary_memory_needs_no_copy(scenario):
    """Arrays of any size in ordinary memory are frozen by the fork itself."""
    assert scenario(
        "from still import *\n"
        + BUFFERS
        + """
show(needs([np.ones(10, dtype=np.uint8), np.ones(5_000_000, dtype=np.uint8), np.ones(0, dtype=np.uint8)]))
""",
        prelude=False,
    ) is None  # fmt: skip


def test_memory_that_went_away_is_left_out(scenario):
    """Ranges that have been unmapped, or are ordinary memory by now, are not copied and do no harm."""
    assert (
        scenario("""
        import mmap
        from keepstate._capture.copies import Copies
        from keepstate._capture.mappings import range_of
        gone = mmap.mmap(-1, 1 << 20)
        view = memoryview(gone); where = range_of(view); view.release(); gone.close()
        ordinary = bytearray(1 << 20)
        copies = Copies.take([where, range_of(memoryview(ordinary)), (4096, 8192)])
        show(copies.substitute(memoryview(ordinary)) is None)
    """)
        is True
    )


def test_a_truncated_file_is_an_error_and_no_crash(scenario):
    """A mapped file that somebody has made shorter ends the picture with an error, not the kernel."""
    assert "went away" in scenario("""
        import mmap
        from keepstate._capture.copies import Copies
        from keepstate._capture.mappings import range_of
        with open("data", "wb+") as file:
            file.write(bytes(1 << 20)); file.flush()
            mapped = mmap.mmap(file.fileno(), 1 << 20)
            file.truncate(0)
        try:
            Copies.take([range_of(memoryview(mapped))])
        except NotNow as error:
            show(str(error))
    """)


def test_too_much_to_copy_is_refused(scenario):
    """More shared memory than the limit is an error that says what to do."""
    assert "untrack" in scenario("""
        import mmap
        from keepstate._capture.copies import Copies
        from keepstate._capture.mappings import range_of
        shared = mmap.mmap(-1, 1 << 20)
        try:
            Copies.take([range_of(memoryview(shared))], limit_bytes=1000)
        except TooLarge as error:
            show(str(error))
    """)


def test_parts_of_a_range():
    """A range over several mappings is told apart by whether a fork freezes each."""
    table = Mappings([Mapping(0, 10, True), Mapping(10, 20, False), Mapping(30, 40, True)])
    assert table.unfrozen(5, 35) == [(10, 20)]
    assert table.frozen(0, 10)
    assert not table.frozen(5, 15)
    assert not table.frozen(25, 35)
    assert table.unfrozen(20, 30) == []
