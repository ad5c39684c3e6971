"""That it cannot be told what a value is."""


class NoKeyError(Exception):
    """It cannot be told reliably what this value is; the message says why, and begins with ``it``."""
