"""What both proxies share: the reference, and where the value comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import NotStoredError, StoreError
from .reference import Reference, parse

if TYPE_CHECKING:
    from datetime import timedelta

    from .lazy import Origin
    from .payload import Payload, Stage
    from .store import ArtifactStore


class Proxy:
    """What both proxies share: the reference, and where it came from."""

    __slots__ = ()

    _origin: Origin | None
    _text: str | None

    def __eq__(self, other: object) -> bool:
        same = isinstance(other, Proxy) and self._text == other._text
        return self is other or (self.stored and same)

    def __hash__(self) -> int:  # a proxy may be a primary key
        return hash(self._text) if self.stored else id(self)

    def __lt__(self, other: Proxy) -> bool:  # a flush sorts rows by their primary keys
        return self.reference < other.reference

    @property
    def given(self) -> bool:
        """Whether the value was assigned, and did not come from a store."""
        raise NotImplementedError

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
        """The parsed reference; ``str()`` of it is what the row holds.

        Raises :class:`~sqla_artifacts.errors.InvalidReferenceError` for what is none, and
        :class:`NotStoredError`.
        """
        origin, text = self._stored
        with origin.naming_column():
            return parse(text)

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

    def unpack(self) -> Any:
        """Return the value, fetched now."""
        raise NotImplementedError

    def restage(self, stage: Stage) -> tuple[Reference, Payload]:
        """Prepare the value to be stored again, its bytes read only if need be."""
        raise NotImplementedError

    def settle(self, origin: Origin, text: str) -> None:
        """Take the reference that a flush has made; what came from a store keeps its own."""
        if self._text is None or self.given:
            self._origin, self._text = origin, text  # type: ignore[misc]  # of the two below
