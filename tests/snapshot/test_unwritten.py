"""Pictures that know memory without reading it: when they do, and that it never shows anything stale."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from keepstate._capture import hindrance

HERE = Path(__file__).parent
HINDRANCE = hindrance()
pytestmark = pytest.mark.skipif(HINDRANCE is not None, reason=f"the kernel does not offer it: {HINDRANCE}")

PRELUDE = """
from unwritten_world import *
pictures = Pictures()
def show(value):
    print("RESULT " + json.dumps(value))
def calm(memories, **options):
    for _ in range(unwritten.PATIENCE + 3):
        told = pictures.take(memories, **options)
    return told
"""


def run(*arguments, script=None):
    """Run the world, or *script* beside it, in a process of its own; return what it showed."""
    command = [sys.executable, str(HERE / "unwritten_world.py"), *map(str, arguments)]
    if script is not None:
        command = [sys.executable, "-c", PRELUDE + textwrap.dedent(script)]
    path = os.pathsep.join(map(str, (HERE.parents[1], HERE)))
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return json.loads(done.stdout.partition("RESULT ")[2])


@pytest.mark.slow
def test_no_way_of_writing_goes_unseen():
    """Buffers of every kind change in every way; what is not hashed is what hashing would have found."""
    shown = run(1, 80)
    assert isinstance(shown, dict), shown
    assert shown["reused"] > 500


@pytest.mark.torture
@pytest.mark.parametrize("seed", range(10, 30))
def test_no_way_of_writing_goes_unseen_for_long(seed):
    """The same, over and over."""
    shown = run(seed, int(os.environ.get("KEEPSTATE_TORTURE_CELLS", "600")))
    assert isinstance(shown, dict), shown


def test_what_stays_as_it_is_is_hashed_no_more():
    """After some pictures all is known but the pieces at the edges, and one in so many as a proof."""
    first, last = run(
        script="""
        values = numpy_array(32 * MiB)
        first = pictures.take([memoryview(values)])
        told = calm([memoryview(values)])
        show([[first.reused, len(first.knowledge.protected)], [told.reused, told.wrong]])
        """
    )
    assert first == [0, 0]
    assert 26 <= last[0] <= 32
    assert last[1] == 0


def test_memory_that_is_cut_in_another_way_is_hashed():
    """An array that gets another shape has its pieces elsewhere: what is known of others says nothing."""
    assert run(
        script="""
        values = numpy_array(32 * MiB)
        told = calm([memoryview(values)], row_bytes=3 * MiB - 8)
        other = pictures.take([memoryview(values)], row_bytes=5 * MiB)
        show([told.reused > 20, told.wrong, other.reused, other.wrong])
        """
    ) == [True, 0, 0, 0]


def test_what_changes_is_not_protected():
    """Whoever writes to a buffer between any two pictures never pays for it."""
    assert (
        run(
            script="""
        values = numpy_array(16 * MiB)
        seen = []
        for number in range(8):
            values[:: 1 << 20] = number
            told = pictures.take([memoryview(values)])
            seen.append(len(told.knowledge.protected) + told.reused)
        show(seen)
        """
        )
        == [0] * 8
    )


def test_what_was_written_to_must_stay_calm_for_longer():
    """One write frees its unit, which is protected again after four times as many pictures; others stay."""
    before, after, again = run(
        script="""
        values = numpy_array(32 * MiB)
        def pieces():
            return [memoryview(values)]
        before = len(calm(pieces()).knowledge.protected)
        values[16 * MiB] = 9
        after = len(pictures.take(pieces()).knowledge.protected)
        pictures_taken = 1
        while len(pictures.take(pieces()).knowledge.protected) < before:
            pictures_taken += 1
        show([before, after, pictures_taken])
        """
    )
    assert before - after == 1
    assert again >= 12


def test_a_lost_picture_takes_all_that_is_known_along():
    """A child that is ended has told nothing, so the next picture hashes everything; later ones do not."""
    lost, later = run(
        script="""
        values = numpy_array(16 * MiB)
        calm([memoryview(values)])
        pictures.take([memoryview(values)], lose=True)
        values[5 * MiB] = 7
        lost = pictures.take([memoryview(values)])
        later = calm([memoryview(values)])
        show([[lost.reused, lost.wrong], [later.reused > 5, later.wrong]])
        """
    )
    assert lost == [0, 0]
    assert later == [True, 0]


def test_memory_that_only_the_child_has_written_to():
    """An encoder's copy lies where the user's process has free memory, which of course nobody writes to."""
    assert run(
        script="""
        unwritten.PATIENCE_GROWTH = 1
        free = small_pages(16 * MiB)
        free[:] = 0
        wrong = protected = 0
        for number in range(30):
            def make():
                free[:] = number // 6                    # calm for some pictures, then another
                return [memoryview(free)]
            told = pictures.take([], make)
            wrong += told.wrong + told.knowledge.refuted
            protected += len(told.knowledge.protected)
        show([wrong, protected > 0])
        """
    ) == [0, True]


def test_threads_that_write_around_the_fork():
    """What is written while the picture is taken is in it, or counts as written in the next one."""
    shown = run(
        script="""
        unwritten.PATIENCE_GROWTH = 1
        values = numpy_array(24 * MiB)
        going = [True]
        def write():
            while going[0]:
                for start in range(0, len(values), 3 * MiB):
                    np.add(values[start : start + MiB], 1, out=values[start : start + MiB])
        wrong, reused = 0, 0
        for number in range(6):
            told = calm([memoryview(values)])
            worker = threading.Thread(target=write)
            going[0] = True
            def stop():
                going[0] = False
                worker.join()
            worker.start()
            wrong += pictures.take([memoryview(values)], meanwhile=stop).wrong
            told = pictures.take([memoryview(values)])
            wrong += told.wrong + told.knowledge.refuted
            reused += calm([memoryview(values)]).reused
        show([wrong, reused > 0])
        """
    )
    assert shown == [0, True]


def test_memory_that_was_moved_and_moved_back():
    """A mapping that ``mremap`` has moved is not watched; marks that are left on its pages count no more."""
    assert run(
        script="""
        values = small_pages(16 * MiB)
        start, length = values.ctypes.data, len(values)
        libc.mmap.restype = ctypes.c_void_p
        away = libc.mmap(None, ctypes.c_size_t(length), 0, 0x22, -1, ctypes.c_long(0))
        def move(source, target):
            assert libc.mremap(ctypes.c_void_p(source), ctypes.c_size_t(length), ctypes.c_size_t(length),
                               3, ctypes.c_void_p(target)) == target
        known = calm([memoryview(values)]).reused
        move(start, away)
        move(away, start)
        values[::4096] += 1                              # unwatched: the marks stay on
        told = pictures.take([memoryview(values)])
        later = calm([memoryview(values)])
        show([known > 5, told.reused, told.wrong, later.wrong, later.reused > 5 or later.reused])
        """
    ) == [True, 0, 0, 0, 0]


def test_watching_again_does_not_bring_marks_back():
    """A neighbour that is protected later has the mapping watched anew, which brings no marks back."""
    assert run(
        script="""
        values = small_pages(48 * MiB)
        start, length = values.ctypes.data, len(values)
        old, new = memoryview(values)[: 16 * MiB], memoryview(values)[24 * MiB : 40 * MiB]
        libc.mmap.restype = ctypes.c_void_p
        away = libc.mmap(None, ctypes.c_size_t(length), 0, 0x22, -1, ctypes.c_long(0))
        def move(source, target):
            assert libc.mremap(ctypes.c_void_p(source), ctypes.c_size_t(length), ctypes.c_size_t(length),
                               3, ctypes.c_void_p(target)) == target
        calm([old])
        for _ in range(unwritten.PATIENCE):
            pictures.take([old, new])
        class Meanwhile(Look):
            def write(self, tools):                      # the kernel has been asked, nothing protected yet
                asked.set()
                written.wait()
                return super().write(tools)
        import multiprocessing
        asked, written = multiprocessing.Event(), multiprocessing.Event()
        taken = fork.take(Meanwhile(pictures.pages, pictures.knowledge, [old, new]), reason="")
        asked.wait()
        move(start, away); move(away, start)
        values[::4096] += 1
        written.set()
        pictures.knowledge = msgspec.msgpack.decode(taken.finish(), type=Told).knowledge
        protected = [unit * unit_bytes() - start for unit in pictures.knowledge.protected]
        told = pictures.take([old, new])
        show([len(protected) > 5, min(protected) >= 24 * MiB, told.wrong, told.knowledge.refuted])
        """
    ) == [True, True, 0, False]


def test_what_is_written_before_it_is_protected_counts():
    """Between a picture and the protection that follows from it memory may change; it is hashed again."""
    assert run(
        script="""
        values = huge_pages(16 * MiB)
        for _ in range(unwritten.PATIENCE):
            pictures.take([memoryview(values)])
        class Meanwhile(Look):
            def write(self, tools):                      # the kernel has been asked, nothing is protected yet
                asked.set()
                written.wait()
                return super().write(tools)
        import multiprocessing
        asked, written = multiprocessing.Event(), multiprocessing.Event()
        taken = fork.take(Meanwhile(pictures.pages, pictures.knowledge, [memoryview(values)]), reason="")
        asked.wait()
        values[::4096] += 1
        written.set()
        pictures.knowledge = msgspec.msgpack.decode(taken.finish(), type=Told).knowledge
        told = pictures.take([memoryview(values)])
        show([len(pictures.knowledge.protected) > 5, told.reused, told.wrong, told.knowledge.refuted])
        """
    ) == [True, 0, 0, False]


def test_a_false_fingerprint_is_found_out():
    """One in so many is hashed all the same; what is refuted makes all the rest count for nothing."""
    assert run(
        script="""
        values = numpy_array(64 * MiB)
        calm([memoryview(values)])
        unwritten.PROOF = 1
        buffer = pictures.knowledge.buffers[0]
        false = bytes(len(buffer.fingerprints))
        pictures.knowledge = msgspec.structs.replace(
            pictures.knowledge, buffers=[msgspec.structs.replace(buffer, fingerprints=false)]
        )
        told = pictures.take([memoryview(values)])
        show([told.wrong, told.reused, told.knowledge.refuted, told.knowledge.protected])
        """
    ) == [0, 0, True, []]


def test_another_tool_goes_on_watching():
    """Memory that a user's own userfaultfd holds is hashed, and bears no marks of ours."""
    assert run(
        script="""
        values = huge_pages(16 * MiB)
        place = values.ctypes.data // 4096 * 4096, values.ctypes.data + 16 * MiB
        theirs = DirtyPages.open()
        theirs.watch(*place)
        told = calm([memoryview(values)])
        show([told.reused, told.knowledge.protected, theirs.unwritten([place])])
        """
    ) == [0, [], []]


def test_growing_in_place_still_works():
    """A large block that is watched is moved by realloc as one, not copied."""
    shown = run(
        script="""
        libc.mallopt(-3, MiB)
        libc.malloc_usable_size.restype = ctypes.c_size_t
        address = libc.malloc(ctypes.c_size_t(32 * MiB))
        ctypes.memset(address, 5, 32 * MiB)
        values = np.frombuffer((ctypes.c_char * (32 * MiB)).from_address(address), np.uint8)
        told = calm([memoryview(values)])
        import resource
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        again = libc.realloc(ctypes.c_void_p(address), ctypes.c_size_t(400 * MiB))
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
        show([told.reused > 20, faults])
        """
    )
    assert shown[0]
    assert shown[1] < 100  # copying would touch 8192 pages
