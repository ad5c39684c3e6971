"""Arrow: types, arrays and tables, kept as what they are made of, so that any version can be told to make it.

Their memory never changes. It links no names, and each of them keeps the whole of what it shows.
pyarrow is imported only to decode: whoever has such an object has imported it.
"""

from __future__ import annotations

import importlib
import pickle
import sys
from typing import TYPE_CHECKING, Any

from keepstate.codecs._arrow.memory import array_of, layout_of, same_array, same_type
from keepstate.codecs._arrow.schemas import bytes_of_schema, bytes_of_type, field_of, schema_of
from keepstate.codecs._typed import typed
from keepstate.errors import CodecError

if TYPE_CHECKING:
    from collections.abc import Callable

    from keepstate.codecs._arrow.memory import Layout
    from keepstate.codecs._pickler import StreamPickler


def _once(pickler: StreamPickler, told: bytes) -> bytes:
    """Give the same bytes for equal ones: pickle writes an object once."""
    return pickler.schemas.setdefault(told, told)


def reduce_type(pickler: StreamPickler, dtype: Any) -> Any:
    """Reduce a type of Arrow."""
    pa = sys.modules["pyarrow"]
    return typed(
        "arrow_type",
        arrow_type,
        state=lambda: (_once(pickler, bytes_of_type(pa, dtype)),),
        same=lambda made: same_type(made, dtype),
    )


def reduce_field(pickler: StreamPickler, field: Any) -> Any:
    """Reduce a field, with its metadata."""
    pa = sys.modules["pyarrow"]
    return typed(
        "arrow_field",
        arrow_field,
        state=lambda: (_once(pickler, bytes_of_schema(pa, pa.schema([field]))),),
        same=lambda made: type(made) is type(field) and made.equals(field, check_metadata=True),
    )


def reduce_schema(pickler: StreamPickler, schema: Any) -> Any:
    """Reduce a schema, with its metadata."""
    pa = sys.modules["pyarrow"]
    return typed(
        "arrow_schema",
        arrow_schema,
        state=lambda: (_once(pickler, bytes_of_schema(pa, schema)),),
        same=lambda made: type(made) is type(schema) and _same_schema(made, schema),
    )


def _same_schema(one: Any, other: Any) -> bool:
    return bool(one.equals(other, check_metadata=True)) and one.metadata == other.metadata


def reduce_array(pickler: StreamPickler, values: Any) -> Any:
    """Reduce an array to its type and its memory."""
    pa = sys.modules["pyarrow"]
    return typed(
        "arrow_array",
        arrow_array,
        state=lambda: (_once(pickler, bytes_of_type(pa, values.type)), layout_of(pa, values)),
        same=lambda made: same_array(pa, made, values),
    )


def reduce_chunked_array(pickler: StreamPickler, values: Any) -> Any:
    """Reduce an array in chunks."""
    pa = sys.modules["pyarrow"]
    return typed(
        "arrow_chunked_array",
        arrow_chunked_array,
        state=lambda: (_once(pickler, bytes_of_type(pa, values.type)), _chunks_of(pa, values)),
        same=lambda made: type(made) is type(values) and _same_chunks(pa, made, values),
    )


def _chunks_of(pa: Any, values: Any) -> tuple[Layout, ...]:
    return tuple(layout_of(pa, chunk) for chunk in values.iterchunks())


def _same_chunks(pa: Any, one: Any, other: Any) -> bool:
    return (
        same_type(one.type, other.type)
        and one.num_chunks == other.num_chunks
        and all(same_array(pa, *pair) for pair in zip(one.iterchunks(), other.iterchunks(), strict=True))
    )


def reduce_table(pickler: StreamPickler, table: Any) -> Any:
    """Reduce a table to its schema and the chunks of its columns."""
    pa = sys.modules["pyarrow"]
    return typed(
        "arrow_table",
        arrow_table,
        state=lambda: (
            _once(pickler, bytes_of_schema(pa, table.schema)),
            tuple(_chunks_of(pa, column) for column in table.itercolumns()),
            *(() if table.num_columns else (table.num_rows,)),
        ),
        same=lambda made: (
            type(made) is type(table)
            and _same_schema(made.schema, table.schema)
            and made.num_rows == table.num_rows
            and all(
                _same_chunks(pa, *pair) for pair in zip(made.itercolumns(), table.itercolumns(), strict=True)
            )
        ),
    )


def reduce_record_batch(pickler: StreamPickler, batch: Any) -> Any:
    """Reduce a record batch to its schema and its columns."""
    pa = sys.modules["pyarrow"]
    return typed(
        "arrow_record_batch",
        arrow_record_batch,
        state=lambda: (
            _once(pickler, bytes_of_schema(pa, batch.schema)),
            tuple(layout_of(pa, column) for column in batch.columns),
            *(() if batch.num_columns else (batch.num_rows,)),
        ),
        same=lambda made: (
            type(made) is type(batch)
            and _same_schema(made.schema, batch.schema)
            and made.num_rows == batch.num_rows
            and all(same_array(pa, *pair) for pair in zip(made.columns, batch.columns, strict=True))
        ),
    )


def reduce_scalar(pickler: StreamPickler, scalar: Any) -> Any:
    """Reduce a single value, if nothing is nested in it, to an array of one."""
    pa = sys.modules["pyarrow"]
    return typed(
        "arrow_scalar",
        arrow_scalar,
        state=lambda: (
            _once(pickler, bytes_of_type(pa, scalar.type)),
            layout_of(pa, _alone(pa, scalar)),
        ),
        same=lambda made: type(made) is type(scalar) and _same_scalar(pa, made, scalar),
        otherwise=lambda: _as_arrow_does(pa, scalar),
    )


def _as_arrow_does(pa: Any, scalar: Any) -> Any:
    """Reduce a value as Arrow does, unless Arrow cannot read that: one of runs, for instance."""
    make, arguments = scalar.__reduce__()
    try:
        make(*arguments)
    except (TypeError, pa.ArrowException) as error:
        raise pickle.PicklingError(f"it holds a value of {scalar.type}, which Arrow cannot pickle") from error
    return make, arguments


def _alone(pa: Any, scalar: Any) -> Any:
    dtype = scalar.type
    if isinstance(dtype, pa.lib.BaseExtensionType):  # Arrow cannot read all of its own pickles of these
        held = pa.scalar(None, dtype.storage_type) if scalar.value is None else scalar.value
        return pa.ExtensionArray.from_storage(dtype, _alone(pa, held))
    if dtype.num_fields or pa.types.is_dictionary(dtype):
        raise CodecError("a value with others in it is kept by Arrow's own pickle")
    return pa.repeat(scalar, 1)


def _same_scalar(pa: Any, one: Any, other: Any) -> bool:
    # By their bytes: no NaN is equal to itself, and not all are the same.
    if not same_type(one.type, other.type) or one.is_valid != other.is_valid:
        return False
    return _bytes_of(_alone(pa, one)) == _bytes_of(_alone(pa, other))


def _bytes_of(values: Any) -> list[bytes | None]:
    return [None if buffer is None else buffer.to_pybytes() for buffer in values.buffers()[1:]]


ARROW_REDUCERS: dict[str, Callable[[Any, Any], Any]] = {
    "pyarrow.lib.DataType": reduce_type,
    "pyarrow.lib.Field": reduce_field,
    "pyarrow.lib.Schema": reduce_schema,
    "pyarrow.lib.Array": reduce_array,
    "pyarrow.lib.ChunkedArray": reduce_chunked_array,
    "pyarrow.lib.Table": reduce_table,
    "pyarrow.lib.RecordBatch": reduce_record_batch,
    "pyarrow.lib.Scalar": reduce_scalar,
}
"""By the name of a type or of one of its bases."""


# --- decoding


def _pyarrow() -> Any:
    return importlib.import_module("pyarrow")


def arrow_type(told: bytes) -> Any:
    """Make a type of Arrow."""
    return field_of(_pyarrow(), told).type


def arrow_field(told: bytes) -> Any:
    """Make a field."""
    return field_of(_pyarrow(), told)


def arrow_schema(told: bytes) -> Any:
    """Make a schema."""
    return schema_of(_pyarrow(), told)


def arrow_array(told: bytes, layout: Layout) -> Any:
    """Make an array."""
    return array_of(_pyarrow(), arrow_type(told), layout)


def arrow_chunked_array(told: bytes, chunks: tuple[Layout, ...]) -> Any:
    """Make an array in chunks."""
    return _chunked(_pyarrow(), arrow_type(told), chunks)


def _chunked(pa: Any, dtype: Any, chunks: tuple[Layout, ...]) -> Any:
    return pa.chunked_array([array_of(pa, dtype, chunk) for chunk in chunks], dtype)


def arrow_table(told: bytes, columns: tuple[tuple[Layout, ...], ...], rows: int = 0) -> Any:
    """Make a table; one without columns has *rows*."""
    pa = _pyarrow()
    schema = schema_of(pa, told)
    if rows and not columns:
        return pa.table({"": pa.nulls(rows)}, metadata=schema.metadata).select([])
    made = [_chunked(pa, field.type, column) for field, column in zip(schema, columns, strict=True)]
    return pa.Table.from_arrays(made, schema=schema)


def arrow_record_batch(told: bytes, columns: tuple[Layout, ...], rows: int = 0) -> Any:
    """Make a record batch; one without columns has *rows*."""
    pa = _pyarrow()
    schema = schema_of(pa, told)
    if rows and not columns:
        made = pa.RecordBatch.from_arrays([pa.nulls(rows)], names=[""], metadata=schema.metadata)
        return made.select([])
    made = [array_of(pa, field.type, column) for field, column in zip(schema, columns, strict=True)]
    return pa.RecordBatch.from_arrays(made, schema=schema)


def arrow_scalar(told: bytes, layout: Layout) -> Any:
    """Make a single value of an array of one."""
    values = arrow_array(told, layout)
    values.validate(full=True)  # before one is taken out
    if len(values) != 1:
        raise CodecError("a single value of Arrow was kept as several")
    return values[0]


def check_arrow(made: Any) -> None:
    """Look through the memory of what was made.

    Raises:
        CodecError: It says something that its type forbids, as a text that begins outside of it.
    """
    try:
        made.validate(full=True)
    except ValueError as error:
        raise CodecError(f"memory of Arrow says something impossible: {error}") from error


ARROW_CHECKS: dict[str, Callable[[Any], None]] = dict.fromkeys(
    ("arrow_array", "arrow_chunked_array", "arrow_table", "arrow_record_batch"), check_arrow
)
"""By the call whose result it looks at."""
