"""Ask the kernel which pages of a process have not been written to since they were protected.

Linux 6.7 has two things for it: ``userfaultfd`` in the asynchronous write-protect mode, in which the first
write to a protected page goes through at once and only takes the mark off the page, and ``PAGEMAP_SCAN``,
which reads the marks. Nothing ever waits for this process, and closing the descriptor takes all marks off.

Only what the kernel says is trusted: a page counts as unwritten if it is present, in a watched mapping, and
bears its mark. Whatever else became of it (written, unmapped, mapped anew, dropped by ``MADV_DONTNEED``,
swapped out, moved by ``mremap``) makes it one that nothing is known of. What writes past the page tables is
not seen: a device that holds pages pinned (:func:`written_by_others`).

A copy of this process that was made by ``fork`` can use both descriptors, which stay with the memory that
they were opened for; it inherits no marks itself.

Sources: ``Documentation/admin-guide/mm/userfaultfd.rst`` and ``pagemap.rst``, ``linux/userfaultfd.h``,
``linux/fs.h``, ``fs/userfaultfd.c``, ``fs/proc/task_mmu.c`` of Linux 6.7 to 6.18.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from contextlib import suppress
from errno import ENOSYS
from typing import TYPE_CHECKING

from keepstate._capture.kept_gil import libc
from keepstate._capture.mappings import Range, merge
from keepstate._capture.memory import read_status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SLICE_BYTES = 64 << 20
"""How much is asked for at once: as long as one call lasts, the watched process cannot change its mappings.
Measured: 1 ms to protect so much in pages of 4 KiB, 0.1 ms to scan it."""
DEFAULT_UNIT_BYTES = 2 << 20
_PAGE = mmap.PAGESIZE

_USERFAULTFD = {"x86_64": 323, "aarch64": 282}
"""Source: ``asm/unistd.h``."""
_USER_MODE_ONLY = 1
"""Without it the call is root's. Faults of the kernel itself (``read`` into the memory) are no less seen: in
the asynchronous mode none of them is handed to anyone."""
_API, _FEATURES = 0xAA, 1 << 13 | 1 << 15
"""``UFFD_FEATURE_WP_UNPOPULATED`` and ``UFFD_FEATURE_WP_ASYNC``."""
_REGISTER_WRITE_PROTECT = 1 << 1
_PROTECT, _UNPROTECT = 1, 0
_WATCHED, _WRITTEN, _PRESENT = 1 << 0, 1 << 1, 1 << 3
"""``PAGE_IS_WPALLOWED``, ``PAGE_IS_WRITTEN``, ``PAGE_IS_PRESENT``."""
_REGIONS = 512


def _request(direction: int, group: int, number: int, size: int) -> int:
    """``_IOC`` of ``asm-generic/ioctl.h``."""
    return direction << 30 | size << 16 | group << 8 | number


def _numbers(*names: str) -> tuple[tuple[str, type[ctypes.c_uint64]], ...]:
    return tuple((name, ctypes.c_uint64) for name in names)


class _Api(ctypes.Structure):
    _fields_ = _numbers("api", "features", "ioctls")


class _Register(ctypes.Structure):
    _fields_ = _numbers("start", "length", "mode", "ioctls")


class _WriteProtect(ctypes.Structure):
    _fields_ = _numbers("start", "length", "mode")


class _Region(ctypes.Structure):
    _fields_ = _numbers("start", "end", "categories")


class _Scan(ctypes.Structure):
    _fields_ = _numbers(
        "size", "flags", "start", "end", "walk_end", "vec", "vec_len", "max_pages",
        "category_inverted", "category_mask", "category_anyof_mask", "return_mask",
    )  # fmt: skip


_UFFDIO_API = _request(3, _API, 0x3F, ctypes.sizeof(_Api))
_UFFDIO_REGISTER = _request(3, _API, 0x00, ctypes.sizeof(_Register))
_UFFDIO_WRITEPROTECT = _request(3, _API, 0x06, ctypes.sizeof(_WriteProtect))
_PAGEMAP_SCAN = _request(3, ord("f"), 16, ctypes.sizeof(_Scan))


class DirtyPages:
    """What the kernel records of one process's memory; made by :meth:`open`."""

    _open: set[int] = set()  # noqa: RUF012 - of this process, and of the copies that it makes

    def __init__(self, faults: int, pagemap: int, process: int) -> None:
        self.process = process
        """Whose memory it is."""
        self._faults = faults
        self._pagemap = pagemap

    @classmethod
    def open(cls) -> DirtyPages:
        """Begin to watch this process; no memory is watched yet.

        Raises:
            OSError: The kernel does not offer it, does not allow it, or does not do what it says.
        """
        number = _USERFAULTFD.get(os.uname().machine) if sys.platform == "linux" else None
        if number is None:
            raise OSError(ENOSYS, os.strerror(ENOSYS))
        faults = _check(libc().syscall(number, os.O_CLOEXEC | os.O_NONBLOCK | _USER_MODE_ONLY))
        opened = [faults]
        try:
            _ioctl(faults, _UFFDIO_API, _Api(_API, _FEATURES, 0))
            pagemap = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
            opened.append(pagemap)
            pages = cls(faults, pagemap, os.getpid())
            pages._prove()
        except BaseException:
            for descriptor in opened:
                os.close(descriptor)
            raise
        cls._open.update(opened)
        return pages

    @classmethod
    def descriptors(cls) -> frozenset[int]:
        """All descriptors that a copy of this process needs to go on asking."""
        return frozenset(cls._open)

    def close(self) -> None:
        """Watch nothing any more. Only the process that opened it may say so."""
        for descriptor in (self._faults, self._pagemap):
            if descriptor in self._open and os.getpid() == self.process:
                self._open.discard(descriptor)
                with suppress(OSError):  # the user may have closed all descriptors
                    os.close(descriptor)

    def watch(self, start: int, end: int) -> None:
        """Let ``[start, end)`` be protected: a whole mapping, because this cuts what is longer, and memory
        that lies across a cut cannot be moved as one (as ``realloc`` does). Nothing happens to what is
        watched already.

        Raises:
            OSError: Somebody else watches it, or there is nothing to watch.
        """
        _ioctl(self._faults, _UFFDIO_REGISTER, _Register(start, end - start, _REGISTER_WRITE_PROTECT, 0))

    def is_watched(self, address: int) -> bool:
        """Whether the mapping of *address* is watched; moving it by ``mremap`` ends that."""
        page = address // _PAGE * _PAGE
        return bool(self._scan([(page, page + _PAGE)], wanted=_WATCHED, unwanted=0))

    def protect(self, start: int, end: int) -> None:
        """Mark all pages of ``[start, end)`` as unwritten; only what :meth:`watch` has just taken.

        Raises:
            OSError: Not all of it is watched; what is marked by then stays so.
        """
        self._mark(start, end, _PROTECT)

    def unprotect(self, ranges: Iterable[Range]) -> None:
        """Take the marks that are left in *ranges* off, so that writing there costs nothing more."""
        for start, end in self.unwritten(ranges):  # nothing else: it may be another's by now
            with suppress(OSError):
                self._mark(start, end, _UNPROTECT)

    def _mark(self, start: int, end: int, mode: int) -> None:
        for begin, stop in _slices(start, end):
            _ioctl(self._faults, _UFFDIO_WRITEPROTECT, _WriteProtect(begin, stop - begin, mode))

    def unwritten(self, ranges: Iterable[Range]) -> tuple[Range, ...]:
        """Find the pages of *ranges* that bear their mark still; none if the process has ended."""
        return self._scan(ranges, wanted=_WATCHED | _PRESENT, unwanted=_WRITTEN)

    def present(self, ranges: Iterable[Range]) -> tuple[Range, ...]:
        """Find the pages of *ranges* that are in memory; marks on others would only cost page tables."""
        return self._scan(ranges, wanted=_PRESENT, unwanted=0)

    def _scan(self, ranges: Iterable[Range], *, wanted: int, unwanted: int) -> tuple[Range, ...]:
        found: list[Range] = []
        regions = (_Region * _REGIONS)()
        for begin, stop in (part for start, end in ranges for part in _slices(start, end)):
            at = begin
            while at < stop:
                scan = _Scan(
                    size=ctypes.sizeof(_Scan),
                    start=at,
                    end=stop,
                    vec=ctypes.addressof(regions),
                    vec_len=_REGIONS,
                    category_inverted=unwanted,
                    category_mask=wanted | unwanted,
                    return_mask=wanted,
                )
                try:
                    count = _ioctl(self._pagemap, _PAGEMAP_SCAN, scan)
                except OSError:
                    break  # of what the kernel does not tell, nothing is known
                found += [(region.start, region.end) for region in regions[:count]]
                if scan.walk_end <= at:
                    break
                at = scan.walk_end
        return merge(found)

    def _prove(self) -> None:
        """Try it out on three pages: one stays, one is written to, one is dropped."""
        with mmap.mmap(-1, 3 * _PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
            memory.write(b"x" * 3 * _PAGE)
            place = ctypes.c_char.from_buffer(memory)
            start = ctypes.addressof(place)
            del place
            pages = start, start + 3 * _PAGE
            self.watch(*pages)
            self.protect(*pages)
            before = self.unwritten([pages])
            memory[0] = 0
            memory.madvise(mmap.MADV_DONTNEED, _PAGE, _PAGE)
            if before != (pages,) or self.unwritten([pages]) != ((start + 2 * _PAGE, pages[1]),):
                raise OSError(ENOSYS, "the kernel does not tell which pages were written to")


def hindrance() -> str | None:
    """Say why this process cannot be watched, or ``None``. For processes without threads.

    Some sandboxes kill whoever makes a call that they do not know. Where there may be one, a copy of this
    process goes first.
    """
    if sys.platform != "linux":
        return f"{sys.platform} has no such record"
    if read_status().get("Seccomp", 0) == 0:
        return _try_out()
    copy = libc().fork()
    if copy == 0:
        try:
            _try_out()
        finally:
            os._exit(0)
    ended_well = copy > 0 and os.waitpid(copy, 0)[1] == 0
    return _try_out() if ended_well else "the sandbox kills who asks for it"


def _try_out() -> str | None:
    try:
        DirtyPages.open().close()
    except OSError as error:
        return error.strerror or "the kernel refuses it"
    return None


def unit_bytes() -> int:
    """Say in what units memory is best protected: protecting or writing part of a huge page splits it."""
    try:
        with open("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return DEFAULT_UNIT_BYTES  # a kernel without huge pages


def written_by_others(process: int) -> str | None:
    """Say what may write to the memory of *process* without a trace in its page tables, or ``None``.

    That is a device that was given pages before they were protected: a graphics card, a network card, or the
    kernel's ``io_uring`` with registered buffers. Such pages are counted as pinned, or the device is mapped.
    """
    if read_status(str(process)).get("VmPin", 0):
        return "memory is pinned, which a device may write to"
    try:
        with open(f"/proc/{process}/maps", "rb") as table:
            paths = {path for line in table for path in line.split(None, 5)[5:]}
    except OSError:
        return "its mappings cannot be read"
    devices = sorted(
        path.strip() for path in paths if path.startswith(b"/dev/") and not path.startswith(_NO_DEVICES)
    )
    return f"{os.fsdecode(devices[0])} is in use, which may write to memory" if devices else None


_NO_DEVICES = (b"/dev/shm/", b"/dev/zero")


def _slices(start: int, end: int) -> Iterator[Range]:
    for begin in range(start, end, SLICE_BYTES):
        yield begin, min(begin + SLICE_BYTES, end)


def _ioctl(descriptor: int, request: int, argument: ctypes.Structure) -> int:
    return _check(libc().ioctl(descriptor, ctypes.c_ulong(request), ctypes.byref(argument)))


def _check(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
