"""Alembic: revisions that need nothing of this package, and notice what a column was.

One import in ``env.py`` does both::

    from sqla_artifacts.ext.alembic import render_item

    context.configure(..., render_item=render_item)

:func:`render_item` writes an artifact column as the text that it is, below a comment that says
what the model declares. And autogenerate compares, from that import on, each artifact column
with its declaration in the ledger, the table ``artifact_declaration``: a changed kind, datatype
or store, of which the text in the database shows nothing, is a difference like any other. The
revision records it in plain SQL, below a comment that says what becomes of the rows. A revision
that makes the ledger's tables gives them their identity, and one that adds tables to an older
ledger raises its format.

Revisions written by hand have the operations of :mod:`.guards`.

This begins once the ledger's tables are in ``target_metadata``; tables that ``include_object``
or ``include_name`` leave out are left out here, too.
"""

from __future__ import annotations

import textwrap
from copy import copy
from typing import TYPE_CHECKING, Any, Literal, cast

from alembic import util
from alembic.autogenerate import comparators, render, renderers
from alembic.operations import ops
from sqlalchemy import MetaData, Table, and_, column, delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from .. import ledger
from . import guards  # noqa: F401 (registers its operations)
from .declared import Declared, Place, declared, references, storage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alembic.autogenerate.api import AutogenContext
    from sqlalchemy import Column, Connection, Delete, Insert, Update

WIDTH = 92
"""How long the lines of a revision may get."""


def render_item(kind: str, item: Any, context: AutogenContext) -> str | Literal[False]:
    """Write an artifact column, or its type, as what the database has.

    Of arrays of artifacts, of variants, and of types that have an artifact's inside, too. Returns
    ``False`` for everything else, as Alembic expects, so one's own function may end with
    ``return render_item(kind, item, context)``.
    """
    if kind == "type" and any(references(item)):
        return render._repr_type(storage(item), context)  # noqa: SLF001 (it has no public name)
    if kind == "column" and any(references(item.type)):
        plain = copy(item)
        plain.type = storage(item.type)
        text = render._render_column(plain, context)  # noqa: SLF001 (as above)
        return f"{_comment(str(declared(item.type)))}\n{text}"
    return False


# -- comparing ------------------------------------------------------------------------------------


class LedgerOp(ops.ExecuteSQLOp):
    """A statement on the ledger's tables, under a comment, and the one that undoes it."""

    def __init__(
        self, comment: str, statement: Insert | Update | Delete, undo: LedgerOp | None = None
    ) -> None:
        super().__init__(statement)
        self.statement = statement
        self.comment = comment
        self.undo = undo

    def reverse(self) -> ops.MigrateOperation:
        """Return what undoes it; nothing, where the table itself goes."""
        return self.undo or ops.ModifyTableOps(str(self.statement.table), [])

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """Return what ``alembic check`` shows."""
        return ("artifact_ledger", self.comment)


def compare_ledger(context: AutogenContext, upgrade: ops.UpgradeOps, _: Any) -> None:
    """Add to an upgrade what the ledger has to be told; Alembic calls it."""
    for table in context.sorted_tables:
        ours = table.name == ledger.Declaration.__tablename__
        if ours and _is_included(context, table):
            upgrade.ops += [*_compare_format(context, table), *_compare_columns(context, table)]


# Before there were priorities, functions ran as they were registered: Alembic's own first.
_LAST: Any = {"priority": util.DispatchPriority.LAST} if hasattr(util, "DispatchPriority") else {}
comparators.dispatch_for("schema", **_LAST)(compare_ledger)


def _compare_format(context: AutogenContext, declaration: Table) -> Iterator[LedgerOp]:
    """Yield what gives the ledger its identity, or makes its format that of this code."""
    schema = cast("str", declaration.schema)
    table = cast("Table", ledger.Ledger.__table__).to_metadata(MetaData(), schema=schema)
    found = None
    if _exists(context, table):
        found = _connection(context).scalar(select(table.c.format))
    if found is None:
        # Never undone: while the tables are there, the stores that it claimed are its own.
        yield LedgerOp("the ledger's identity", ledger.identity(schema=schema))
    elif found < ledger.FORMAT or not _exists(context, declaration):
        before = min(found, ledger.FORMAT - 1)
        back = LedgerOp(f"the ledger's format: {before}", update(table).values(format=before))
        now = update(table).values(format=ledger.FORMAT)
        yield LedgerOp(f"the ledger's format: {before} -> {ledger.FORMAT}", now, back)


def _compare_columns(context: AutogenContext, table: Table) -> Iterator[LedgerOp]:
    """Yield what records how the models' columns are declared now."""
    exists = _exists(context, table)
    before = _recorded(context, table) if exists else {}
    columns = {_place(context, each): each for t in context.sorted_tables for each in t.columns}
    tables = {place[:2]: each.table for place, each in columns.items()}
    for place in sorted(before | columns):
        model = columns.get(place)
        old, new = before.get(place), None if model is None else declared(model.type)
        if old == new:
            continue
        owner = tables.get(place[:2])
        if not (_is_missed(context, place) if owner is None else _is_included(context, owner)):
            continue
        comment = _change(place, old, new)
        if old is not None and new is not None and model is not None:
            comment += f": {_consequence(old, new, model)}"
        back = LedgerOp(_change(place, new, old), _recording(table, place, new, old))
        yield LedgerOp(comment, _recording(table, place, old, new), back if exists else None)


def _recorded(context: AutogenContext, table: Table) -> dict[Place, Declared]:
    names = (*Place._fields, *Declared._fields)
    rows = _connection(context).execute(select(*(table.c[name] for name in names)))
    return {Place(*row[:3]): Declared(*row[3:]) for row in rows}


def _recording(
    table: Table, place: Place, old: Declared | None, new: Declared | None
) -> Insert | Update | Delete:
    if old is None and new is not None:
        return insert(table).values(place._asdict() | new._asdict())
    row = and_(*(column(name) == value for name, value in place._asdict().items()))
    if new is None:
        return delete(table).where(row)
    return update(table).where(row).values(new._asdict())


def _change(place: Place, old: Declared | None, new: Declared | None) -> str:
    if old is None:
        return f"{place}: {new}"
    if new is None:
        return f"{place} holds no artifacts any more"
    if old.store_name == new.store_name:
        return f"{place}: {old.declared} -> {new.declared}"
    return f"{place}: {old} -> {new}"


def _consequence(old: Declared, new: Declared, model: Column[Any]) -> str:
    """Say what a change means for the rows that are there."""
    if old.store_name != new.store_name:
        store = repr(old.store_name)
        return f"rows written before name blobs of store {store}, and are not found in the new one"
    if old.shape != new.shape:
        return "rows written before hold references of another kind, which the column refuses"
    accepted = {d.identifier for r in references(model.type) for d in getattr(r, "accepts", ())}
    written = set(old.datatypes).difference(new.datatypes)
    if written - accepted:
        add = f"add accepts={sorted(written | accepted)!r} to the column, or it refuses them"
        return f"rows written before keep their datatype; {add}"
    if written:
        return "rows written before keep their datatype, which the column accepts"
    return "rows written before stay as they are"


# -- asking Alembic -------------------------------------------------------------------------------


def _place(context: AutogenContext, model: Column[Any]) -> Place:
    schema = model.table.schema
    if schema == context.dialect.default_schema_name:
        schema = None
    # A name of SQLAlchemy's is a str that no literal can be written for.
    return Place(str(schema or ""), str(model.table.name), str(model.name))


def _is_included(context: AutogenContext, table: Table) -> bool:
    """Say whether a table of the models is compared."""
    return context.run_object_filters(table, table.name, "table", False, None)  # noqa: FBT003


def _is_missed(context: AutogenContext, place: Place) -> bool:
    """Say whether a table is compared that the models do not have."""
    name, schema = place.table_name, place.table_schema or None
    table = Table(name, MetaData(), schema=cast("str", schema))
    return context.run_name_filters(
        name, "table", {"schema_name": schema}
    ) and context.run_object_filters(table, name, "table", True, None)  # noqa: FBT003


def _exists(context: AutogenContext, table: Table) -> bool:
    return context.inspector.has_table(table.name, schema=table.schema)


def _connection(context: AutogenContext) -> Connection:
    return cast("Connection", context.connection)


# -- writing the revision -------------------------------------------------------------------------

_POSTGRESQL: Any = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call, unused-ignore]
# Before SQLAlchemy 2.1 one that was never connected does not know that a backslash is itself.
_POSTGRESQL._backslash_escapes = False  # noqa: SLF001
_DIALECTS: tuple[Any, ...] = (_POSTGRESQL, sqlite.dialect())  # type: ignore[no-untyped-call, unused-ignore]


@renderers.dispatch_for(LedgerOp)
def _render_ledger_op(context: AutogenContext, op: LedgerOp) -> str:
    prefix = context.opts["alembic_module_prefix"] or ""
    sql = {dialect.name: _sql(op.statement, dialect) for dialect in _DIALECTS}
    if len(set(sql.values())) == 1:
        argument = _literal(sql["sqlite"])
    else:
        pairs = [f'"{name}": (\n{_indented(_literal(each))}\n)' for name, each in sql.items()]
        choices = _indented(",\n".join(pairs))
        argument = f"{{\n{choices},\n}}[{prefix}get_context().dialect.name]"
    return f"{_comment(op.comment)}\n{prefix}execute(\n{_indented(argument)}\n)"


def _sql(statement: Insert | Update | Delete, dialect: Any) -> str:
    compiled = statement.compile(dialect=dialect, compile_kwargs={"literal_binds": True})
    # op.execute() takes a colon for the beginning of a parameter.
    return str(compiled).replace(":", r"\:")


def _literal(sql: str) -> str:
    """Write a string as Python does, in several lines."""
    lines = textwrap.wrap(
        sql,
        WIDTH - 20,
        expand_tabs=False,
        replace_whitespace=False,
        drop_whitespace=False,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(map(repr, lines))


def _comment(text: str) -> str:
    return "\n".join(f"# {line}" for line in textwrap.wrap(text, WIDTH - 2))


def _indented(text: str) -> str:
    return textwrap.indent(text, "    ")
