"""The ledger: the library's tables in the user's database, and why storing is safe.

======================== ======================================================================
``artifact_ledger``      one row: the identity of this ledger, made with the tables
``artifact_store``       the stores that this database writes to, and under which names
``artifact_blob``        every blob: its generation, and whether it is pending, live or gone
``artifact_trash``       generations that the collector took, and when
``artifact_edge``        a tree's manifest and the blobs that it needs
``artifact_column``      every column that was ever seen to hold references
``artifact_declaration`` what each column was declared as, by the last revision (since format 2)
======================== ======================================================================

The tables are mapped on a registry of their own. :func:`install` adds them to the user's
``MetaData``, so that ``create_all`` makes them and Alembic sees them; they may be queried and
joined like any others, and are never to be written to.

A writer's steps, before each statement that stores something, are those of
:mod:`.postgresql` and :mod:`.sqlite`. They keep one law: *a blob is durable before a row
names it, is named by its own digest, and never changes; only the collector deletes.* They use
none of the tables that came after format 1, so a writer works on the tables of either format.

:func:`~sqla_artifacts.ledger.guard.guard` makes the database refuse what others write to a column
and the ledger does not know.
"""

from __future__ import annotations

import datetime as dt  # noqa: TC003 (the mapper evaluates the annotations)
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Connection,
    DateTime,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    event,
    insert,
    inspect,
    select,
    update,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.sql.functions import FunctionElement

from .guard import Guard, guard

if TYPE_CHECKING:
    from sqlalchemy import Insert

__all__ = [
    "FORMAT",
    "Blob",
    "Column",
    "Declaration",
    "Edge",
    "Guard",
    "Ledger",
    "Store",
    "Trash",
    "guard",
    "identity",
    "install",
    "metadata",
]

FORMAT = 2
"""The version of the tables that this code writes."""


class _Base(DeclarativeBase):
    """The library's own registry."""


class Ledger(_Base):
    """The identity of the ledger: what a store's ``owner.json`` names."""

    __tablename__ = "artifact_ledger"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    format: Mapped[int] = mapped_column(Integer)


class Store(_Base):
    """A store that this database writes to: its id as in ``store.json``, and its name here."""

    __tablename__ = "artifact_store"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(255), unique=True)


class Blob(_Base):
    """A blob, its current generation, and the collector's mark on it."""

    __tablename__ = "artifact_blob"
    __table_args__ = (
        CheckConstraint("state IN ('pending', 'live', 'gone')", name="artifact_blob_state"),
    )
    store: Mapped[str] = mapped_column(String(32), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    generation: Mapped[int] = mapped_column(Integer)
    size: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(String(7))
    doom: Mapped[int | None] = mapped_column(BigInteger)
    horizon: Mapped[int | None] = mapped_column(BigInteger)
    doomed_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))


class Trash(_Base):
    """A generation that was taken, and never is written again."""

    __tablename__ = "artifact_trash"
    store: Mapped[str] = mapped_column(String(32), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    generation: Mapped[int] = mapped_column(Integer, primary_key=True)
    gone_at: Mapped[dt.datetime] = mapped_column(DateTime(timezone=True))
    deleted_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))


class Edge(_Base):
    """A blob that a tree's manifest needs: a pack, or a large member."""

    __tablename__ = "artifact_edge"
    store: Mapped[str] = mapped_column(String(32), primary_key=True)
    manifest: Mapped[str] = mapped_column(String(64), primary_key=True)
    part: Mapped[str] = mapped_column(String(64), primary_key=True, index=True)


class Column(_Base):
    """A column that was seen to hold references to a store."""

    __tablename__ = "artifact_column"
    store: Mapped[str] = mapped_column(String(32), primary_key=True)
    table_schema: Mapped[str] = mapped_column(String(255), primary_key=True)
    table_name: Mapped[str] = mapped_column(String(255), primary_key=True)
    column_name: Mapped[str] = mapped_column(String(255), primary_key=True)


class Declaration(_Base):
    """What a column was declared as, for :mod:`~sqla_artifacts.ext.alembic`; no writer reads it.

    The schema is ``""`` where the model names none, or the database's default.
    """

    __tablename__ = "artifact_declaration"
    table_schema: Mapped[str] = mapped_column(String(255), primary_key=True)
    table_name: Mapped[str] = mapped_column(String(255), primary_key=True)
    column_name: Mapped[str] = mapped_column(String(255), primary_key=True)
    declared: Mapped[str] = mapped_column(Text)
    store_name: Mapped[str] = mapped_column(String(255))


metadata: MetaData = _Base.metadata
"""The ledger's own ``MetaData``, for Alembic's ``target_metadata``."""


def install(target: MetaData, *, schema: str | None = None) -> None:
    """Add the ledger's tables to a ``MetaData``, in one schema; again is harmless.

    Without ``schema`` it is the schema of the ``MetaData``, if that has one.
    """
    schema = schema or target.schema
    for table in metadata.sorted_tables:
        key = f"{schema}.{table.name}" if schema else table.name
        if key not in target.tables:
            table.to_metadata(target, schema=cast("str", schema))  # None is one, too


class _NewId(FunctionElement[str]):
    """32 hexadecimal digits that the database makes up, so that a script makes up new ones."""

    type = String()
    inherit_cache = True


@compiles(_NewId, "sqlite")
def _new_id_on_sqlite(*_: Any, **__: Any) -> str:
    return "lower(hex(randomblob(16)))"


@compiles(_NewId, "postgresql")
def _new_id_on_postgresql(*_: Any, **__: Any) -> str:
    return "replace(CAST(gen_random_uuid() AS text), '-', '')"


def identity(*, schema: str | None = None) -> Insert:
    """Return the INSERT that gives new tables their identity, made up by the database.

    ``create_all`` does it by itself, and so do revisions that are generated with
    :mod:`~sqla_artifacts.ext.alembic`. One that is written by hand has to say it, once::

        op.execute(ledger.identity())
    """
    table = cast("Table", Ledger.__table__)
    return _identity_of(table.to_metadata(MetaData(), schema=schema) if schema else table)


def _identity_of(table: Table) -> Insert:
    # inline(): the id is not asked back.
    return insert(table).values(id=_NewId(), format=FORMAT).inline()


@event.listens_for(Ledger.__table__, "after_create", propagate=True)
def _identify(table: Table, connection: Connection, **_: Any) -> None:
    # Never by a writer: its rollback would take the identity away, and a store's owner with it.
    if connection.scalar(select(table.c.id)) is None:
        connection.execute(_identity_of(table))


@event.listens_for(Declaration.__table__, "after_create", propagate=True)
def _raise_format(table: Table, connection: Connection, **_: Any) -> None:
    """Make a ledger of format 1, to which ``create_all`` adds this table, one of format 2."""
    ledger = cast("Table", Ledger.__table__).to_metadata(
        MetaData(), schema=cast("str", table.schema)
    )
    if inspect(connection).has_table(ledger.name, schema=ledger.schema):
        connection.execute(update(ledger).where(ledger.c.format < FORMAT).values(format=FORMAT))
