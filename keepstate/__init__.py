"""keepstate: notebook sessions that survive.

Layers, top to bottom, each importing only what is below it (held by import-linter in ``make check``):

    __main__ · _cli · _api · _notebook · _session · _snapshot
    _repository | _tracking | _capture
    backends | codecs | _hosts | _render
    _model · _base · errors
"""

from __future__ import annotations
