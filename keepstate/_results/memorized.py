"""Functions whose results are kept: joblib's way to call, look, shelve and clear, on a store of ours.

joblib finds a result by the text of the function itself and a hash of the arguments that takes some for
equal that are not. Here the key is ours (``key.py``), so of joblib there is the interface and its
``ignore``. Works with joblib 1.5 and 1.6, whose methods are the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from joblib._store_backends import StoreBackendBase, StoreBackendMixin
from joblib.memory import MemorizedFunc, MemorizedResult, NotMemorizedResult, register_store_backend

from keepstate._results import digest, modules
from keepstate._results.arguments import arguments_of
from keepstate._results.calls import (
    ARGUMENT_CHARACTERS,
    VALUE,
    run_kept,
    shared_with,
    usable,
    warn_once,
)
from keepstate._results.digest import NoKeyError
from keepstate._results.key import Inputs
from keepstate._results.running import running_results
from keepstate._tracking import looks_secret, redact
from keepstate.errors import InvalidInputError, KeepstateError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from keepstate._model.manifest import Head
    from keepstate._results.store import Results

BACKEND = "keepstate"
NOT_KEPT = "runs each time, because its result is not kept"
_REFUSED = (
    "results in a keepstate store need more than joblib.Memory tells of a call: decorate with "
    "keepstate.cache, which takes the same options"
)


class ResultBackend(StoreBackendBase, StoreBackendMixin):  # type: ignore[misc]
    """What joblib takes for its store: the results of the session that runs when it is asked.

    An item is told by the id of the function and the key of the call.
    """

    location = BACKEND
    verbose = 0

    def configure(self, *_: object, **__: object) -> None:
        """Refuse: a plain ``joblib.Memory`` compares the text of the function alone, which is not enough."""
        raise InvalidInputError(_REFUSED)

    def contains_item(self, call_id: tuple[str, str]) -> bool:
        """Say whether there is one whose libraries are what they were; whether it is whole shows when it is
        read."""
        return self._find(call_id) is not None

    def load_item(self, call_id: tuple[str, str], *_: object, **__: object) -> object:
        """Read one back.

        Raises:
            NotFoundError: It is not there, or is not to be used any more; a ``KeyError``.
            IntegrityError: It is damaged.
        """
        head, results = self._find(call_id), running_results()
        if head is None or results is None:
            raise NotFoundError(f"the kept result of {call_id[0]} is not there any more: call it again")
        return results.read(head)[VALUE]

    def get_metadata(self, call_id: tuple[str, str]) -> dict[str, object]:
        """Give what joblib's callbacks are told."""
        head = self._find(call_id)
        return {} if head is None else metadata_of(head)

    def clear_item(self, call_id: tuple[str, str]) -> None:
        """Have one used no more."""
        head, results = self._find(call_id, usable=False), running_results()
        if head is not None and results is not None:
            results.clear([head])

    def clear_path(self, call_id: list[str]) -> None:
        """Have all results of a function used no more."""
        results = running_results()
        if results is not None:
            results.clear(results.of_function(call_id[0]))

    @staticmethod
    def _find(call_id: tuple[str, str], *, usable: bool = True) -> Head | None:
        results = running_results()
        head = None if results is None else results.find(call_id[1])
        if (
            head is None
            or head.result is None
            or (usable and modules.changed_versions(head.result.libraries))
        ):
            return None
        return head

    def store_cached_func_code(self, call_id: list[str], func_code: str | None = None) -> None:
        """Do nothing: the code is part of the key."""

    def get_cached_func_info(self, call_id: list[str]) -> dict[str, str]:
        """Say where it is, for messages."""
        return {"location": f"{self.location}/{call_id[0]}"}

    def dump_item(self, *_: object, **__: object) -> None:
        """Refuse, as :meth:`configure`."""
        raise InvalidInputError(_REFUSED)

    store_metadata = get_cached_func_code = dump_item
    enforce_store_limits = get_items = clear = dump_item
    _open_item = _item_exists = _move_item = create_location = clear_location = dump_item

    def __reduce__(self) -> tuple[object, ...]:
        return ResultBackend, ()


register_store_backend(BACKEND, ResultBackend)


def metadata_of(head: Head) -> dict[str, object]:
    """Say of a result what joblib says of its own: when, how long it took, and with what."""
    assert head.result is not None
    from datetime import datetime

    return {
        "duration": head.result.call_seconds,
        "input_args": dict(head.result.arguments),
        "time": datetime.fromisoformat(head.created_at).timestamp(),
    }


class KeptFunction(MemorizedFunc):  # type: ignore[misc]
    """A function whose results are kept; made by :func:`keepstate.cache`."""

    def __init__(
        self,
        function: Callable[..., object],
        *,
        ignore: list[str] | None = None,
        verbose: int = 0,
        cache_validation_callback: Callable[[dict[str, Any]], bool] | None = None,
    ) -> None:
        super().__init__(
            function,
            ResultBackend(),
            backend=BACKEND,
            ignore=ignore,
            verbose=verbose,
            cache_validation_callback=cache_validation_callback,
        )
        # joblib copies the attributes of the function over its own; one that wraps a kept one has the same.
        self.func = function
        self.ignore = [] if ignore is None else ignore
        self._verbose = verbose
        self.cache_validation_callback = cache_validation_callback
        self.store_backend = ResultBackend()
        module = getattr(function, "__module__", None) or "__main__"
        self.func_id = f"{module}.{getattr(function, '__qualname__', type(function).__name__)}"

    # --- calling

    def _cached_call(self, args: tuple[Any, ...], kwargs: dict[str, Any], shelving: bool) -> tuple[Any, Any]:
        results = running_results()
        inputs = None if results is None else self._inputs(results, args, kwargs)
        if results is None or inputs is None:
            value = self.func(*args, **kwargs)
            return (NotMemorizedResult(value) if shelving else value), {}
        head = self._kept(results, inputs, clear=True)
        if head is not None and shelving:
            return self._reference(inputs, head), {}
        if head is not None:
            try:
                return results.read(head)[VALUE], {}
            except (KeepstateError, OSError, MemoryError) as error:
                self._warn(results, f"runs again, because what is kept cannot be used: {error}")
        return self._run(results, inputs, args, kwargs, shelving)

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """Run the function whatever is kept, and keep what it gives; return it, and what is said of it."""
        results = running_results()
        inputs = None if results is None else self._inputs(results, args, kwargs)
        if results is None or inputs is None:
            return self.func(*args, **kwargs), {}
        return self._run(results, inputs, args, kwargs, False)

    def _run(
        self,
        results: Results,
        inputs: Inputs,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        shelving: bool,
    ) -> tuple[Any, dict[str, object]]:
        self._before_call(args, kwargs)
        began = results.clock.monotonic()
        values, why, head = run_kept(results, _Call(self, args, kwargs), inputs)
        if self._verbose > 0:
            self._print_duration(results.clock.monotonic() - began)
        if why:
            self._warn(results, f"{NOT_KEPT}: {why}")
        value = values[VALUE]
        if head is None:
            return (NotMemorizedResult(value) if shelving else value), {}
        return (self._reference(inputs, head) if shelving else value), metadata_of(head)

    def _reference(self, inputs: Inputs, head: Head) -> MemorizedResult:
        call_id = (self.func_id, inputs.key)
        return MemorizedResult(self.store_backend, call_id, metadata=metadata_of(head), verbose=0)

    # --- looking

    def _arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        return arguments_of(self.func, args, kwargs, self.ignore)

    def _look(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Inputs:
        return Inputs.of_call(self.func_id, self.func, self._arguments(args, kwargs))

    def _inputs(self, results: Results, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Inputs | None:
        """Look at what the call depends on; ``None``: it must run, which has been said."""
        try:
            self._arguments(args, kwargs)
        except TypeError:
            return None  # the function will say better what it misses
        try:
            return self._look(args, kwargs)
        except NoKeyError as error:
            self._warn(results, f"{NOT_KEPT}: {error}")
        except Exception as error:  # noqa: BLE001 - objects of the user's may raise anything when they are looked at
            said = f"what it depends on cannot be looked at: {type(error).__name__}: {error}"
            self._warn(results, f"{NOT_KEPT}: {said}")
        return None

    def _kept(self, results: Results, inputs: Inputs, *, clear: bool) -> Head | None:
        """Give the result that may be used for these inputs."""
        try:
            head = results.find(inputs.key)
            if head is None or usable(head, inputs):
                if head is None and results.far_trouble is not None:
                    self._warn(
                        results, f"runs, because what the store has cannot be seen: {results.far_trouble}"
                    )
                return None
        except (KeepstateError, OSError) as error:
            self._warn(results, f"runs, because the store cannot be read: {error}")
            return None
        callback = self.cache_validation_callback
        if callback is None or callback(metadata_of(head)):
            return head
        if clear:
            try:
                results.clear([head])
            except (KeepstateError, OSError) as error:
                self._warn(results, f"has an older result that cannot be cleared: {error}")
        return None

    def check_call_in_cache(self, *args: Any, **kwargs: Any) -> bool:
        """Say whether this call would be answered without running the function.

        One whose bytes are damaged is only found out when it is read.

        Raises:
            SessionError: No session is running.
        """
        results = running_results()
        inputs = None if results is None else self._inputs(results, args, kwargs)
        if results is None or inputs is None:
            return False
        return self._kept(results, inputs, clear=False) is not None

    def clear(self, warn: bool = True) -> None:
        """Use none of the results that were kept so far, here or in any session that begins later.

        Raises:
            SessionError: No session is running.
            StoreError: The store cannot be written.
        """
        del warn  # joblib's, and said nowhere here
        self.store_backend.clear_path([self.func_id])

    def _warn(self, results: Results, why: str) -> None:
        warn_once(self.func_id.removeprefix("__main__."), why, results.say)

    # --- being kept itself

    def __reduce__(self) -> tuple[object, ...]:
        return rebuild, (self.func, self.ignore, self._verbose, self.cache_validation_callback)

    def __repr__(self) -> str:
        return f"<{self.func_id}, whose results keepstate keeps>"


class _Call:
    """One call, as :class:`~keepstate._results.calls.Work`."""

    def __init__(self, kept: KeptFunction, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.name: str = kept.func_id
        self._kept = kept
        self._given = args, kwargs
        self._arguments = _shown(kept._arguments(args, kwargs))  # before they may be changed

    def run(self) -> dict[str, object]:
        args, kwargs = self._given
        return {VALUE: self._kept.func(*args, **kwargs)}

    def harm(self, inputs: Inputs, given: digest.Digester) -> str:
        try:
            now = self._kept._look(*self._given)
        except NoKeyError as error:
            return f"it has changed what it uses: {error}"
        if now.key != inputs.key:
            changed = ", ".join(inputs.changed_to(now.parts))
            return f"it changes {changed or 'what it uses'}, which its result would not do again"
        return shared_with(given, inputs.digester)

    def said(self) -> dict[str, Any]:
        return {"arguments": self._arguments}


def rebuild(
    function: Callable[..., object],
    ignore: list[str],
    verbose: int,
    callback: Callable[[dict[str, Any]], bool] | None,
) -> KeptFunction:
    """Make one again, when it is restored or sent to another process."""
    return KeptFunction(function, ignore=ignore, verbose=verbose, cache_validation_callback=callback)


def _shown(arguments: Mapping[str, object]) -> dict[str, str]:
    """Give the beginnings of arguments, without what looks like a secret.

    No ``repr`` of anything but plain values: that of a masked array changes it.
    """
    return {
        name: "<secret>" if looks_secret(name, value) else redact(_text_of(value))[:ARGUMENT_CHARACTERS]
        for name, value in arguments.items()
    }


def _text_of(value: object) -> str:
    if type(value) in _PLAIN:
        return repr(value[: 2 * ARGUMENT_CHARACTERS] if isinstance(value, str | bytes) else value)
    length = len(value) if isinstance(value, list | tuple | dict | set) and type(value) in _SIZED else None
    return f"<{type(value).__name__}{'' if length is None else f' of {length}'}>"


_SIZED = frozenset({list, tuple, dict, set})
_PLAIN = frozenset({int, float, complex, bool, str, bytes, type(None)})


def _digest_kept(digester: digest.Digester, kept: KeptFunction) -> None:
    digester.take((kept.func, tuple(kept.ignore)))


digest.HANDLERS[KeptFunction] = _digest_kept
