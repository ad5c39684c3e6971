"""Lets the campaigns import the helpers of the tests with kernels."""

import sys
from pathlib import Path

_NOTEBOOK = str(Path(__file__).parent.parent / "notebook")
if _NOTEBOOK not in sys.path:
    sys.path.insert(0, _NOTEBOOK)
