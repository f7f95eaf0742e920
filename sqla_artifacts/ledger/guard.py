"""A guard for raw SQL: a trigger that refuses references to blobs that are not there.

::

    guard = ledger.guard(Sample.image)
    event.listen(Sample.__table__, "after_create", guard.create)    # with create_all, or
    connection.execute(guard.create)

What is stored by this package needs no guard. A guard is for what else writes to the column:
INSERT or UPDATE in ``text()``, COPY, other programs, other languages. Each reference that they
write has to be well formed and to name a blob that the ledger has as live; else the statement
fails with an ``IntegrityError``. Lists and arrays are looked through. NULL passes, and so does
what an UPDATE leaves as it was. The column is noted for the collector, too.

Why nothing is lost that has passed. On PostgreSQL the trigger runs *after* its row was written,
in a function that is VOLATILE:

READ COMMITTED
    By then the transaction has its id, and the look is a later statement with a fresh snapshot:
    these are the writer's W1 and W2 in :mod:`.postgresql`. A collector that dooms the blob after
    the look waits for this transaction before its own last look, which then sees the reference.
REPEATABLE READ, SERIALIZABLE
    The snapshot is older than the id, so it proves nothing. The blob's row is locked ``FOR
    SHARE``: that fails (40001, to be retried) if the row has changed since the snapshot, and
    until the end of the transaction no collector dooms the blob. ``FOR KEY SHARE`` would not do:
    it returns the old row and lets it be doomed.
A doomed blob
    has its doom lifted, as a writer does, but in this transaction. A collector skips the locked
    row, and takes a blob only with the doom that it saw; after a rollback the doom is back. If
    the collector comes first, the blob is gone and the statement refused. To refuse what is
    merely doomed would refuse what the writer has stored a moment ago.

What the writer stores in a transaction with one snapshot is newer than that snapshot, so no
trigger can see it. The writer therefore says in a setting of the transaction which digests its
last statement stored, and these pass. Raw SQL that refers to other blobs that are newer than its
snapshot is refused there, and a new transaction helps.

A foreign key to ``artifact_blob`` is no alternative: it sees neither dooms nor, in a transaction
with one snapshot, what the writer has just stored.

On SQLite the statement holds the write lock, so its trigger's look is the current one.

A guard costs a call of a function and a look-up by primary key a row.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import String, TypeDecorator
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import QueryableAttribute
from sqlalchemy.schema import ExecutableDDLElement

from ..errors import LedgerError
from .guard_sql import GUARD_POSTGRESQL, GUARD_SQLITE
from .sql import stored_setting

if TYPE_CHECKING:
    from sqlalchemy import Column, Connection
    from sqlalchemy.types import TypeEngine


class Guarded(NamedTuple):
    """A column, and what its guard has to know of it."""

    schema: str | None
    table: str
    column: str
    store: str
    is_list: bool
    ledger_schema: str | None


class GuardElement(ExecutableDDLElement):
    """DDL for a guard. One element, of one statement or, on SQLite, two."""

    def __init__(self, guarded: Guarded) -> None:
        self.guarded = guarded

    def _execute_on_connection(
        self, connection: Connection, distilled_params: Any, execution_options: Any
    ) -> Any:
        """Run it; SQLite's driver takes one statement at a time."""
        if connection.dialect.name != "sqlite":
            base: Any = super()
            return base._execute_on_connection(connection, distilled_params, execution_options)  # noqa: SLF001 (its own)
        *others, last = str(self.compile(dialect=connection.dialect)).split(_NEXT)
        for statement in others:
            connection.exec_driver_sql(statement)
        return connection.exec_driver_sql(last)


class CreateGuard(GuardElement):
    """DDL that makes a guard."""


class DropGuard(GuardElement):
    """DDL that removes a guard; of one that is not there, too."""


class Guard(NamedTuple):
    """The DDL that makes a guard, and that which removes it."""

    create: CreateGuard
    drop: DropGuard

    @classmethod
    def of(cls, guarded: Guarded) -> Guard:
        """Return the guard of a column that is described."""
        return cls(CreateGuard(guarded), DropGuard(guarded))


def guard(column: Column[Any] | QueryableAttribute[Any], *, schema: str | None = None) -> Guard:
    """Return the DDL of a guard for an attribute, or a ``Table``'s column, of artifacts.

    ``schema`` is the ledger's, if its tables are not in the column's ``MetaData``. Raises
    :class:`~sqla_artifacts.errors.LedgerError` for a column of something else.
    """
    if isinstance(column, QueryableAttribute):
        column = column.property.columns[0]
    references, is_list = _references(column.type)
    if references is None:
        msg = f"{column} is no column of artifacts, so there is nothing to guard"
        raise LedgerError(msg)
    table = column.table
    schemas = [t.schema for t in table.metadata.tables.values() if t.name == "artifact_blob"]
    ledger_schema = schema or (schemas[0] if schemas else None)
    return Guard.of(
        Guarded(table.schema, table.name, column.name, references.store, is_list, ledger_schema)
    )


def _references(type_: TypeEngine[Any]) -> tuple[Any, bool]:
    """Return the artifact type that a type is or has inside, and whether there may be many."""
    is_list = False
    while not hasattr(type_, "kinds"):
        item = getattr(type_, "item_type", None)
        is_list = is_list or item is not None
        if item is None and not isinstance(type_, TypeDecorator):
            return None, is_list
        type_ = type_.impl_instance if item is None else item  # type: ignore[attr-defined]
    return type_, is_list


# -- SQL ------------------------------------------------------------------------------------------

_NEXT = ";\n\n"


@compiles(CreateGuard)
@compiles(DropGuard)
def _on_others(element: GuardElement, compiler: Any, **_: Any) -> str:
    msg = f"guards are for SQLite and PostgreSQL, not for {compiler.dialect.name}"
    raise LedgerError(msg)


@compiles(CreateGuard, "postgresql")
def _create_on_postgresql(element: CreateGuard, compiler: Any, **_: Any) -> str:
    return _filled(GUARD_POSTGRESQL["create"], element.guarded, compiler)


@compiles(DropGuard, "postgresql")
def _drop_on_postgresql(element: DropGuard, compiler: Any, **_: Any) -> str:
    return _filled(GUARD_POSTGRESQL["drop"], element.guarded, compiler)


@compiles(CreateGuard, "sqlite")
def _create_on_sqlite(element: CreateGuard, compiler: Any, **_: Any) -> str:
    guarded = element.guarded
    if (guarded.schema or "main").lower() != (guarded.ledger_schema or "main").lower():
        msg = (
            f"{_place(guarded)} cannot be guarded: on SQLite a trigger sees its own database "
            f"file alone, and the ledger is in {guarded.ledger_schema or 'main'!r}"
        )
        raise LedgerError(msg)
    shape = "list" if guarded.is_list else "plain"
    body = GUARD_SQLITE["body"].replace("{items}", GUARD_SQLITE[shape])
    body = body.replace("{shape}", GUARD_SQLITE[f"{shape}_shape"])
    return _NEXT.join(
        _filled(GUARD_SQLITE[event].replace("{body}", body), guarded, compiler)
        for event in ("insert", "update")
    )


@compiles(DropGuard, "sqlite")
def _drop_on_sqlite(element: DropGuard, compiler: Any, **_: Any) -> str:
    return _NEXT.join(
        _filled(GUARD_SQLITE[event], element.guarded, compiler)
        for event in ("drop_insert", "drop_update")
    )


def _place(guarded: Guarded) -> str:
    return f"{guarded.table}.{guarded.column}"


def _filled(sql: str, guarded: Guarded, compiler: Any) -> str:
    """Put a column's names into a statement, quoted."""
    quote = compiler.preparer.quote_identifier
    default = compiler.dialect.default_schema_name or "public"
    if compiler.dialect.name == "sqlite":
        default = "main"
    own = f"{quote(guarded.schema)}." if guarded.schema else ""
    name = f"artifact_guard_{_place(guarded)}"
    words = {
        "relation": own + quote(guarded.table),
        "table": quote(guarded.table),
        "column": quote(guarded.column),
        "function": own + quote(_short(name)),
        "trigger": quote(_short(f"artifact_guard_{guarded.column}")),
        "on_insert": own + quote(f"{name}_insert"),
        "on_update": own + quote(f"{name}_update"),
        "ledger": quote(guarded.ledger_schema or default),
    }
    literals = {
        "schema_name": guarded.schema or default,
        "table_name": guarded.table,
        "column_name": guarded.column,
        "store_name": guarded.store,
        "setting": stored_setting(guarded.store),
        "malformed": f"{_place(guarded)}: not a reference of the form &:kind:digest:size:label",
        "unknown": (
            f"{_place(guarded)}: the ledger has no live blob of store {guarded.store!r} for this "
            "reference: have sqla_artifacts store the value"
        ),
    }
    render = compiler.sql_compiler.render_literal_value
    words |= {word: render(value, String()) for word, value in literals.items()}
    for word, value in words.items():
        sql = sql.replace(f"{{{word}}}", value)
    return sql


def _short(name: str) -> str:
    """Return a name that PostgreSQL does not cut off."""
    if len(name.encode()) <= 63:  # noqa: PLR2004 (NAMEDATALEN)
        return name
    return f"artifact_guard_{hashlib.sha256(name.encode()).hexdigest()[:32]}"
