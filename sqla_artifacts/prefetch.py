"""The read hook: the eager artifacts of a result's rows are fetched together.

The column type alone would fetch one value at a time, as rows are made. So the result's fetch
strategy is put inside one of ours, which marks the references of each chunk of rows with their
:class:`~.window.Window`. Nothing is fetched until a row is made, and then with those that come
after it. A loop over ``fetchone`` reads ahead, one row at first, then 4, 16, 64.

Under an async dialect the rows of a buffered result are made later, outside of the greenlet,
where nothing can be waited for. So they are decoded before the result is handed out, unless
the ORM is going to make them at once (``prebuffer_rows``) or the result is streamed.

This is the one module that touches what SQLAlchemy does not promise: ``cursor_strategy`` and
``_metadata._processors`` of a result. Where they are not as it expects it warns once, and values
are fetched one by one. A store that is no faster for many requests at once is left alone.
"""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections import deque
from typing import TYPE_CHECKING, Any

from sqlalchemy.engine import cursor as internals

from .errors import ArtifactError
from .window import Decoded, Expected, Window, early

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection

    from .store import ArtifactStore

_AHEAD = 64


class Prefetch:
    """The read hook of one engine."""

    def __init__(self) -> None:
        self._off = False

    def after_execute(self, connection: Connection, result: Any) -> None:
        """Have the artifacts of a result fetched together."""
        if self._off or not getattr(result, "returns_rows", False):
            return
        try:
            processors = result._metadata._processors  # noqa: SLF001 (as the docstring says)
            columns = _columns(processors, 1 if connection.dialect.is_async else 2)
            if not columns:
                return
            inner = result.cursor_strategy
            marking = _Marking(inner, {i: p.fetches_from() for i, p in columns.items()})
        except AttributeError as error:
            self._off = True
            warnings.warn(
                f"artifacts are fetched one by one: this SQLAlchemy's results differ ({error})",
                RuntimeWarning,
                stacklevel=2,
            )
            return
        options = result.context.execution_options
        if (
            connection.dialect.is_async
            and not options.get("prebuffer_rows")
            and not result.context._is_server_side  # noqa: SLF001
        ):
            size = marking.size(result.cursor)
            rows = marking.everything(result)
            pool = next(iter(marking.stores.values())).pool
            decoded = pool.call(lambda: _decoded(rows, columns), is_async=True)
            result.cursor_strategy = _Buffered(decoded, size)
        else:
            result.cursor_strategy = marking


def _columns(processors: Sequence[Any], concurrency: int) -> dict[int, Any]:
    """Return, by index, the processors of eager columns whose stores take so many requests."""
    columns = {}
    for index, processor in enumerate(processors):
        if processor is not None and hasattr(processor, "fetches_from"):  # most results stop here
            store = processor.fetches_from()
            if store.pool.concurrency >= concurrency:
                columns[index] = processor
    return columns


class _Marking(internals.ResultFetchStrategy):
    """A fetch strategy around another one, which marks the references of the rows."""

    __slots__ = ("_ahead", "_buffer", "_inner", "alternate_cursor_description", "stores")

    def __init__(self, inner: Any, stores: dict[int, ArtifactStore]) -> None:
        self._inner = inner
        self.alternate_cursor_description = inner.alternate_cursor_description
        self._ahead = 1
        self._buffer: deque[Any] = deque()
        self.stores = stores

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
        if not self._buffer:
            rows = self._inner.fetchmany(result, dbapi_cursor, self._ahead)
            self._ahead = min(4 * self._ahead, _AHEAD)
            self._buffer.extend(self._marked(rows))
        if self._buffer:
            return self._buffer.popleft()
        result._soft_close(hard=hard_close)  # noqa: SLF001 (as its base)
        return None

    def everything(self, result: Any) -> list[Any]:
        """Return all rows of a result, which stays open until they have been taken from it."""
        if type(self._inner) is internals.CursorFetchStrategy:
            return self._marked(result.cursor.fetchall())
        return self._marked(self._inner.fetchmany(result, result.cursor, sys.maxsize))

    def size(self, dbapi_cursor: Any) -> int | None:
        """Return how many rows ``fetchmany()`` gives without a size, or None for all of them."""
        if type(self._inner) is internals.CursorFetchStrategy:
            return int(dbapi_cursor.arraysize)
        return None

    def fetchmany(self, result: Any, dbapi_cursor: Any, size: int | None = None) -> Any:
        if size is None:
            size = self.size(dbapi_cursor)
        rows = self._buffered(size)
        if size is None or len(rows) < size:
            missing = None if size is None else size - len(rows)
            rows += self._marked(self._inner.fetchmany(result, dbapi_cursor, missing))
        return rows

    def fetchall(self, result: Any, dbapi_cursor: Any) -> Any:
        return self._buffered(None) + self._marked(self._inner.fetchall(result, dbapi_cursor))

    def _buffered(self, size: int | None) -> list[Any]:
        count = len(self._buffer) if size is None else min(size, len(self._buffer))
        return [self._buffer.popleft() for _ in range(count)]

    def _marked(self, rows: Sequence[Any]) -> list[Any]:
        marked = list(rows)
        for store in dict.fromkeys(self.stores.values()):
            indexes = [index for index, each in self.stores.items() if each is store]
            cells = [row[index] for row in marked for index in indexes]
            sizes = {text: size for text in cells if (size := early(text)) is not None}
            if sizes and len(cells) > 1:
                window = Window(store, sizes)
                marked = [_mark(row, indexes, window, sizes) for row in marked]
        return marked


class _Buffered(internals.FullyBufferedCursorFetchStrategy):
    """Rows that have been decoded, given out as the cursor would have done."""

    __slots__ = ("_size",)

    def __init__(self, rows: list[tuple[Any, ...]], size: int | None) -> None:
        super().__init__(None, initial_buffer=rows)
        self._size = size

    def fetchmany(self, result: Any, dbapi_cursor: Any, size: int | None = None) -> Any:
        return super().fetchmany(result, dbapi_cursor, self._size if size is None else size)


def _mark(
    row: Sequence[Any], indexes: list[int], window: Window, sizes: dict[str, int]
) -> tuple[Any, ...]:
    cells = list(row)
    for index in indexes:
        if cells[index] in sizes:
            cells[index] = Expected.of(cells[index], window)
    return tuple(cells)


def _decoded(rows: list[Any], columns: dict[int, Callable[[Any], Any]]) -> list[tuple[Any, ...]]:
    decoded = []
    for row in rows:
        cells = list(row)
        for index, processor in columns.items():
            if cells[index] is not None:
                with contextlib.suppress(ArtifactError):  # it comes again, when its row is made
                    cells[index] = Decoded.of(cells[index], processor(cells[index]))
        decoded.append(tuple(cells))
    return decoded
