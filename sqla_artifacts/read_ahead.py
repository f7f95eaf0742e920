"""Reading ahead: a cursor that knows the next rows while its single ones are fetched."""

from __future__ import annotations

from collections import deque
from typing import Any

_MOST = 64


class ReadAhead:
    """A cursor of the driver, whose single rows are read 1, then 4, 16, 64 at a time.

    Whoever fetches from it gets what the cursor would have given, call by call.
    """

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor
        self._portion = 1
        self.rows: deque[Any] = deque()
        """Those that have been read and not been fetched."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)

    def fetchone(self) -> Any:
        """Return the next row, or None after the last."""
        if not self.rows:
            self.rows.extend(self._cursor.fetchmany(self._portion))
            self._portion = min(4 * self._portion, _MOST)
        return self.rows.popleft() if self.rows else None

    def fetchmany(self, size: int | None = None) -> list[Any]:
        """Return the next rows, as many as the cursor's ``arraysize`` if nothing is said."""
        if size is None:
            size = int(self._cursor.arraysize)
        found = [self.rows.popleft() for _ in range(min(size, len(self.rows)))]
        if len(found) < size:
            found += self._cursor.fetchmany(size - len(found))
        return found

    def fetchall(self) -> list[Any]:
        """Return all rows that are left."""
        found = [*self.rows, *self._cursor.fetchall()]
        self.rows.clear()
        return found
