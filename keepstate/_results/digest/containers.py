"""What lists, dictionaries, sets and their like hold."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any

from keepstate._results.digest.no_key import NoKeyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from keepstate._results.digest.digester import Digester

_SEEDLESS = frozenset({int, float, complex, bool})
"""The order of a set of these follows from how it was made, in every process."""
_WITHOUT_IDENTITY = _SEEDLESS | {str, bytes, type(None)}


def take_tuple(digester: Digester, values: tuple[object, ...]) -> None:
    """Take in a tuple; which of several equal ones it is does not count."""
    digester.write(b"tuple")
    digester.take_all(values)


def take_list(digester: Digester, values: list[object]) -> None:
    """Take in a list."""
    digester.number(values, shared=not digester.frames)
    digester.write(b"list")
    digester.take_all(values)


def take_dict(digester: Digester, values: dict[object, object]) -> None:
    """Take in a dictionary, in its order."""
    digester.number(values, shared=not digester.frames)
    digester.write(b"dict")
    digester.take_all(list(values))
    digester.take_all(list(values.values()))


def take_set(digester: Digester, values: Any) -> None:
    """Take in a set of either kind, in its order if that is no chance.

    Raises:
        NoKeyError: Two of its elements are told apart by their identity alone.
    """
    if type(values) is set:
        digester.number(values, shared=not digester.frames)
    digester.write(type(values).__name__.encode())
    kinds = set(map(type, values))
    if digester.exact and kinds <= _SEEDLESS:
        digester.take_all(list(values))
        return
    # Texts are in another order in each process, which is no change of the value. Within one it may be.
    each = [digester.alone(value) for value in values]
    if digester.exact:
        digester.note_order(each)
    digester.write(*sorted(each))
    if kinds <= _WITHOUT_IDENTITY:
        return
    by_digest = dict(zip(each, values, strict=True))
    if len(by_digest) < len(each):
        raise NoKeyError("it holds a set with objects that only their identity tells apart")
    for digest in sorted(by_digest):  # now that an order is found: which of them stands elsewhere as well
        digester.take(by_digest[digest])


def take_bytearray(digester: Digester, values: bytearray) -> None:
    """Take in bytes that may change."""
    digester.number(values, shared=not digester.frames)
    digester.write(b"bytearray", bytes(values))


def take_proxy(digester: Digester, proxy: types.MappingProxyType[Any, Any]) -> None:
    """Take in a view of a dictionary, by what it shows."""
    values = dict(proxy)
    digester.kept.append(values)
    digester.write(b"proxy")
    digester.take_all(list(values))
    digester.take_all(list(values.values()))


def take_slice(digester: Digester, value: slice) -> None:
    """Take in a slice."""
    digester.write(b"slice")
    for part in (value.start, value.stop, value.step):
        digester.take(part)


BY_TYPE: dict[type, Callable[[Digester, Any], None]] = {
    tuple: take_tuple,
    list: take_list,
    dict: take_dict,
    set: take_set,
    frozenset: take_set,
    bytearray: take_bytearray,
    slice: take_slice,
    types.MappingProxyType: take_proxy,
}
