"""Types and schemas of Arrow as the bytes of the schema message of its own format, which all versions read.

Such a message may name a type of somebody's own; reading it would then call whatever class is registered here
under that name. So a message is looked at first: types that Arrow itself extends are all that it may name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keepstate.errors import CodecError

if TYPE_CHECKING:
    from collections.abc import Iterator

_EXTENSION_KEY = b"ARROW:extension:name"
"""Under which the metadata of a field names its type, if that is an extended one (Arrow's own format)."""
_DISARMED_KEY = b"ARROW:extension:nam_"
"""As long, and no reader knows it: a message of which it is part can be read, and calls nobody."""
_EXTENSIONS = {
    b"arrow.bool8": "bool8",
    b"arrow.fixed_shape_tensor": "fixed_shape_tensor",
    b"arrow.json": "json_",
    b"arrow.opaque": "opaque",
    b"arrow.uuid": "uuid",
}
"""Extended types that are Arrow's own → what of pyarrow makes them, where it has them."""


def bytes_of_schema(pa: Any, schema: Any) -> bytes:
    """Give the message that tells a schema.

    Raises:
        CodecError: It has types that are not Arrow's own.
    """
    told: bytes = schema.serialize().to_pybytes()
    _refuse_foreign(pa, told)
    return told


def bytes_of_type(pa: Any, dtype: Any) -> bytes:
    """Give the message that tells a type: a schema whose only field has no name."""
    return bytes_of_schema(pa, pa.schema([pa.field("", dtype)]))


def schema_of(pa: Any, told: bytes) -> Any:
    """Make a schema.

    Raises:
        CodecError: Its types are not all Arrow's own, or this version does not know them.
        TypeError, ValueError: That is no such message.
    """
    if type(told) is not bytes:
        raise CodecError("a schema of Arrow was kept as something else than bytes")
    _refuse_foreign(pa, told)
    return pa.ipc.read_schema(pa.py_buffer(told))


def field_of(pa: Any, told: bytes) -> Any:
    """Make the field that is alone in a schema."""
    schema = schema_of(pa, told)
    if len(schema) != 1:
        raise CodecError("a type of Arrow was kept as several")
    return schema.field(0)


def _refuse_foreign(pa: Any, told: bytes) -> None:
    if _EXTENSION_KEY not in told:
        return
    disarmed = pa.ipc.read_schema(pa.py_buffer(told.replace(_EXTENSION_KEY, _DISARMED_KEY)))
    for field in _fields_of(pa, disarmed):
        name = (field.metadata or {}).get(_DISARMED_KEY)
        if name is not None and not hasattr(pa, _EXTENSIONS.get(name, "of nobody")):
            raise CodecError(
                f"{name.decode(errors='replace')} is no type that pyarrow {pa.__version__} itself knows"
            )


def _fields_of(pa: Any, schema: Any) -> Iterator[Any]:
    """Yield the fields of a schema, at any depth."""
    fields = list(schema)
    while fields:
        field = fields.pop()
        yield field
        dtype = field.type
        while pa.types.is_dictionary(dtype):
            dtype = dtype.value_type
        fields += [dtype.field(index) for index in range(dtype.num_fields)]
