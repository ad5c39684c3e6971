"""What is recorded of a value besides its bytes, so that two kept ones can be told apart without decoding."""

from __future__ import annotations

from typing import Annotated

import msgspec

_Count = Annotated[int, msgspec.Meta(ge=0, le=2**62)]


class Facts(msgspec.Struct, frozen=True, omit_defaults=True):
    """Facts of one value; what does not apply to its kind is left out."""

    shape: list[_Count] | None = None
    """Of an array, tensor or matrix; rows and columns of a frame; rows of a series or index."""
    dtype: str = ""
    """Of the elements, where they have one."""
    length: _Count | None = None
    """Of a container or text."""
    columns: list[tuple[str, str]] = []
    """Name and dtype of each column of a frame; none where they are very many."""
