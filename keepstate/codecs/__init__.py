"""Objects to streams and parts, and back. It knows objects, never files.

Public are ``register``, ``unregister`` and ``Codec``: how objects of a type of yours are kept. The rest is
for the layers above.

``encode`` turns the tracked names of a notebook into groups (see ``_model/parts.py``), names that share
mutable objects in one; ``decode`` turns one group back. Streams are pickles of protocol 5 whose memory is
beside them; what a stream may ask for is listed in ``_calls.py``, its layout is told in ``_stream.py``. Data
is written as typed calls (``_typed.py``), which can be read without running code (``_data_only.py``).

The way out: ``_encoder`` groups names, ``_pickler`` writes one stream, ``_reducers`` says how each type goes.
The way back: ``_decoder``, with ``_restored_memory``. Each other module knows one kind of object.
"""

from __future__ import annotations

from keepstate.codecs._arrays import extent, is_plain, root_of
from keepstate.codecs._decoder import MissingLibraryError, decode, memory_of
from keepstate.codecs._definitions import is_definable, is_importable
from keepstate.codecs._encoder import encode
from keepstate.codecs._facts import facts_of, has_facts
from keepstate.codecs._identity import is_value_type
from keepstate.codecs._open_files import NO_POSITIONS, Positions, find_open_files, positions_of
from keepstate.codecs._outline import Bytes, Outline, Where
from keepstate.codecs._probe import TENSORS, calls_of, is_harmless
from keepstate.codecs._refusals import refusal, type_name
from keepstate.codecs._registered import Codec, register, unregister
from keepstate.codecs._restored_memory import RestoredMemory
from keepstate.codecs._source import source_of, source_of_code


def definition_key(name: str) -> str:
    """Return the key under which streams refer to the definition stored as member *name*."""
    return name


def definition_source(thing: object) -> str | None:
    """Return the source of a live function or class as a member's ``source`` has it; ``None`` if unknown."""
    return source_of(thing) or None


__all__ = [
    "NO_POSITIONS",
    "TENSORS",
    "Bytes",
    "Codec",
    "MissingLibraryError",
    "Outline",
    "Positions",
    "RestoredMemory",
    "Where",
    "calls_of",
    "decode",
    "definition_key",
    "definition_source",
    "encode",
    "extent",
    "facts_of",
    "find_open_files",
    "has_facts",
    "is_definable",
    "is_harmless",
    "is_importable",
    "is_plain",
    "is_value_type",
    "memory_of",
    "positions_of",
    "refusal",
    "register",
    "root_of",
    "source_of_code",
    "type_name",
    "unregister",
]
