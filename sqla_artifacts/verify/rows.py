"""Which rows name a blob, and which hold what is no reference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import inspect, text

from ..collect.caretaker import BATCH, Found
from ..errors import InvalidReferenceError
from ..inventory import Place
from ..reference import parse
from .report import Finding, Named
from .sql import COLUMNS, NAMED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlalchemy import Connection

    from ..collect.caretaker import Caretaker
    from ..inventory import Source

SHOWN = 10
"""Of how many rows without a reference the primary keys are shown, for each column."""

# What is certainly a reference, as PostgreSQL can say it. Labels that are encoded, or begin with a
# dot, are parsed here, and all on SQLite.
_CERTAIN = (
    "^&:(blob:[0-9a-f]{64}:(0|[1-9][0-9]{0,17}):[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
    "|(file|tree):[0-9a-f]{64}:(0|[1-9][0-9]{0,17}):[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,254})$"
)


def named_in(caretaker: Caretaker, digests: Iterable[str]) -> dict[str, tuple[Named, ...]]:
    """Return where blobs are named, by digest; what nothing names is not in it.

    Costs a scan of all columns with references.
    """
    asked = [Found(digest, 0, 0) for digest in digests]
    with caretaker.looking() as connection:
        inventory = caretaker.inventory(connection)
        queries = [
            NAMED.replace("{number}", str(number)).replace("{select}", select)
            for number, select in enumerate(inventory.selects)
        ]
        found = caretaker.run(connection, " UNION ALL ".join(queries), asked) if queries else []
    places: dict[str, tuple[Named, ...]] = {}
    for digest, number, count in sorted(found):
        place = str(inventory.sources[number].place)
        places[digest] = (*places.get(digest, ()), Named(place, count))
    return places


def rows_naming(
    connection: Connection, source: Source, digest: str, limit: int
) -> list[dict[str, Any]]:
    """Return the primary keys of the first rows of a column that name a blob."""
    keys, relation, column = _parts(connection, source.place)
    query = text(
        f"SELECT {', '.join(keys)} FROM {relation} "  # noqa: S608 (quoted)
        f"WHERE CAST({column} AS text) LIKE '%&\\:____\\:{digest}\\:%' LIMIT {limit}"
    )
    return [dict(row) for row in connection.execute(query).mappings()]


def malformed(caretaker: Caretaker) -> Iterator[Finding]:
    """Find the columns of references that hold strings that are none."""
    with caretaker.looking() as connection:
        sources = caretaker.inventory(connection).sources
    for source in sources:
        if source.is_plain:
            with caretaker.looking() as connection:
                count, rows = _malformed(connection, source.place)
            if count:
                places = (Named(str(source.place), count),)
                detail = "no reference of the form &:kind:digest:size:label"
                yield Finding("malformed", detail=detail, places=places, rows=tuple(rows))


def unregistered(caretaker: Caretaker) -> Iterator[Finding]:
    """Find the columns that hold references, and that no writer has noted."""
    with caretaker.looking() as connection:
        known = connection.execute(caretaker.text(COLUMNS), {"store": caretaker.store_id})
        noted = {Place(*row) for row in known}
        inventory = caretaker.inventory(connection)
        for source, select in zip(inventory.sources, inventory.selects, strict=True):
            if source.place not in noted:
                query = f"SELECT count(*) FROM ({select}) AS held WHERE length(digest) = 64"  # noqa: S608 (quoted)
                count = connection.scalar(text(query))
                if count:
                    detail = "collectors do not know of it unless they are given its metadata"
                    places = (Named(str(source.place), count),)
                    yield Finding("unregistered", detail=detail, places=places)


def _malformed(connection: Connection, place: Place) -> tuple[int, list[dict[str, Any]]]:
    keys, relation, column = _parts(connection, place)
    suspect = f"{column} IS NOT NULL"
    if connection.dialect.name == "postgresql":
        suspect += f" AND {column} !~ '{_CERTAIN}'".replace(":", r"\:")
    query = text(f"SELECT {column}, {', '.join(keys)} FROM {relation} WHERE {suspect}")  # noqa: S608 (quoted)
    options = {"stream_results": True, "max_row_buffer": BATCH}
    count, rows = 0, []
    with connection.execute(query, execution_options=options) as result:
        names = list(result.keys())[1:]
        for value, *key in result:
            if not _is_reference(value):
                count += 1
                if count <= SHOWN:
                    rows.append(dict(zip(names, key, strict=True)))
    return count, rows


def _parts(connection: Connection, place: Place) -> tuple[list[str], str, str]:
    """Return the primary key's columns, the table and the column, as SQL says them."""
    quote = connection.dialect.identifier_preparer.quote_identifier
    primary = inspect(connection).get_pk_constraint(place.table, schema=place.schema)
    names = [quote(name) for name in primary["constrained_columns"]]
    if not names:
        names = ["rowid"] if connection.dialect.name == "sqlite" else ["CAST(ctid AS text) AS ctid"]
    quoted = [part.replace(":", r"\:") for part in (*names, *map(quote, place))]
    schema, table, column = quoted[len(names) :]
    return quoted[: len(names)], f"{schema}.{table}", column


def _is_reference(value: object) -> bool:
    try:
        parse(value)
    except InvalidReferenceError:
        return False
    return True
