"""The kernel's record of written pages: what it sees, what it forgets, and that nobody else feels it."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import socket
import sys
import tempfile
from contextlib import closing

import numpy as np
import pytest
from forbidden_calls import FORBID

from keepstate._capture.dirty_pages import DirtyPages, hindrance, unit_bytes, written_by_others

HINDRANCE = hindrance()
pytestmark = pytest.mark.skipif(HINDRANCE is not None, reason=f"the kernel does not offer it: {HINDRANCE}")

PAGE = mmap.PAGESIZE
PAGES = 40
MADV_FREE, MADV_COLD, MADV_PAGEOUT, MADV_POPULATE_WRITE = 8, 20, 21, 23
PROT_NONE, PROT_READ, PROT_BOTH = 0, 1, 3
ANONYMOUS_HERE = 0x32
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = libc.mremap.restype = ctypes.c_void_p


class Watched:
    """Some pages of one mapping, all of them protected."""

    def __init__(self, pages: int = PAGES) -> None:
        self.memory = mmap.mmap(-1, pages * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.memory.madvise(mmap.MADV_NOHUGEPAGE)
        self.values = np.frombuffer(self.memory, np.uint8)
        self.values[:] = 1
        self.start = self.values.ctypes.data
        self.end = self.start + pages * PAGE
        self.record = DirtyPages.open()
        self.record.watch(self.start, self.end)
        self.record.protect(self.start, self.end)

    def page(self, first: int, last: int | None = None) -> memoryview:
        return memoryview(self.values)[first * PAGE : ((first if last is None else last) + 1) * PAGE]

    def address(self, page: int) -> ctypes.c_void_p:
        return ctypes.c_void_p(self.start + page * PAGE)

    def lost(self) -> list[int]:
        """The pages that nothing is known of any more."""
        found = self.record.unwritten([(self.start, self.end)])
        known = {
            page
            for start, end in found
            for page in range((start - self.start) // PAGE, (end - self.start) // PAGE)
        }
        return sorted(set(range((self.end - self.start) // PAGE)) - known)

    def close(self) -> None:
        self.record.close()


@pytest.fixture
def watched():
    with closing(Watched()) as watched:
        yield watched


def by_numpy(watched):
    watched.values[3 * PAGE + 5] = 2
    return [3]


def by_slice(watched):
    watched.page(4, 5)[:] = b"z" * (2 * PAGE)
    return [4, 5]


def with_what_was_there(watched):
    watched.values[6 * PAGE] = 1
    return [6]


def by_c(watched):
    ctypes.memset(watched.address(7), 3, PAGE + 1)
    return [7, 8]


def by_read(watched):
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(b"r" * 3 * PAGE)
        file.seek(0)
        file.readinto(watched.page(9, 10))
        os.preadv(file.fileno(), [watched.page(11)[:10]], 4)
    return [9, 10, 11]


def by_socket(watched):
    one, other = socket.socketpair()
    with one, other:
        one.send(b"s" * 100)
        other.recv_into(watched.page(12))
    return [12]


def by_direct_read(watched):
    with tempfile.NamedTemporaryFile(dir="/var/tmp") as file:
        file.write(b"d" * 2 * PAGE)
        file.flush()
        try:
            descriptor = os.open(file.name, os.O_RDONLY | os.O_DIRECT)
        except OSError:
            pytest.skip("this file system knows no direct input")
        os.preadv(descriptor, [watched.page(13, 14)], 0)
        os.close(descriptor)
    return [13, 14]


def through_proc(watched):
    with open("/proc/self/mem", "r+b", buffering=0) as memory:
        memory.seek(watched.start + 15 * PAGE)
        memory.write(b"m")
    return [15]


def by_dropping(watched):
    watched.memory.madvise(mmap.MADV_DONTNEED, 16 * PAGE, 2 * PAGE)
    assert watched.values[17 * PAGE] == 0  # zeros, and present again
    return [16, 17]


def by_populating(watched):
    if libc.madvise(watched.address(18), PAGE, MADV_POPULATE_WRITE):
        pytest.skip("this kernel does not populate")
    return [18]


def by_mapping_anew(watched):
    assert libc.mmap(watched.address(19), PAGE, PROT_BOTH, ANONYMOUS_HERE, -1, ctypes.c_long(0))
    watched.values[19 * PAGE] = 1
    return [19]


def by_unmapping(watched):
    libc.munmap(watched.address(20), PAGE)
    lost = watched.lost()
    libc.mmap(watched.address(20), PAGE, PROT_BOTH, ANONYMOUS_HERE, -1, ctypes.c_long(0))
    return lost


def by_moving(watched):
    """A page that comes from elsewhere in the same mapping brings its mark, and must not pass with it."""
    moved = libc.mremap(watched.address(21), PAGE, PAGE, 1 | 2, watched.address(22))
    assert moved == watched.address(22).value
    libc.mmap(watched.address(21), PAGE, PROT_BOTH, ANONYMOUS_HERE, -1, ctypes.c_long(0))
    return [21, 22]


def after_forbidding(watched):
    libc.mprotect(watched.address(23), 2 * PAGE, PROT_NONE)
    libc.mprotect(watched.address(23), 2 * PAGE, PROT_READ)
    libc.mprotect(watched.address(23), 2 * PAGE, PROT_BOTH)
    watched.values[24 * PAGE] = 9
    return [24]


def by_locking(watched):
    """Nothing is written, but the kernel makes the pages ready for it."""
    libc.mlock(watched.address(25), 2 * PAGE)
    libc.munlock(watched.address(25), 2 * PAGE)
    return [25, 26]


WRITES = [
    by_numpy, by_slice, with_what_was_there, by_c, by_read, by_socket, by_direct_read, through_proc,
    by_dropping, by_populating, by_mapping_anew, by_unmapping, by_moving, after_forbidding,
    by_locking,
]  # fmt: skip


@pytest.mark.parametrize("write", WRITES, ids=lambda write: write.__name__)
def test_no_change_goes_unseen(watched, write):
    """Whatever became of a page, it is known of no more; all others are."""
    assert watched.lost() == []
    expected = write(watched)
    assert expected
    assert watched.lost() == expected
    assert watched.lost() == expected  # asking changes nothing


def by_reading(watched):
    int(watched.values.sum())


def by_writing_it_out(watched):
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(watched.page(0, 9))


def by_advice(watched):
    for advice in (mmap.MADV_WILLNEED, mmap.MADV_SEQUENTIAL, MADV_COLD):
        libc.madvise(watched.address(0), 5 * PAGE, advice)


@pytest.mark.parametrize("use", [by_reading, by_writing_it_out, by_advice], ids=lambda use: use.__name__)
def test_what_does_not_write_costs_nothing(watched, use):
    """Reading, writing out and advice leave the marks where they are."""
    use(watched)
    assert watched.lost() == []


def test_freed_lazily(watched):
    """What the kernel may take away counts for as long as it is there; what is written to it is seen."""
    if libc.madvise(watched.address(2), 4 * PAGE, MADV_FREE):
        pytest.skip("this kernel does not free lazily")
    libc.madvise(watched.address(2), 4 * PAGE, MADV_PAGEOUT)  # take it away now, if it can
    gone = [page for page in range(2, 6) if watched.values[page * PAGE] == 0]
    watched.values[3 * PAGE] = 7
    assert set(watched.lost()) == {*gone, 3}


def test_no_memory_is_marked_but_what_is_asked(watched):
    """What was not protected is not known of; nor is what was unprotected."""
    watched.record.unprotect([(watched.start + 5 * PAGE, watched.start + 8 * PAGE)])
    assert watched.lost() == [5, 6, 7]
    watched.values[6 * PAGE] = 5
    watched.record.protect(watched.start + 5 * PAGE, watched.start + 8 * PAGE)
    assert watched.lost() == []


def test_untouched_memory_is_unknown():
    """Memory that was never written to has no pages that could bear a mark."""
    memory = mmap.mmap(-1, 8 * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    memory[2 * PAGE] = 1
    with closing(DirtyPages.open()) as record:
        place = (start, start + 8 * PAGE)
        record.watch(*place)
        record.protect(*place)
        there = (start + 2 * PAGE, start + 3 * PAGE)
        assert record.present([place]) == (there,)
        assert record.unwritten([place]) == (there,)


def test_huge_pages():
    """One byte in a huge page makes one small page written; the rest is known."""
    unit = unit_bytes()
    memory = mmap.mmap(-1, 3 * unit, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_HUGEPAGE)
    values = np.frombuffer(memory, np.uint8)
    values[:] = 1
    start = -(-values.ctypes.data // unit) * unit
    with closing(DirtyPages.open()) as record:
        record.watch(start, start + 2 * unit)
        record.protect(start, start + 2 * unit)
        assert record.unwritten([(start, start + 2 * unit)]) == ((start, start + 2 * unit),)
        at = start + unit // 2 // PAGE * PAGE
        values[at - values.ctypes.data] = 2
        assert record.unwritten([(start, start + 2 * unit)]) == ((start, at), (at + PAGE, start + 2 * unit))


def test_many_written_pages_are_told(watched):
    """More runs than one answer of the kernel holds are told all the same."""
    with closing(Watched(3000)) as many:
        many.values[:: 2 * PAGE] = 3
        assert many.lost() == list(range(0, 3000, 2))


def test_closing_ends_it(watched):
    """Once closed, nothing is marked and no descriptor is left."""
    names = DirtyPages.descriptors()
    assert len(names) == 2
    watched.record.close()
    assert watched.lost() == list(range(PAGES))
    assert DirtyPages.descriptors() == frozenset()
    assert not any(os.path.exists(f"/proc/self/fd/{name}") for name in names)


def test_only_one_may_watch(watched):
    """Memory that somebody else watches is refused, and theirs goes on."""
    with closing(DirtyPages.open()) as other, pytest.raises(OSError, match="busy"):
        other.watch(watched.start, watched.end)
    assert watched.lost() == []


def test_a_copy_asks_for_its_parent(scenario):
    """A child asks about the memory of its parent, after the fork; of a dead parent it learns nothing."""
    assert scenario("""
        import mmap, numpy as np
        from keepstate._capture.dirty_pages import DirtyPages
        values = np.frombuffer(mmap.mmap(-1, 1 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), np.uint8)
        values[:] = 1
        start = values.ctypes.data
        place = (start, start + (1 << 20))
        record = DirtyPages.open()
        record.watch(*place)
        record.protect(*place)
        class Ask:
            def prepare(self, tools):
                values[5000] = 9                       # its own memory, not that of the parent
                self.first = record.unwritten([place])
                asked.set()
            def write(self, tools):
                written.wait()
                return json.dumps([self.first == (place,), record.unwritten([place])]).encode()
        class Own:
            def prepare(self, tools):
                own = DirtyPages.open()
                self.mine = own.unwritten([place])     # no marks are inherited
            def write(self, tools):
                return json.dumps(self.mine).encode()
        import multiprocessing
        asked, written = multiprocessing.Event(), multiprocessing.Event()
        taken = fork.take(Ask(), reason="")
        asked.wait()
        values[100_000] = 2
        written.set()
        same, left = json.loads(taken.finish())
        page = 100_000 // 4096 * 4096 + start
        show([same, left == [[start, page], [page + 4096, place[1]]],
              json.loads(fork.take(Own(), reason="").finish())])
    """) == [True, True, []]


def test_of_a_dead_process_nothing_is_known(scenario):
    """A parent that is gone has no memory, which must not pass for memory that nobody has written to."""
    assert scenario("""
        import mmap, numpy as np
        from keepstate._capture.dirty_pages import DirtyPages
        values = np.frombuffer(mmap.mmap(-1, 1 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), np.uint8)
        values[:] = 1
        place = (values.ctypes.data, values.ctypes.data + (1 << 20))
        back, out = os.pipe()
        middle = os.fork()
        if not middle:
            record = DirtyPages.open()
            record.watch(*place)
            record.protect(*place)
            alive = record.unwritten([place]) == (place,)
            gone, kept = os.pipe()
            if not os.fork():
                os.close(kept)
                os.read(gone, 1)                       # until the parent is dead
                os.write(out, json.dumps([alive, record.unwritten([place])]).encode())
            os._exit(0)
        os.waitpid(middle, 0)
        show(json.loads(os.read(back, 1000)))
    """) == [True, []]


def test_a_child_of_the_user_is_not_watched(scenario):
    """It inherits no marks, pays for none, and what it writes is not written here."""
    assert scenario("""
        import mmap, numpy as np
        from keepstate._capture.dirty_pages import DirtyPages
        values = np.frombuffer(mmap.mmap(-1, 1 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), np.uint8)
        values[:] = 1
        place = (values.ctypes.data, values.ctypes.data + (1 << 20))
        record = DirtyPages.open()
        record.watch(*place)
        record.protect(*place)
        child = os.fork()
        if not child:
            values[:] = 2
            record.close()                             # not its own to close
            os._exit(0 if os.path.exists(f"/proc/self/fd/{record._faults}") else 1)
        code = os.waitpid(child, 0)[1]
        before = record.unwritten([place]) == (place,)
        child = os.fork()
        if not child:
            time.sleep(100)
        values[9000] = 3                               # while the child lives: both kinds of mark at once
        left = record.unwritten([place])
        os.kill(child, 9); os.waitpid(child, 0)
        show([code, before, len(left), left[0][1] - place[0], values[9000].item()])
    """) == [0, True, 2, 8192, 3]


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or os.getuid() != 0, reason="only root can become another"
)
def test_it_works_without_rights(scenario):
    """An ordinary user is allowed it, and what the kernel itself writes for them is seen."""
    assert scenario("""
        import ctypes, mmap, numpy as np
        from keepstate._capture.dirty_pages import DirtyPages
        os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
        ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)         # as if it had been started so
        values = np.frombuffer(mmap.mmap(-1, 1 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), np.uint8)
        values[:] = 1
        place = (values.ctypes.data, values.ctypes.data + (1 << 20))
        record = DirtyPages.open()
        record.watch(*place)
        record.protect(*place)
        with open("/dev/zero", "rb", buffering=0) as zeros:
            zeros.readinto(memoryview(values)[4096:8192])
        left = record.unwritten([place])
        show([os.getuid(), [end - start for start, end in left]])
    """) == [65534, [4096, (1 << 20) - 8192]]


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOSYS])
def test_where_it_is_forbidden(scenario, code):
    """Containers forbid the call and old kernels lack it: that is a reason, and nothing else happens."""
    shown = scenario(
        FORBID
        + f"""
from keepstate._capture.dirty_pages import hindrance
forbid({code})
before = len(os.listdir("/proc/self/fd"))
show([hindrance(), hindrance(), len(os.listdir("/proc/self/fd")) - before])
"""
    )
    assert shown == [os.strerror(code), os.strerror(code), 0]


def test_where_asking_is_deadly(scenario):
    """Some sandboxes kill whoever makes a call that they do not know: that must not be this process."""
    shown = scenario(
        FORBID
        + """
from keepstate._capture.dirty_pages import hindrance
forbid(0, action=KILL)
show(hindrance())
"""
    )
    assert "kills" in shown


def test_in_a_sandbox_that_allows_it(scenario):
    """A sandbox alone is no reason to go without."""
    shown = scenario(
        FORBID
        + """
from keepstate._capture.dirty_pages import hindrance
forbid(1, number=9999)
show(hindrance())
"""
    )
    assert shown is None


def test_no_descriptor_left(scenario):
    """A process without descriptors to spare goes without, and loses none to it."""
    assert scenario("""
        import resource
        from keepstate._capture.dirty_pages import DirtyPages, hindrance
        used = len(os.listdir("/proc/self/fd")) - 1
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 1, used + 100))
        why = hindrance()
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 100, used + 100))
        show([why, len(DirtyPages.descriptors()), len(os.listdir("/proc/self/fd")) - 1 - used])
    """) == [os.strerror(24), 0, 0]


def test_pinned_memory_is_named(scenario):
    """The kernel reads files into buffers that were given to io_uring without asking the page tables."""
    shown = scenario("""
        import ctypes, mmap
        from keepstate._capture.dirty_pages import written_by_others
        libc = ctypes.CDLL(None, use_errno=True)
        before = written_by_others(os.getpid())
        parameters = ctypes.create_string_buffer(120)
        ring = libc.syscall(425, 4, parameters)
        memory = mmap.mmap(-1, 1 << 16, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        vector = (ctypes.c_uint64 * 2)(ctypes.addressof(ctypes.c_char.from_buffer(memory)), 1 << 16)
        given = ring >= 0 and libc.syscall(427, ring, 0, vector, 1) == 0
        show([before, given, written_by_others(os.getpid())])
    """)
    before, given, after = shown
    assert before is None
    if not given:
        pytest.skip("io_uring is not to be had here")
    assert "pinned" in after


def test_an_ended_process_is_not_trusted():
    """What cannot be looked at may be anything."""
    assert written_by_others(2**22 + 1) is not None
