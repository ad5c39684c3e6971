"""Names that people choose become names of files that are safe everywhere."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstate._repository.layout import decode_name, encode_name

ANY_TEXT = st.text(st.characters(codec=None), max_size=300)


@given(ANY_TEXT)
def test_any_text_becomes_a_plain_name(text):
    """No separator, no leading dot, no case, bounded length; short names decode to what they were."""
    encoded = encode_name(text)
    assert re.fullmatch(r"(?:[a-z0-9_\-@+.]|%[0-9A-F]{2})+(?:~[0-9a-f]{32})?|%", encoded)
    assert not encoded.startswith(".")
    assert not encoded.endswith(".")
    assert len(encoded) <= 100
    if "~" not in encoded and text.isprintable():
        assert decode_name(encoded) == text


@given(ANY_TEXT, ANY_TEXT)
def test_different_texts_get_names_that_differ_without_regard_to_case(one, other):
    """A file system that ignores case keeps them apart as well."""
    assert (encode_name(one).lower() == encode_name(other).lower()) == (one == other)


@pytest.mark.parametrize("name", ["con", "CON", "nul.txt", "com1", "..", ".", "a.", "~", "%", "%41", ""])
def test_names_with_a_meaning_lose_it(name):
    """Devices of Windows, folders above and escapes are encoded, and decode to themselves."""
    encoded = encode_name(name)
    assert encoded not in ("con", "nul.txt", "com1", "..", ".", "")
    assert decode_name(encoded) == name


def test_long_names_are_told_apart_by_what_is_cut_off():
    """Two texts that begin alike get different names of bounded length."""
    assert encode_name("x" * 500) != encode_name("x" * 500 + "y")
