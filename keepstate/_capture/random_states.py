"""The random states of the libraries that are imported: read without touching a stream, and put back.

A state for a library that is not imported yet waits for its import and is carried on into later readings
until then, so that nothing is forgotten.

Knows nothing of snapshots; gives and takes bytes. JSON, because a state must never be able to run code.
"""

from __future__ import annotations

import base64
import json
import struct
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from keepstate._capture import import_hook
from keepstate.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    State = dict[str, Any]

FORMAT = 1
_WORDS = 625
"""Of the Mersenne Twister of ``random``: 624 and the position."""


class _Library(Protocol):
    """How one library's state is read and put back."""

    key: str
    module: str
    """Whose import makes it ready."""

    def read(self, module: ModuleType) -> State | None: ...

    def put(self, module: ModuleType, state: State) -> None: ...


class _Standard:
    """``random``."""

    key = module = "random"

    def read(self, module: ModuleType) -> State:
        version, words, gauss = module.getstate()
        return {
            "version": version,
            "words": _text(struct.pack(f"<{_WORDS}I", *words)),
            "gauss": None if gauss is None else gauss.hex(),
        }

    def put(self, module: ModuleType, state: State) -> None:
        words = struct.unpack(f"<{_WORDS}I", _bytes(state["words"]))
        gauss = state["gauss"]
        module.setstate((state["version"], words, None if gauss is None else float.fromhex(gauss)))


class _Numpy:
    """The global generator of numpy; generators of the user's own are objects like any other."""

    key = module = "numpy.random"

    def read(self, module: ModuleType) -> State:
        state = module.get_state(legacy=False)
        return {"values": _pack(state)}

    def put(self, module: ModuleType, state: State) -> None:
        values = _unpack(state["values"])
        name = values["bit_generator"]
        if module.get_state(legacy=False)["bit_generator"] != name:
            module.set_bit_generator(getattr(module, name)())
        module.set_state(values)


class _Torch:
    """The generator of torch for the processor."""

    key = module = "torch"

    def read(self, module: ModuleType) -> State:
        return {"bytes": _text(_tensor_bytes(module.get_rng_state()))}

    def put(self, module: ModuleType, state: State) -> None:
        module.set_rng_state(_tensor(module, state["bytes"]))


class _TorchDevices:
    """The generators of torch for GPUs, once one is in use; put back when one comes into use."""

    key = "torch.cuda"
    module = "torch"

    def read(self, module: ModuleType) -> State | None:
        if not module.cuda.is_initialized():
            return None
        return {"devices": [_text(_tensor_bytes(state)) for state in module.cuda.get_rng_state_all()]}

    def put(self, module: ModuleType, state: State) -> None:
        devices = [_tensor(module, device) for device in state["devices"]]
        for index, device in enumerate(devices[: module.cuda.device_count()]):
            module.cuda.set_rng_state(device, index)  # torch keeps it until the device comes into use


_LIBRARIES: tuple[_Library, ...] = (_Standard(), _Numpy(), _Torch(), _TorchDevices())

_pending: dict[str, State] = {}
"""States of libraries that are not imported yet."""
trouble: dict[str, str] = {}
"""Library → why its state could not be put back; the newest time it was tried."""


def read() -> bytes:
    """Read all states; the streams go on as if it had not happened.

    Must be called before a fork: the standard library reseeds itself in the child.
    """
    states = dict(_pending)
    for library in _LIBRARIES:
        module = _loaded(library.module)
        state = None if module is None else library.read(module)
        if state is not None:
            states[library.key] = state
    return json.dumps({"format": FORMAT, "states": states}, sort_keys=True).encode()


def put_back(data: bytes) -> list[str]:
    """Put states back, now or right after the first import; return the libraries that are waited for.

    Raises:
        FormatError: The bytes come from a newer version.
    """
    content = json.loads(data)
    if content["format"] > FORMAT:
        raise FormatError("the random states were written by a newer keepstate: upgrade to use them")
    known = {library.key: library for library in _LIBRARIES}
    _pending.clear()
    trouble.clear()
    waiting = set()
    for key, state in content["states"].items():
        if key in known and _loaded(known[key].module) is not None:
            _put(known[key], state)
            continue
        _pending[key] = state
        if key in known:
            waiting.add(known[key].module)
    import_hook.after_import(waiting, _imported)
    return sorted(waiting)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Have the streams go on afterwards as if the body had drawn nothing, and nothing that it imported."""
    before: dict[str, State] = dict(_pending)
    for library in _LIBRARIES:
        module = _loaded(library.module)
        state = None if module is None else library.read(module)
        if state is not None:
            before[library.key] = state
    try:
        yield
    finally:
        for library in _LIBRARIES:
            module = _loaded(library.module)
            state = before.get(library.key)
            if module is not None and state is not None and library.read(module) not in (None, state):
                _put(library, state)


def _imported(module: str) -> None:
    """Put back what waited for *module*, which has just been imported."""
    for library in _LIBRARIES:
        if library.module == module and library.key in _pending:
            _put(library, _pending.pop(library.key))


def _put(library: _Library, state: State) -> None:
    module = sys.modules[library.module]
    try:
        library.put(module, state)
        if library.read(module) is None:  # no device is in use yet; until one is, this is its state
            _pending[library.key] = state
    except Exception as error:  # noqa: BLE001 - a state that does not fit must fail neither start nor an import
        trouble[library.key] = f"the random state of {library.key} could not be put back: {error}"


def _loaded(name: str) -> ModuleType | None:
    """The module, if it has been imported to its end."""
    module = sys.modules.get(name)
    initializing = getattr(getattr(module, "__spec__", None), "_initializing", False)
    return None if module is None or initializing else module


# -- values as text ------------------------------------------------------------------------------------


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _pack(value: Any) -> Any:
    """Turn numpy's nested state into what JSON can say, exactly."""
    if isinstance(value, dict):
        return {str(key): _pack(item) for key, item in value.items()}
    if isinstance(value, float):
        return {"float": value.hex()}
    if hasattr(value, "dtype") and getattr(value, "ndim", 0) > 0:
        return {"dtype": value.dtype.str, "data": _text(value.tobytes())}
    return value if isinstance(value, str) else int(value)


def _unpack(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if value.keys() == {"float"}:
        return float.fromhex(value["float"])
    if value.keys() == {"dtype", "data"}:
        return sys.modules["numpy"].frombuffer(_bytes(value["data"]), dtype=value["dtype"]).copy()
    return {key: _unpack(item) for key, item in value.items()}


def _tensor_bytes(tensor: Any) -> bytes:
    return bytes(tensor.tolist())


def _tensor(torch: Any, text: str) -> Any:
    return torch.tensor(list(_bytes(text)), dtype=torch.uint8, device="cpu")
