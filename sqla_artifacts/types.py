"""The column types: ``Artifact``, ``LazyArtifact`` and ``FileDir``.

All three store text, a reference, and push the payload to the store of the engine that runs
the statement::

    image: Mapped[np.ndarray] = mapped_column(Artifact("numpy"))
    model: LazyMapped[Any]    = mapped_column(LazyArtifact("pickle"))
    run:   PathMapped[StoredPath] = mapped_column(FileDir())

``==``, ``!=``, ``in_`` and ``is_`` compare digests and store nothing; other operators have no
meaning for a reference and raise. ``Model.image.digest``, ``.size``, ``.kind``, ``.label_``
and ``.reference`` are SQL expressions. An index on the digest serves the comparisons::

    Index("ix_sample_image", Sample.image.digest)
"""

from __future__ import annotations

import contextlib
from copy import copy
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import Column, Dialect, String, Text, TypeDecorator

from .assignment import listen_to_assignments
from .comparison import ReferenceComparator
from .datatypes import DataType, resolve
from .errors import (
    ArtifactError,
    ComparisonError,
    InvalidReferenceError,
    StoreWriteError,
)
from .lazy import Lazy, Origin, Proxy
from .payload import Payload, Stage
from .pending import Pending, add_pending, set_aside, store_of, stores_of
from .reference import Kind, Reference, parse
from .source import stage_source
from .stored_path import StoredPath

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from .store import ArtifactStore


class ReferenceType(TypeDecorator[Any]):
    """The base of the column types: text that holds references of some kinds."""

    impl = Text
    cache_ok = True
    hashable = False
    comparator_factory = ReferenceComparator

    kinds: frozenset[Kind]
    """The kinds of reference that a column of this type holds."""

    def __init__(self, *, store: str = "default") -> None:
        super().__init__()
        self.store = store
        self._columns: tuple[Column[Any], ...] = ()
        self._copied_from: Self | None = None

    # -- the column ------------------------------------------------------------------------------

    @property
    def columns(self) -> tuple[Column[Any], ...]:
        """The columns of this very type object, or of the one that it was copied from."""
        if self._columns or self._copied_from is None:
            return self._columns
        return self._copied_from.columns

    @property
    def column_name(self) -> str | None:
        """The ``table.column`` of this type object, if there is just one: for messages."""
        return str(self.columns[0]) if len(self.columns) == 1 else None

    def _set_parent(self, parent: Any, outer: bool = False, **kw: Any) -> None:  # noqa: FBT001, FBT002
        super()._set_parent(parent, outer=outer, **kw)
        if isinstance(parent, Column):
            self._columns = (*self._columns, parent)
        listen_to_assignments()

    def copy(self, **kw: Any) -> Self:
        """Return a copy that belongs to no column yet; a dialect works with such a one."""
        copied = super().copy(**kw)
        copied._columns, copied._copied_from = (), self  # noqa: SLF001
        return copied

    # -- writing ----------------------------------------------------------------------------------

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], str | None]:
        """Return what turns a value into its reference, and notes what is to be stored."""

        def process(value: Any) -> str | None:
            if value is None:
                return None
            store = self._store(dialect)
            with self._naming_column():
                store.prepare()
                with store.stage as stage:
                    reference, payload = self._stage(value, stage)
            text = str(reference)
            if isinstance(value, Proxy):
                value.settle(self._origin(store), text)
            add_pending(Pending(dialect, self, payload, stage))
            return text

        return process

    def literal_processor(self, dialect: Dialect) -> Callable[[Any], str]:
        """Return what renders a value's reference into SQL text; it stores nothing."""
        quote: Callable[[str], str] = String().literal_processor(dialect)  # type: ignore[no-untyped-call, unused-ignore]

        def process(value: Any) -> str:
            stores = stores_of(dialect)
            stage = stores[self.store].stage if self.store in stores else Stage("blake3")
            with self._naming_column():
                return quote(str(self._stage(value, stage)[0]))

        return process

    def digest_of(self, value: Any, dialect: Dialect) -> str:
        """Return the digest that this column would name a value by, storing nothing."""
        if isinstance(value, Reference):
            return value.digest
        self.check_comparable(value)
        if isinstance(value, Proxy) and value.stored:
            value = copy(value)  # as it is stored, whatever has become of the object since
        with self._naming_column():
            return self._stage(value, self._store(dialect).stage)[0].digest

    def check_comparable(self, value: Any) -> None:
        """Raise :class:`ComparisonError` for a value whose bytes may differ each time."""

    @contextlib.contextmanager
    def _naming_column(self) -> Iterator[None]:
        try:
            with set_aside():
                yield
        except ArtifactError as error:
            error.column = error.column or self.column_name
            raise
        except OSError as error:
            failure = StoreWriteError(f"cannot stage the value: {error}")
            failure.column = self.column_name
            raise failure from error

    def _stage(self, value: Any, stage: Stage) -> tuple[Reference, Payload]:
        raise NotImplementedError

    def _store(self, dialect: Dialect) -> ArtifactStore:
        with self._naming_column():
            return store_of(dialect, self.store)

    # -- reading ----------------------------------------------------------------------------------

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[str | None], Any]:
        """Return what turns a reference into the column's value."""
        origin: Origin | None = None

        def process(text: str | None) -> Any:
            nonlocal origin
            if text is None:
                return None
            if origin is None:
                origin = self._origin(self._store(dialect))
            with self._naming_column():
                reference = self._parsed(text)
            return self._load(origin, reference, text)

        return process

    def _parsed(self, text: str) -> Reference:
        reference = parse(text)
        if reference.kind not in self.kinds:
            kinds = " or ".join(sorted(self.kinds))
            msg = f"expected a reference to a {kinds}, not to a {reference.kind}"
            raise InvalidReferenceError(msg)
        return reference

    def _origin(self, store: ArtifactStore) -> Origin:
        return Origin(store, self._datatypes, self.column_name)

    @property
    def _datatypes(self) -> tuple[DataType, ...]:
        return ()

    def _load(self, origin: Origin, reference: Reference, text: str) -> Any:
        raise NotImplementedError

    # -- comparing --------------------------------------------------------------------------------

    def compare_values(self, x: Any, y: Any) -> bool:
        """Compare identity or references, never the values: theirs may be costly, or no bool."""
        if x is y:
            return True
        if isinstance(x, Proxy) and isinstance(y, Proxy):
            return x.stored and y.stored and x.reference == y.reference
        return False

    def coerce_compared_value(self, op: Any, value: Any) -> Any:
        """Return this type; the comparator sees to what is compared."""
        return self


class Artifact(ReferenceType):
    """A value that is decoded when its row is loaded.

    ``datatype`` encodes and decodes it; ``accepts`` names further datatypes whose rows are
    read, but not written. ``store`` is the name under which the store was attached.
    """

    cache_ok = True
    kinds = frozenset({"blob"})

    def __init__(
        self,
        datatype: str | DataType,
        *,
        accepts: Iterable[str | DataType] = (),
        store: str = "default",
    ) -> None:
        super().__init__(store=store)
        self.datatype = resolve(datatype)
        self.accepts = tuple(resolve(other) for other in accepts)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.datatype.identifier!r})"

    @property
    def _datatypes(self) -> tuple[DataType, ...]:
        return (self.datatype, *self.accepts)

    def _stage(self, value: Any, stage: Stage) -> tuple[Reference, Payload]:
        if isinstance(value, Lazy):
            if value.stored and not value.given:
                label = value.reference.label
                if any(datatype.identifier == label for datatype in self._datatypes):
                    return value.restage(stage)
            value = value.unpack()
        payload = self.datatype.encode(value, stage)
        return Reference("blob", payload.digest, payload.size, self.datatype.identifier), payload

    def _load(self, origin: Origin, reference: Reference, text: str) -> Any:
        return origin.decode(reference)

    def check_comparable(self, value: Any) -> None:
        """Refuse to compare by value unless the datatype is deterministic."""
        stored = isinstance(value, Reference) or (isinstance(value, Lazy) and value.stored)
        if not (stored or self.datatype.deterministic):
            msg = (
                f"datatype {self.datatype.identifier!r} may encode equal values differently, so a "
                "column of it cannot be compared with a value: compare with a loaded proxy, a "
                "Reference, or .digest"
            )
            error = ComparisonError(msg)
            error.column = self.column_name
            raise error


class LazyArtifact(Artifact):
    """A value that stays in the store until its proxy, a :class:`~.lazy.Lazy`, is unpacked."""

    cache_ok = True

    def _load(self, origin: Origin, reference: Reference, text: str) -> Lazy[Any]:
        return Lazy(origin=origin, text=text)

    def assigned(self, value: Any) -> Any:
        """Put an assigned value into a proxy."""
        return value if isinstance(value, Lazy) else Lazy(value)


class FileDir(ReferenceType):
    """A file or a directory, read as a :class:`~.stored_path.StoredPath`.

    Takes what :mod:`.source` lists.
    """

    cache_ok = True
    kinds = frozenset({"file", "tree"})

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def _stage(self, value: Any, stage: Stage) -> tuple[Reference, Payload]:
        if isinstance(value, StoredPath):
            return value.restage(stage)
        return stage_source(value, stage)

    def _load(self, origin: Origin, reference: Reference, text: str) -> StoredPath:
        return StoredPath(origin=origin, text=text)

    def assigned(self, value: Any) -> Any:
        """Put an assigned source into a proxy."""
        return value if isinstance(value, StoredPath) else StoredPath(value)
