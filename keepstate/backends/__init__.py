"""Places for bytes: names and bytes, nothing else.

:class:`Backend` says what each of them does, :class:`Properties` what it promises. What makes any of them
patient, slow on purpose, or read-only is a wrapper of the same Protocol. A backend of your own is shown to be
one by the suite in ``keepstate.testing``.
"""

from keepstate.backends._address import FORMS, Address, read_address
from keepstate.backends._caching import Caching
from keepstate.backends._credentials import Credentials
from keepstate.backends._local import LocalBackend
from keepstate.backends._mounted import open_mounted
from keepstate.backends._names import check_name, check_prefix, check_range
from keepstate.backends._open import open_backend
from keepstate.backends._protocol import Backend, Item, Operation, Proof, Properties
from keepstate.backends._read_only import ReadOnly
from keepstate.backends._retrying import Retrying
from keepstate.backends._throttling import Throttled
from keepstate.backends._trial import HEADINGS, Trial, try_out

__all__ = [
    "FORMS",
    "HEADINGS",
    "Address",
    "Backend",
    "Caching",
    "Credentials",
    "Item",
    "LocalBackend",
    "Operation",
    "Proof",
    "Properties",
    "ReadOnly",
    "Retrying",
    "Throttled",
    "Trial",
    "check_name",
    "check_prefix",
    "check_range",
    "open_backend",
    "open_mounted",
    "read_address",
    "try_out",
]
