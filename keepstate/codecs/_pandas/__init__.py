"""Pandas as data: frames of blocks, indexes, arrays and dtypes, single values, and the checks of them."""
