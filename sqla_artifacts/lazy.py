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
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Generic, NamedTuple, TypeVar, cast

from msgspec import Struct

from .datatypes import Encoded
from .errors import ArtifactError, InvalidReferenceError, UnknownDataTypeError
from .payload import Payload, Spool
from .proxy import Proxy
from .upload import is_upload
from .window import expected

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .datatypes import DataType
    from .payload import Stage
    from .reference import Reference
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
        """Fetch, verify and decode a value; with the values of other rows, where they come next.

        ``text`` is the reference as the row holds it, if there is a row that is being made.
        """
        with self.naming_column():
            datatype = self.datatype(reference)
            data = expected(self.store, text) if text else None
            if data is not None:
                return datatype.decode(data)
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


class Lazy(Proxy, Struct, Generic[T_co], eq=False):
    """The proxy of one value of a ``LazyArtifact`` column."""

    x: T_co | Empty = EMPTY
    """The value if it has been unpacked, else :data:`EMPTY`."""

    _origin: Origin | None = None
    _text: str | None = None
    _fetched: bool = False

    def __repr__(self) -> str:
        if self._text is None:
            about = "not flushed"
        else:
            try:
                reference = self.reference
            except InvalidReferenceError:
                about = "of no reference"
            else:
                about = f"{reference.label} {reference.size} bytes"
        return f"<Lazy {about} {'<EMPTY>' if self.x is EMPTY else 'unpacked'}>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return []  # not the fields, as a Struct has it

    def __reduce__(self) -> tuple[Any, ...]:
        if self._text is None:
            return (Lazy, (self.x,))
        return (_lazy, (self._origin, self._text))

    def __copy__(self) -> Lazy[T_co]:
        make, arguments = self.__reduce__()
        return cast("Lazy[T_co]", make(*arguments))

    @property
    def given(self) -> bool:
        """Whether the value was assigned, and did not come from a store."""
        return self.x is not EMPTY and not self._fetched

    def unpack(self, *, mmap: bool = False) -> T_co:
        """Return the value, fetched, verified and decoded the first time it is asked for.

        With ``mmap`` an array lies in the blob's own file, if the store is local, or else in a
        temporary copy of it, and only what is touched of it is in memory.

        Raises :class:`~sqla_artifacts.errors.BlobNotFoundError`,
        :class:`~sqla_artifacts.errors.BlobCorruptedError` or
        :class:`~sqla_artifacts.errors.DecodeError`.
        """
        if self.x is EMPTY:
            reference, origin = self.reference, self._stored[0]
            value = (origin.decode_mapped if mmap else origin.decode)(reference)
            self.x, self._fetched = value, True
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
            self.x = EMPTY

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
        reference, origin = self.reference, self._stored[0]
        with origin.naming_column():
            return origin.datatype(reference).media_type


class Loaded(Lazy[T_co], gc=False):
    """The proxy of a value that came with a row: to the garbage collector, no more than a string.

    A hundred thousand rows would otherwise keep it busy for longer than it takes to load them.
    The price: a value that is unpacked, and then made to refer to its own proxy, or to the
    instance that holds it, stays in memory until it is let go of with :meth:`Lazy.forget`.
    """


def _lazy(origin: Origin, text: str) -> Lazy[Any]:
    return Loaded(EMPTY, origin, text)
