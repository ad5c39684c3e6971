"""How arrays are reduced: to a place in memory, or, for arrays of Python objects, by numpy itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from keepstate.codecs import _calls
from keepstate.codecs._arrays import (
    address_of,
    exporter_of,
    extent,
    is_plain,
    refuse_outside,
    refuse_pointers,
    root_of,
)
from keepstate.codecs._dtypes import describe
from keepstate.errors import CodecError

if TYPE_CHECKING:
    from keepstate.codecs._arrays import Array
    from keepstate.codecs._pickler import StreamPickler


def reduce_array(pickler: StreamPickler, values: Array) -> Any:
    """Reduce an array, or a ``numpy.memmap``, which comes back as an ordinary array of the same values."""
    dtype = values.dtype
    if not is_plain(dtype):
        return _of_objects(pickler, values)
    if values.nbytes == 0 and (values.size == 0 or dtype.itemsize == 0):
        order = "C" if values.flags.c_contiguous else "F"
        return _calls.named("empty"), (dtype, values.shape, order, bool(values.flags.writeable))
    root = root_of(values)
    exporter = exporter_of(root)
    if exporter is not None:
        return _of_exporter(values, exporter)
    if root is values and not pickler.memory.is_detached(values):
        # What does not own its memory may have only a part of what others show, a tensor's for instance.
        if values.flags.owndata and (values.flags.c_contiguous or values.flags.f_contiguous):
            return _calls.named("array"), (pickler.memory.whole(values),)
    elif not _holds(root, values):
        root = values
    number, offset = pickler.memory.view(values, root)
    return _calls.named("view"), (number, offset, *_shape_of(values))


def reduce_dtype(_pickler: StreamPickler, dtype: np.dtype[Any]) -> Any:
    """Reduce a dtype to its description, or leave out its own dictionaries, which its arrays would share."""
    described = describe(dtype)
    if described is not None:
        return _calls.named("dtype"), (described,)
    reduced = dtype.__reduce__()
    if isinstance(reduced, str) or len(reduced) != 3 or not isinstance(reduced[2], tuple):
        return reduced
    state = tuple(dict(fact) if type(fact) is dict else fact for fact in reduced[2])
    return (*reduced[:2], state)


def _shape_of(values: Array) -> tuple[object, ...]:
    return values.dtype, values.shape, values.strides, bool(values.flags.writeable)


def _holds(root: Array, values: Array) -> bool:
    """Check that a view lies in the memory of its root; a library may have set any base it liked."""
    if root.size == 0:
        return False
    (low, high), (root_low, root_high) = extent(values), extent(root)
    return root_low <= low and high <= root_high


def _of_exporter(values: Array, exporter: Any) -> tuple[object, ...]:
    start = address_of(np.frombuffer(exporter, np.uint8))
    return _calls.named("exported"), (exporter, address_of(values) - start, *_shape_of(values))


def _of_objects(pickler: StreamPickler, values: Array) -> Any:
    if values.dtype != object or type(values) is not np.ndarray:
        return NotImplemented  # strings of any length, and records with objects in them: numpy's own way
    if values.size and not pickler.memory.is_detached(values):
        root = root_of(values)
        pickler.memory.object_extents.append((*extent(values), id(root), id(values)))
        pickler.memory.keep(values)
        if id(root) in pickler.aliased and root is not values and _is_viewable(root, values):
            offset = (address_of(values) - address_of(root)) // values.dtype.itemsize
            shape = values.shape, values.strides, bool(values.flags.writeable)
            return _calls.named("object_view"), (root, offset, *shape)
    # The array is there, with its memory, before its elements are: they may lead back to a view of it.
    order: Any = "F" if values.flags.f_contiguous and not values.flags.c_contiguous else "C"
    state = values.ravel(order).tolist(), bool(values.flags.writeable)
    make = _calls.named("object_array"), (values.shape, order)
    return (*make, state, None, None, _calls.named("set_object_array"))


def _is_viewable(root: Array, values: Array) -> bool:
    return (
        type(root) is np.ndarray
        and root.dtype == object
        and bool(root.flags.c_contiguous or root.flags.f_contiguous)
        and (address_of(values) - address_of(root)) % values.dtype.itemsize == 0
        and _holds(root, values)
    )


def reduce_subclass_array(_pickler: StreamPickler, values: Array) -> Any:
    """Reduce a record array, matrix or masked array to the plain array that it wraps, and its attributes."""
    return _calls.named("subclass_array"), (type(values), values.view(np.ndarray), dict(vars(values)))


def reduce_row(_pickler: StreamPickler, row: np.void) -> Any:
    """Reduce a row of records to a view of its array, in which is seen what is written to the row."""
    if row.dtype.names is None or not is_plain(row.dtype):
        return NotImplemented
    return _calls.named("row"), (np.asarray(row),)


# --- decoding


def empty(dtype: np.dtype[Any], shape: tuple[int, ...], order: Any, writable: bool) -> Array:
    """Make an array without any bytes."""
    values = np.empty(shape, dtype, order=order)
    if values.nbytes:
        raise CodecError("an array without bytes was kept with some")
    values.flags.writeable = writable
    return values


def exported(
    exporter: Any,
    offset: int,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    writable: bool,
) -> Array:
    """Make an array over the memory of a bytearray or array.array."""
    refuse_pointers(dtype)
    refuse_outside(memoryview(exporter).nbytes, offset, dtype, shape, strides)
    values: Array = np.ndarray(shape, dtype, buffer=exporter, offset=offset, strides=strides)
    values.flags.writeable = writable
    return values


def row(values: Array) -> Any:
    """Make a row of records, which shows the memory of *values*."""
    if type(values) is not np.ndarray or values.ndim or values.dtype.names is None:
        raise CodecError("a row of records was kept as something else")
    return values[()]


def object_view(
    root: Array, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], writable: bool
) -> Array:
    """Make a view of an array of Python objects; its first element is element *offset* in memory."""
    flat = _in_memory_order(root)
    # A view made so is not checked by numpy: outside the array there would be wild pointers.
    reaches = [(length - 1) * stride // root.itemsize for length, stride in zip(shape, strides, strict=True)]
    first = offset + sum(reach for reach in reaches if reach < 0)
    last = offset + sum(reach for reach in reaches if reach > 0)
    askew = any(stride % root.itemsize for stride in strides)
    if root.dtype != object or first < 0 or last >= flat.size or askew:
        raise CodecError("a view lies outside the array of objects that it shows")
    return np.lib.stride_tricks.as_strided(flat[offset:], shape, strides, writeable=writable)


def _in_memory_order(values: Array) -> Array:
    return (values if values.flags.c_contiguous else values.T).reshape(-1)


def object_array(shape: tuple[int, ...], order: Any) -> Array:
    """Make an array of Python objects; its elements follow."""
    return np.empty(shape, object, order=order)


def set_object_array(values: Array, state: tuple[list[object], bool]) -> None:
    """Give an array of Python objects its elements."""
    elements, writable = state
    # Assigning a list would look into its elements for more dimensions.
    _in_memory_order(values)[:] = np.fromiter(elements, object, len(elements))
    values.flags.writeable = writable


def subclass_array(kind: type[Array], values: Array, attributes: dict[str, object]) -> Array:
    """Wrap a plain array again."""
    wrapped: Array = values.view(kind)
    wrapped.__dict__.update(attributes)
    return wrapped
