"""What a model declares of its artifact columns, and the plain types that the database has.

A declaration is written as the model writes the type, but for options and subclasses:
``LazyArtifact('pickle')``, ``FileDir()``, ``ArtifactList(Artifact('numpy'))``.
"""

from __future__ import annotations

import re
from copy import copy
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from sqlalchemy import ARRAY, TypeDecorator

from ..reference_type import ReferenceType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.types import TypeEngine


class Place(NamedTuple):
    """Where a column is; the schema is ``""`` where it is the database's default."""

    table_schema: str
    table_name: str
    column_name: str

    def __str__(self) -> str:
        return ".".join(filter(None, self))


class Declared(NamedTuple):
    """What the ledger remembers of a column."""

    declared: str
    store_name: str

    def __str__(self) -> str:
        return f"{self.declared}, store {self.store_name!r}"

    @property
    def datatypes(self) -> list[str]:
        """The datatypes that the column writes."""
        return re.findall(r"Artifact\('([^']+)'\)", self.declared)

    @property
    def shape(self) -> str:
        """What decides whether rows can be read at all: not the datatype, nor whether lazily."""
        return re.sub(r"(Lazy)?Artifact\([^)]*\)", "Artifact()", self.declared)


def declared(type_: TypeEngine[Any]) -> Declared | None:
    """Return what a column of this type declares; None if it holds no artifacts."""
    stores = sorted({reference.store for reference in references(type_)})
    return Declared(_written(type_), ", ".join(stores)) if stores else None


def references(type_: TypeEngine[Any]) -> Iterator[ReferenceType]:
    """Yield the artifact types that a type is or has inside, on any database."""
    if isinstance(type_, ReferenceType):
        yield type_
    elif (inside := _inside(type_)) is not None:
        yield from references(inside)
    for variant in _variants(type_).values():
        yield from references(variant)


def storage(type_: TypeEngine[Any]) -> TypeEngine[Any]:
    """Return what the database has for a type, in plain types of SQLAlchemy's.

    Of these, in such that Alembic can write on any database: on SQLite it forgets the prefix of
    what is inside PostgreSQL's own.
    """
    plain: Any
    if isinstance(type_, ARRAY):
        plain = ARRAY(storage(type_.item_type), dimensions=type_.dimensions)
    elif isinstance(type_, TypeDecorator):
        plain = copy(storage(type_.impl_instance))
    else:
        plain = copy(type_)
        if hasattr(plain, "astext_type"):
            plain.astext_type = None  # so JSONB() is written without it
    variants = {name: storage(variant) for name, variant in _variants(type_).items()}
    plain._variant_mapping = plain._variant_mapping.union(variants)  # noqa: SLF001 (as below)
    return cast("TypeEngine[Any]", plain)


def _written(type_: TypeEngine[Any]) -> str:
    if isinstance(type_, ReferenceType):
        datatype = getattr(type_, "datatype", None)
        text = f"{_name(type_)}({'' if datatype is None else repr(datatype.identifier)})"
    elif getattr(type_, "item_type", None) is not None:
        text = f"{_name(type_)}({_written(type_.item_type)})"  # type: ignore[attr-defined]
    elif isinstance(type_, TypeDecorator):
        text = _written(type_.impl_instance)
    else:
        text = f"{type(type_).__name__}()"
    for name, variant in sorted(_variants(type_).items()):
        text += f".with_variant({_written(variant)}, {name!r})"
    return text


def _name(type_: TypeEngine[Any]) -> str:
    known = {__name__.partition(".")[0], "sqlalchemy"}
    return next(c.__name__ for c in type(type_).__mro__ if c.__module__.partition(".")[0] in known)


def _inside(type_: TypeEngine[Any]) -> TypeEngine[Any] | None:
    """Return the type of a list's items, or that which a decorator decorates."""
    item: TypeEngine[Any] | None = getattr(type_, "item_type", None)
    return type_.impl_instance if item is None and isinstance(type_, TypeDecorator) else item


def _variants(type_: TypeEngine[Any]) -> dict[str, TypeEngine[Any]]:
    return dict(type_._variant_mapping)  # noqa: SLF001 (with_variant() can only add)
