"""What was opened for reading is never changed."""

import pytest

from keepstate.backends import Backend
from keepstate.backends._read_only import ReadOnly
from keepstate.errors import InvalidInputError, NotFoundError, StoreError


@pytest.fixture
def read_only(folder):
    folder.put("a/b", b"bytes")
    return ReadOnly(folder)


def test_everything_can_be_read(read_only, folder):
    """It is a backend, and gives what the place has."""
    assert isinstance(read_only, Backend)
    assert bytes(read_only.get("a/b", start=1, length=3)) == b"yte"
    assert read_only.stat("a/b") == folder.stat("a/b")
    assert [*read_only.list("a/")] == [*folder.list("a/")]
    assert (read_only.place, read_only.properties) == (folder.place, folder.properties)
    with pytest.raises(NotFoundError):
        read_only.get("none")


@pytest.mark.parametrize(
    "call",
    [
        lambda backend: backend.put("a/b", b"1"),
        lambda backend: backend.put("a/c", b"1"),
        lambda backend: backend.put("a/b", b"1", replace=True),
        lambda backend: backend.delete("a/b"),
        lambda backend: backend.delete("none"),
    ],
)
def test_nothing_can_be_changed(read_only, folder, call):
    """The error says why and what to do; the place is as it was."""
    with pytest.raises(StoreError, match=r"reading only.*open it for writing") as raised:
        call(read_only)
    assert type(raised.value) is StoreError
    assert [(item.name, bytes(folder.get(item.name))) for item in folder.list()] == [("a/b", b"bytes")]


def test_what_is_no_name_is_still_none(read_only):
    """The first mistake is told first."""
    with pytest.raises(InvalidInputError):
        read_only.put("../a", b"1")
    with pytest.raises(InvalidInputError):
        read_only.delete("../a")
