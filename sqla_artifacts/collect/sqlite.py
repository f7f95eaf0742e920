"""The collector on SQLite: one connection, and the write lock only to change the ledger.

Nobody else is in a transaction that writes while the write lock is held here. So what a writer
has seen before a doom is committed it has also referred to by then, and there is nothing to wait
for between G1 and G3: the horizon only says that a blob is doomed.

The write lock is held for a batch of rows at a time. In WAL mode the looks hold nobody up. With a
rollback journal a writer cannot commit while one runs.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from ..ledger.sqlite import SQLiteWriter
from .caretaker import BATCH, Found
from .collector import Collector
from .sql import FIND, SQLITE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlalchemy import Connection, Engine, MetaData

    from ..store import ArtifactStore

# It is emptied, never dropped: the pool's connection may have a result that somebody has not read
# to its end, and under that no table can be dropped.
_CREATE = text("CREATE TEMP TABLE IF NOT EXISTS artifact_found (digest, number, size)")
_EMPTY = text("DELETE FROM temp.artifact_found")
_PAGE = text("""
    SELECT digest, number, size FROM temp.artifact_found
    WHERE rowid > :after ORDER BY rowid LIMIT :limit
    """)


class SQLiteCollector(Collector):
    """The collector's half of the protocol on SQLite."""

    words = SQLITE
    default_schema = "main"
    writer: SQLiteWriter

    def __init__(
        self,
        store: ArtifactStore,
        engine: Engine,
        schema: str | None,
        metadata: Iterable[MetaData],
    ) -> None:
        super().__init__(store, engine, schema, metadata)
        self.writer = SQLiteWriter(store, engine, "", schema)
        self._connection = engine.connect()
        self._has_found = False

    @contextlib.contextmanager
    def looking(self) -> Iterator[Connection]:
        """Open a transaction that reads; in the driver's legacy mode it has to be begun."""
        connection = self._connection
        with connection.begin():
            driver: Any = connection.connection.driver_connection
            if not driver.in_transaction:
                connection.exec_driver_sql("BEGIN")
            yield connection

    @contextlib.contextmanager
    def changing(self) -> Iterator[Connection]:
        """Open a transaction that holds the write lock."""
        with self._connection.begin():
            self.writer.lock(self._connection)
            yield self._connection

    def find(self, what: str, **asked: Any) -> Iterator[list[Found]]:
        """Put what a query finds into a temporary table, and read that without any lock."""
        with self.looking() as connection:
            asked["store"] = self.store_id
            if self.is_idle(connection, FIND[what], asked):
                return
            connection.execute(_CREATE)
            connection.execute(_EMPTY)
            query = self.query(connection, what, FIND[what])
            connection.execute(text(f"INSERT INTO temp.artifact_found {query.text}"), asked)
        self._has_found = True
        after = 0
        while True:
            with self._connection.begin():
                page = {"after": after, "limit": BATCH}
                rows = [Found(*row) for row in self._connection.execute(_PAGE, page)]
            if not rows:
                return
            yield rows
            after += len(rows)

    def parameters(self, rows: list[Found]) -> dict[str, Any]:
        """Return one JSON array."""
        return {"asked": json.dumps(rows)}

    def claim(self) -> None:
        """Make sure that the store's owner is this ledger."""
        self.writer = SQLiteWriter(self.store, self._engine, self.name, self.schema)
        with self.changing() as connection:
            self.writer.claim(connection)

    def stamp(self, token: int) -> None:
        """G2: do nothing; see above."""

    def held_by(self) -> tuple[str, ...]:
        """Say that nothing is waited for."""
        return ()

    def close(self) -> None:
        """Empty the temporary table, and give the connection back."""
        with self._connection, self._connection.begin():
            if self._has_found:
                self._connection.execute(_EMPTY)
