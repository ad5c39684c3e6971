"""Places for bytes: names and bytes, nothing else.

:class:`Backend` says what each of them does, :class:`Properties` what it promises. What makes any of them
patient, slow on purpose, or read-only is a wrapper of the same Protocol. A backend of your own is shown to be
one by the suite in ``keepstate.testing``.
"""

from keepstate.backends._address import FORMS, Address, read_address
from keepstate.backends._credentials import Credentials
from keepstate.backends._names import check_name, check_prefix, check_range
from keepstate.backends._protocol import Backend, Item, Operation, Proof, Properties

__all__ = [
    "FORMS",
    "Address",
    "Backend",
    "Credentials",
    "Item",
    "Operation",
    "Proof",
    "Properties",
    "check_name",
    "check_prefix",
    "check_range",
    "read_address",
]
