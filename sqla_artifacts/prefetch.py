"""The read hook: the eager artifacts of a result's rows are fetched together.

The column type alone would fetch one value at a time, as rows are made. So the result's fetch
strategy is put inside one of ours, which says beforehand which references are in the rows that
it hands out (:mod:`.window`). The rows themselves it leaves alone, and nothing is fetched until
one is made, and then with those that come after it. A loop over ``fetchone`` reads ahead
(:mod:`.read_ahead`).

Under an async dialect the rows of a buffered result are made later, outside of the greenlet,
where nothing can be waited for. So they are decoded before the result is handed out, unless
the ORM is going to make them at once (``prebuffer_rows``) or the result is streamed.

This is the one module that touches what SQLAlchemy does not promise: ``_setup_result_proxy()`` of
an execution context, ``cursor_strategy``, its ``_rowbuffer`` and ``_metadata._processors`` of a
result, and what is inside of the processor of an array. Where they
are not as it expects it warns once, and values are fetched one by one. A store that is no faster
for many requests at once is left alone.
"""

from __future__ import annotations

import contextlib
import re
import sys
import warnings
from contextvars import copy_context
from functools import partial
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from sqlalchemy.engine import cursor as internals
from sqlalchemy.engine.default import DefaultExecutionContext

from .errors import ArtifactError
from .read_ahead import ReadAhead
from .window import Decoded, Window, Windows, expect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from sqlalchemy import Connection

    from .store import ArtifactStore

_REFERENCES = re.compile(r"&:blob:[^\"]+")


class Prefetch:
    """The read hook of one engine."""

    def __init__(self) -> None:
        self._off = False
        if "_setup_result_proxy" not in vars(DefaultExecutionContext):
            self._give_up("no _setup_result_proxy()")

    def _give_up(self, why: object) -> None:
        self._off = True
        msg = f"artifacts are fetched one by one: this SQLAlchemy's results differ ({why})"
        warnings.warn(msg, RuntimeWarning, stacklevel=3)

    def after_execute(self, connection: Connection, result: Any) -> None:
        """Have the artifacts of a result fetched together."""
        if self._off or not getattr(result, "returns_rows", False):
            return
        try:
            processors = result._metadata._processors  # noqa: SLF001 (as the docstring says)
            if not any(processors):
                return
            columns = _columns_of(result, processors)
            if not columns:
                return
            ahead = _Ahead(result.cursor_strategy, result.cursor, columns)
        except AttributeError as error:
            self._give_up(error)
            return
        options = result.context.execution_options
        if (
            connection.dialect.is_async
            and not options.get("prebuffer_rows")
            and not result.context._is_server_side  # noqa: SLF001 (as the docstring says)
        ):
            size = ahead.size(result.cursor)
            rows = ahead.everything(result)
            decoding = partial(copy_context().run, _decoded, rows, columns)
            decoded = columns[0].store.pool.call(decoding, is_async=True)
            rows.windows.clear()  # all has been taken out; who knows how long a greenlet stays
            result.cursor_strategy = _Buffered(decoded, size)
        else:
            result.cursor_strategy = ahead


class Fetching(DefaultExecutionContext):
    """Statements whose results go through the read hook."""

    prefetch: ClassVar[Prefetch]

    def _setup_result_proxy(self) -> Any:
        result: Any = super()._setup_result_proxy()  # type: ignore[no-untyped-call, unused-ignore]
        self.prefetch.after_execute(self.root_connection, result)
        return result


class _Column(NamedTuple):
    """An eager column of a result."""

    place: int
    store: ArtifactStore
    decode: Callable[[Any], Any]
    """What decodes a reference, or a list of them, and takes one that has been decoded."""

    is_list: bool
    is_nested: bool
    """Whether another type's processor, of an array, say, has ours inside."""


def _columns_of(result: Any, processors: Sequence[Any]) -> list[_Column]:
    """Return the eager columns of a result whose stores are faster for many requests at once."""
    # The processors are made when a statement is compiled, so that is when they are looked at.
    compiled: Any = result.context.compiled
    known = None if compiled is None else compiled.__dict__.get("_artifact_columns")
    if known is None or known[0] is not processors:
        concurrency = 1 if result.dialect.is_async else 2
        known = processors, list(_columns(processors, concurrency))
        if compiled is not None:
            compiled.__dict__["_artifact_columns"] = known
    columns: list[_Column] = known[1]
    return columns


def _columns(processors: Sequence[Any], concurrency: int) -> Iterator[_Column]:
    for place, processor in enumerate(processors):
        inner = _inside(processor)
        is_nested = inner is not None and not hasattr(processor, "fetches_from")
        decode = inner if is_nested else processor
        if hasattr(decode, "fetches_from"):
            store = decode.fetches_from()
            if store.pool.concurrency >= concurrency:
                yield _Column(place, store, decode, inner is not None, is_nested)


def _inside(processor: Any, depth: int = 3) -> Any:
    """Return the processor of an eager type that another type's has inside, if there is one."""
    for cell in getattr(processor, "__closure__", None) or ():
        with contextlib.suppress(ValueError):  # a cell that is empty
            inner = cell.cell_contents
            if hasattr(inner, "fetches_from"):
                return inner
            if depth and (found := _inside(inner, depth - 1)) is not None:
                return found
    return None


class _Rows(list[Any]):
    """Rows, and the windows that they keep open as long as they are being made."""

    __slots__ = ("windows",)
    windows: Windows


class _Ahead(internals.ResultFetchStrategy):
    """A fetch strategy around another one, which says what is in the rows."""

    def __init__(self, inner: Any, cursor: Any, columns: list[_Column]) -> None:
        self._inner = inner
        self._cursor = ReadAhead(cursor)
        self.alternate_cursor_description = inner.alternate_cursor_description
        self._columns = columns
        self._announced = 0
        self._windows = Windows()

    def soft_close(self, result: Any, dbapi_cursor: Any) -> None:
        self._inner.soft_close(result, dbapi_cursor)

    def hard_close(self, result: Any, dbapi_cursor: Any) -> None:
        self._inner.hard_close(result, dbapi_cursor)

    def handle_exception(self, result: Any, dbapi_cursor: Any, err: BaseException) -> Any:
        self._inner.handle_exception(result, dbapi_cursor, err)

    def yield_per(self, result: Any, dbapi_cursor: Any, num: int) -> None:
        self._inner.yield_per(result, dbapi_cursor, num)
        if result.cursor_strategy is not self:
            self._inner, result.cursor_strategy = result.cursor_strategy, self

    def fetchone(self, result: Any, dbapi_cursor: Any, hard_close: bool = False) -> Any:  # noqa: FBT001, FBT002 (as its base)
        row = self._inner.fetchone(result, self._cursor, hard_close)
        if row is not None:
            if self._announced:
                self._announced -= 1
            else:
                coming = getattr(self._inner, "_rowbuffer", self._cursor.rows)
                self._announced = len(coming)
                self._open([row, *coming])
            expect(self._windows)
        return row

    def everything(self, result: Any) -> _Rows:
        """Return all rows of a result, which stays open until they have been taken from it."""
        if type(self._inner) is internals.CursorFetchStrategy:
            return self._expecting(result.cursor.fetchall())
        return self._expecting(self._inner.fetchmany(result, result.cursor, sys.maxsize))

    def size(self, dbapi_cursor: Any) -> int | None:
        """Return how many rows ``fetchmany()`` gives without a size, or None for all of them."""
        if type(self._inner) is internals.CursorFetchStrategy:
            return int(dbapi_cursor.arraysize)
        return None

    def fetchmany(self, result: Any, dbapi_cursor: Any, size: int | None = None) -> Any:
        return self._expecting(self._inner.fetchmany(result, self._cursor, size))

    def fetchall(self, result: Any, dbapi_cursor: Any) -> Any:
        return self._expecting(self._inner.fetchall(result, self._cursor))

    def _expecting(self, rows: Iterable[Any]) -> _Rows:
        self._announced = 0
        found = _Rows(rows)
        found.windows = self._open(found)
        expect(found.windows)
        return found

    def _open(self, rows: Sequence[Any]) -> Windows:
        """Open the windows of these rows; they know what those before them have fetched."""
        windows = Windows()
        for store in {column.store: None for column in self._columns}:
            mine = [column for column in self._columns if column.store is store]
            if len(rows) > 1 or len(mine) > 1 or mine[0].is_list:
                windows[store] = Window(store, _cells(rows, mine), self._windows.get(store))
        self._windows = windows
        return windows


class _Buffered(internals.FullyBufferedCursorFetchStrategy):
    """Rows that have been decoded, given out as the cursor would have done."""

    __slots__ = ("_size",)

    def __init__(self, rows: list[tuple[Any, ...]], size: int | None) -> None:
        super().__init__(None, initial_buffer=rows)
        self._size = size

    def fetchmany(self, result: Any, dbapi_cursor: Any, size: int | None = None) -> Any:
        return super().fetchmany(result, dbapi_cursor, self._size if size is None else size)


def _cells(rows: Sequence[Any], columns: list[_Column]) -> Iterable[Any]:
    """Return what is in some columns of all rows, in the order in which it will be decoded."""
    cells: Iterable[Any] = map(itemgetter(*(column.place for column in columns)), rows)
    if len(columns) > 1:
        cells = chain.from_iterable(cells)
    if any(column.is_list for column in columns):
        cells = chain.from_iterable(map(_texts, cells))
    return cells


def _texts(cell: Any) -> list[str]:
    """Return the references in a cell: in an array, or in JSON that nobody has parsed yet."""
    if isinstance(cell, str):
        return _REFERENCES.findall(cell)
    if isinstance(cell, list | tuple):
        return [text for item in cell for text in _texts(item)]
    return []


def _decoded(rows: list[Any], columns: list[_Column]) -> list[tuple[Any, ...]]:
    decoded = []
    for row in rows:
        cells = list(row)
        for column in columns:
            cells[column.place] = _decoded_cell(cells[column.place], column)
        decoded.append(tuple(cells))
    return decoded


def _decoded_cell(cell: Any, column: _Column) -> Any:
    if column.is_nested and isinstance(cell, list):
        return [_decoded_cell(item, column) for item in cell]
    if cell is not None:
        with contextlib.suppress(ArtifactError):  # it comes again, when its row is made
            return Decoded.of(cell if isinstance(cell, str) else "", column.decode(cell))
    return cell
