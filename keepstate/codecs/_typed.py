"""Typed calls: how a few kinds of data are kept without a pickle of their own library's.

A typed call has a fixed name and a state of plain values, arrays, buffers and other typed calls, so that no
code of anyone's runs when it is read (see ``_data_only.py``), and any version of the library can be told what
to make. It proves itself when it is written: what it does not make again exactly is left to pickle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keepstate.codecs import _calls

if TYPE_CHECKING:
    from collections.abc import Callable


def typed(
    call: str,
    make: Callable[..., Any],
    state: Callable[[], tuple[Any, ...]],
    same: Callable[[Any], bool],
    otherwise: Callable[[], Any] = lambda: NotImplemented,
) -> Any:
    """Give the reduce tuple of a typed call if it is proven, else what *otherwise* gives.

    Args:
        call: One of ``_calls.NAMES``.
        make: What makes an object of a state.
        state: Takes an object apart, sharing its memory.
        same: Whether what was made is the same in type and structure, and shows the very same memory; values
            are then the same without being compared.
        otherwise: How pickle keeps it.
    """
    try:
        found = state()
        proven = same(make(*found)) is True
    except Exception:  # noqa: BLE001 - then it is not proven, and pickle keeps it or says why not
        return otherwise()
    return (_calls.named(call), found) if proven else otherwise()
