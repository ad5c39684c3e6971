"""Long histories, small: what ``scripts/bench/histories.py`` makes, for tests."""

import importlib.util
import sys
from pathlib import Path

_PATH = Path(__file__).parent.parent / "scripts" / "bench" / "histories.py"
_spec = importlib.util.spec_from_file_location("bench_histories", _PATH)
_module = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = _module
_spec.loader.exec_module(_module)

Shape, make_history = _module.Shape, _module.make_history
PROJECT, MEMBER, HISTORY, ARCHIVE = _module.PROJECT, _module.MEMBER, _module.HISTORY, _module.ARCHIVE
