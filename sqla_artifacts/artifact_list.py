"""Lists of artifacts: an ordered list in one row, on both databases.

::

    pages: Mapped[list[np.ndarray]] = mapped_column(ArtifactList(Artifact("numpy")))
    notes: Mapped[list[Lazy[str]]] = mapped_column(ArtifactList(LazyArtifact("text")))
    files: Mapped[list[StoredPath]] = mapped_column(MutableList.as_mutable(ArtifactList(FileDir())))

The column holds a flat JSON array of references, with ``null`` for an item that is None. What
holds of a column of the item's type holds of each item: how it is checked, stored, read and
shown. ``ARRAY(Artifact(...), dimensions=1)`` does the same in PostgreSQL's own arrays.

The column is JSON on SQLite and JSONB on PostgreSQL, whose JSON has no equality, so no
DISTINCT and no index. Every reference in it is found by ``jsonb_array_elements_text(column)``
and by ``json_each(column)``.

``==``, ``!=``, ``in_`` and ``is_`` compare the digests of all items in their order, and
``contains`` looks for one of them. Both scan the column. ``.json`` is the JSON itself, for all
else that SQL can ask of it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import JSON, Dialect, String, TypeDecorator, bindparam, type_coerce
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import ClauseElement, ColumnElement
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import to_instance

from .comparison import DigestOf, ReferenceComparator
from .errors import ArtifactError, ComparisonError, InvalidReferenceError, InvalidValueError
from .reference_type import ReferenceType
from .window import Decoded

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.sql.compiler import SQLCompiler
    from sqlalchemy.types import TypeEngine


class ListComparator(ReferenceComparator):
    """Compares the digests of lists, item by item."""

    type: Any  # an ArtifactList
    offers = "only ==, !=, in_, not_in, is_ and contains() have; .json is the JSON, for SQL"

    def operate(self, op: Any, *other: Any, **kwargs: Any) -> ColumnElement[Any]:
        """Compare digests; refuse what has no meaning for them."""
        if op is operators.contains_op:
            return self._contains(other[0])
        return super().operate(op, *other, **kwargs)

    @property
    def json(self) -> ColumnElement[Any]:
        """The JSON array of references as the row holds it."""
        return type_coerce(self.expr, self.type.impl_instance)

    @property
    def reference(self) -> ColumnElement[str]:
        """Refuse: there are many."""
        raise self._error("a list has many references: .json is the JSON array of them")

    def _part(self, start: int, length: int, type_: TypeEngine[Any]) -> ColumnElement[Any]:
        return self.reference

    @property
    def digest(self) -> ColumnElement[str]:
        """The digests of all items, each followed by a semicolon."""
        return _Digests(self.json)

    @property
    def _digest(self) -> ColumnElement[Any]:
        return type_coerce(self.digest, DigestOf(self.type))

    def _contains(self, value: Any) -> ColumnElement[bool]:
        item_type = self.type.item_type
        if value is None:
            raise self._error("contains(None) is not supported: search .json")
        item: Any = type_coerce(self.expr, item_type).comparator
        digest = item._comparable(value)  # noqa: SLF001 (as a column of the item's type does)
        if not isinstance(digest, ClauseElement):
            digest = bindparam(None, value, type_=DigestOf(item_type), unique=True)
        return self.digest.contains(digest)


class ArtifactList(TypeDecorator[list[Any]]):
    """A list of artifacts in one column.

    ``item_type`` is an ``Artifact``, ``LazyArtifact`` or ``FileDir``, which stores and reads
    the items. Takes a list, and None as NULL; anything else is an :class:`InvalidValueError`.
    Raises one itself if ``item_type`` is none of the three.

    Changes inside a list are seen if the type is wrapped, ``MutableList.as_mutable(...)``.
    """

    impl = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
    cache_ok = True
    hashable = False
    comparator_factory = ListComparator
    dimensions = 1  # as an ARRAY has it

    def __init__(self, item_type: ReferenceType | type[ReferenceType]) -> None:
        super().__init__()
        item: Any = to_instance(item_type)  # type: ignore[no-untyped-call, unused-ignore]
        if not isinstance(item, ReferenceType):
            msg = f"a list of artifacts needs an Artifact, LazyArtifact or FileDir, not {item!r}"
            raise InvalidValueError(msg)
        self.item_type = item

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.item_type!r})"

    @property
    def column_name(self) -> str | None:
        """The ``table.column`` of this type object, if there is just one: for messages."""
        return self.item_type.column_name

    def _set_parent(self, parent: Any, outer: bool = False, **kw: Any) -> None:  # noqa: FBT001, FBT002
        super()._set_parent(parent, outer=outer, **kw)
        self.item_type._set_parent(parent, outer=outer, **kw)  # noqa: SLF001 (as ARRAY does)

    def copy(self, **kw: Any) -> Self:
        """Return a copy whose item type belongs to no column yet."""
        copied = super().copy(**kw)
        copied.item_type = self.item_type.copy(**kw)
        return copied

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any]:
        """Return what turns a list into JSON, and notes what is to be stored."""
        each: Any = self.item_type.dialect_impl(dialect).bind_processor(dialect)
        dump = self.impl_instance.bind_processor(dialect)

        def process(value: Any) -> Any:
            if value is not None:
                value = [each(item) for item in self._items(value)]
            return value if dump is None else dump(value)

        return process

    def literal_processor(self, dialect: Dialect) -> Callable[[Any], str]:
        """Return what renders a list's references into SQL text; it stores nothing."""
        quoted: Any = self.item_type.dialect_impl(dialect).literal_processor(dialect)
        quote: Any = String().literal_processor(dialect)  # type: ignore[no-untyped-call, unused-ignore]

        def each(value: Any) -> str | None:
            # A reference holds no quote, and percent signs only one by one.
            return None if value is None else quoted(value)[1:-1].replace("%%", "%")

        def process(value: Any) -> str:
            text: str = quote(json.dumps([each(item) for item in self._items(value)]))
            return text

        return process

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any]:
        """Return what turns JSON into the list of the items' values."""
        each: Any = self.item_type.dialect_impl(dialect).result_processor(dialect, coltype)
        parse = self.impl_instance.result_processor(dialect, coltype)

        def process(value: Any) -> Any:
            if type(value) is Decoded:
                return value.value
            value = value if parse is None else parse(value)
            if value is None:
                return None
            if isinstance(value, list) and all(isinstance(i, str | None) for i in value):
                return [each(item) for item in value]
            raise self._error(InvalidReferenceError("expected a JSON array of references"))

        if self.item_type.is_eager:
            process.fetches_from = each.fetches_from  # type: ignore[attr-defined]
        return process

    def _items(self, value: Any) -> list[Any]:
        if isinstance(value, list):
            return value
        raise self._error(InvalidValueError(f"a list is needed, not a {type(value).__name__}"))

    def _error(self, error: ArtifactError) -> ArtifactError:
        error.column = self.column_name
        return error

    # -- comparing --------------------------------------------------------------------------------

    def digest_of(self, value: Any, dialect: Dialect) -> str:
        """Return the digests of a list's items as :class:`_Digests` has them."""
        items = self._items(value)
        digests = [i if i is None else self.item_type.digest_of(i, dialect) for i in items]
        return "".join(f"{digest or ''};" for digest in digests)

    def check_comparable(self, value: Any) -> None:
        """Raise :class:`ComparisonError` for what is no list, or has items that may differ."""
        if not isinstance(value, list | None):
            msg = f"a list is compared with a list, not with a {type(value).__name__}"
            raise self._error(ComparisonError(msg))
        for item in value or ():
            if item is not None:
                self.item_type.check_comparable(item)

    def coerce_compared_value(self, op: Any, value: Any) -> Any:
        """Return this type; the comparator sees to what is compared."""
        return self


class _Digests(FunctionElement[str]):
    """The digests of a list's items, each followed by a semicolon; NULL if there is no list."""

    name = "artifact_digests"
    type = String()
    inherit_cache = True


@compiles(_Digests)
def _digests(element: _Digests, compiler: SQLCompiler, **kwargs: Any) -> str:
    column = compiler.process(element.clauses, **kwargs)
    digests = "string_agg(coalesce(substr(item, 8, 64), '') || ';', '' ORDER BY place)"
    items = f"jsonb_array_elements_text({column}) WITH ORDINALITY AS items(item, place)"
    found = f"coalesce((SELECT {digests} FROM {items}), '')"  # noqa: S608 (all of it compiled)
    return f"CASE WHEN jsonb_typeof({column}) = 'array' THEN {found} END"


@compiles(_Digests, "sqlite")
def _digests_sqlite(element: _Digests, compiler: SQLCompiler, **kwargs: Any) -> str:
    column = compiler.process(element.clauses, **kwargs)
    digests = "group_concat(coalesce(substr(value, 8, 64), '') || ';', '')"
    found = f"coalesce((SELECT {digests} FROM json_each({column})), '')"  # noqa: S608 (as above)
    return f"CASE WHEN json_type({column}) = 'array' THEN {found} END"
