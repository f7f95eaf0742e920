"""Annotations for mapped attributes that take more than they give back.

``Mapped[X]`` has one type for reading and writing.  An artifact column has
two: it reads as a :class:`Lazy` (or a :class:`StoredPath`) and takes the plain
value as well.  :class:`LazyMapped` and :class:`PathMapped` say so, on the left
of an ordinary ``mapped_column()``::

    class Run(Base):
        __tablename__ = "run"
        id: Mapped[int] = mapped_column(primary_key=True)
        model: LazyMapped[Model] = mapped_column(LazyArtifact("pickle"))
        notes: LazyMapped[str | None] = mapped_column(LazyArtifact("pickle"))
        log: PathMapped[StoredPath] = mapped_column(FileDir())

    run.model = Model()      # or a Lazy[Model]
    run.model.unpack()       # Model
    run.notes                # Lazy[str] | None
    select(Run.model)        # yields Lazy[Model]

Type checkers and SQLAlchemy are shown different classes.  SQLAlchemy gets a
plain subclass of ``Mapped``, which is all its declarative scan asks for: it
reads the single argument for nullability and for ``type_annotation_map``.
Type checkers get a protocol that ``MappedColumn[Any]``, the static type of
``mapped_column()``, satisfies; it would not satisfy a subclass of ``Mapped``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from sqlalchemy.orm import Mapped

from .stored_path import StoredPath

_T = TypeVar("_T")
_P = TypeVar("_P", bound=StoredPath | None)

if TYPE_CHECKING:
    from typing import Any, Never, Protocol, overload

    from sqlalchemy import SQLColumnExpression
    from sqlalchemy.orm import InstrumentedAttribute

    from .lazy import Lazy
    from .source import Source

    _U = TypeVar("_U")
    _U_co = TypeVar("_U_co", covariant=True)

    class _Untyped:
        # A type nobody uses: of all T, only Any makes LazyMapped[T] match it.
        ...

    class _NullableLazy(Protocol[_U_co]):
        # What LazyMapped[U | None] is and LazyMapped[U] is not.  Told by
        # accepting None rather than by matching LazyMapped[Optional[U]]: mypy
        # solves that to U = Never when U is itself a union.
        def __set__(self, instance: Any, value: None) -> None: ...
        def distinct(self) -> SQLColumnExpression[_U_co | None]: ...

    class LazyMapped(Protocol[_T]):
        """A mapped attribute that reads as ``Lazy[T]`` and takes ``T`` or ``Lazy[T]``.

        ``LazyMapped[T | None]`` is the nullable one: it reads as
        ``Lazy[T] | None`` and takes ``None`` too.  The type to assign is also
        the one a dataclass constructor takes.  On the class, the attribute is
        an ``InstrumentedAttribute`` of what it reads as.

        The column needs a lazy artifact type, given to ``mapped_column()``,
        in ``Annotated`` or in the ``type_annotation_map``.
        """

        # Never called: it lets SQLAlchemy 2.1's extra first overload of
        # MappedColumn.__get__ (for TypedColumns) match something in mypy.
        @overload
        def __get__(self, instance: Never, owner: Any) -> Any: ...
        # Three types that would be taken for nullable below or, Any | None by
        # mypy, for object: untyped T, untyped T | None, and object.
        @overload
        def __get__(
            self: LazyMapped[_Untyped], instance: None, owner: Any
        ) -> InstrumentedAttribute[Lazy[Any]]: ...
        @overload
        def __get__(
            self: LazyMapped[_Untyped | None], instance: None, owner: Any
        ) -> InstrumentedAttribute[Lazy[Any] | None]: ...
        @overload
        def __get__(
            self: LazyMapped[object], instance: None, owner: Any
        ) -> InstrumentedAttribute[Lazy[object]]: ...
        @overload
        def __get__(
            self: _NullableLazy[_U], instance: None, owner: Any
        ) -> InstrumentedAttribute[Lazy[_U] | None]: ...
        @overload
        def __get__(self, instance: None, owner: Any) -> InstrumentedAttribute[Lazy[_T]]: ...
        # The same five on an instance.
        @overload
        def __get__(self: LazyMapped[_Untyped], instance: object, owner: Any) -> Lazy[Any]: ...
        @overload
        def __get__(
            self: LazyMapped[_Untyped | None], instance: object, owner: Any
        ) -> Lazy[Any] | None: ...
        @overload
        def __get__(self: LazyMapped[object], instance: object, owner: Any) -> Lazy[object]: ...
        @overload
        def __get__(self: _NullableLazy[_U], instance: object, owner: Any) -> Lazy[_U] | None: ...
        @overload
        def __get__(self, instance: object, owner: Any) -> Lazy[_T]: ...

        # One plain signature: mypy reads it for dataclass constructors and
        # refuses an overloaded one.  Lazy is covariant, so that for T | None
        # the Lazy[T | None] here lets a Lazy[T] in.
        def __set__(self, instance: Any, value: _T | Lazy[_T]) -> None: ...
        def __delete__(self, instance: Any) -> None: ...
        # Of no use here; the member of Mapped that _NullableLazy infers U from.
        def distinct(self) -> SQLColumnExpression[_T]: ...  # noqa: D102

    class PathMapped(Protocol[_P]):
        """A mapped attribute that reads as ``StoredPath`` and takes what can be stored.

        That is what :mod:`.source` lists: a path, an open binary file, an upload, a
        ``(file name, content)`` pair, an archive; or another ``StoredPath``.  Write
        ``PathMapped[StoredPath]``, or ``PathMapped[StoredPath | None]`` for a
        nullable column, which reads as ``StoredPath | None`` and takes ``None`` too.
        """

        @overload
        def __get__(self, instance: Never, owner: Any) -> Any: ...
        @overload
        def __get__(self, instance: None, owner: Any) -> InstrumentedAttribute[_P]: ...
        @overload
        def __get__(self, instance: object, owner: Any) -> _P: ...

        def __set__(
            self,
            instance: Any,
            value: _P | Source,
        ) -> None: ...
        def __delete__(self, instance: Any) -> None: ...

else:

    class LazyMapped(Mapped[_T]):
        """A mapped attribute that reads as ``Lazy[T]`` and takes ``T`` or ``Lazy[T]``.

        ``LazyMapped[T | None]`` is the nullable one: it reads as
        ``Lazy[T] | None`` and takes ``None`` too.
        """

        __slots__ = ()

    class PathMapped(Mapped[_P]):
        """A mapped attribute that reads as ``StoredPath`` and takes what can be stored.

        Write ``PathMapped[StoredPath]``, or ``PathMapped[StoredPath | None]``
        for a nullable column.
        """

        __slots__ = ()

    # Under "from __future__ import annotations" SQLAlchemy puts the name of the
    # class it found back into the string and evaluates that.  "Mapped" is the
    # one it resolves by itself, so that sqla_artifacts.LazyMapped[T], or
    # LazyMapped imported under another name, is understood as well.
    LazyMapped.__name__ = PathMapped.__name__ = "Mapped"
