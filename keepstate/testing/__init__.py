"""What shows that a backend or a codec of your own is one. Needs pytest, and is imported by tests only."""

import pytest

# Before the suite is imported: otherwise a failed assert would show no values.
pytest.register_assert_rewrite("keepstate.testing.backend_suite", "keepstate.testing.codec_suite")

from keepstate.backends._faulty import Fault, Faulty  # noqa: E402 - see above
from keepstate.testing.backend_suite import BackendSuite  # noqa: E402 - see above
from keepstate.testing.codec_suite import CodecSuite  # noqa: E402 - see above

__all__ = ["BackendSuite", "CodecSuite", "Fault", "Faulty"]
