"""Tensors of torch: their storage is memory like that of arrays, shared with whatever shows it.

torch's own reduce copies storages into the stream, forgets that two tensors are views of one, and leaves
gradients out. torch is never imported here: whoever has a tensor has imported it.
"""

from __future__ import annotations

import pickle
import sys
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
    """Reduce a storage on the processor to its memory; others go torch's way."""
    if storage.device.type != "cpu" or storage.nbytes() == 0:
        return NotImplemented
    pickler.memory.keep(storage)
    nbytes = storage.nbytes()
    return _calls.named("untyped_storage"), (
        pickler.memory.storage(storage, storage.data_ptr(), nbytes),
        nbytes,
    )


def reduce_typed_storage(_pickler: StreamPickler, storage: Any) -> Any:
    """Reduce the typed face of a storage."""
    untyped = storage._untyped_storage
    if untyped.device.type != "cpu" or untyped.nbytes() == 0:
        return NotImplemented
    return _calls.named("typed_storage"), (untyped, storage.dtype)


# --- decoding


def typed_storage(untyped: Any, dtype: Any) -> Any:
    """Make the typed face of a storage."""
    torch = sys.modules["torch"]
    return torch.storage.TypedStorage(wrap_storage=untyped, dtype=dtype, _internal=True)


def set_tensor_state(tensor: Any, state: tuple[Any, Any]) -> None:
    """Give a tensor its state and its gradient."""
    own, gradient = state
    if own is not None:
        sys.modules["torch"]._utils._set_obj_state(tensor, own)
    tensor.grad = gradient


TENSOR_REDUCERS: dict[str, Callable[[Any, Any], Any]] = {
    "torch.Tensor": reduce_tensor,
    "torch._tensor.Tensor": reduce_tensor,
    "torch.storage.UntypedStorage": reduce_untyped_storage,
    "torch.storage.TypedStorage": reduce_typed_storage,
}
"""By the name of a type or of one of its bases."""
