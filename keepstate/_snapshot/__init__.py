"""Save and restore as plain calls, without threads: objects through codecs into a repository, and back."""

from keepstate._snapshot.ahead import Ahead
from keepstate._snapshot.comparison import Compared, compare
from keepstate._snapshot.describing import Described
from keepstate._snapshot.history import best_of, find, remarks_on
from keepstate._snapshot.occasion import Occasion, decode_cells, snapshot_of
from keepstate._snapshot.restorer import (
    Loader,
    Outcome,
    cell_titles,
    older_generation,
    recorded_cells,
    restore_names,
    restore_recipes,
    version_remarks,
)
from keepstate._snapshot.saver import Save, Saved
from keepstate._snapshot.sides import KeptSide, LiveSide, Side
from keepstate._snapshot.unwritten import Knowledge

__all__ = [
    "Ahead",
    "Compared",
    "Described",
    "KeptSide",
    "Knowledge",
    "LiveSide",
    "Loader",
    "Occasion",
    "Outcome",
    "Save",
    "Saved",
    "Side",
    "best_of",
    "cell_titles",
    "compare",
    "decode_cells",
    "find",
    "older_generation",
    "recorded_cells",
    "remarks_on",
    "restore_names",
    "restore_recipes",
    "snapshot_of",
    "version_remarks",
]
