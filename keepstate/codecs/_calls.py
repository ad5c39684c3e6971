"""The vocabulary of streams: the calls that a stream may ask its decoder to make.

A pickled stream names each call as a global of this module. Nothing here does the work: while decoding,
``find_class`` maps the name to the method of the running decoder (see ``_decoder.py``). Loaded by anything
else, a stream of ours fails here with a sentence. The names are part of repository format 1: a call may
be added, none may change its meaning.
"""

from __future__ import annotations

MODULE = __name__
"""What streams of format 1 call this module; it stays so even if the file moves."""


def _only_while_decoding(*_args: object) -> object:
    raise TypeError("this is a keepstate stream: it is read by keepstate.restore, not by pickle")


def _call(name: str) -> object:
    def call(*args: object) -> object:
        return _only_while_decoding(*args)

    call.__name__ = call.__qualname__ = name
    return call


NAMES = (
    # memory
    "array",
    "view",
    "empty",
    "exported",
    "object_view",
    "object_array",
    "set_object_array",
    "row",
    "subclass_array",
    "untyped_storage",
    "typed_storage",
    "device_storage",
    "tensor",
    "dtype",
    "itself",
    "set_tensor_state",
    # the notebook
    "namespace",
    "definition",
    "member",
    "module",
    "attribute",
    # functions and classes
    "code",
    "function",
    "set_function_state",
    "cell",
    "set_cell",
    "own_globals",
    "module_globals",
    "cached_function",
    "class_",
    "set_class_state",
    "enum_member",
    "dataclass_params",
    "type_variable",
    "new_type",
    "type_alias",
    # libraries
    "bit_generator",
    "set_bit_generator",
    "generator",
    "random_state",
    "set_random_state",
    "text_dtype",
    "text_array",
    "arrow_dtype",
    "arrow_type",
    "arrow_field",
    "arrow_schema",
    "arrow_array",
    "arrow_chunked_array",
    "arrow_table",
    "arrow_record_batch",
    "arrow_scalar",
    "sparse_matrix",
    "of_one_version",
    "block",
    "block_refs",
    # pandas
    "pandas_frame",
    "pandas_series",
    "block_manager",
    "series_manager",
    "pandas_index",
    "range_index",
    "multi_index",
    "categorical_array",
    "datetime_array",
    "timedelta_array",
    "period_array",
    "object_text_array",
    "numpy_extension_array",
    "nullable_array",
    "interval_array",
    "sparse_array",
    "pandas_arrow_array",
    "categorical_dtype",
    "datetime_dtype",
    "interval_dtype",
    "sparse_dtype",
    "nullable_dtype",
    "time_zone",
    "date_offset",
    # more of libraries, and of Python's own
    "weak_dictionary",
    "dictionary_view",
    "weak_reference",
    "dead_reference",
    "error",
    "set_error_state",
    "open_file",
    "closed_file",
    "lock",
    "reentrant_lock",
    "logger",
    "set_logger_state",
    "null_handler",
    "stream_handler",
    "file_handler",
    "key_wrapper",
    "pairwise",
    "set_json_decoder_state",
    "match",
    "fill_container",
    "set_attributes",
    "set_frame_attributes",
    "set_state_and_attributes",
    "registered",
)
for _name in NAMES:
    globals()[_name] = _call(_name)


def named(name: str) -> object:
    """Return the call *name*, to stand first in a reduce tuple."""
    return globals()[name]
