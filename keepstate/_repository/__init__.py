"""Bytes at rest: content-addressed chunks in packs, and one manifest for each snapshot.

Knows bytes and ids, never Python objects. The format is described in FORMAT.md.
"""

from keepstate._repository.apart import Joiner, shown_of
from keepstate._repository.compression import load as load_compression
from keepstate._repository.conflict import ConflictError
from keepstate._repository.fingerprint import (
    CHUNK_BYTES,
    FINGERPRINT_BYTES,
    Piece,
    fingerprint,
    fingerprint_pieces,
    fingerprint_stream,
    piece_ends,
)
from keepstate._repository.floor import Room
from keepstate._repository.history import newest_first
from keepstate._repository.lease import Lease
from keepstate._repository.manifests import DamagedManifest
from keepstate._repository.naming import Naming
from keepstate._repository.prune_report import PruneReport
from keepstate._repository.repository import Repository
from keepstate._repository.retention import Retention, kept_with_reasons
from keepstate._repository.usage import ProjectUsage, Usage
from keepstate._repository.verify import Problem, VerifyReport
from keepstate._repository.writer import Commit, Writer

__all__ = [
    "CHUNK_BYTES",
    "FINGERPRINT_BYTES",
    "Commit",
    "ConflictError",
    "DamagedManifest",
    "Joiner",
    "Lease",
    "Naming",
    "Piece",
    "Problem",
    "ProjectUsage",
    "PruneReport",
    "Repository",
    "Retention",
    "Room",
    "Usage",
    "VerifyReport",
    "Writer",
    "fingerprint",
    "fingerprint_pieces",
    "fingerprint_stream",
    "kept_with_reasons",
    "load_compression",
    "newest_first",
    "piece_ends",
    "shown_of",
]
