"""The collector on PostgreSQL: connections of its own, beside the writers' transactions."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from ..errors import CollectError
from ..ledger.connections import OwnConnections
from ..ledger.postgresql import PostgreSQLWriter
from .caretaker import BATCH, Found
from .collector import Collector
from .sql import ASK, CHANGE, FIND, POSTGRESQL

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlalchemy import Connection, Engine, MetaData, TextClause

    from ..store import ArtifactStore

# A policy that hides rows from this role would make them garbage: now it is an error. And what is
# streamed is read to its end, so a plan that finds the first rows soon is the wrong one.
_EVERY_ROW = text("""
    SELECT pg_is_in_recovery(), set_config('row_security', 'off', true),
        set_config('cursor_tuple_fraction', '1', true)
    """)
# Where nobody has analysed the ledger it seems small, and what is joined in a loop over it, all
# references or a batch, would be read for each of its rows.
_BY_HASH = text("SELECT set_config('enable_nestloop', 'off', true)")


class PostgreSQLCollector(Collector):
    """The collector's half of the protocol on PostgreSQL."""

    words = POSTGRESQL
    writer: PostgreSQLWriter

    def __init__(
        self,
        store: ArtifactStore,
        engine: Engine,
        schema: str | None,
        metadata: Iterable[MetaData],
    ) -> None:
        self._own = OwnConnections(engine)
        # What is found is streamed while other connections work: the pool may be of size one.
        self._streams = OwnConnections(engine)
        with self._own.begin() as connection:  # the dialect learns it on its first connection
            self.default_schema = connection.dialect.default_schema_name or "public"
        super().__init__(store, engine, schema, metadata)

    def looking(self) -> contextlib.AbstractContextManager[Connection]:
        """Open a transaction that keeps one snapshot."""
        return self._looking(self._own)

    @contextlib.contextmanager
    def _looking(self, connections: OwnConnections) -> Iterator[Connection]:
        with connections.begin(snapshot=True) as connection:
            if connection.execute(_EVERY_ROW).one()[0]:
                msg = "this is a standby server: collect on the primary"
                raise CollectError(msg)
            yield connection

    def query(self, connection: Connection, what: str, sql: str) -> TextClause:
        """Return what its base does, for this transaction to join what is found by hashing."""
        connection.execute(_BY_HASH)
        return super().query(connection, what, sql)

    @contextlib.contextmanager
    def changing(self) -> Iterator[Connection]:
        """Open a READ COMMITTED transaction."""
        with self._own.begin() as connection:
            connection.execute(_BY_HASH)
            yield connection

    def find(self, what: str, **asked: Any) -> Iterator[list[Found]]:
        """Stream what a query finds from a cursor of the server's."""
        with self._looking(self._streams) as connection:
            asked["store"] = self.store_id
            if self.is_idle(connection, FIND[what], asked):
                return
            query = self.query(connection, what, FIND[what])
            options = {"stream_results": True, "max_row_buffer": BATCH}
            with connection.execute(query, asked, execution_options=options) as result:
                for rows in result.partitions(BATCH):
                    yield [Found(*row) for row in rows]

    def parameters(self, rows: list[Found]) -> dict[str, Any]:
        """Return three arrays."""
        digests, numbers, sizes = zip(*rows, strict=True)
        return {"digests": list(digests), "numbers": list(numbers), "sizes": list(sizes)}

    def claim(self) -> None:
        """Make sure that the store's owner is this database of this cluster."""
        self.writer = PostgreSQLWriter(self.store, self._engine, self.name, self.schema)
        self.writer.claim()

    def mark(self, token: int) -> Any:
        """G1, after lifting marks that this cluster cannot have made yet: it is a restored one."""
        with self.changing() as connection:
            asked = {"store": self.store_id, "token": token}
            connection.execute(self.text(CHANGE["unmark"]), asked)
        return super().mark(token)

    def stamp(self, token: int) -> None:
        """G2: stamp the id of a transaction that begins when every doom of this run is committed.

        Only this run's own: the id may be older than the commit of somebody else's.
        """
        after = ""
        while True:
            asked = {"store": self.store_id, "token": token, "after": after, "limit": BATCH}
            with self.changing() as connection:
                locked = connection.execute(self.text(CHANGE["lock_unstamped"]), asked)
                rows = [Found(*row) for row in locked]
                self.run(connection, CHANGE["stamp"], rows, token=token)
            if len(rows) < BATCH:
                return
            after = rows[-1].digest

    def held_by(self) -> tuple[str, ...]:
        """Say which transactions with an id are open, prepared ones included."""
        with self.looking() as connection:
            rows = connection.execute(self.text(ASK["held"]))
            return tuple(f"{who}, since {since:%Y-%m-%d %H:%M:%S %Z}" for who, since in rows)

    def close(self) -> None:
        """Give the connections back."""
        self._own.renew()
        self._streams.renew()
        if hasattr(self, "writer"):
            self.writer.renew()
