"""What the writers of both databases have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from ..errors import NoLedgerError, StoreError, UnsafeTransactionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Connection

    from ..payload import Payload
    from ..store import ArtifactStore


class Target(NamedTuple):
    """The columns that a statement is about to write references to."""

    schema: str | None
    table: str
    columns: frozenset[str]


class Writer(Protocol):
    """The writer's half of the protocol, for one store on one database."""

    store: ArtifactStore
    schema: str | None

    def write(self, connection: Connection, payloads: Iterable[Payload], target: Target) -> None:
        """Make payloads safe to be named by the connection's next statement.

        On return every payload is durable in the store, and the ledger keeps the collector
        off it until the connection's transaction is over.
        """

    def renew(self) -> None:
        """Forget connections, as the engine has just done."""


def by_digest(payloads: Iterable[Payload]) -> dict[str, Payload]:
    """Return each digest's payload: that which brings a tree's parts, or else the last."""
    found: dict[str, Payload] = {}
    for payload in payloads:
        if payload.digest not in found or not has_parts(found[payload.digest]):
            found[payload.digest] = payload
    return found


def has_parts(payload: Payload) -> bool:
    """Say whether it takes more than these bytes to store a payload, as far as is known."""
    return bool(payload.parts) or payload.is_tree


def check_names(rows: Sequence[tuple[str, str]], store_id: str, name: str, url: str) -> None:
    """Refuse one store under two names, or one name for two stores.

    ``rows`` are the ledger's ids and names that share the id or the name.
    """
    for known_id, known_name in rows:
        if known_id == store_id and known_name != name:
            msg = f"the store {url} is attached to this database as {known_name!r}, not {name!r}"
            raise StoreError(msg)
        if known_id != store_id:
            msg = (
                f"this database knows another store as {name!r} (id {known_id}; {url} has "
                f"{store_id}): attach that one, or a whole copy of it, or use another name"
            )
            raise StoreError(msg)


def no_ledger(schema: str | None) -> NoLedgerError:
    """Return the error for a database without the ledger's tables, with the line to add."""
    where = f" in schema {schema!r}" if schema else ""
    arguments = f"Base.metadata, schema={schema!r}" if schema else "Base.metadata"
    return NoLedgerError(
        f"the ledger's tables are missing{where}: call sqla_artifacts.ledger.install({arguments}) "
        "(or store.attach(engine, metadata=Base.metadata)) and then create_all or a revision"
    )


def no_identity(schema: str | None) -> NoLedgerError:
    """Return the error for tables that a revision made without their identity."""
    arguments = f"schema={schema!r}" if schema else ""
    return NoLedgerError(
        f"the ledger has no identity: add op.execute(sqla_artifacts.ledger.identity({arguments})) "
        "to the revision that makes its tables"
    )


def no_table(name: str) -> UnsafeTransactionError:
    """Return the error for a table that cannot be found."""
    return UnsafeTransactionError(
        f"there is no table {name!r} that could hold this reference, or its schema has to be named"
    )
