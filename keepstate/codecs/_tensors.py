"""Tensors of torch: their storage is memory like that of arrays, shared with whatever shows it.

torch's own reduce copies storages into the stream, forgets that two tensors are views of one, and leaves
gradients out. It is imported only to decode.
"""

from __future__ import annotations

import importlib
import pickle
import sys
from typing import TYPE_CHECKING, Any

from keepstate.codecs import _calls
from keepstate.codecs._forgotten import count_on_from
from keepstate.codecs._typed import typed
from keepstate.errors import CodecError

if TYPE_CHECKING:
    from collections.abc import Callable

    from keepstate.codecs._pickler import StreamPickler


def reduce_tensor(_pickler: StreamPickler, tensor: Any) -> Any:
    """Reduce a tensor with its gradient.

    Raises:
        PicklingError: It is the result of a recorded computation, which cannot be kept.
    """
    if tensor.requires_grad and not tensor.is_leaf:
        raise pickle.PicklingError(
            "it holds a tensor that is part of an autograd graph; keep tensor.detach() instead"
        )
    reduced = NotImplemented
    if _is_plain(tensor):
        reduced = typed(
            "tensor", tensor_of, state=lambda: _told(tensor), same=lambda made: _same(tensor, made)
        )
    if reduced is NotImplemented:
        return _with_state(tensor, tensor.__reduce_ex__(5), tensor.grad)
    return _with_state(tensor, reduced, None)


def _is_plain(tensor: Any) -> bool:
    """Say whether a tensor is numbers in memory of this machine, and nothing else."""
    torch = sys.modules["torch"]
    return (
        type(tensor) in (torch.Tensor, torch.nn.Parameter)
        and tensor.layout is torch.strided
        and tensor.device.type == "cpu"
        and not (tensor.is_quantized or tensor.is_conj() or tensor.is_neg())
        and not any(getattr(tensor, "names", ()))  # of dimensions, which older versions know
        and not vars(tensor)
    )


def _told(tensor: Any) -> tuple[Any, ...]:
    storage = tensor.untyped_storage()
    return (
        storage if storage.nbytes() else None,
        str(tensor.dtype).removeprefix("torch."),
        tensor.storage_offset(),
        tuple(tensor.shape),
        tensor.stride(),
        tensor.requires_grad,
        type(tensor) is not sys.modules["torch"].Tensor,
        tensor.grad,
    )


def _same(tensor: Any, made: Any) -> bool:
    return (
        type(made) is type(tensor)
        and made.dtype is tensor.dtype
        and made.shape == tensor.shape
        and made.stride() == tensor.stride()
        and made.storage_offset() == tensor.storage_offset()
        and made.data_ptr() == tensor.data_ptr()
        and made.requires_grad == tensor.requires_grad
        and made.grad is tensor.grad
    )


def _with_state(tensor: Any, reduced: Any, gradient: Any) -> Any:
    """Add what torch forgets: the gradient, that a sparse one has any, and hooks, which make steps others."""
    layout = sys.modules["torch"].strided
    more = (
        tensor._backward_hooks,
        getattr(tensor, "_post_accumulate_grad_hooks", None),
        tensor.requires_grad and tensor.layout is not layout,
    )
    if not isinstance(reduced, tuple) or (gradient is None and not any(more)):
        return reduced
    state = reduced[2] if len(reduced) > 2 else None
    told = (state, gradient, *more) if any(more) else (state, gradient)
    return (*reduced[:2], told, None, None, _calls.named("set_tensor_state"))


def reduce_untyped_storage(pickler: StreamPickler, storage: Any) -> Any:
    """Reduce a storage to its memory, or to a copy of it if a device has it; empty ones go torch's way."""
    if storage.nbytes() == 0:
        return NotImplemented
    if storage.device.type != "cpu":
        return _calls.named("itself"), (_held(pickler, storage),)
    pickler.memory.keep(storage)
    nbytes = storage.nbytes()
    return _calls.named("untyped_storage"), (
        pickler.memory.storage(storage, storage.data_ptr(), nbytes),
        nbytes,
    )


class _OnDevice:
    """A storage of a device, copied; one for all tensors that share it."""

    def __init__(self, copied: Any, device: str) -> None:
        self._reduced = _calls.named("device_storage"), (copied, device)

    def __reduce__(self) -> Any:
        return self._reduced


def _held(pickler: StreamPickler, storage: Any) -> _OnDevice:
    device = str(storage.device)
    low = (int.from_bytes(device.encode()) << 64) + storage.data_ptr()
    if low not in pickler.on_devices:
        pickler.on_devices[low] = _OnDevice(storage.cpu(), device)
        pickler.memory.device_extents.append((low, low + storage.nbytes()))
    held: _OnDevice = pickler.on_devices[low]
    return held


def reduce_typed_storage(_pickler: StreamPickler, storage: Any) -> Any:
    """Reduce the typed face of a storage."""
    untyped = storage._untyped_storage
    if untyped.nbytes() == 0:
        return NotImplemented
    return _calls.named("typed_storage"), (untyped, storage.dtype)


# --- decoding


def tensor_of(
    storage: Any,
    dtype: str,
    offset: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    requires_grad: bool,
    is_parameter: bool,
    gradient: Any,
) -> Any:
    """Make a tensor over a storage.

    Raises:
        CodecError: It would lie outside, or there are no such numbers.
    """
    torch = importlib.import_module("torch")
    numbers = vars(torch).get(dtype)  # not getattr: for some names torch imports parts of itself
    if not isinstance(numbers, torch.dtype):
        raise CodecError(f"torch {torch.__version__} has no numbers of the kind {dtype!r}")
    made = torch.empty(0, dtype=numbers, device="cpu")  # the user may have set another default
    if storage is None:
        if 0 not in shape:
            raise CodecError("a tensor without memory was kept with elements")
        made = made.as_strided(shape, strides)
    else:
        if not isinstance(storage, torch.UntypedStorage):
            raise CodecError("a tensor was kept over something that is no memory")
        last = offset + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True))
        if min((offset, *shape, *strides)) < 0 or (last + 1) * numbers.itemsize > storage.nbytes():
            raise CodecError("a tensor lies outside the memory that was kept for it")
        made.set_(storage, offset, shape, strides)
    if is_parameter:
        made = torch.nn.Parameter(made, requires_grad=bool(requires_grad))
    else:
        made.requires_grad_(bool(requires_grad))
    if gradient is not None:
        made.grad = gradient
    return made


def device_storage(copied: Any, device: str) -> Any:
    """Bring a storage to the device that it was on, or leave it to the processor if that is not there."""
    torch = importlib.import_module("torch")
    kind, _, index = device.partition(":")
    if kind == "cuda" and torch.cuda.is_available() and int(index or 0) < torch.cuda.device_count():
        return copied.cuda(int(index or 0))
    if kind == "mps" and torch.backends.mps.is_available():
        return copied.mps()
    return copied


def typed_storage(untyped: Any, dtype: Any) -> Any:
    """Make the typed face of a storage."""
    torch = importlib.import_module("torch")
    return torch.storage.TypedStorage(wrap_storage=untyped, dtype=dtype, _internal=True)


def set_tensor_state(tensor: Any, state: tuple[Any, ...]) -> None:
    """Give a tensor its state, its gradient and its hooks."""
    own, gradient, backward, accumulated, requires_grad = (*state, None, None, False)[:5]
    torch = importlib.import_module("torch")
    if own is not None:
        torch._utils._set_obj_state(tensor, own)
    if requires_grad:
        tensor.requires_grad_()
    if gradient is not None:
        tensor.grad = gradient
    for name, hooks in (("_backward_hooks", backward), ("_post_accumulate_grad_hooks", accumulated)):
        if hooks is not None:
            setattr(tensor, name, hooks)
            count_on_from(torch, hooks)


TENSOR_REDUCERS: dict[str, Callable[[Any, Any], Any]] = {
    "torch.Tensor": reduce_tensor,
    "torch._tensor.Tensor": reduce_tensor,
    "torch.storage.UntypedStorage": reduce_untyped_storage,
    "torch.storage.TypedStorage": reduce_typed_storage,
}
"""By the name of a type or of one of its bases."""
