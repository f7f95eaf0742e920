"""What a column of references can be compared with, and what SQL can ask of it."""

from __future__ import annotations

import contextlib
import operator as py
from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Column, String, TypeDecorator, func, text, type_coerce
from sqlalchemy.exc import NoReferenceError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import operators as sql
from sqlalchemy.sql.elements import (
    BindParameter,
    ClauseElement,
    CollectionAggregate,
    ColumnElement,
    Null,
)
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.selectable import SelectBase

from .errors import ArtifactError, ComparisonError
from .reference import Reference

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Dialect
    from sqlalchemy.sql.compiler import SQLCompiler
    from sqlalchemy.types import TypeEngine

    from .reference_type import ReferenceType

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
        """Encode and hash a value, after what decorators of the user's own make of it."""
        decorator: Any = self.column_type.dialect_impl(dialect)
        if not hasattr(decorator, "digest_of"):
            msg = f"the column's variant for {dialect.name} holds no references: type_coerce() it"
            error = ComparisonError(msg)
            error.column = self.column_type.column_name
            raise error
        while not (value is None or isinstance(value, Reference) or _is_ours(decorator)):
            if type(decorator).process_bind_param is not TypeDecorator.process_bind_param:
                value = decorator.process_bind_param(value, dialect)
            decorator = decorator.impl_instance
        return None if value is None else self.column_type.digest_of(value, dialect)

    process_literal_param = process_bind_param  # type: ignore[assignment]


class KeyOf(DigestOf):
    """The reference that a column would hold for a value: for finding a row by its key."""

    impl = String()
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any]:
        """Return what takes a :class:`Reference` beside what the column takes."""
        bound = self.column_type.dialect_impl(dialect).bind_processor(dialect)

        def process(value: Any) -> Any:
            if isinstance(value, Reference):
                return str(value)
            return bound(value) if bound is not None else value

        return process


class ReferenceComparator(TypeDecorator.Comparator[Any]):
    """Compares digests, and opens a reference's fields to SQL."""

    type: ReferenceType
    offers = (
        "only ==, !=, in_, not_in and is_ have; "
        ".digest, .size, .kind, .label_ and .reference are for SQL"
    )
    """What an error says there is."""

    def operate(self, op: Any, *other: Any, **kwargs: Any) -> ColumnElement[Any]:
        """Compare digests; refuse what has no meaning for them."""
        if op in _ONE:
            if other[0] is None or isinstance(other[0], Null):
                return super().operate(op, *other, **kwargs)
            if self._is_joined_to(other[0]):
                return super().operate(op, *other, **kwargs)
            if self._is_key_for(other[0]):
                key = type_coerce(other[0], KeyOf(self.type)).typed_expression
                return super().operate(op, key, **kwargs)
            return self._digest.operate(op, self._comparable(other[0]), **kwargs)
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
        raise self._error(f"{name!r} has no meaning for a reference: {self.offers}")

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

    def _is_joined_to(self, other: Any) -> bool:
        """Say whether this is the same column, or one at the other end of a foreign key.

        A mapper looks columns up by their annotated copies: these have to be equal.
        """
        one, other = self.expr, _clause(other)
        if isinstance(other, ClauseElement) and hash(other) == hash(one):
            return True
        if not (isinstance(one, Column) and isinstance(other, Column)):
            return False
        with contextlib.suppress(NoReferenceError):  # the other table may not be there yet
            return one.references(other) or other.references(one)
        return False

    def _is_key_for(self, other: Any) -> bool:
        """Say whether a mapper looks for a row by its primary key."""
        typed = isinstance(other, BindParameter) and other.type is self.type
        return typed and isinstance(self.expr, Column) and self.expr.primary_key

    def _comparable(self, value: Any) -> Any:
        value = _clause(value)
        if isinstance(value, BindParameter):
            return type_coerce(value, DigestOf(self.type)).typed_expression
        if isinstance(value, ClauseElement):
            if isinstance(value, CollectionAggregate):
                raise self._error("any_() and all_() go over references: use .reference")
            comparator = getattr(value, "comparator", None)
            if not isinstance(comparator, ReferenceComparator):
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


def _clause(value: Any) -> Any:
    """Return the column of an attribute; what is none stays as it is."""
    return value.__clause_element__() if hasattr(value, "__clause_element__") else value


def _is_ours(column_type: Any) -> bool:
    return hasattr(type(column_type), "digest_of")


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
