"""A still picture of live objects, taken without a pause that anyone notices.

Knows moments (:class:`SafePoints`), processes and memory; knows nothing of repositories, codecs or sessions.
What is done with the picture is a :class:`Work`, given by the layer above.
"""

from keepstate._capture import random_states
from keepstate._capture.choice import Choice, choose
from keepstate._capture.conditions import Conditions, read_conditions
from keepstate._capture.dirty_pages import DirtyPages, hindrance, unit_bytes, written_by_others
from keepstate._capture.failures import (
    ChildFailed,
    ChildStuck,
    ForkRefused,
    MemoryShort,
    Misread,
    NeedsCopy,
    NotNow,
    TooLarge,
)
from keepstate._capture.imprint import SLOW_SECONDS, Imprints, Worth
from keepstate._capture.mappings import private_mappings, range_of
from keepstate._capture.memory import Memory, Room, read_memory, read_room
from keepstate._capture.safe_point import SafePoints, is_safe, place_of_caller
from keepstate._capture.work import Taken, Tools, Work

__all__ = [
    "SLOW_SECONDS",
    "ChildFailed",
    "ChildStuck",
    "Choice",
    "Conditions",
    "DirtyPages",
    "ForkRefused",
    "Imprints",
    "Memory",
    "MemoryShort",
    "Misread",
    "NeedsCopy",
    "NotNow",
    "Room",
    "SafePoints",
    "Taken",
    "TooLarge",
    "Tools",
    "Work",
    "Worth",
    "choose",
    "hindrance",
    "is_safe",
    "place_of_caller",
    "private_mappings",
    "random_states",
    "range_of",
    "read_conditions",
    "read_memory",
    "read_room",
    "unit_bytes",
    "written_by_others",
]
