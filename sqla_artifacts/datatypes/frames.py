"""Tables and data frames, as Arrow IPC files (also called Feather, version 2).

What goes in comes back as the same kind: a pyarrow ``Table`` or ``RecordBatch``, a pandas
``DataFrame`` with its index, a polars ``DataFrame``. The kind is a key in the schema's metadata
that is taken out again on reading; a file that others wrote is a ``Table``. A frame whose types
Arrow would change is refused.

Reading copies nothing, but for what pandas cannot hold as Arrow does. All of it is checked, so that
bytes of a stranger do no harm. Extension types come back only where the process has registered
them, and are otherwise what they are made of.

Of pandas these are not kept: the ``freq`` of an index, and lists in columns of objects, which
come back as arrays.
"""

from __future__ import annotations

import importlib
import io
from typing import TYPE_CHECKING, Any, BinaryIO

from .datatype import DataType, expected, extra

if TYPE_CHECKING:
    from .datatype import Info

KIND = b"sqla_artifacts:kind"
"""The key of the schema's metadata that says what was stored."""


def _dump_arrow(value: Any, fp: BinaryIO, info: Info) -> None:
    with extra("arrow"):
        import pyarrow as pa

    kind, content = _as_arrow(value)
    content.validate(full=True)  # as when it is read
    table = content.replace_schema_metadata({**(content.schema.metadata or {}), KIND: kind})
    if table.num_rows != content.num_rows:
        msg = "rows without any columns would not come back"
        raise ValueError(msg)
    # In a file a column has one dictionary for all batches.
    options = pa.ipc.IpcWriteOptions(unify_dictionaries=True)
    with pa.ipc.new_file(fp, table.schema, options=options) as writer:
        writer.write(table)


def _arrow(value: Any, info: Info) -> bytes:
    fp = io.BytesIO()
    _dump_arrow(value, fp, info)
    return fp.getvalue()


def _from_arrow(data: bytes, info: Info) -> Any:
    """Lay the columns onto the bytes themselves, which may be a mapped file."""
    with extra("arrow"):
        import pyarrow as pa

    reader = pa.ipc.open_file(pa.py_buffer(data))
    kind = (reader.schema.metadata or {}).get(KIND, b"Table")
    single = kind == b"RecordBatch"
    table = reader.get_batch(0) if single else reader.read_all()
    table.validate(full=True)
    metadata = {key: text for key, text in (table.schema.metadata or {}).items() if key != KIND}
    table = table.replace_schema_metadata(metadata or None)
    if kind == b"pandas":
        _library("pandas")
        return table.to_pandas()
    if kind == b"polars":
        return _library("polars").from_arrow(table, rechunk=False)
    return table


def _as_arrow(value: Any) -> tuple[bytes, Any]:
    """Return what a value is, and the table or record batch that it is stored as."""
    import pyarrow as pa

    kind = type(value)
    if kind in {pa.Table, pa.RecordBatch}:
        return kind.__name__.encode(), value
    library = kind.__module__.partition(".")[0]  # which may not be installed
    if kind.__name__ == "DataFrame" and library == "pandas":
        table = pa.Table.from_pandas(value)
        _check_pandas(value, table)
        return b"pandas", table
    if kind.__name__ == "DataFrame" and library == "polars":
        table = value.to_arrow()
        _check_polars(value, table)
        return b"polars", table
    what = "a pyarrow Table or RecordBatch, or a pandas or polars DataFrame"
    raise TypeError(expected(what, value))


def _check_pandas(frame: Any, table: Any) -> None:
    """Refuse a frame that would come back with other types."""
    found = table.slice(0, 0).to_pandas()
    if not (found.columns.equals(frame.columns) and found.index.dtype == frame.index.dtype):
        msg = "the index or the names of the columns would come back otherwise"
        raise ValueError(msg)
    for place, (name, dtype) in enumerate(frame.dtypes.items()):
        # Booleans and None are objects, which without any rows are booleans.
        if dtype not in (found.dtypes.iloc[place], table.column(place).to_pandas().dtype):
            changed = found.dtypes.iloc[place]
            msg = f"column {name!r} of {dtype} would come back as {changed}: use astype()"
            raise ValueError(msg)


def _check_polars(frame: Any, table: Any) -> None:
    found = _library("polars").from_arrow(table.slice(0, 0)).schema
    for name, dtype in frame.schema.items():
        if found[name] != dtype:
            msg = f"column {name!r} of {dtype} would come back as {found[name]}: use cast()"
            raise ValueError(msg)


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        msg = f"it is a frame of {name}, which is not installed"
        raise ModuleNotFoundError(msg) from error


ARROW = DataType(
    "arrow",
    _arrow,
    _from_arrow,
    dump=_dump_arrow,
    mappable=True,
    media_type="application/vnd.apache.arrow.file",
)
