"""Sizes as people write them."""

import pytest

from keepstate._base.sizes import read_size


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (1, 1),
        (5e9, 5_000_000_000),
        ("5GB", 5_000_000_000),
        ("5 gb", 5_000_000_000),
        (" 500 MB ", 500_000_000),
        ("1.5GiB", 3 << 29),
        ("0.1 GB", 100_000_000),
        ("10kB", 10_000),
        ("2TiB", 2 << 40),
        ("4096", 4096),
        ("7 B", 7),
    ],
)
def test_sizes_are_read(given, meant):
    """Numbers are bytes; units are powers of 1000, those with an i of 1024; the case does not matter."""
    assert read_size(given) == meant


@pytest.mark.parametrize(
    "given",
    ["", "GB", "5G", "5 XB", "-5GB", "1,5GB", "5GB 3MB", "nan", "\u0665GB", 0, -1, "0", "0.3 B", True, None,
     b"5GB", float("nan"), float("inf"), 2**70, "9999999999 TB"],
)  # fmt: skip
def test_what_is_no_size_is_told_with_an_example(given):
    """Also a lone G, which means two sizes, and less than a byte."""
    with pytest.raises(ValueError, match="5GB"):
        read_size(given)
