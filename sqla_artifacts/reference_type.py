"""What the column types share: text that holds references, and how it is bound and read."""

from __future__ import annotations

import contextlib
from contextvars import copy_context
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import Column, Dialect, String, Text, TypeDecorator

from .assignment import listen_to_assignments
from .comparison import ReferenceComparator
from .errors import ArtifactError, InvalidReferenceError, StoreWriteError
from .lazy import Lazy, Origin
from .payload import Stage
from .pending import Pending, add_pending, pending_of, serves, set_aside, store_of, stores_of
from .proxy import Proxy
from .reference import Kind, Reference, parse
from .share import Share
from .validation import Candidate, check_media_type, check_size, patterns, validate
from .window import Decoded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from sqlalchemy.types import TypeEngine

    from .datatypes import DataType
    from .payload import Payload
    from .store import ArtifactStore

_SMALL = 64 << 10


class ReferenceType(TypeDecorator[Any]):
    """The base of the column types: text that holds references of some kinds.

    ``store`` is the name under which the store was attached. The other options are those of
    :mod:`.validation`.
    """

    impl = Text
    cache_ok = True
    hashable = False
    comparator_factory = ReferenceComparator

    kinds: frozenset[Kind]
    """The kinds of reference that a column of this type holds."""

    is_eager = False
    """Whether a row's value is fetched when the row is loaded: see :mod:`.prefetch`."""

    # Not keyword-only: SQLAlchemy's cache key of a type leaves such parameters out.
    def __init__(
        self,
        store: str = "default",
        max_size: int | None = None,
        media_types: Iterable[str] = (),
        validators: Iterable[Callable[[Any], object]] = (),
    ) -> None:
        super().__init__()
        self.store = store
        self.max_size = max_size
        self.media_types = patterns(media_types)
        self.validators = tuple(validators)
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
            staging = partial(self._staged, store, value, pending_of(dialect, self))
            with self._naming_column():
                off_loop = dialect.is_async and not self._is_small(value, store)
                reference, payload, stage = store.pool.call(staging, is_async=off_loop)
            text = str(reference)
            if isinstance(value, Proxy):
                value.settle(self._origin(store), text)
            add_pending(Pending(dialect, self, payload, stage))
            return text

        return process

    def _staged(
        self, store: ArtifactStore, value: Any, pending: Mapping[str, Pending]
    ) -> tuple[Reference, Payload, Stage]:
        """Stage a value that the column takes, or find that an equal one is pending."""
        store.prepare()
        with store.stage as stage:
            stage.limit, stage.stat_cache = self.max_size, store.stat_cache
            reference, payload = self._stage(value, stage)
            self._check(value, Candidate(reference, payload))
            known = pending.get(payload.digest)
            if known is not None and serves(known.payload, payload):
                return reference, known.payload, known.stage
            # The user's own bytes are in memory anyway.
            own = value.x if isinstance(value, Lazy) else value
            return reference, payload if payload.content is own else stage.keep(payload), stage

    def literal_processor(self, dialect: Dialect) -> Callable[[Any], str]:
        """Return what renders a value's reference into SQL text; it stores nothing."""
        quote: Callable[[str], str] = String().literal_processor(dialect)  # type: ignore[no-untyped-call, unused-ignore]

        def process(value: Any) -> str:
            if value is None:  # an item of an array
                return "NULL"
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
        store = self._store(dialect)
        with self._naming_column():
            staging = partial(self._stage_in, store, value)
            off_loop = dialect.is_async and not self._is_small(value, store)
            return store.pool.call(staging, is_async=off_loop)[0].digest

    def _stage_in(self, store: ArtifactStore, value: Any) -> tuple[Reference, Payload]:
        return self._stage(value, store.stage)

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
            raise self._unstaged(error) from error

    def _unstaged(self, cause: OSError) -> StoreWriteError:
        error = StoreWriteError(f"cannot stage the value: {cause}")
        error.column = self.column_name
        return error

    def _is_small(self, value: Any, store: ArtifactStore) -> bool:
        """Say whether a value is staged sooner than a thread is woken, and without I/O."""
        small = isinstance(value, bytes | str) and len(value) <= _SMALL
        no_path = "blob" in self.kinds
        return small and no_path and store.is_known and Share.fits(4 * _SMALL)

    def _check(self, value: Any, candidate: Candidate) -> None:
        check_size(candidate.size, self.max_size)
        check_media_type(candidate, self.media_types)
        if self.validators:
            validate(self._subject(value, candidate), self.validators)

    def _subject(self, value: Any, candidate: Candidate) -> Any:
        """Return what the validators are called with."""
        raise NotImplementedError

    def _stage(self, value: Any, stage: Stage) -> tuple[Reference, Payload]:
        raise NotImplementedError

    def _store(self, dialect: Dialect) -> ArtifactStore:
        with self._naming_column():
            return store_of(dialect, self.store)

    # -- reading ----------------------------------------------------------------------------------

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[str | None], Any]:
        """Return what turns a reference into the column's value."""
        origin: Origin | None = None
        off_loop = dialect.is_async and self.is_eager

        def process(text: str | None) -> Any:
            nonlocal origin
            if text is None:
                return None
            if type(text) is Decoded:
                return text.value
            if origin is None:
                origin = self._origin(self._store(dialect))
            with self._naming_column():
                reference = self._parsed(text)
            if off_loop:
                load = partial(copy_context().run, self._load, origin, reference, text)
                return origin.store.pool.call(load, is_async=True)
            return self._load(origin, reference, text)

        if self.is_eager:
            process.fetches_from = partial(self._store, dialect)  # type: ignore[attr-defined]
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


def holds(column_type: TypeEngine[Any], dialect: Dialect, store: str | None = None) -> bool:
    """Say whether a column of this type holds references, to one store or to any.

    So does one of an array or list of them, and of a type that has ours inside.
    """
    column_type = column_type.dialect_impl(dialect)
    if isinstance(column_type, ReferenceType):
        return store in {None, column_type.store}
    inside: Any = getattr(column_type, "item_type", None)
    if inside is None and isinstance(column_type, TypeDecorator):
        inside = column_type.impl_instance
    return inside is not None and holds(inside, dialect, store)
