"""The inventory: where in a database references to a store may be, and the SQL that reads them.

A column is looked into if the ledger has noted it (``artifact_column``: a writer was about to
store in it), if a revision has declared it (``artifact_declaration``), or if it is in a
``MetaData`` that the caller gives. On PostgreSQL a text column holds a reference itself; in a
column of any other type, JSON or an array, whatever looks like a reference counts. On SQLite a
column that is declared as JSON is looked through at any depth. Manifests refer to their parts
by the ledger's edges.

What is noted or declared and is not there any more is a
:class:`~sqla_artifacts.errors.VanishedColumnError`: its references may be in a table that has
another name now, and what only they name must not be taken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Connection, MetaData, text

from .errors import VanishedColumnError
from .reference_type import holds

if TYPE_CHECKING:
    from collections.abc import Iterable

# A reference, anywhere in a text.
_NAMED = "&:(?:blob|file|tree):([0-9a-f]{64}):"

_NOTED = """
    SELECT table_schema, table_name, column_name FROM {ledger}.artifact_column
    WHERE store = :store
    """
_DECLARED = """
    SELECT table_schema, table_name, column_name, store_name FROM {ledger}.artifact_declaration
    """
_FORMAT = "SELECT format FROM {ledger}.artifact_ledger"


class Place(NamedTuple):
    """A column; its schema is ``""`` where it is the database's default."""

    schema: str
    table: str
    column: str

    def __str__(self) -> str:
        return ".".join(filter(None, self))


class Source(NamedTuple):
    """A column that is there, and whether it holds references by themselves or inside something."""

    place: Place
    is_plain: bool


class Inventory(NamedTuple):
    """The columns that may hold references to a store, as one snapshot shows them."""

    sources: tuple[Source, ...]
    selects: tuple[str, ...]

    def digests(self, *edges: str) -> str:
        """Return SQL for the digest of every reference, a row each and NULL among them.

        ``edges`` are further SELECTs: of the parts that manifests need.
        """
        nothing = "SELECT CAST(NULL AS varchar(64)) AS digest"
        return " UNION ALL ".join([*self.selects, *edges] or [nothing])


def take_inventory(
    connection: Connection,
    ledger: str,
    store: tuple[str, str],
    metadata: Iterable[MetaData] = (),
) -> Inventory:
    """Return where references to a store may be.

    ``ledger`` is the quoted schema of the ledger, ``store`` the store's id and its name in this
    database. Raises :class:`~sqla_artifacts.errors.VanishedColumnError`.
    """
    noted = _noted(connection, ledger, store)
    modelled = _modelled(connection, store[1], metadata)
    find = _on_sqlite if connection.dialect.name == "sqlite" else _on_postgresql
    default = "main" if connection.dialect.name == "sqlite" else _default_schema(connection)
    asked = sorted({p._replace(schema=p.schema or default) for p in noted | modelled})
    found = {source.place: source for source in find(connection, asked)}
    vanished = {p._replace(schema=p.schema or default) for p in noted} - found.keys()
    if vanished:
        names = ", ".join(map(str, sorted(vanished)))
        msg = (
            f"the ledger knows of references in {names}, and this role finds no such column: "
            "if it was renamed, give metadata= that has the new name; then, or if it was "
            "dropped for good, forget it by sqla_artifacts.collect.forget_column"
        )
        raise VanishedColumnError(msg)
    sources = tuple(found[place] for place in sorted(found))
    return Inventory(sources, tuple(_select(connection, source) for source in sources))


def _select(connection: Connection, source: Source) -> str:
    """Return the SELECT of the digests in a column."""
    quote = connection.dialect.identifier_preparer.quote_identifier
    schema, table, column = map(quote, source.place)
    relation = f"{schema}.{table}"
    if source.is_plain:
        select = f"SELECT substr({column}, 8, 64) AS digest FROM {relation}"  # noqa: S608 (quoted)
    elif connection.dialect.name == "sqlite":
        select = (
            f"SELECT substr(item.atom, 8, 64) AS digest FROM {relation} AS held, "  # noqa: S608 (quoted)
            f"json_tree(held.{column}) AS item "
            "WHERE item.type = 'text' AND item.atom GLOB '&:????:*'"
        )
    else:
        select = (
            f"SELECT found[1] AS digest FROM {relation}, "  # noqa: S608 (quoted)
            f"regexp_matches(CAST({column} AS text), '{_NAMED}', 'g') AS found"
        )
    return select.replace(":", r"\:")  # no colon of these begins a parameter


def _noted(connection: Connection, ledger: str, store: tuple[str, str]) -> set[Place]:
    def read(sql: str) -> Any:
        return connection.execute(text(sql.replace("{ledger}", ledger)), {"store": store[0]})

    places = {Place(*row) for row in read(_NOTED)}
    if read(_FORMAT).scalar_one() > 1:
        places |= {Place(*row[:3]) for row in read(_DECLARED) if store[1] in row[3].split(", ")}
    return places


def _modelled(connection: Connection, name: str, metadata: Iterable[MetaData]) -> set[Place]:
    return {
        Place(table.schema or "", table.name, column.name)
        for each in metadata
        for table in each.tables.values()
        for column in table.columns
        if holds(column.type, connection.dialect, name)
    }


def _default_schema(connection: Connection) -> str:
    return str(connection.dialect.default_schema_name or "public")


def _on_postgresql(connection: Connection, places: list[Place]) -> list[Source]:
    schemas, tables, columns = zip(*places, strict=True) if places else ((), (), ())
    found = connection.execute(
        text("""
            SELECT asked.*, type.typcategory = 'S'
            FROM unnest(CAST(:schemas AS text[]), CAST(:tables AS text[]), CAST(:columns AS text[]))
                AS asked (schema_name, table_name, column_name)
            JOIN pg_catalog.pg_namespace AS space ON space.nspname = asked.schema_name
            JOIN pg_catalog.pg_class AS class
                ON class.relnamespace = space.oid AND class.relname = asked.table_name
                AND class.relkind IN ('r', 'p')
            JOIN pg_catalog.pg_attribute AS attribute
                ON attribute.attrelid = class.oid AND attribute.attname = asked.column_name
                AND NOT attribute.attisdropped
            JOIN pg_catalog.pg_type AS type ON type.oid = attribute.atttypid
            """),
        {"schemas": list(schemas), "tables": list(tables), "columns": list(columns)},
    )
    return [Source(Place(*row[:3]), row[3]) for row in found]


def _on_sqlite(connection: Connection, places: list[Place]) -> list[Source]:
    quote = connection.dialect.identifier_preparer.quote_identifier
    attached = {row[1].lower() for row in connection.execute(text("PRAGMA database_list"))}
    found = []
    for place in places:
        if place.schema.lower() in attached:
            pragma = f"PRAGMA {quote(place.schema)}.table_xinfo({quote(place.table)})"
            types = {row[1].lower(): row[2] for row in connection.execute(text(pragma))}
            declared = types.get(place.column.lower())
            if declared is not None:
                found.append(Source(place, "JSON" not in declared.upper()))
    return found
