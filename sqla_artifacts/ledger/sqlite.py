"""The writer on SQLite: the user's connection only, and the write lock first.

One connection at a time holds SQLite's write lock, from its first write to the end of its
transaction. So everything happens under that lock: looking at the ledger, writing the blobs,
the ledger's rows and the reference. Whatever the transaction's end is, the rows and the
reference share it.

Nothing is remembered between statements, for a transaction may end unseen: in the standard
library's legacy mode the release of a first savepoint commits.
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from ..errors import UnsafeTransactionError
from .sql import SQLITE as SQL
from .writer import Target, by_digest, check_names, has_parts, no_identity, no_ledger, no_table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Engine

    from ..payload import Payload
    from ..store import ArtifactStore


class SQLiteWriter:
    """The writer's half of the protocol on SQLite."""

    def __init__(self, store: ArtifactStore, engine: Engine, name: str, schema: str | None) -> None:
        self.store = store
        self._name = name
        self.schema = schema
        self._claimed: str | None = None
        self._do = partial(store.pool.call, is_async=engine.dialect.is_async)
        self._quote = engine.dialect.identifier_preparer.quote_identifier
        quoted = self._quote(schema or "main")
        self._sql = {key: text(sql.replace("{ledger}", quoted)) for key, sql in SQL.items()}

    def write(self, connection: Connection, payloads: Iterable[Payload], target: Target) -> None:
        """Store payloads under the write lock of the connection's transaction."""
        self.lock(connection)
        store_id = self.claim(connection)
        schema = target.schema or "main"
        self._refuse_relation(connection, target, schema)
        for column in sorted(target.columns):
            row = {"store": store_id, "schema": schema, "table": target.table, "column": column}
            connection.execute(self._sql["column"], row)
        self._store(connection, store_id, by_digest(payloads))

    def renew(self) -> None:
        """Do nothing: there are no connections but the user's."""

    def lock(self, connection: Connection) -> None:
        """Take the write lock, to the end of the connection's transaction."""
        try:
            connection.execute(self._sql["lock"])
        except OperationalError as error:
            if "no such table" in str(error.orig):
                raise no_ledger(self.schema) from error
            raise
        driver: Any = connection.connection.driver_connection
        if not driver.in_transaction:
            msg = (
                "this connection commits every statement by itself (AUTOCOMMIT), so nothing can "
                "protect what is stored until its row is there: store in a transaction"
            )
            raise UnsafeTransactionError(msg)

    def _refuse_relation(self, connection: Connection, target: Target, schema: str) -> None:
        sql = SQL["relation"].replace("{schema}", self._quote(schema))
        asked = {"schema": target.schema, "table": target.table}
        kinds = connection.scalars(text(sql), asked).all()
        if not kinds:
            raise no_table(target.table)
        if kinds[0] != "table":
            msg = f"the {kinds[0]} {target.table!r} cannot hold references: no collector sees them"
            raise UnsafeTransactionError(msg)

    def claim(self, connection: Connection) -> str:
        """Make the store this database's, and this name the store's; return its id."""
        ledger = connection.scalar(self._sql["identity"])
        if ledger is None:
            raise no_identity(self.schema)
        store_id = self._do(self.store.prepare)
        name = {"store": store_id, "name": self._name}
        rows = connection.execute(self._sql["names"], name).all()
        check_names([(row.id, row.name) for row in rows], store_id, self._name, self.store.url)
        if self._claimed != ledger:
            self._do(partial(self.store.claim, {"ledger": ledger}))
            self._claimed = ledger
        if not rows:
            connection.execute(self._sql["name"], name)
        return store_id

    def _store(self, connection: Connection, store_id: str, payloads: dict[str, Payload]) -> None:
        asked = {"store": store_id, "digests": json.dumps(list(payloads))}
        trees = json.dumps([digest for digest in payloads if has_parts(payloads[digest])])
        known = connection.execute(self._sql["look"], asked | {"trees": trees}).all()
        absent = {row.digest: payloads[row.digest] for row in known if not row.live}
        missing = list(self._do(partial(self.store.load, absent)).values()) if absent else []
        parts = {part.digest: part for payload in missing for part in payload.parts}
        if parts:
            self._store(connection, store_id, parts)
        generations = {row.digest: row.generation for row in known}
        if missing:
            writing = [(payload, generations[payload.digest]) for payload in missing]
            self._do(partial(self.store.put, writing))
        rows = [
            {
                "store": store_id,
                "digest": payload.digest,
                "generation": generations[payload.digest],
                "size": payload.size,
            }
            for payload in missing
        ]
        edges = [
            {"store": store_id, "manifest": p.digest, "part": part.digest}
            for p in missing
            for part in p.parts
        ]
        if rows:
            connection.execute(self._sql["live"], rows)
        if edges:
            connection.execute(self._sql["edge"], edges)
        if any(row.doomed for row in known):
            # A live blob may carry the collector's mark: the reference to come lifts it.
            connection.execute(self._sql["spare"], asked)
