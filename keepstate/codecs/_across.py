"""Objects whose own pickles fit one version of their library only: written so that the others read them.

Random generators of numpy 2 name a class where those of 1.26 want a text. The texts of pandas 3 have a dtype
that 2.2 calls otherwise, and its arrays a class that 2.2 has two of. Nothing is imported when writing: who
has such an object has imported its library.
"""

from __future__ import annotations

import copyreg
import importlib
import math
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from keepstate.codecs import _calls
from keepstate.errors import CodecError

if TYPE_CHECKING:
    from collections.abc import Callable

    from keepstate.codecs._pickler import StreamPickler

_BIT_GENERATORS = ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64")
_PRIVATE = ("_pa_array", "_dtype", "_cache")
"""What an array of texts holds besides its flags; the cache is made again."""


# --- numpy


def reduce_bit_generator(_pickler: StreamPickler, generator: Any) -> Any:
    """Reduce one of numpy's bit generators to its name, its seed and its state."""
    kind = type(generator)
    if kind.__name__ not in _BIT_GENERATORS or kind.__module__.partition(".")[0] != "numpy":
        return NotImplemented
    seed = getattr(generator, "_seed_seq", None)
    make = _calls.named("bit_generator"), (kind.__name__, seed)
    return (*make, generator.state, None, None, _calls.named("set_bit_generator"))


def reduce_generator(_pickler: StreamPickler, generator: Any) -> Any:
    """Reduce a generator to its bit generator, which others may share."""
    if type(generator).__module__.partition(".")[0] != "numpy":
        return NotImplemented
    return _calls.named("generator"), (generator.bit_generator,)


def reduce_random_state(_pickler: StreamPickler, state: Any) -> Any:
    """Reduce a generator of the older kind."""
    if type(state).__module__.partition(".")[0] != "numpy":
        return NotImplemented
    make = _calls.named("random_state"), (state._bit_generator,)
    return (*make, state.get_state(legacy=False), None, None, _calls.named("set_random_state"))


# --- pandas


def reduce_text_dtype(_pickler: StreamPickler, dtype: Any) -> Any:
    """Reduce the dtype of texts: where they are, and whether what is missing is ``nan`` or ``NA``."""
    if type(dtype).__name__ != "StringDtype":
        return NotImplemented
    missing = getattr(dtype, "na_value", None)
    is_nan = isinstance(missing, float) and math.isnan(missing)
    storage = str(dtype.storage).partition("_")[0]  # pyarrow_numpy: so pandas 2.1 and 2.2 called it
    return _calls.named("text_dtype"), (storage, "nan" if is_nan else "NA")


def reduce_text_array(_pickler: StreamPickler, values: Any) -> Any:
    """Reduce an array of texts that Arrow holds."""
    if type(values).__name__ not in ("ArrowStringArray", "ArrowStringArrayNumpySemantics"):
        return NotImplemented
    state = values.__getstate__()
    flags = {name: value for name, value in state.items() if name not in _PRIVATE}
    return _calls.named("text_array"), (state["_pa_array"], state["_dtype"], flags)


def reduce_arrow_dtype(_pickler: StreamPickler, dtype: Any) -> Any:
    """Reduce the dtype of what Arrow holds to Arrow's own."""
    if type(dtype).__name__ != "ArrowDtype":
        return NotImplemented
    return _calls.named("arrow_dtype"), (dtype.pyarrow_dtype,)


def reduce_backed_array(_pickler: StreamPickler, values: Any) -> Any:
    """Reduce an array of pandas around one of numpy; pandas 2 wants a third entry in its state.

    What it has cached is left out: it grows as the array is used.
    """
    reduced = values.__reduce_ex__(5)
    if isinstance(reduced, tuple) and len(reduced) > 2:
        state = reduced[2]
        if isinstance(state, tuple) and len(state) in (2, 3):
            held = {name: value for name, value in (*state, {})[2].items() if name != "_cache"}
            return (*reduced[:2], (*state[:2], held), *reduced[3:])
    return reduced


def reduce_of_one_version(_pickler: StreamPickler, thing: Any) -> Any:
    """Reduce what an older major version of its library would take, and fail over when it is used."""
    reduced = thing.__reduce_ex__(5)
    kind = type(thing)
    library = kind.__module__.partition(".")[0]
    version = getattr(sys.modules.get(library), "__version__", "")
    if reduced[0] is not copyreg.__newobj__ or reduced[1] != (kind,):  # type: ignore[attr-defined]
        return reduced
    make = _calls.named("of_one_version"), (kind, library, version.partition(".")[0])
    return (*make, *reduced[2:])


ACROSS_REDUCERS: dict[str, Callable[[Any, Any], Any]] = {
    "numpy.random.bit_generator.BitGenerator": reduce_bit_generator,
    "numpy.random._generator.Generator": reduce_generator,
    "pandas.StringDtype": reduce_text_dtype,
    "pandas.core.arrays.string_.StringDtype": reduce_text_dtype,
    "pandas.arrays.ArrowStringArray": reduce_text_array,
    "pandas.core.arrays.string_arrow.ArrowStringArray": reduce_text_array,
    "pandas.ArrowDtype": reduce_arrow_dtype,
    "pandas.core.dtypes.dtypes.ArrowDtype": reduce_arrow_dtype,
    "pandas._libs.arrays.NDArrayBacked": reduce_backed_array,
    "pandas.core.groupby.groupby.BaseGroupBy": reduce_of_one_version,
    "pandas.core.window.rolling.BaseWindow": reduce_of_one_version,
}
"""By the name of a type or of one of its bases."""


# --- decoding


def bit_generator(name: str, seed: Any) -> Any:
    """Make a bit generator; its state follows."""
    if name not in _BIT_GENERATORS:
        raise CodecError(f"there is no bit generator {name!r}")
    kind = getattr(importlib.import_module("numpy.random"), name)
    return kind() if seed is None else kind(seed)


def set_bit_generator(generator: Any, state: dict[str, Any]) -> None:
    """Give a bit generator its state."""
    generator.state = state


def generator(bit_generator: Any) -> Any:
    """Make a generator over a bit generator."""
    return importlib.import_module("numpy.random").Generator(bit_generator)


def random_state(bit_generator: Any) -> Any:
    """Make a generator of the older kind."""
    return importlib.import_module("numpy.random").RandomState(bit_generator)


def set_random_state(made: Any, state: dict[str, Any]) -> None:
    """Give it its state."""
    made.set_state(state)


def text_dtype(storage: str, missing: str) -> Any:
    """Make the dtype of texts, under whatever name this version of pandas has it."""
    pandas = importlib.import_module("pandas")
    if missing == "NA":
        return pandas.StringDtype(storage)
    try:
        return pandas.StringDtype(storage, na_value=math.nan)
    except TypeError:
        if storage == "pyarrow":
            with suppress(ValueError):  # pandas 2.0 has none
                return pandas.StringDtype("pyarrow_numpy")
    raise CodecError(
        f"pandas {pandas.__version__} has no dtype for texts with NaN that Python holds: install 2.3 or newer"
    )


def text_array(data: Any, dtype: Any, flags: dict[str, Any]) -> Any:
    """Make an array of texts."""
    if not isinstance(dtype, importlib.import_module("pandas").StringDtype):
        raise CodecError(f"{dtype!r} is no dtype of texts")
    kind = dtype.construct_array_type()
    made = kind.__new__(kind)
    made.__setstate__({"_pa_array": data, "_dtype": dtype, **flags})
    return made


def of_one_version(kind: type, library: str, major: str) -> Any:
    """Make an object whose state follows, unless this version of its library is an older one."""
    here = str(getattr(importlib.import_module(library), "__version__", ""))
    if int(here.partition(".")[0]) < int(major):
        raise CodecError(
            f"a {kind.__qualname__} of {library} {major} cannot be used with {library} {here}: make it again"
        )
    make: Any = kind.__new__
    return make(kind)


def arrow_dtype(dtype: Any) -> Any:
    """Make the dtype of what Arrow holds."""
    return importlib.import_module("pandas").ArrowDtype(dtype)
