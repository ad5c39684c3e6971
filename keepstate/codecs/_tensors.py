"""Tensors of torch: their storage is memory like that of arrays, shared with whatever shows it.

torch's own reduce copies storages into the stream, forgets that two tensors are views of one, and leaves
gradients out. It is imported only to decode.
"""

from __future__ import annotations

import importlib
import pickle
from typing import TYPE_CHECKING, Any

from keepstate.codecs import _calls

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
    reduced = tensor.__reduce_ex__(5)
    gradient = tensor.grad
    if gradient is None or not isinstance(reduced, tuple):
        return reduced
    state = reduced[2] if len(reduced) > 2 else None
    return (*reduced[:2], (state, gradient), None, None, _calls.named("set_tensor_state"))


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


def set_tensor_state(tensor: Any, state: tuple[Any, Any]) -> None:
    """Give a tensor its state and its gradient."""
    own, gradient = state
    if own is not None:
        importlib.import_module("torch")._utils._set_obj_state(tensor, own)
    tensor.grad = gradient


TENSOR_REDUCERS: dict[str, Callable[[Any, Any], Any]] = {
    "torch.Tensor": reduce_tensor,
    "torch._tensor.Tensor": reduce_tensor,
    "torch.storage.UntypedStorage": reduce_untyped_storage,
    "torch.storage.TypedStorage": reduce_typed_storage,
}
"""By the name of a type or of one of its bases."""
