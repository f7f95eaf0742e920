"""Schemas and documents, as Superduper has them, over SQLAlchemy's tables and rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Double,
    Integer,
    LargeBinary,
    String,
    Table,
    inspect,
)
from sqlalchemy.orm import InstanceState
from sqlalchemy.types import TypeEngine, to_instance

from ...datatypes import DataType
from ...rows import aunpack, unpack

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import MetaData

_PLAIN: Mapping[object, TypeEngine[Any]] = {
    str: String(),
    int: BigInteger().with_variant(Integer(), "sqlite"),  # where only that counts up by itself
    float: Double(),
    bool: Boolean(),
    bytes: LargeBinary(),
    datetime: DateTime(),
    date: Date(),
    dict: JSON(),
    list: JSON(),
}
_NAMED: Mapping[str, type] = {
    **{each.__name__: each for each in (str, int, float, bool, bytes, datetime, date, dict, list)},
    "ID": str,
    "string": str,
    "timestamp": datetime,
    "json": dict,
}


@dataclass(frozen=True)
class Schema:
    """Fields by name, to make a table of.

    A field is a :class:`~sqla_artifacts.DataType`; ``str``, ``int``, ``float``, ``bool``,
    ``bytes``, ``datetime``, ``date``, ``dict``, ``list`` or the name of one, or ``"json"``; a
    SQLAlchemy type; or a ``Column``, which says all itself and can be in one table only.

    Raises ``TypeError`` for anything else.
    """

    identifier: str
    fields: Mapping[str, Any]

    def __post_init__(self) -> None:
        for name in self.fields:
            self._type(name)

    def table(self, name: str, metadata: MetaData, *, primary_id: str = "id") -> Table:
        """Return a table of the fields, all nullable but the primary key ``primary_id``.

        Unless a field has that name, the key is a string and by default a new UUID.
        """
        columns = [self._column(field, primary_id) for field in self.fields]
        if primary_id not in self.fields:
            new_id = Column(primary_id, String(), primary_key=True, default=lambda: str(uuid4()))
            columns.insert(0, new_id)
        return Table(name, metadata, *columns)

    def _column(self, name: str, primary_id: str) -> Column[Any]:
        field = self.fields[name]
        if not isinstance(field, Column):
            return Column(name, self._type(name), primary_key=name == primary_id)
        field.name, field.key = field.name or name, field.key or name
        return field

    def _type(self, name: str) -> TypeEngine[Any]:
        field = self.fields[name]
        if isinstance(field, DataType):
            column_type: TypeEngine[Any] = field.column_type()
            return column_type
        if isinstance(field, Column):
            return field.type
        if isinstance(field, TypeEngine) or (
            isinstance(field, type) and issubclass(field, TypeEngine)
        ):
            return to_instance(field)
        plain = _NAMED.get(field) if isinstance(field, str) else field
        if isinstance(plain, type) and plain in _PLAIN:
            return _PLAIN[plain]
        msg = (
            f"schema {self.identifier!r} has no column for field {name!r}, {field!r}: give a "
            f"DataType, a SQLAlchemy type or Column, or one of {', '.join(_NAMED)}"
        )
        raise TypeError(msg)


class Document(dict[str, Any]):
    """A row as a dict: of a result row, its mapping, a mapped instance or any mapping."""

    def __init__(self, row: Any = (), /, **fields: Any) -> None:
        state = inspect(row, raiseerr=False)
        if isinstance(state, InstanceState):
            keys = [attribute.key for attribute in state.mapper.column_attrs]
            row = {key: getattr(row, key) for key in keys}
        super().__init__(getattr(row, "_mapping", row), **fields)

    def __repr__(self) -> str:
        return f"Document({super().__repr__()})"

    def unpack(self) -> dict[str, Any]:
        """Return a plain dict, everything in it unpacked: values, and paths of files."""
        unpacked: dict[str, Any] = unpack(dict(self))
        return unpacked

    async def aunpack(self) -> dict[str, Any]:
        """Do what :meth:`unpack` does without holding up the event loop."""
        unpacked: dict[str, Any] = await aunpack(dict(self))
        return unpacked
