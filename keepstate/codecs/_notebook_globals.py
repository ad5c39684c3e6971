"""Find references into the notebook's own module in a pickle: when it is loaded, nothing is there yet.

Whoever asks has seen that the stream contains the module's name, as most do not. The few places are looked at
where it is on the stack. Only a place that looks like a reference has the stream read opcode by opcode, which
takes 2 s for each million opcodes here.
"""

from __future__ import annotations

import io
import pickletools
import re
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_MEMOIZE, _STACK_GLOBAL, _FRAME = 0x94, 0x93, 0x95
_SHORT_TEXT, _TEXT, _SHORT_GET, _GET = 0x8C, 0x58, 0x68, 0x6A


def global_of(
    stream: memoryview | bytes, module: str, remembered: Callable[[], Mapping[int, tuple[int, object]]]
) -> str | None:
    """Return the name of the first global of *module* in *stream*; ``None`` if it has none.

    Args:
        stream: One or more pickles of protocol 5 that share a memo.
        module: Name of the notebook's module.
        remembered: Gives the memo: id → (index, object).
    """
    indexes = [index for index, thing in remembered().values() if type(thing) is str and thing == module]
    if not any(_is_reference(stream, at) for at in _after_name(stream, module, indexes)):
        return None
    return _first_global(bytes(stream), module)


def _after_name(stream: memoryview | bytes, module: str, indexes: list[int]) -> Iterator[int]:
    """Yield the places right behind where the module's name is put on the stack."""
    name = module.encode()
    pushes = [bytes([_SHORT_TEXT, len(name)]) + name if len(name) < 256 else name]
    pushes += [
        bytes([_SHORT_GET, index]) if index < 256 else struct.pack("<BI", _GET, index) for index in indexes
    ]
    for found in re.finditer(b"|".join(map(re.escape, pushes)), stream):
        yield found.end()


def _is_reference(stream: memoryview | bytes, at: int) -> bool:
    """Say whether another text and STACK_GLOBAL come next."""
    try:
        at = _skip(stream, at)
        opcode = stream[at]
        if opcode == _SHORT_TEXT:
            at += 2 + stream[at + 1]
        elif opcode == _TEXT:
            at += 5 + int.from_bytes(stream[at + 1 : at + 5], "little")
        elif opcode in (_SHORT_GET, _GET):
            at += 2 if opcode == _SHORT_GET else 5
        else:
            return False
        return stream[_skip(stream, at)] == _STACK_GLOBAL
    except IndexError:
        return False  # the name is the last thing in the stream


def _skip(stream: memoryview | bytes, at: int) -> int:
    """Go past what may stand between any two opcodes."""
    while stream[at] in (_MEMOIZE, _FRAME):
        at += 1 if stream[at] == _MEMOIZE else 9
    return at


def _first_global(data: bytes, module: str) -> str | None:
    file = io.BytesIO(data)
    memo: list[object] = []
    recent: list[object] = [None, None]
    while file.tell() < len(data):
        for opcode, argument, _ in pickletools.genops(file):
            name = opcode.name
            if name == "MEMOIZE":
                memo.append(recent[-1])
            elif name in ("BINGET", "LONG_BINGET"):
                recent = [recent[-1], memo[argument]]  # type: ignore[index]
            elif name == "STACK_GLOBAL":
                if recent[0] == module:
                    return str(recent[1])
                recent = [None, None]
            elif name != "FRAME":
                recent = [recent[-1], argument if name.endswith("BINUNICODE") else None]
    return None
