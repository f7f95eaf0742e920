"""Attaching a store to an engine.

:func:`attach`, or ``store.attach(engine, ...)``, makes a store the one for all artifacts of an
engine's statements:

- A subclass of the dialect's ``execution_ctx_cls`` stores what a statement's values have bound,
  through the ledger, in ``pre_exec()``: before the SQL runs, and before any listener does. It
  also has the artifacts of a result's rows fetched together: :mod:`.prefetch`.
- The event ``handle_error`` keeps payloads out of a ``StatementError``, and drops what a failed
  statement had bound.
- The event ``engine_disposed`` renews the ledger's own connections with the engine's.

Listeners to an engine's statements would do the same, and cost every statement several
microseconds, whether it has to do with artifacts or not.
"""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any, ClassVar, cast

from sqlalchemy import Connection, Engine, Table, event
from sqlalchemy.engine import Compiled
from sqlalchemy.engine.base import OptionEngine
from sqlalchemy.exc import StatementError
from sqlalchemy.sql import visitors
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.dml import UpdateBase
from sqlalchemy.sql.elements import BindParameter
from sqlalchemy.types import NullType

from . import ledger
from .comparison import DigestOf
from .errors import ArtifactError, LedgerError, StoreError, UnsafeTransactionError
from .ledger.postgresql import PostgreSQLWriter
from .ledger.sqlite import SQLiteWriter
from .ledger.writer import Target, Writer
from .pending import Pending, copies, discard, may_write, stores_of, take_pending
from .prefetch import Fetching, Prefetch
from .reference_type import ReferenceType, holds

if TYPE_CHECKING:
    from sqlalchemy import Dialect, MetaData
    from sqlalchemy.engine.default import DefaultExecutionContext
    from sqlalchemy.engine.interfaces import ExceptionContext
    from sqlalchemy.ext.asyncio import AsyncEngine

    from .store import ArtifactStore

_WRITERS: dict[str, type[SQLiteWriter | PostgreSQLWriter]] = {
    "sqlite": SQLiteWriter,
    "postgresql": PostgreSQLWriter,
}


def attach(
    store: ArtifactStore,
    engine: Engine | AsyncEngine,
    *,
    metadata: MetaData | None = None,
    name: str = "default",
    schema: str | None = None,
) -> None:
    """Make ``store`` the store of an engine's artifacts.

    ``metadata`` gets the ledger's tables, in ``schema``; where a revision or
    ``ledger.install`` has put them into a schema of their own, ``schema`` names it here as
    well. ``name`` is for further stores: columns choose one with ``store="videos"``. The copies
    that ``engine.execution_options()`` makes are attached with the engine.

    Does no I/O. Raises :class:`StoreError` if there is another store of that name, and
    :class:`UnsafeTransactionError` for an engine on which nothing can be stored safely.
    """
    # Importing AsyncEngine to ask isinstance() would need greenlet, which is not always there.
    sync = cast("Engine", getattr(engine, "sync_engine", engine))
    while isinstance(sync, OptionEngine):
        sync = sync._proxied  # noqa: SLF001 (they share the dialect, so whatever binds has to listen)
    stores = stores_of(sync.dialect)
    if name in stores and stores[name] is not store:
        msg = f"this engine has another store {name!r}, {stores[name].url}: give this one a name"
        raise StoreError(msg)
    make = _WRITERS.get(sync.dialect.name)
    if make is None:
        msg = f"artifacts are stored with SQLite and PostgreSQL, not yet with {sync.dialect.name}"
        raise LedgerError(msg)
    if metadata is not None:
        schema = schema or metadata.schema
        ledger.install(metadata, schema=schema)
    writers = _listen(sync)
    if name in writers:
        writers[name].renew()  # the connections of the one that is replaced
    writers[name] = make(store, sync, name, schema)
    stores[name] = store


def schema_of(engine: Engine) -> str | None:
    """Return the schema of the ledger that an engine's stores write to, if they name one."""
    hooks: _Hooks | None = engine.dialect.__dict__.get("_artifact_hooks")
    schemas = [writer.schema for writer in hooks.writers.values()] if hooks else []
    return schemas[0] if schemas else None


class _Hooks:
    """The listeners of one engine, and the writers of its stores by name."""

    def __init__(self) -> None:
        self.writers: dict[str, Writer] = {}
        self.prefetch = Prefetch()

    def before(self, context: DefaultExecutionContext) -> None:
        """Store what a statement's values have bound."""
        compiled = context.compiled
        # Without either it may be a listener's BEGIN, between a statement's binding and its own.
        if isinstance(compiled, SQLCompiler) and (compiled.binds or _is_writing(compiled)):
            self._store(context.root_connection, context, compiled)

    def _store(
        self, connection: Connection, context: DefaultExecutionContext, compiled: SQLCompiler
    ) -> None:
        for each in compiled.literal_execute_params:
            if holds(each.type, connection.dialect):
                discard(take_pending(connection.dialect))
                msg = "a reference that is rendered into the statement is not stored: bind it"
                raise UnsafeTransactionError(msg)
        copied = _is_writing(compiled) and copies(compiled.statement)
        pending = take_pending(connection.dialect)
        if not (pending or copied):
            return
        try:
            if pending and not may_write(compiled.statement):
                return  # a loader of a relationship binds the key that it looks for
            names = {item.column_type.store for item in pending}
            if copied:  # a collector has to look there, too
                names.update(self.writers)
            for name in sorted(names):
                mine = [item for item in pending if item.column_type.store == name]
                self._write(connection, context, name, mine)
        finally:
            discard(pending)

    def _write(
        self,
        connection: Connection,
        context: DefaultExecutionContext,
        name: str,
        pending: list[Pending],
    ) -> None:
        # Of two with one digest the last one counts: not that which is to be read back.
        pending.sort(key=lambda item: not callable(item.payload.content))
        column_types = {item.column_type for item in pending}
        try:
            targets = _targets(context, connection.dialect, name, column_types)
            for other in targets[:-1]:  # their columns are registered before the payloads are
                self.writers[name].write(connection, [], other)
            payloads = [item.payload for item in pending]
            for target in targets[-1:]:
                self.writers[name].write(connection, payloads, target)
            self.writers[name].store.remember(payloads)  # those, too, that were there already
        except ArtifactError as error:
            names = sorted(filter(None, (item.column_name for item in column_types)))
            error.column = error.column or ", ".join(names) or None
            raise

    def handle_error(self, context: ExceptionContext) -> None:
        discard(take_pending(context.dialect))
        error = context.sqlalchemy_exception
        # An ArtifactError has no parameters, and those of a statement that has run are references.
        if context.execution_context is None and isinstance(error, StatementError):
            compiled = _being_bound(context.original_exception)
            error.params = _without_payloads(error.params, compiled, context.dialect)

    def engine_disposed(self, engine: Engine) -> None:
        for writer in self.writers.values():
            writer.renew()


class _Context(Fetching):
    """An engine's statements, as they are executed, from its first store on."""

    hooks: ClassVar[_Hooks]

    def pre_exec(self) -> None:
        # Before any listener: its own statements must not take what is not theirs.
        super().pre_exec()  # type: ignore[no-untyped-call, unused-ignore]
        self.hooks.before(self)


def _is_writing(compiled: SQLCompiler) -> bool:
    return compiled.isinsert or compiled.isupdate


def _listen(engine: Engine) -> dict[str, Writer]:
    """Return the writers of an engine, which has its listeners from the first one on."""
    hooks: _Hooks | None = engine.dialect.__dict__.get("_artifact_hooks")
    if hooks is None:
        hooks = _Hooks()
        engine.dialect.__dict__["_artifact_hooks"] = hooks
        kind = engine.dialect.execution_ctx_cls
        engine.dialect.execution_ctx_cls = type(
            kind.__name__, (_Context, kind), {"hooks": hooks, "prefetch": hooks.prefetch}
        )
        event.listen(engine, "handle_error", hooks.handle_error, insert=True)
        # A disposal concerns no statement, so none shall look for listeners because of it.
        has_events = engine._has_events  # noqa: SLF001 (as said)
        event.listen(engine, "engine_disposed", hooks.engine_disposed)
        engine._has_events = has_events  # noqa: SLF001 (as said)
    return hooks.writers


def _targets(
    context: DefaultExecutionContext,
    dialect: Dialect,
    store: str,
    column_types: set[ReferenceType],
) -> list[Target]:
    """Return the columns that a statement is about to write references to, table by table.

    All of the table's artifact columns for INSERT, UPDATE and their like: which of them the
    statement names makes no difference. Also those of a table that a value's type is from: that
    of typed text, of a second INSERT inside the statement.
    """
    statement = getattr(context.compiled, "statement", None)
    translated = context.execution_options.get("schema_translate_map") or {}
    targets: dict[tuple[str | None, str], Target] = {}

    def add(table: Any) -> None:
        names = frozenset(c.name for c in table.columns if holds(c.type, dialect, store))
        if names:
            schema = translated.get(table.schema, table.schema)
            targets[table.schema, table.name] = Target(schema, table.name, names)

    if isinstance(statement, UpdateBase) and isinstance(statement.table, Table):
        add(statement.table)
    known = set(targets)
    for column_type in column_types:
        found = [getattr(column, "table", None) for column in column_type.columns]
        tables = {(t.schema, t.name): t for t in found if isinstance(t, Table)}
        if len(tables) == 1:
            add(*tables.values())
        elif not known & (tables.keys() or known):
            targets.clear()
            break
    if column_types and not targets:
        msg = (
            "it cannot be known which column will hold this reference: write to a Table's "
            "artifact column, or give text() the type of the very column, "
            'bindparam("x", type_=Model.__table__.c.x.type)'
        )
        raise UnsafeTransactionError(msg)
    return list(targets.values())


def _being_bound(error: BaseException) -> Compiled | None:
    """Return the statement whose values were being bound when an error was raised.

    A listener is told its text only. To remember every statement beforehand would cost each.
    """
    for frame, _ in traceback.walk_tb(error.__traceback__):
        for value in frame.f_locals.values():
            if isinstance(value, Compiled):
                return value
    return None


def _without_payloads(params: Any, compiled: Compiled | None, dialect: Dialect) -> Any:
    """Replace the values that may be artifacts by the names of their types."""
    if compiled is None:  # it cannot be known which they are
        return None
    types: dict[str, Any] = {}
    for element in visitors.iterate(cast("Any", compiled.statement)):
        if isinstance(element, BindParameter):
            types.setdefault(element.key, element.type)
        elif isinstance(element, Table):
            types.update((column.key, column.type) for column in element.columns)
    if not params or not any(_is_ours(each, dialect) for each in types.values()):
        return params
    # A parameter of no type takes that of its column only where the statement is compiled.
    shown = {
        k for k, v in types.items() if not _is_ours(v, dialect) and not isinstance(v, NullType)
    }

    def replaced(row: dict[str, Any]) -> dict[str, Any]:
        return {k: v if k in shown else f"<{type(v).__qualname__}>" for k, v in row.items()}

    return replaced(params) if isinstance(params, dict) else [replaced(row) for row in params]


def _is_ours(column_type: Any, dialect: Dialect) -> bool:
    return isinstance(column_type, DigestOf) or holds(column_type, dialect)
