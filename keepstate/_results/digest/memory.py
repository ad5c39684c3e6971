"""What is in memory that arrays and tensors show, and which of them show the same."""

from __future__ import annotations

import bisect
import marshal
import struct
import sys
import types
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from keepstate._results.digest.instances import take_instance
from keepstate._results.digest.no_key import NoKeyError
from keepstate.codecs import extent, is_plain, root_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from keepstate._results.digest.digester import Digester


def take_array(digester: Digester, values: Any) -> None:
    """Take in an array: its type, its layout, its elements, and whose memory it shows."""
    digester.write(b"array", type(values).__name__.encode())
    if not digester.frames:
        digester.number(values)
        _take_root(digester, values)
    elif not digester.indexes:
        root: Any = root_of(values)
        digester.framed |= {id(each): root for each in (root, _exporter_of(root)) if each is not None}
    take_dtype(digester, values.dtype)
    flags = values.flags
    strides = () if flags.c_contiguous or flags.f_contiguous else values.strides
    layout = bool(flags.c_contiguous), bool(flags.f_contiguous), strides, bool(flags.writeable)
    digester.write(marshal.dumps((values.shape, layout), 2))
    if not is_plain(values.dtype):
        elements = values.ravel().tolist()
        digester.kept.append(elements)
        frames, digester.frames = digester.frames, 0  # what stands in a column is the user's
        digester.take_all(elements)
        digester.frames = frames
        return
    if digester.skips(values.nbytes):
        return
    plain = values.view(np.ndarray)
    flat = plain.T if flags.f_contiguous and not flags.c_contiguous else plain
    seen: Any = np.ascontiguousarray(flat).reshape(-1).view(np.uint8)
    digester.write_memory(memoryview(seen))


def _take_root(digester: Digester, values: Any) -> None:
    """Say whether another array shows the same memory, and whether it may be shared."""
    root: Any = root_of(values)
    known = digester.roots.get(id(root))
    if not digester.exact and values.size:
        _take_overlaps(digester, values, root)
    elif known is not None:
        offset = values.__array_interface__["data"][0] - root.__array_interface__["data"][0]
        digester.write(b"shows", known.encode(), struct.pack("<q", offset))
    if known is not None:
        return
    digester.roots[id(root)] = f"{digester.label} {digester.count}"
    digester.kept.append(root)
    if values.size:
        digester.shared[id(root)] = root
        base = _exporter_of(root)
        if base is not None:
            digester.shared[id(base)] = base
            digester.kept.append(base)


def _take_overlaps(digester: Digester, values: Any, root: Any) -> None:
    """Say which elements are also those of an array before: what is left of their common memory is no matter.

    Arrays that show other elements of one memory come back apart, and who changes one cannot tell.
    """
    low, high = extent(values)
    spans = digester.spans.setdefault(id(root), [])
    at = bisect.bisect_right(spans, low, key=lambda span: span.high)
    here = Span(low, high, low, f"{digester.label} {digester.count}")
    while at < len(spans) and spans[at].low < high:
        joined = spans.pop(at)
        digester.write(b"overlaps", joined.label.encode(), struct.pack("<q", low - joined.origin))
        here = Span(min(here.low, joined.low), max(here.high, joined.high), joined.origin, joined.label)
    spans.insert(at, here)


class Span(NamedTuple):
    """Addresses ``[low, high)`` that arrays show which overlap."""

    low: int
    high: int
    origin: int
    """Where the first of them begins."""
    label: str
    """Its label and number."""


def _exporter_of(root: Any) -> object:
    return root.base.obj if isinstance(root.base, memoryview) else root.base


def take_subclass_array(digester: Digester, values: Any) -> None:
    """Take in an array of another class, with its attributes."""
    digester.number(values)
    digester.write(b"subclass")
    digester.take(type(values))
    digester.take(np.asarray(values))
    digester.take(dict(vars(values)) if hasattr(values, "__dict__") else {})


def take_dtype(digester: Digester, dtype: Any) -> None:
    """Take in the type of elements, its fields and metadata."""
    reduced = dtype.__reduce__()
    digester.write(b"dtype", type(dtype).__name__.encode())
    digester.kept.append(reduced)
    for part in reduced[1:] if isinstance(reduced, tuple) else (reduced,):
        digester.take(tuple(dict(e) if isinstance(e, types.MappingProxyType) else e for e in part))


def take_scalar(digester: Digester, value: Any) -> None:
    """Take in one element of numpy's."""
    if value.dtype.hasobject:
        take_instance(digester, value)
        return
    digester.write(b"scalar", type(value).__name__.encode(), value.tobytes())
    take_dtype(digester, value.dtype)


def take_tensor(digester: Digester, tensor: Any) -> None:
    """Take in a tensor of torch: as an array, with its gradient and attributes."""
    torch = sys.modules["torch"]
    digester.number(tensor)
    if tensor.requires_grad and not tensor.is_leaf:
        raise NoKeyError("it holds a tensor that is part of an autograd graph")
    if tensor.layout is not torch.strided or tensor.is_quantized:
        take_instance(digester, tensor)
        return
    digester.libraries.add("torch")
    plain = tensor.detach()
    digester.write(b"tensor")
    digester.take(type(tensor))
    facts = str(tensor.dtype), tensor.device.type, tuple(tensor.shape), tensor.stride()
    digester.write(repr((facts, tensor.requires_grad, tensor.is_conj(), tensor.is_neg())).encode())
    storage = tensor.untyped_storage()
    known = digester.roots.get(storage.data_ptr())
    if known is not None:
        digester.write(b"shows", known.encode(), struct.pack("<q", tensor.storage_offset()))
    elif storage.nbytes():
        digester.roots[storage.data_ptr()] = f"{digester.label} {digester.count}"
        digester.shared[storage.data_ptr()] = tensor
        digester.kept.append(storage)
    if not digester.skips(tensor.numel()):
        flat = plain.resolve_conj().resolve_neg().cpu().contiguous().reshape(-1)
        digester.write_memory(memoryview(flat.view(torch.uint8).numpy()))
    digester.take(tensor.grad)
    digester.take({key: value for key, value in vars(tensor).items() if key != "_backward_hooks"})


BY_TYPE: dict[type, Callable[[Digester, Any], None]] = {
    np.ndarray: take_array,
    np.memmap: take_array,
}
