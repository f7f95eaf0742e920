"""Proxies: values that stay in the store until they are asked for.

A ``LazyArtifact`` column reads as :class:`Lazy`, a ``FileDir`` column as a
:class:`~sqla_artifacts.stored_path.StoredPath`.
Both are made without I/O, show nothing of their content in ``repr``, pickle to a few hundred
bytes without credentials, and unpack in another process that can reach the store::

    row.model                       # <Lazy pickle 1048576 bytes <EMPTY>>
    row.model.unpack()              # the object, fetched now, verified, decoded
    await row.model.aunpack()       # the same under asyncio, off the event loop
    row.run.unpack()                # a local path; open(row.run) does the same for a file
    unpack(rows)                    # all of a row, an instance, a mapping or a list

A value that was assigned but not flushed is in a proxy, too, and has no reference yet: a
:class:`Lazy` unpacks to the value itself, a stored path not before the flush. Proxies are safe
to share between threads.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Generic, NamedTuple, TypeVar, cast

from .datatypes import Encoded
from .errors import ArtifactError, NotStoredError, StoreError, UnknownDataTypeError
from .payload import Payload, Spool
from .reference import Reference, parse
from .upload import is_upload
from .window import Expected

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import timedelta

    from .datatypes import DataType
    from .payload import Stage
    from .store import ArtifactStore

T_co = TypeVar("T_co", covariant=True)


class Empty:
    """The type of :data:`EMPTY`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<EMPTY>"

    def __bool__(self) -> bool:
        return False

    def __reduce__(self) -> str:
        return "EMPTY"


EMPTY: Final = Empty()
"""What ``Lazy.x`` is until the value has been unpacked."""


class Origin(NamedTuple):
    """Where a column's proxies come from: its store, the datatypes it reads, and its name."""

    store: ArtifactStore
    datatypes: tuple[DataType, ...]
    column: str | None

    def datatype(self, reference: Reference) -> DataType:
        """Return the datatype that wrote a value, if the column accepts it."""
        for datatype in self.datatypes:
            if datatype.identifier == reference.label:
                return datatype
        accepted = ", ".join(repr(datatype.identifier) for datatype in self.datatypes)
        msg = (
            f"the row was written with datatype {reference.label!r}, and the column accepts "
            f"{accepted}: add it to the column's accepts= if you trust it"
        )
        raise UnknownDataTypeError(msg)

    def decode(self, reference: Reference, text: str = "") -> Any:
        """Fetch, verify and decode a value, along with those of the window that it is in.

        ``text`` is the reference as the row holds it, perhaps an :class:`Expected`.
        """
        with self.naming_column():
            datatype = self.datatype(reference)
            if type(text) is Expected:
                return datatype.decode(text.window.take(text))
            if datatype.load is None or reference.size <= Spool.LIMIT:
                return datatype.decode(self.store.get(reference))
            with self.store.open_verified(reference) as fp:
                return datatype.decode_stream(fp, reference.size)

    def decode_mapped(self, reference: Reference) -> Any:
        """Verify a value and decode it where it lies, in a file that is mapped into memory."""
        with self.naming_column():
            datatype = self.datatype(reference)
            with self.store.open_verified(reference) as fp:
                return datatype.decode_mapped(fp, reference.size)

    @contextlib.contextmanager
    def naming_column(self) -> Iterator[None]:
        """Have errors say which column's value they are about."""
        try:
            yield
        except ArtifactError as error:
            error.column = error.column or self.column
            raise


class Proxy(ABC):
    """What both proxies share: the reference, and where it came from."""

    __slots__ = ("__weakref__", "_origin", "_text")

    given: bool
    """Whether the value was assigned, and did not come from a store."""

    def __init__(self, origin: Origin | None, text: str | None) -> None:
        self._origin = origin
        self._text = text

    def __eq__(self, other: object) -> bool:
        same = isinstance(other, Proxy) and self._text == other._text
        return self is other or (self.stored and same)

    def __hash__(self) -> int:  # a proxy may be a primary key
        return hash(self._text) if self.stored else id(self)

    def __lt__(self, other: Proxy) -> bool:  # a flush sorts rows by their primary keys
        return self.reference < other.reference

    @property
    def stored(self) -> bool:
        """Whether the value has a reference: it was read from a row, or has been flushed."""
        return self._text is not None

    @property
    def store(self) -> ArtifactStore:
        """The store that holds the value. Raises :class:`NotStoredError`."""
        return self._stored[0].store

    @property
    def reference(self) -> Reference:
        """The parsed reference; ``str()`` of it is what the row holds."""
        return parse(self._stored[1])

    @property
    def digest(self) -> str:
        """The digest of the stored bytes, 64 hexadecimal digits."""
        return self.reference.digest

    @property
    def size(self) -> int:
        """The size in bytes: of the encoded value, of the file, of all files of the tree."""
        return self.reference.size

    def url(self, *, expires: timedelta) -> str:
        """Return a URL under which anybody can read the bytes until it expires.

        Costs one request. Raises :class:`StoreError` for a directory, and in a store that gives
        no URLs: buckets do.
        """
        with self._stored[0].naming_column():
            presign = getattr(self.store.backend, "presign", None)
            if presign is None or self.reference.kind == "tree":
                what = f"the store {self.store.url}" if presign is None else "a directory"
                msg = f"{what} has no URLs for reading: open() or unpack() it instead"
                raise StoreError(msg)
            signed: str = presign(self.store.stat(self.reference).key, expires)
            return signed

    @property
    def _stored(self) -> tuple[Origin, str]:
        if self._origin is None or self._text is None:
            msg = "this value has not been flushed, so it is in no store: flush the session first"
            raise NotStoredError(msg)
        return self._origin, self._text

    @abstractmethod
    def unpack(self) -> Any:
        """Return the value, fetched now."""

    @abstractmethod
    def restage(self, stage: Stage) -> tuple[Reference, Payload]:
        """Prepare the value to be stored again, its bytes read only if need be."""

    def settle(self, origin: Origin, text: str) -> None:
        """Take the reference that a flush has made; what came from a store keeps its own."""
        if self._text is None or self.given:
            self._origin, self._text = origin, text


class Lazy(Proxy, Generic[T_co]):
    """The proxy of one value of a ``LazyArtifact`` column."""

    __slots__ = ("given", "x")

    x: T_co | Empty
    """The value if it has been unpacked, else :data:`EMPTY`."""

    def __init__(
        self, value: T_co | Empty = EMPTY, *, origin: Origin | None = None, text: str | None = None
    ) -> None:
        super().__init__(origin, text)
        self.x = value
        self.given = value is not EMPTY

    def __repr__(self) -> str:
        about = "not flushed" if self._text is None else f"{self.reference.label} {self.size} bytes"
        return f"<Lazy {about} {'<EMPTY>' if self.x is EMPTY else 'unpacked'}>"

    def __reduce__(self) -> tuple[Any, ...]:
        if self._text is None:
            return (Lazy, (self.x,))
        return (_lazy, (self._origin, self._text))

    def unpack(self, *, mmap: bool = False) -> T_co:
        """Return the value, fetched, verified and decoded the first time it is asked for.

        With ``mmap`` an array lies in the blob's own file, if the store is local, or else in a
        temporary copy of it, and only what is touched of it is in memory.

        Raises :class:`~sqla_artifacts.errors.BlobNotFoundError`,
        :class:`~sqla_artifacts.errors.BlobCorruptedError` or
        :class:`~sqla_artifacts.errors.DecodeError`.
        """
        if self.x is EMPTY:
            origin, text = self._stored
            self.x = (origin.decode_mapped if mmap else origin.decode)(parse(text))
        return cast("T_co", self.x)

    async def aunpack(self) -> T_co:
        """Return the value as :meth:`unpack` does, without holding up the event loop."""
        if self.x is not EMPTY:
            return cast("T_co", self.x)
        return await self.store.pool.off_loop(self.unpack)

    def settle(self, origin: Origin, text: str) -> None:
        """Take the reference that a flush has made, and let go of what only stood for the value."""
        super().settle(origin, text)
        if isinstance(self.x, Encoded) or is_upload(self.x):
            self.forget()

    def forget(self) -> None:
        """Let go of the unpacked value; the next :meth:`unpack` fetches it again."""
        if self._stored:  # else this raises: the value is nowhere else
            self.x, self.given = EMPTY, False

    def restage(self, stage: Stage) -> tuple[Reference, Payload]:
        """Prepare the stored value to be stored again; it must not be a :attr:`given` one."""
        reference = self.reference
        if self.store.algorithm == stage.algorithm:
            content = partial(self.store.payload, reference.digest)
            return reference, Payload(reference.digest, reference.size, content)
        with self.open() as stream:
            payload = stage.stream(stream)
        return reference._replace(digest=payload.digest), payload

    def open(self) -> BinaryIO:
        """Open the encoded bytes as a seekable stream, as ``ArtifactStore.open`` does."""
        with self._stored[0].naming_column():
            return self.store.open(self.reference)

    def read_bytes(self) -> bytes:
        """Return the encoded bytes, verified."""
        with self._stored[0].naming_column():
            return self.store.get(self.reference)

    @property
    def media_type(self) -> str | None:
        """The media type of the encoded bytes, if the datatype has one."""
        origin, text = self._stored
        with origin.naming_column():
            return origin.datatype(parse(text)).media_type


def _lazy(origin: Origin, text: str) -> Lazy[Any]:
    return Lazy(origin=origin, text=text)
