"""When to save: the guard, its timer and its thread, and what an earlier session left."""

from keepstate._session.identity import Identity, identify, is_shared
from keepstate._session.options import Options, read_options, read_store
from keepstate._session.script import ScriptKernel, Threads
from keepstate._session.session import Session

__all__ = [
    "Identity",
    "Options",
    "ScriptKernel",
    "Session",
    "Threads",
    "identify",
    "is_shared",
    "read_options",
    "read_store",
]
