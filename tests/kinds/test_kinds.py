from __future__ import annotations

import pytest
from kinds import campaign, kind

LIBRARIES = kind.every()


@pytest.mark.parametrize("name", LIBRARIES)
def test_every_kind_of_a_library_is_kept_or_reported(name, tmp_path):
    """Built, changed, killed and restored it is equal and of use; or its name is skipped with the reason."""
    library = LIBRARIES[name]
    if library.missing():
        pytest.skip(f"{library.missing()} is not installed")
    wrong = {
        result.kind.name: f"{result.outcome}, not {result.kind.expected}: {result.detail}"
        for result in campaign.run(library, tmp_path)
        if not result.as_expected
    }
    assert not wrong, "\n".join(f"{name}: {why}" for name, why in wrong.items())
