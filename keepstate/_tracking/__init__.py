"""Which names are kept. Names are tracked, not objects: after a rebinding the new object is."""

from keepstate._tracking.secrets import looks_secret, redact
from keepstate._tracking.selection import Selection, check_name, names_of

__all__ = ["Selection", "check_name", "looks_secret", "names_of", "redact"]
