"""Backends: the byte transport under a store.

A backend moves bytes under keys such as ``blobs/9f/86/9f86…`` and knows nothing of digests,
references or databases. :class:`Backend` is all that one has to offer; what stands in its
docstrings is what the store relies on.

``filesystem://``, ``file://`` or a plain path
    a directory on this machine: :mod:`.local`
``memory://``
    this process's memory, gone with the store object: :mod:`.memory`
``s3://``, ``gs://``, ``az://`` and their aliases
    a bucket, through ``obstore`` where it is installed: :mod:`.objects`
anything else, and buckets with fsspec's own options
    what ``fsspec`` opens under that protocol: :mod:`.generic`
"""

from __future__ import annotations

import contextlib
from importlib.util import find_spec
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Protocol

from ..errors import UnknownProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from ..payload import Payload

_BUCKETS = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss"})


class Entry(NamedTuple):
    """One stored object: its key, and its size in bytes."""

    key: str
    size: int


class Backend(Protocol):
    """The transport of one store's bytes. All methods are thread-safe.

    Keys are relative POSIX paths that the store makes itself. A missing key is a
    ``FileNotFoundError``; other failures are the transport's own exceptions.
    """

    @property
    def url(self) -> str:
        """Where the bytes lie, absolute, without credentials: what a pickled proxy carries."""

    @property
    def is_remote(self) -> bool:
        """Whether a request waits for another machine, so that many at once are faster.

        A remote backend is given one object for each :meth:`put`.
        """

    @property
    def staging(self) -> Path | None:
        """A directory from which :meth:`put` can link staged files, or None."""

    def put(self, objects: Sequence[tuple[str, Payload]]) -> None:
        """Store payloads under their keys, all of them durable on return.

        Nobody ever sees a part of an object under its key, whatever happens meanwhile. An
        object that is there already is replaced. The payloads' bytes are at hand
        (``content`` is ``bytes`` or a staged file, which may be moved away).
        """

    def create(self, key: str, data: bytes) -> bool:
        """Store a few bytes durably if the key is free; say whether it was."""

    def get(self, key: str) -> bytes:
        """Return an object's bytes."""

    def open(self, key: str) -> BinaryIO:
        """Return a seekable stream over an object's bytes."""

    def size(self, key: str) -> int:
        """Return an object's size in bytes."""

    def list(self, prefix: str) -> Iterator[Entry]:
        """Yield the objects whose keys start with ``prefix``, in no particular order.

        ``prefix`` need not end at a slash. A prefix under which there is nothing is empty.
        """

    def delete(self, key: str) -> None:
        """Remove an object, if it is there."""


def open_backend(
    url: str, *, storage_options: Mapping[str, Any] | None = None, **options: Any
) -> Backend:
    """Return the backend for a URL.

    ``options`` are those of the backend (``endpoint_url=``, ``region=`` …), and can be given as
    one mapping, ``storage_options``, as well; they never get into ``Backend.url``. A bucket whose
    options ``obstore`` does not know is opened by fsspec, which knows others: ``profile=``, say.

    Raises :class:`UnknownProtocolError` for a protocol that nothing here speaks.
    """
    options = {**(storage_options or {}), **options}
    protocol, separator, rest = url.partition("://")
    if not separator:
        protocol, rest = "file", url
    if protocol in {"filesystem", "file"}:
        from .local import LocalBackend

        return LocalBackend(rest, **options)
    if protocol == "memory":
        from .memory import MemoryBackend

        return MemoryBackend(**options)
    if protocol in _BUCKETS and find_spec("obstore"):
        from .objects import ObjectBackend

        with contextlib.suppress(UnknownProtocolError):
            return ObjectBackend(url, **options)
    from .generic import GenericBackend

    return GenericBackend(url, **options)
