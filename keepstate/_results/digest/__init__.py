"""An exact digest of a value: equal digests only for values that no function could tell apart.

It goes through objects as pickle does, by what they say is needed to make them again, and through functions
and classes of the notebook by their code and all that this refers to. Types count (``1``, ``True`` and
``1.0`` differ), and so do the order of dictionaries, the layout of arrays, and which objects are one and the
same. Where nothing reliable can be said, it raises. Why ``joblib.hash`` is not enough: docs/decisions/0011.

Nothing is written to, no random number is drawn, and nothing of the user's is called but what pickle calls.
"""

from keepstate._results.digest.digester import HANDLERS, Digester
from keepstate._results.digest.instances import copies_on_write
from keepstate._results.digest.no_key import NoKeyError

__all__ = ["HANDLERS", "Digester", "NoKeyError", "copies_on_write"]
