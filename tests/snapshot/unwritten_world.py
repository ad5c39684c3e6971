"""Buffers that are written to in every way there is, and pictures that must not believe a stale fingerprint.

Runs in a process of its own. In the forked child the truth is at hand: what the kernel spares it from hashing
it hashes as well, and compares.
"""

import ctypes
import functools
import json
import mmap
import os
import random
import socket
import sys
import tempfile
import threading

import msgspec
import numpy as np

from keepstate._capture import DirtyPages, fork, private_mappings, unit_bytes  # noqa: F401 - for scripts
from keepstate._model.parts import Part
from keepstate._repository import fingerprint_pieces
from keepstate._snapshot import unwritten
from keepstate._snapshot.unwritten import Knowledge, Unwritten

MiB = 1 << 20
SEED = 7
libc = ctypes.CDLL(None, use_errno=True)
libc.realloc.restype = libc.malloc.restype = ctypes.c_void_p
libc.mremap.restype = ctypes.c_void_p


class Told(msgspec.Struct):
    knowledge: Knowledge
    wrong: int
    reused: int
    pieces: int


class Look:
    """What a save does with memory, and the truth beside it."""

    def __init__(self, pages, knowledge, memories, make=list, row_bytes=0):
        self.unwritten = Unwritten(pages, knowledge, seed=SEED)
        self.memories, self.make, self.row_bytes = memories, make, row_bytes

    def prepare(self, tools):
        self.unwritten.begin()
        parts = [Part(memory, 1, True, self.row_bytes) for memory in (*self.memories, *self.make())]
        self.unwritten.ask(parts)
        self.wrong = self.reused = self.pieces = 0
        look = functools.partial(fingerprint_pieces, row_bytes=self.row_bytes, seed=SEED, known={})
        for part in parts:
            given = self.unwritten.fingerprints(part)
            truth = list(look(part.memory))
            found = list(look(part.memory, given=given))
            self.wrong += sum(a.fingerprint != b.fingerprint for a, b in zip(truth, found, strict=True))
            self.reused += sum(each is not None for each in given)
            self.pieces += len(truth)
            self.unwritten.note(part, truth)

    def write(self, tools):
        told = Told(self.unwritten.finish(), self.wrong, self.reused, self.pieces)
        return msgspec.msgpack.encode(told)


class Pictures:
    """Takes one picture after the other, as a session does."""

    def __init__(self, pages=None):
        self.pages = pages or DirtyPages.open()
        self.knowledge = Knowledge()
        self.reused = self.wrong = self.lost = 0

    def take(self, memories, make=list, meanwhile=None, lose=False, row_bytes=0):
        taken = fork.take(Look(self.pages, self.knowledge, memories, make, row_bytes), reason="")
        self.knowledge = Knowledge()
        if meanwhile is not None:
            meanwhile()
        if lose:
            taken.cancel()
            return None
        told = msgspec.msgpack.decode(taken.finish(), type=Told)
        self.knowledge = told.knowledge
        self.reused += told.reused
        self.wrong += told.wrong
        return told


# -- buffers -----------------------------------------------------------------------------------------------


def numpy_array(nbytes):
    values = np.empty(nbytes, np.uint8)
    values[:] = 1
    return values


def small_pages(nbytes):
    memory = mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    values = np.frombuffer(memory, np.uint8)
    values[:] = 2
    return values


def huge_pages(nbytes):
    memory = mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_HUGEPAGE)
    values = np.frombuffer(memory, np.uint8)
    values[:] = 3
    return values


def byte_array(nbytes):
    return np.frombuffer(bytearray(nbytes), np.uint8)


def heap(nbytes):
    """Memory inside the heap, between other things, as smaller arrays have it."""
    values = np.frombuffer(
        (ctypes.c_char * nbytes).from_address(libc.malloc(ctypes.c_size_t(nbytes))), np.uint8
    )
    values[:] = 4
    return values


KINDS = (numpy_array, small_pages, huge_pages, byte_array, heap)


# -- ways of writing ---------------------------------------------------------------------------------------


class World:
    def __init__(self, seed, count=7):
        self.chance = random.Random(seed)
        libc.mallopt(-3, 64 * MiB)  # M_MMAP_THRESHOLD: what is asked of malloc lies in the heap
        self.buffers = [self.new() for _ in range(count)]
        self.file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - as long as the process
        self.file.write(os.urandom(MiB))

    def new(self):
        return self.chance.choice(KINDS)(self.chance.randrange(8 * MiB, 14 * MiB))

    def memories(self):
        return [memoryview(values) for values in self.buffers]

    def place(self, most=300_000):
        """Some buffer, and a run in it."""
        values = self.chance.choice(self.buffers)
        start = self.chance.randrange(len(values) - most)
        return values, start, start + self.chance.randrange(1, most)

    def nothing(self):
        pass

    def read(self):
        for values in self.buffers:
            int(values[::512].sum())

    def element(self):
        values, start, _ = self.place()
        values[start] ^= 0xFF

    def rows(self):
        values, start, stop = self.place()
        values[start:stop] += 1

    def whole(self):
        self.chance.choice(self.buffers)[:] += 1

    def edges(self):
        values = self.chance.choice(self.buffers)
        values[0] += 1
        values[-1] += 1

    def scattered(self):
        values = self.chance.choice(self.buffers)
        values[self.chance.randrange(MiB) :: 1_100_003] ^= 0x55

    def view_slice(self):
        values, start, stop = self.place()
        memoryview(values)[start:stop] = bytes([self.chance.randrange(256)]) * (stop - start)

    def memset(self):
        values, start, stop = self.place()
        ctypes.memset(values.ctypes.data + start, self.chance.randrange(256), stop - start)

    def readinto(self):
        values, start, stop = self.place()
        self.file.seek(0)
        self.file.readinto(memoryview(values)[start:stop])

    def preadv(self):
        values, start, stop = self.place()
        os.preadv(self.file.fileno(), [memoryview(values)[start:stop]], self.chance.randrange(1000))

    def direct(self):
        """O_DIRECT: the device writes to the pages itself."""
        values, start, _ = self.place()
        aligned = -(-(values.ctypes.data + start) // 4096) * 4096 - values.ctypes.data
        if aligned + 8192 > len(values):
            return
        with tempfile.NamedTemporaryFile(dir="/var/tmp") as file:
            file.write(os.urandom(8192))
            file.flush()
            try:
                descriptor = os.open(file.name, os.O_RDONLY | os.O_DIRECT)
            except OSError:
                return  # this file system has no such thing
            try:
                os.preadv(descriptor, [memoryview(values)[aligned : aligned + 8192]], 0)
            finally:
                os.close(descriptor)

    def socket(self):
        values, start, _ = self.place()
        one, other = socket.socketpair()
        with one, other:
            one.send(os.urandom(5000))
            other.recv_into(memoryview(values)[start : start + 5000])

    def matrix_product(self):
        values = self.chance.choice(self.buffers)
        skip = -values.ctypes.data % 8
        out = values[skip : skip + 400 * 400 * 8].view(np.float64).reshape(400, 400)
        np.dot(np.full((400, 400), self.chance.random()), np.eye(400), out=out)

    def own_memory_file(self):
        values, start, _ = self.place()
        with open("/proc/self/mem", "r+b", buffering=0) as memory:
            memory.seek(values.ctypes.data + start)
            memory.write(os.urandom(3000))

    def another_process(self):
        """process_vm_writev by a child: as debuggers do."""
        values, start, _ = self.place()
        data = os.urandom(9000)
        parent = os.getpid()
        libc.prctl(0x59616D61, ctypes.c_ulong(-1 & (1 << 64) - 1), 0, 0, 0)  # let any process of ours do it
        child = os.fork()
        if not child:
            local = (ctypes.c_uint64 * 2)(ctypes.addressof(ctypes.c_char.from_buffer_copy(data)), 0)
            source = ctypes.create_string_buffer(data, len(data))
            local = (ctypes.c_uint64 * 2)(ctypes.addressof(source), len(data))
            remote = (ctypes.c_uint64 * 2)(values.ctypes.data + start, len(data))
            libc.process_vm_writev(parent, local, 1, remote, 1, 0)
            os._exit(0)
        os.waitpid(child, 0)

    def thread(self):
        worker = threading.Thread(target=self.rows)
        worker.start()
        worker.join()

    def forked_child_writes(self):
        """What a child of the user's writes is its own."""
        child = os.fork()
        if not child:
            for values in self.buffers:
                values[:] = 99
            os._exit(0)
        self.element()
        os.waitpid(child, 0)
        self.element()

    def replace(self):
        """Free one and make another, which may get its addresses."""
        index = self.chance.randrange(len(self.buffers))
        kind = self.chance.choice((numpy_array, small_pages, huge_pages, byte_array))
        length = len(self.buffers[index])
        self.buffers[index] = None
        self.buffers[index] = kind(length)
        self.buffers[index][self.chance.randrange(length)] = self.chance.randrange(256)

    def resize(self):
        """mremap, which realloc does: the pages move with their marks."""
        index = self.chance.randrange(len(self.buffers))
        values = np.empty(self.chance.randrange(65 * MiB, 67 * MiB), np.uint8)
        values[:] = self.chance.randrange(256)
        values.resize(self.chance.randrange(66 * MiB, 70 * MiB), refcheck=False)
        values.resize(self.chance.randrange(8 * MiB, 12 * MiB), refcheck=False)
        self.buffers[index] = values

    def move(self):
        """Move the pages of one mapping to the place of another."""
        index, _, start, stop = self.mapped()
        if index is None or not any(a <= start and stop <= b for a, b in private_mappings(os.getpid())):
            return  # it was cut in two by advice
        target = mmap.mmap(-1, stop - start + mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        place = np.frombuffer(target, np.uint8)
        address = place.ctypes.data
        MAYMOVE_FIXED = 1 | 2
        moved = libc.mremap(
            ctypes.c_void_p(start), ctypes.c_size_t(stop - start), ctypes.c_size_t(stop - start),
            MAYMOVE_FIXED, ctypes.c_void_p(address),
        )  # fmt: skip
        assert moved == address, ctypes.get_errno()
        # The hole gets fresh memory.
        libc.mmap.restype = ctypes.c_void_p
        again = libc.mmap(
            ctypes.c_void_p(start), ctypes.c_size_t(stop - start), 3, 0x32, -1, ctypes.c_long(0)
        )
        assert again == start
        self.buffers.append(place)
        if len(self.buffers) > 9:
            self.buffers.pop(self.chance.randrange(len(self.buffers)))

    def mapped(self):
        """Some buffer that has mappings of its own, and its pages."""
        found = [
            (index, values)
            for index, values in enumerate(self.buffers)
            if isinstance(values.base, mmap.mmap) or isinstance(getattr(values.base, "obj", None), mmap.mmap)
        ]
        if not found:
            return None, None, 0, 0
        index, values = self.chance.choice(found)
        start = values.ctypes.data
        return index, values, start, (start + len(values)) // mmap.PAGESIZE * mmap.PAGESIZE

    def advise(self):
        """Drop pages, or offer to: what is read there then is zeros, without a write."""
        _, values, start, stop = self.mapped()
        if values is None:
            return
        begin = start + self.chance.randrange((stop - start) // 4096) * 4096
        end = min(stop, begin + self.chance.choice((4096, 40960, 4 * MiB)))
        advice = self.chance.choice((4, 4, 8, 14, 15, 20, 21, 25, 22, 23))
        libc.madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), advice)
        if self.chance.random() < 0.5:
            int(values[begin - start])

    def map_anew(self):
        """Map fresh memory over part of a buffer."""
        _, values, start, stop = self.mapped()
        if values is None:
            return
        begin = start + self.chance.randrange((stop - start) // 4096) * 4096
        end = min(stop, begin + self.chance.choice((4096, 3 * MiB)))
        libc.mmap.restype = ctypes.c_void_p
        libc.mmap(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), 3, 0x32, -1, ctypes.c_long(0))
        if self.chance.random() < 0.5:
            values[begin - start] = 77

    def forbid(self):
        """Take the right to write away and give it back."""
        _, values, start, stop = self.mapped()
        if values is None:
            return
        place = ctypes.c_void_p(start), ctypes.c_size_t(stop - start)
        libc.mprotect(*place, self.chance.choice((0, 1)))
        libc.mprotect(*place, 3)
        if self.chance.random() < 0.5:
            values[self.chance.randrange(len(values))] ^= 1

    def lock(self):
        _, values, start, stop = self.mapped()
        if values is not None:
            libc.mlock(ctypes.c_void_p(start), ctypes.c_size_t(min(stop - start, MiB)))
            libc.munlock(ctypes.c_void_p(start), ctypes.c_size_t(stop - start))

    def trim(self):
        libc.malloc_trim(0)


WAYS = [
    name for name, value in vars(World).items()
    if not name.startswith("_") and name not in ("new", "memories", "place", "mapped")
]  # fmt: skip


def main(seed, rounds):
    world = World(seed)
    chance = world.chance
    pictures = Pictures()
    done = {}
    row_bytes = 0
    for number in range(rounds):
        ways = chance.choices(WAYS, k=chance.choice((0, 0, 1, 1, 2)))
        for way in ways:
            getattr(world, way)()
            done[way] = done.get(way, 0) + 1
        meanwhile = getattr(world, chance.choice(WAYS)) if chance.random() < 0.2 else None
        lose = chance.random() < 0.05
        if chance.random() < 0.1:  # the same memory, seen as an array of another shape
            row_bytes = chance.choice((0, 300_001, 2 * MiB + 8))
        told = pictures.take(world.memories(), meanwhile=meanwhile, lose=lose, row_bytes=row_bytes)
        if told is not None and (told.wrong or told.knowledge.refuted):
            return [number, ways, told.wrong, told.knowledge.refuted]
    return {"reused": pictures.reused, "done": done}


if __name__ == "__main__":
    unwritten.PATIENCE, unwritten.PATIENCE_GROWTH = 1, 1
    sys.stdout.write("RESULT " + json.dumps(main(int(sys.argv[1]), int(sys.argv[2]))))
