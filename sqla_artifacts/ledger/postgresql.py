"""The writer on PostgreSQL, beside writers and collectors on any number of machines.

The steps, each a method here:

W0 :meth:`~PostgreSQLWriter._note`
    The columns that are about to hold references are written down, and committed.
W1 :meth:`~PostgreSQLWriter._begin`
    The user's transaction gets its id.
W2 :meth:`~PostgreSQLWriter._look`
    A later statement, with a fresh snapshot, asks which blobs are live and not doomed. These
    are done: a collector that dooms one after this look has to wait for the transaction of W1
    before it takes anything, and then sees the reference. Never one statement for W1 and W2.
W3 :meth:`~PostgreSQLWriter._intend`
    The others become pending, or are spared if doomed; one that was taken gets its next
    generation. Committed before a byte is written, so that a crash leaves a row to collect. With a
    tree's edges its parts are asked for again, in :meth:`~PostgreSQLWriter._confirm`.
W4 :meth:`~PostgreSQLWriter._settle`
    Once their bytes are durable they become live, if still of that generation; one that was
    taken meanwhile goes back to W2.

W0, W3 and W4 use connections of the ledger's own, READ COMMITTED, committed at once: the
user's rollback must not take away what others rely on. So does W2 where the user's
transaction keeps one snapshot. Rows are locked in the order of digests everywhere, or two
writers could wait for each other.

Nothing is remembered from statement to statement but the store's and ledger's identity, which
each look confirms: savepoints, rollbacks and a COMMIT in raw SQL need no bookkeeping.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Connection, Engine, Row, StaticPool, text

from ..errors import LedgerBusyError, UnsafeTransactionError
from .connections import OwnConnections
from .sql import POSTGRESQL as SQL
from .sql import stored_setting
from .writer import Target, by_digest, check_names, has_parts, no_identity, no_ledger, no_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sqlalchemy import TextClause

    from ..payload import Payload
    from ..store import ArtifactStore

ROUNDS = 5
"""How often what a collector took meanwhile is written again, before giving up."""


class _Look(NamedTuple):
    """The answer of W2."""

    xid: str | None
    ledger: str | None
    store: str | None
    columns: list[str]
    live: list[str]


class PostgreSQLWriter:
    """The writer's half of the protocol on PostgreSQL."""

    def __init__(self, store: ArtifactStore, engine: Engine, name: str, schema: str | None) -> None:
        if isinstance(engine.pool, StaticPool):
            msg = "a StaticPool has one connection, and the ledger needs another beside it"
            raise UnsafeTransactionError(msg)
        self.store = store
        self._name = name
        self.schema = schema
        self._dialect = engine.dialect
        self._do = partial(store.pool.call, is_async=engine.dialect.is_async)
        self._own = OwnConnections(engine)
        self._claimed: tuple[str, str] | None = None

    def write(self, connection: Connection, payloads: Iterable[Payload], target: Target) -> None:
        """Store payloads under the protection of the connection's transaction."""
        begun = self._begin(connection, target)
        self._refuse_relation(begun, target)
        ledger_id, store_id = self._claimed or self.claim()

        def look(payloads: dict[str, Payload]) -> _Look:
            asked = {
                "store": store_id,
                "digests": list(payloads),
                "trees": [digest for digest in payloads if has_parts(payloads[digest])],
                "schema": begun.schema,
                "table": begun.relation,
            }
            if begun.isolation in {"read committed", "read uncommitted"}:
                seen = self._look(connection, asked)
            else:
                with self._own.begin() as own:
                    seen = self._look(own, asked)
                now = {"setting": stored_setting(self._name), "stored": ";".join(wanted)}
                xid = connection.scalar(text(SQL["xid"]), now)
                seen = seen._replace(xid=xid)
            if seen.xid != begun.xid:
                msg = (
                    "this connection commits every statement by itself (AUTOCOMMIT), or its "
                    "transaction was ended behind SQLAlchemy's back, so nothing can protect what "
                    "is stored until its row is there: store in a transaction"
                )
                raise UnsafeTransactionError(msg)
            return seen

        wanted = by_digest(payloads)
        seen = look(wanted)
        if seen.ledger != ledger_id or seen.store != self._name:
            # The tables were made anew since this process last looked.
            ledger_id, store_id = self.claim()
            seen = look(wanted)
        unknown = target.columns.difference(seen.columns)
        if unknown:
            self._note(store_id, begun.schema, begun.relation, sorted(unknown))
            # Whoever dooms a blob after the look that counts has to know of the columns, too.
            seen = look(wanted)
        self._store(store_id, wanted, look, seen)

    def renew(self) -> None:
        """Drop the ledger's own connections."""
        self._own.renew()

    # -- the steps -------------------------------------------------------------------------------

    def _begin(self, connection: Connection, target: Target) -> Row[Any]:
        """W1: have the transaction's id assigned, and learn where its references will be."""
        quote = connection.dialect.identifier_preparer.quote  # as in the statement to come
        relation = ".".join(quote(part) for part in (target.schema, target.table) if part)
        begun = connection.execute(
            text(SQL["begin"]),
            {"ledger": f"{self._quoted_schema}.artifact_ledger", "relation": relation},
        ).one()
        if not begun.installed:
            raise no_ledger(self.schema)
        return begun

    def _look(self, connection: Connection, asked: dict[str, Any]) -> _Look:
        """W2: which blobs are live, not doomed, and so need nothing."""
        return _Look(*connection.execute(self._text("look"), asked).one())

    def _note(self, store_id: str, schema: str, table: str, columns: list[str]) -> None:
        """W0: write down the columns that are about to hold references."""
        row = {"store": store_id, "schema": schema, "table": table, "columns": columns}
        with self._own.begin() as own:
            own.execute(self._text("note"), row)

    def _intend(self, store_id: str, payloads: dict[str, Payload]) -> dict[str, int] | None:
        """W3: make pending what is not live; return the generations that are to be written.

        None says that nothing was done, for a part of a tree is not live, or doomed.
        """
        ordered = [payloads[digest] for digest in sorted(payloads)]
        asked = {
            "store": store_id,
            "digests": [payload.digest for payload in ordered],
            "sizes": [payload.size for payload in ordered],
        }
        edges = [(p.digest, part.digest) for p in ordered for part in p.parts]
        with self._own.begin() as own:
            rows = own.execute(self._text("intend"), asked).all()
            if edges:
                # After the manifest's row is locked, and before it can be live.
                manifests, parts = zip(*edges, strict=True)
                own.execute(
                    self._text("edges"),
                    {"store": store_id, "manifests": list(manifests), "parts": list(parts)},
                )
                if not self._confirm(own, store_id, sorted(set(parts))):
                    own.rollback()
                    return None
        return {row.digest: row.generation for row in rows if row.state == "pending"}

    def _confirm(self, own: Connection, store_id: str, parts: list[str]) -> bool:
        """W2 for a tree's parts, which the edges refer to: in their transaction, after its id.

        That the parts were looked at before is not enough. They are protected by the user's
        transaction, and the server may have ended that; the client would not know, and make
        live a manifest without its parts.
        """
        asked = {"store": store_id, "digests": parts}
        return bool(own.scalar(self._text("confirm"), asked) == len(parts))

    def _settle(self, store_id: str, generations: dict[str, int]) -> set[str]:
        """W4: make live what was written, and say which of it is."""
        ordered = sorted(generations)
        asked = {
            "store": store_id,
            "digests": ordered,
            "generations": [generations[digest] for digest in ordered],
        }
        # The user's own COMMIT makes this one durable, too: it comes later in the same log.
        with self._own.begin(durable=False) as own:
            return set(own.scalars(self._text("settle"), asked))

    def _store(
        self,
        store_id: str,
        wanted: dict[str, Payload],
        look: Callable[[dict[str, Payload]], _Look],
        seen: _Look,
    ) -> None:
        for _ in range(ROUNDS):
            live = set(seen.live)
            absent = {d: payload for d, payload in wanted.items() if d not in live}
            if not absent:
                return
            missing = self._do(partial(self.store.load, absent))
            parts = {part.digest: part for p in missing.values() for part in p.parts}
            if parts:
                self._store(store_id, parts, look, look(parts))
            generations = self._intend(store_id, missing)
            if generations is None:
                seen = look(wanted)
                continue
            if not generations:
                return
            writing = [(missing[digest], g) for digest, g in generations.items()]
            self._do(partial(self.store.put, writing))
            settled = self._settle(store_id, generations)
            wanted = {d: missing[d] for d in generations if d not in settled}
            if not wanted:
                return
            seen = look(wanted)
        msg = f"a collector took {len(wanted)} blobs {ROUNDS} times while they were written"
        raise LedgerBusyError(msg)

    def claim(self) -> tuple[str, str]:
        """Make the store this database's, and this name the store's; return both ids."""
        with self._own.begin() as own:
            ledger = own.scalar(self._text("identity"))
            if ledger is None:
                raise no_identity(self.schema)
            database = str(own.scalar(text(SQL["database"])))
            system = own.scalar(text(SQL["system"])) if own.scalar(text(SQL["may"])) else None
            store_id = self._do(self.store.prepare)
            name = {"store": store_id, "name": self._name}
            own.execute(self._text("name"), name)
            rows = own.execute(self._text("names"), name).all()
            check_names([(row.id, row.name) for row in rows], store_id, self._name, self.store.url)
            owner = {"ledger": ledger, "database": database, "system": system}
            self._do(partial(self.store.claim, owner))
        self._claimed = (ledger, store_id)
        return self._claimed

    def _refuse_relation(self, begun: Row[Any], target: Target) -> None:
        if begun.relation is None:
            # Nor is it left to the statement to say so: the table may be there by then.
            raise no_table(target.table)
        if begun.persistence == "t" or begun.relkind not in {"r", "p"}:
            what = "temporary table" if begun.persistence == "t" else "view or foreign table"
            msg = f"the {what} {begun.relation!r} cannot hold references: no collector sees them"
            raise UnsafeTransactionError(msg)

    @property
    def _quoted_schema(self) -> str:
        # Named in every statement: the user's search_path may change, the ledger's place not.
        schema = self.schema or self._dialect.default_schema_name or "public"
        return self._dialect.identifier_preparer.quote_identifier(schema)

    def _text(self, key: str) -> TextClause:
        return text(SQL[key].replace("{ledger}", self._quoted_schema.replace(":", r"\:")))
