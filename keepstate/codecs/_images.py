"""Images of Pillow that have not been read from their file yet: they are kept with what is in it."""

from __future__ import annotations

import pickle
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from keepstate.codecs._pickler import StreamPickler


def reduce_image_file(_pickler: StreamPickler, image: Any) -> Any:
    """Read another image of that file, so that the user's is left as it is; a fork has closed its file."""
    if any(vars(image).get(name) is not None for name in ("_im", "im")):  # the newer and the older name
        return NotImplemented
    try:
        other = sys.modules["PIL.Image"].open(image.filename)
        other.load()
    except (OSError, ValueError, AttributeError) as error:
        raise pickle.PicklingError(f"it holds an image whose file cannot be read: {error}") from error
    if (type(other), other.size, other.mode) != (type(image), image.size, image.mode):
        raise pickle.PicklingError(f"it holds an image whose file has changed ({image.filename})")
    other.info = image.info
    return other.__reduce_ex__(5)


IMAGE_REDUCERS: dict[str, Callable[[Any, Any], Any]] = {"PIL.ImageFile.ImageFile": reduce_image_file}
