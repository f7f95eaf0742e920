"""What a column of references can be compared with, and what SQL can ask of it."""

from __future__ import annotations

import operator as py
from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, String, TypeDecorator, func, text, type_coerce
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import operators as sql
from sqlalchemy.sql.elements import BindParameter, ClauseElement, ColumnElement, Null
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.selectable import SelectBase

from .errors import ArtifactError, ComparisonError

if TYPE_CHECKING:
    from sqlalchemy import Dialect
    from sqlalchemy.sql.compiler import SQLCompiler
    from sqlalchemy.types import TypeEngine

    from .types import ReferenceType

_ONE = {
    py.eq,
    py.ne,
    sql.is_,
    sql.is_not,
    sql.is_distinct_from,
    sql.is_not_distinct_from,
}
_MANY = {sql.in_op, sql.not_in_op}


class DigestOf(TypeDecorator[Any]):
    """The digest that a column would name a value by: for comparing, it stores nothing."""

    impl = String(64)
    cache_ok = True

    def __init__(self, column_type: ReferenceType) -> None:
        super().__init__()
        self.column_type = column_type

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """Encode and hash a value."""
        return None if value is None else self.column_type.digest_of(value, dialect)

    process_literal_param = process_bind_param  # type: ignore[assignment]


class ReferenceComparator(TypeDecorator.Comparator[Any]):
    """Compares digests, and opens a reference's fields to SQL."""

    type: ReferenceType

    def operate(self, op: Any, *other: Any, **kwargs: Any) -> ColumnElement[Any]:
        """Compare digests; refuse what has no meaning for them."""
        if op in _ONE:
            if other[0] is None or isinstance(other[0], Null):
                return super().operate(op, *other, **kwargs)
            value = self._comparable(other[0])
            if isinstance(value, ClauseElement) and hash(value) == hash(self.expr):
                # A mapper looks columns up by their annotated copies: these have to be equal.
                return super().operate(op, value, **kwargs)
            return self._digest.operate(op, value, **kwargs)
        if op in _MANY:
            values = other[0]
            if isinstance(values, BindParameter):
                values = self._comparable(values)
            elif not isinstance(values, ClauseElement):
                values = [self._comparable(value) for value in values]
            elif isinstance(values, SelectBase):
                raise self._error("in_() with a SELECT compares digests: use .digest on both sides")
            return self._digest.operate(op, values, **kwargs)
        name = getattr(op, "__name__", str(op)).removesuffix("_op")
        raise self._error(
            f"{name!r} has no meaning for a reference: only ==, !=, in_, not_in and is_ have; "
            ".digest, .size, .kind, .label_ and .reference are for SQL"
        )

    def reverse_operate(self, op: Any, other: Any, **kwargs: Any) -> ColumnElement[Any]:
        """Refuse: no operator for which this is asked has a meaning."""
        return self.operate(op, other, **kwargs)

    @property
    def reference(self) -> ColumnElement[str]:
        """The reference as the row holds it."""
        return type_coerce(self.expr, String)

    @property
    def digest(self) -> ColumnElement[str]:
        """The digest, the same expression on every database: ``substr(column, 8, 64)``."""
        return self._part(8, 64, String(64))

    @property
    def kind(self) -> ColumnElement[str]:
        """``'blob'``, ``'file'`` or ``'tree'``."""
        return self._part(3, 4, String(4))

    @property
    def size(self) -> ColumnElement[int]:
        """The size in bytes."""
        return _Size(self.reference)

    @property
    def label_(self) -> ColumnElement[str]:
        """The datatype's identifier, or the percent-encoded name of the file or directory.

        The underscore keeps it apart from ``ColumnElement.label()``.
        """
        return _Label(self.reference)

    @property
    def _digest(self) -> ColumnElement[Any]:
        return self._part(8, 64, DigestOf(self.type))

    def _part(self, start: int, length: int, type_: TypeEngine[Any]) -> ColumnElement[Any]:
        # Never as parameters: an index, or a GROUP BY, would be on another expression.
        return func.substr(self.reference, text(str(start)), text(str(length)), type_=type_)

    def _comparable(self, value: Any) -> Any:
        if hasattr(value, "__clause_element__"):
            value = value.__clause_element__()
        if isinstance(value, BindParameter):
            return type_coerce(value, DigestOf(self.type)).typed_expression
        if isinstance(value, ClauseElement):
            comparator = getattr(value, "comparator", None)
            if not isinstance(comparator, ReferenceComparator) or hash(value) == hash(self.expr):
                return value
            return comparator.digest
        try:
            self.type.check_comparable(value)
        except ArtifactError as error:
            error.column = error.column or self._column
            raise
        return value

    def _error(self, message: str) -> ComparisonError:
        error = ComparisonError(message)
        error.column = self._column
        return error

    @property
    def _column(self) -> str:
        # In "x" + column it is the parameter that is asked first.
        return self.type.column_name or str(self.expr)


class _Size(FunctionElement[int]):
    """The third field of a reference."""

    name = "artifact_size"
    type = BigInteger()
    inherit_cache = True


class _Label(FunctionElement[str]):
    """The last field of a reference."""

    name = "artifact_label"
    type = String()
    inherit_cache = True


@compiles(_Size)
def _size(element: _Size, compiler: SQLCompiler, **kwargs: Any) -> str:
    return f"CAST(split_part({compiler.process(element.clauses, **kwargs)}, ':', 4) AS BIGINT)"


@compiles(_Size, "sqlite")
def _size_sqlite(element: _Size, compiler: SQLCompiler, **kwargs: Any) -> str:
    # SQLite casts the digits at the start of a text and ignores what follows.
    return f"CAST(substr({compiler.process(element.clauses, **kwargs)}, 73) AS INTEGER)"


@compiles(_Label)
def _label(element: _Label, compiler: SQLCompiler, **kwargs: Any) -> str:
    return f"split_part({compiler.process(element.clauses, **kwargs)}, ':', 5)"


@compiles(_Label, "sqlite")
def _label_sqlite(element: _Label, compiler: SQLCompiler, **kwargs: Any) -> str:
    rest = f"substr({compiler.process(element.clauses, **kwargs)}, 73)"
    return f"substr({rest}, instr({rest}, ':') + 1)"
