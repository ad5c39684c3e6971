"""Find references into the notebook's own module in a pickle: when it is loaded, nothing is there yet.

Most streams do not even contain the module's name, which a substring search tells; only the others are read
opcode by opcode.
"""

from __future__ import annotations

import io
import pickletools


def global_of(stream: memoryview, module: str) -> str | None:
    """Return the name of the first global of *module* in *stream*; ``None`` if it has none.

    Args:
        stream: One or more pickles that share a memo.
        module: Name of the notebook's module.
    """
    data = bytes(stream)
    if module.encode() not in data:
        return None
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
