"""Which names are kept. Names are tracked, not objects: after a rebinding the new object is."""

from keepstate._tracking.redacting import MARK, is_secret_name, redact_source, redact_text, runs_alike
from keepstate._tracking.secrets import looks_secret, redact
from keepstate._tracking.selection import Selection, check_name, names_of

__all__ = [
    "MARK",
    "Selection",
    "check_name",
    "is_secret_name",
    "looks_secret",
    "names_of",
    "redact",
    "redact_source",
    "redact_text",
    "runs_alike",
]
