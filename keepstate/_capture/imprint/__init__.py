"""Tell that the memory of plain objects is what it was, without looking at the objects.

Why that is enough, and what it rests on: ``docs/decisions/0007-memory-imprints.md``.
"""

from keepstate._capture.imprint.imprints import SLOW_SECONDS, Imprints, Worth

__all__ = ["SLOW_SECONDS", "Imprints", "Worth"]
