"""Open files: path, mode and position; the file that is there is opened again, and neither made nor emptied.

A picture may be taken by a fork, which closes what the user has open: positions are read before it, into a
:class:`Positions`. What has been written to a file object and not to the file yet would be lost, so such a
file is refused; nothing of the user's is flushed here.
"""

from __future__ import annotations

import gc
import io
import os
import pickle
import stat
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from keepstate.codecs import _calls

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from keepstate.codecs._pickler import StreamPickler

_DESCRIPTORS = "/proc/self/fd"
_STANDARD = ("stdin", "stdout", "stderr")
_REGULAR = (io.FileIO, io.BufferedReader, io.BufferedWriter, io.BufferedRandom, io.TextIOWrapper)


class OpenFile(NamedTuple):
    """A regular file that this process has open."""

    path: str
    device: int
    inode: int


def find_open_files() -> dict[int, OpenFile]:
    """Return descriptor → regular file; nothing where the system does not tell (all but Linux)."""
    found = {}
    with suppress(OSError):
        for name in os.listdir(_DESCRIPTORS):
            with suppress(OSError):  # closed meanwhile
                facts = os.stat(int(name))
                if stat.S_ISREG(facts.st_mode) and facts.st_nlink:
                    path = os.readlink(f"{_DESCRIPTORS}/{name}")
                    found[int(name)] = OpenFile(path, facts.st_dev, facts.st_ino)
    return found


def positions_of(descriptors: Iterable[int]) -> dict[int, int]:
    """Return where each stands at this moment: a microsecond for each."""
    found = {}
    for descriptor in descriptors:
        with suppress(OSError):
            found[descriptor] = os.lseek(descriptor, 0, os.SEEK_CUR)
    return found


class Positions:
    """Where the user's files stood when a picture was taken.

    Args:
        files: Descriptor → file, read shortly before.
        positions: Descriptor → bytes from the beginning, read at the moment of the picture.
        read: Whether they have been read at all.
    """

    def __init__(
        self, files: Mapping[int, OpenFile], positions: Mapping[int, int], *, read: bool = True
    ) -> None:
        self._files = files
        self._positions = positions
        self._read = read
        self._standing: set[int] = set()
        self.missed = False
        """Whether a file was met, and positions had not been read."""

    @property
    def descriptors(self) -> Collection[int]:
        """Whose files they are; a forked picture has ``os.devnull`` under these numbers."""
        return self._files.keys()

    def look(self, descriptor: int) -> tuple[OpenFile, int] | None:
        """Return the file and its position, and make sure that the descriptor can be asked for it."""
        self.missed = self.missed or not self._read
        file, position = self._files.get(descriptor), self._positions.get(descriptor)
        if file is None or position is None:
            return None
        try:
            facts = os.fstat(descriptor)
        except OSError:
            return None
        if stat.S_ISCHR(facts.st_mode) and facts.st_rdev == os.stat(os.devnull).st_rdev:
            _stand_in(descriptor, position)
            self._standing.add(descriptor)
        same = (facts.st_dev, facts.st_ino) == (file.device, file.inode)
        return (file, position) if same or descriptor in self._standing else None


NO_POSITIONS = Positions({}, {})


def _stand_in(descriptor: int, position: int) -> None:
    """Put an empty file with this position where a fork has closed the user's."""
    empty = os.memfd_create("keepstate")
    os.lseek(empty, position, os.SEEK_SET)
    os.dup2(empty, descriptor)
    os.close(empty)


def reduce_file(pickler: StreamPickler, file: Any) -> Any:
    """Keep an open file of the disk by path, mode and position; refuse what cannot be opened again."""
    name = _standard(file)
    if name is not None:
        return _calls.named("attribute"), ("sys", name)
    name = getattr(file, "name", None)
    if type(file) not in _REGULAR or not isinstance(name, str):
        raise pickle.PicklingError(f"it holds an open file ({name or 'without a name'!s})")
    mode = _mode_of(file)
    if file.closed:
        return _calls.named("closed_file"), (type(file).__name__, mode, name)
    if mode.strip("bt") not in ("r", "w", "a", "x"):
        raise pickle.PicklingError(f"it holds a file that is open for reading and writing ({name})")
    found = pickler.positions.look(file.fileno())
    if found is None:
        raise pickle.PicklingError(f"it holds an open file whose place on the disk is not known ({name})")
    opened, at = found
    position = _position(file, at, name, writes=mode[0] != "r")
    facts: dict[str, object] = {"mode": mode, "name": name, "position": position}
    if type(file) is io.TextIOWrapper:
        facts |= _facts_of_text(file)
    elif type(file) is io.FileIO:
        facts["buffering"] = 0
    return _calls.named("open_file"), (opened.path, facts)


def _standard(file: Any) -> str | None:
    """Return which of the standard streams it is; a forked picture has others in their place."""
    for name in _STANDARD:
        if file is getattr(sys, name) or file is getattr(sys, f"__{name}__"):
            return name
    said = getattr(file, "name", None)
    if type(file) is io.TextIOWrapper and said in [f"<{name}>" for name in _STANDARD]:
        return str(said).strip("<>")
    if type(file).__module__ == "ipykernel.iostream" and said in _STANDARD:
        return str(said)
    return None


def _mode_of(file: Any) -> str:
    mode = str(file.mode)
    return mode if type(file) is io.TextIOWrapper or "b" in mode else mode + "b"


def _position(file: Any, at: int, name: str, *, writes: bool) -> int:
    """Return what ``seek`` wants, in bytes or as text files count.

    Args:
        file: Which.
        at: Where its descriptor stands.
        name: For an error.
        writes: Whether it is open for writing.
    """
    if type(file) is io.FileIO:
        return at
    if writes:
        buffer = file.buffer if type(file) is io.TextIOWrapper else file
        if buffer.tell() != at or (type(file) is io.TextIOWrapper and _has_pending_text(file)):
            raise pickle.PicklingError(
                f"it holds an open file with text that is not in the file yet ({name}): flush() it first"
            )
        return at
    try:
        position: int = file.tell()
    except OSError:
        raise pickle.PicklingError(
            f"it holds a file whose lines are being read in a loop ({name}), which hides its position"
        ) from None
    return position


def _facts_of_text(file: io.TextIOWrapper) -> dict[str, object]:
    return {
        "encoding": file.encoding,
        "errors": file.errors,
        "newline": _newline_of(file),
        "line_buffering": file.line_buffering,
        "write_through": file.write_through,
    }


def _texts_inside(file: io.TextIOWrapper) -> tuple[bool, list[object]]:
    """Return what no attribute tells, without asking the file, which would flush it.

    The collector is shown: buffer, encoding, encoder, decoder, how lines end if that was given, text that was
    read ahead, text that waits to be written, a tuple of the decoder's state, errors, and more. Source:
    ``textiowrapper_traverse`` in CPython's ``textio.c``; the same in 3.11 to 3.13 (tests/codecs).

    Returns:
        Whether any ending of a line is taken for one, and the texts between decoder and errors.
    """
    shown = [thing for thing in gc.get_referents(file) if thing is not type(file)]
    universal = any(isinstance(thing, io.IncrementalNewlineDecoder) for thing in shown)
    last = max(at for at, thing in enumerate(shown) if thing == file.errors)
    return universal, [thing for thing in shown[2:last] if isinstance(thing, str | bytes | list)]


def _has_pending_text(file: io.TextIOWrapper) -> bool:
    """Whether it may hold text that it has not handed to its buffer."""
    _, texts = _texts_inside(file)
    return texts not in ([], [""])  # an ending cannot be told from a text, but that it is left as it is


def _newline_of(file: io.TextIOWrapper) -> str | None:
    """Return the argument ``newline``."""
    universal, texts = _texts_inside(file)
    if file.mode[0] != "r":
        return "" if texts else None
    if len(texts) == 2:
        return str(texts[0])
    buffer: Any = file.buffer
    at_end = os.stat(file.name).st_size == buffer.tell()
    if not texts or (universal and (texts[0] != "" or at_end)):
        return None  # what was read ahead; nothing, at the end of the file
    return str(texts[0])


FILE_REDUCERS: dict[type, Callable[[Any, Any], Any]] = dict.fromkeys(
    (*_REGULAR, io.BufferedRWPair), reduce_file
)
NAMED_FILE_REDUCERS: dict[str, Callable[[Any, Any], Any]] = {"ipykernel.iostream.OutStream": reduce_file}


# --- decoding

_NEVER = os.O_TRUNC | os.O_CREAT | os.O_EXCL
"""What a restored file is never opened with."""


def open_file(path: str, facts: dict[str, Any]) -> Any:
    """Open a file again where it stood.

    Raises:
        OSError: It is not there any more, or has become shorter.
    """
    name, position = facts.pop("name"), facts.pop("position")
    if not os.path.exists(path) and os.path.exists(name):
        path = name  # the folder of the notebook has moved
    buffering = facts.pop("buffering", -1)
    if facts.get("line_buffering") and buffering != 0:
        facts.pop("line_buffering")
        buffering = 1
    options = {key: facts[key] for key in ("encoding", "errors", "newline") if key in facts}
    file: Any = open(path, facts["mode"], buffering, opener=_as_it_is, **options)  # noqa: SIM115 - the user's
    try:
        if facts.get("write_through"):
            file.reconfigure(write_through=True)
        if facts["mode"][0] != "a":
            if facts["mode"][0] != "r" and os.fstat(file.fileno()).st_size < position:
                raise OSError(f"{path} has become shorter than it was")
            file.seek(position)
        _raw(file).name = name
    except BaseException:
        file.close()
        raise
    return file


def _as_it_is(path: str, flags: int) -> int:
    if not stat.S_ISREG(os.stat(path).st_mode):  # one that waits for somebody would keep the notebook waiting
        raise OSError(f"{path} is no regular file any more")
    return os.open(path, flags & ~_NEVER)


def _raw(file: Any) -> Any:
    buffer = getattr(file, "buffer", file)
    return getattr(buffer, "raw", buffer)


def closed_file(kind: str, mode: str, name: str) -> Any:
    """Make a file that is closed."""
    plain = mode.replace("x", "w")
    text = kind == "TextIOWrapper"
    encoding = "utf-8" if text else None
    file: Any = open(os.devnull, plain, 0 if kind == "FileIO" else -1, encoding=encoding)  # noqa: SIM115
    file.close()
    raw = _raw(file.buffer if text else file)
    raw.name = name
    if text:
        file.mode = mode
    return file
