"""Rows of a Superduper table, on their way into a table of artifact columns."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from sqlalchemy import Engine, TypeDecorator, insert, inspect, select, tuple_

from ...datatypes import Encoded
from ...errors import ArtifactError, InvalidValueError
from ...reference_type import ReferenceType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from sqlalchemy import Column, Connection, Table
    from sqlalchemy.orm import Session
    from sqlalchemy.types import TypeEngine

    from .folder import ArtifactFolder

_OWN_FIELDS = frozenset({"_id", "_fold", "_schema", "_builds", "_blobs", "_files"})


Row: TypeAlias = "Mapping[str, Any]"


class Imported(NamedTuple):
    """How many rows were inserted, and how many skipped because they were there."""

    inserted: int
    skipped: int


def check_rows(
    rows: Iterable[Row], table: Any, folder: ArtifactFolder
) -> Iterator[tuple[Any, ArtifactError]]:
    """Yield what keeps rows from being imported: each time the row's primary key, and the error.

    Takes what :func:`import_rows` does, and writes nothing. Reads all that will be verified.
    """
    target = _Target(table, folder)
    for row in rows:
        _, errors = target.values(row)
        yield from ((target.key(row), error) for error in errors)


def import_rows(
    rows: Iterable[Row],
    table: Any,
    bind: Engine | Connection | Session,
    folder: ArtifactFolder,
    *,
    batch: int = 100,
    progress: Callable[[Imported], object] | None = None,
) -> Imported:
    """Insert rows of Superduper, with what they refer to, into a table or mapped class.

    A row is a mapping with the names of columns. A column of artifacts takes any reference of
    Superduper's, bytes that were in the row itself, or an ``Encoded`` or path of your own, and
    stores the bytes as they are under the column's datatype: nothing is decoded, except for a
    column's ``validators``. Superduper's own fields, ``_fold`` and the like, are left out where
    the table has no column for them.

    Rows whose primary key is in the table already are skipped, so an import that was cut off can
    be run again. Rows are inserted in batches. With an engine each batch is committed; with a
    connection or session nothing is. ``progress`` is called after each batch with the numbers
    so far, which are also returned.

    Raises the first error that :func:`check_rows` would give, before anything of its batch is
    inserted.
    """
    target = _Target(table, folder)
    done = Imported(0, 0)
    remaining = iter(rows)
    while chunk := list(islice(remaining, batch)):
        with _connected(bind) as connection:
            new = target.missing(chunk, connection)
        statements = target.statements(new)  # outside of a transaction: it reads much
        with _connected(bind) as connection:
            for values in statements:
                connection.execute(insert(target.table), values)
        done = Imported(done.inserted + len(new), done.skipped + len(chunk) - len(new))
        if progress is not None:
            progress(done)
    return done


class _Target:
    """A table that rows go to, and the folder that their artifacts come from."""

    def __init__(self, table: Any, folder: ArtifactFolder) -> None:
        self.table: Table = getattr(inspect(table), "local_table", table)
        self._folder = folder
        self._primary = tuple(self.table.primary_key)
        if not self._primary:
            msg = f"table {self.table.name!r} has no primary key to tell rows by"
            raise InvalidValueError(msg)

    def key(self, row: Row) -> Any:
        """Return a row's primary key; of several columns, a tuple."""
        key = self._key(row)
        return key if len(key) > 1 else key[0]

    def missing(self, rows: list[Row], connection: Connection | Session) -> list[Row]:
        """Return the rows that the table does not have; of two with one key, the first."""
        by_key: dict[tuple[Any, ...], Row] = {}
        for row in rows:
            by_key.setdefault(self._key(row), row)
        there = tuple_(*self._primary).in_(list(by_key))
        for key in connection.execute(select(*self._primary).where(there)):
            by_key.pop(tuple(key), None)
        return list(by_key.values())

    def statements(self, rows: list[Row]) -> list[list[dict[str, Any]]]:
        """Return the values to insert, those together that have the same columns."""
        groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        for row in rows:
            values, errors = self.values(row)
            if errors:
                raise errors[0]
            groups.setdefault(tuple(sorted(values)), []).append(values)
        return list(groups.values())

    def values(self, row: Row) -> tuple[dict[str, Any], list[ArtifactError]]:
        """Return a row's values for the table, and what is wrong with it."""
        values: dict[str, Any] = {}
        errors: list[ArtifactError] = []
        for name in dict.fromkeys([*(column.key for column in self._primary), *row]):
            column = self.table.columns.get(name)
            if column is None and name in _OWN_FIELDS:
                continue
            try:
                values[name] = self._value(column, row.get(name), row.get("_builds"))
            except ArtifactError as error:
                named = type(error)(f"row {str(self.key(row))[:100]!r}: {error}")
                named.column = f"{self.table.name}.{name}"
                errors.append(named)
        return values, errors

    def _key(self, row: Row) -> tuple[Any, ...]:
        return tuple(row.get(column.key) for column in self._primary)

    def _value(self, column: Column[Any] | None, value: Any, builds: Any) -> Any:
        if column is None:
            msg = "there is no such column: add it to the table, or leave the field out of the rows"
            raise InvalidValueError(msg)
        if column.primary_key and value is None:
            msg = "a row without its primary key could be imported twice: give it one"
            raise InvalidValueError(msg)
        kind, many = _kind(column.type)
        if kind is None:
            return value
        if many and isinstance(value, list):
            return [self._artifact(item, kind, builds) for item in value]
        return self._artifact(value, kind, builds)

    def _artifact(self, value: Any, kind: str, builds: Any) -> Any:
        value = _content(value, builds)
        if value is None or isinstance(value, Encoded | os.PathLike):
            return value
        if kind == "file":
            return self._folder.file(value)
        return Encoded(value if isinstance(value, bytes) else self._folder.blob(value))


def _content(value: Any, builds: Any) -> Any:
    """Return what a field means that says it in another place, or has the bytes themselves."""
    if isinstance(value, str) and value.startswith("?") and isinstance(builds, Mapping):
        build = builds.get(value[1:])
        value = build.get("blob", build.get("x")) if isinstance(build, Mapping) else value
    match value:
        case {"_content": {"bytes": bytes(data)}}:
            return data
    return value


def _kind(column_type: TypeEngine[Any] | None) -> tuple[str | None, bool]:
    """Return the kind of artifacts that a column has, if any, and whether it has lists of them."""
    many = False
    while column_type is not None and not isinstance(column_type, ReferenceType):
        inside: Any = getattr(column_type, "item_type", None)
        many = many or inside is not None
        if inside is None and isinstance(column_type, TypeDecorator):
            inside = column_type.impl_instance
        column_type = inside
    if column_type is None:
        return None, False
    return ("blob" if "blob" in column_type.kinds else "file"), many


def _connected(
    bind: Engine | Connection | Session,
) -> contextlib.AbstractContextManager[Connection | Session]:
    return bind.begin() if isinstance(bind, Engine) else contextlib.nullcontext(bind)
