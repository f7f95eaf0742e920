"""The artifact store: blobs under one URL, each named by its digest.

::

    <root>/store.json                    format version, digest algorithm, the store's id
    <root>/owner.json                    the database that alone writes and collects here
    <root>/blobs/9f/86/9f86…0a08         a blob; its name is the digest of its bytes
    <root>/blobs/9f/86/9f86…0a08~1       the same bytes again, after the collector took them
    <root>/tmp/                          what is being written; swept when its writer is gone

``store.json`` and ``owner.json`` are created once and never changed in place. A blob never
changes either: what is stored again after the collector took it gets the next *generation*,
a key that was never used, so that no late deletion can hit it.

Reading needs the store alone, no database: ``ArtifactStore(url).get(reference)``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import platformdirs

from .backends import Backend, open_backend
from .backends.scratch import private_scratch
from .cache import SIZE, Cache
from .copying import has_descriptor
from .errors import BlobCorruptedError, StoreWriteError
from .identity import Identity
from .location import Stat, key_of, keys_of
from .payload import PACKS, Payload, Stage, counted, size_of
from .reading import Blobs, missing
from .recent import RECENT, Recent
from .reference import Reference, as_reference
from .stat_cache import StatCache
from .transfer import CONCURRENCY, Pool

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import Engine, MetaData
    from sqlalchemy.ext.asyncio import AsyncEngine

    from .digest import Algorithm


class ArtifactStore:
    """Blobs under one URL.

    ``url`` is a directory (``filesystem://./artifacts``, ``file:///srv/artifacts`` or a plain
    path), ``memory://``, or any URL that fsspec opens; ``options`` go to fsspec. A new store
    takes its digests with ``algorithm``, an old one with what its ``store.json`` says.
    ``checkouts`` is the local directory for unpacked files and directories; left out, it is
    in the user's cache directory. ``memory`` is how many bytes of recent payloads are kept for
    reading them again. ``max_concurrency`` is how many requests run at once; left out, 32 to a
    remote store, and one to a disk or to memory, which threads make no faster. ``cache`` is a
    local directory for copies of the blobs that are read, for remote stores and network file
    systems, of ``cache_size`` bytes in all, or ``"20GB"``, or 10 GB; see :mod:`.cache`.
    ``stat_cache`` is a file that remembers digests of local files: see :mod:`.stat_cache`.

    Making one does no I/O. Thread-safe; a pickled store is its URL and its local directories,
    without options, so that credentials never travel.
    """

    def __init__(
        self,
        url: str,
        *,
        algorithm: Algorithm = "blake3",
        checkouts: str | Path | None = None,
        memory: int = RECENT,
        max_concurrency: int | None = None,
        cache: str | os.PathLike[str] | None = None,
        cache_size: int | str | None = None,
        stat_cache: str | os.PathLike[str] | None = None,
        **options: Any,
    ) -> None:
        if algorithm not in {"blake3", "sha256"}:
            msg = f"algorithm must be 'blake3' or 'sha256', not {algorithm!r}"
            raise ValueError(msg)
        if cache is None and cache_size is not None:
            msg = "cache_size without a cache: name its directory, cache='./cache', say"
            raise ValueError(msg)
        self.backend: Backend = open_backend(url, **options)
        size = SIZE if cache_size is None else cache_size
        self.cache = None if cache is None else Cache(cache, size)
        self.stat_cache = None if stat_cache is None else StatCache(stat_cache)
        self._algorithm = algorithm
        self._checkouts = None if checkouts is None else Path(checkouts).absolute()
        self._identity = Identity(self.backend, algorithm)
        self._recent, self._packs = Recent(memory), Recent(PACKS)
        self.pool = Pool(max_concurrency or (CONCURRENCY if self.backend.is_remote else 1))

    def __repr__(self) -> str:
        return f"<ArtifactStore {self.url}>"

    def __reduce__(self) -> tuple[Any, ...]:
        if self.url == "memory://":
            msg = "a memory:// store lives in one process and cannot be pickled"
            raise TypeError(msg)
        cache = None if self.cache is None else (self.cache.path, self.cache.size)
        stat_cache = None if self.stat_cache is None else self.stat_cache.path
        return (_open_store, (self.url, self._checkouts, cache, stat_cache))

    def __deepcopy__(self, memo: object) -> ArtifactStore:
        return self  # a copy in this process keeps its credentials

    @property
    def url(self) -> str:
        """The store's URL: absolute, without credentials."""
        return self.backend.url

    @property
    def id(self) -> str | None:
        """The store's id, or None while nothing was ever stored. Reads ``store.json`` once."""
        about = self._identity.read()
        return None if about is None else about.id

    @property
    def is_known(self) -> bool:
        """Whether the id and the algorithm are at hand without I/O."""
        return self._identity.is_known

    @property
    def algorithm(self) -> Algorithm:
        """The algorithm of the store's digests."""
        about = self._identity.read()
        return self._algorithm if about is None else about.algorithm

    @property
    def checkouts(self) -> Path:
        """The local directory for unpacked files and directories."""
        return self._checkouts or platformdirs.user_cache_path("sqla_artifacts") / "checkouts"

    @property
    def stage(self) -> Stage:
        """Where payloads wait to be stored; a forked process gets one of its own."""
        directory = self.backend.staging
        if directory is None and self.backend.is_remote:
            directory = private_scratch()
        return Stage(self.algorithm, directory, owner=self.backend, packs=self._packs)

    def attach(
        self,
        engine: Engine | AsyncEngine,
        *,
        metadata: MetaData | None = None,
        name: str = "default",
        schema: str | None = None,
    ) -> None:
        """Make this the store of an engine; see :func:`sqla_artifacts.attach.attach`."""
        from .attach import attach

        attach(self, engine, metadata=metadata, name=name, schema=schema)

    # -- reading ---------------------------------------------------------------------------

    def get(self, reference: str | Reference) -> bytes:
        """Return a blob's bytes, verified.

        For a ``blob`` these are the encoded value, for a ``file`` its content, for a ``tree``
        its manifest. Costs one request to the store, none if it is in memory or in the cache, and
        more only if the blob was taken and stored again. Raises :class:`BlobNotFoundError`,
        :class:`BlobCorruptedError`, or :class:`InvalidReferenceError`.
        """
        digest = as_reference(reference).digest
        data = self._recent.get(digest)
        if data is None:
            data = self._blobs.get(digest)
            self._recent.put(digest, data)
        return data

    def recent(self, digests: Iterable[str]) -> list[bytes | None]:
        """Return each blob's bytes, if they are in memory; does no I/O."""
        return self._recent.get_each(digests)

    def open(self, reference: str | Reference) -> BinaryIO:
        """Open a blob as a seekable binary stream.

        The bytes are checked as far as they are read in order: the read that meets the end
        raises :class:`BlobCorruptedError` if they are not the blob's. Raises
        :class:`BlobNotFoundError` at once. With a cache, a blob of up to 64 MiB is fetched whole,
        and checked whole before it is read; a larger one that is not in the cache by range.
        """
        return self.open_blob(as_reference(reference).digest)

    def open_blob(self, digest: str) -> BinaryIO:
        """Open a blob by its digest alone, as :meth:`open` does: a part of a tree, say."""
        return self._blobs.open_checking(digest)

    def open_unchecked(self, digest: str) -> BinaryIO:
        """Open a blob for somebody who checks its digest himself."""
        return self._blobs.open(digest).stream

    def open_sound(self, digest: str) -> BinaryIO:
        """Open a blob after reading it whole, and passing over generations that are corrupt.

        For when :meth:`open_unchecked` has met one. Raises :class:`BlobCorruptedError` if all are.
        """
        return self._blobs.open_sound(digest)

    def open_verified(self, reference: str | Reference) -> BinaryIO:
        """Open a blob whose bytes have all been checked, as a seekable stream.

        A local blob, or one in the cache, is its own file, read once more for that; any other is
        a copy, in memory while it is small, then in a temporary file. Raises what :meth:`get`
        does.
        """
        digest = as_reference(reference).digest
        raw, is_checked = self._blobs.open(digest, check="always")
        if is_checked:
            return raw
        with raw:
            if not has_descriptor(raw):
                raw.close()
                return self.payload(digest).open()
        return self.open_sound(digest)

    def payload(self, digest: str) -> Payload:
        """Read a blob back, verified, to store it again or elsewhere."""
        try:
            with self._blobs.open_checking(digest, is_whole=True) as blob:
                return self.stage.stream(blob)
        except BlobCorruptedError:
            with self.open_sound(digest) as blob:
                return self.stage.stream(blob)

    def stat(self, reference: str | Reference) -> Stat:
        """Return a blob's key and size. Raises :class:`BlobNotFoundError`."""
        digest = as_reference(reference).digest
        for key in keys_of(self.backend, digest):
            try:
                return Stat(key, self.backend.size(key))
            except FileNotFoundError:
                continue
        raise missing(self.backend, digest)

    def forget(self, digest: str) -> None:
        """Drop the copies of a blob that are in memory and in the cache; the store keeps its own.

        Raises ``OSError`` if there is one in the cache that cannot be removed.
        """
        self._recent.discard(digest)
        if self.cache is not None:
            self.cache.discard(digest)

    @property
    def _blobs(self) -> Blobs:
        return Blobs(self.backend, self.algorithm, self.cache)

    # -- writing: for the ledger, which knows what may be written, and when ---------------------

    def prepare(self) -> str:
        """Make sure that ``store.json`` is there, and return the store's id."""
        return self._identity.create().id

    def claim(self, owner: Mapping[str, str | None]) -> None:
        """Make sure that this store belongs to a database.

        A store without an owner becomes this owner's. Raises :class:`ForeignStoreError`.
        """
        self._identity.claim(owner)

    def load(self, payloads: Mapping[str, Payload]) -> dict[str, Payload]:
        """Read back those payloads, by digest, whose bytes are not at hand."""
        return dict(zip(payloads, self.pool.each(Payload.load, payloads.values()), strict=True))

    def put(self, payloads: Sequence[tuple[Payload, int]]) -> None:
        """Store payloads under their generations, all durable on return.

        Only what the ledger protects stays: this is for the ledger, and for tools that fill a
        store before its database exists. Raises :class:`StoreWriteError`.
        """
        objects = [(key_of(p.digest, generation), p) for p, generation in payloads]
        batches = [[each] for each in objects] if self.backend.is_remote else [objects]
        try:
            self.pool.each(counted(self.backend.put, objects), batches, size=size_of)
        except OSError as error:
            msg = f"cannot write to the store {self.url}: {error}"
            raise StoreWriteError(msg) from error
        self.remember(payload for payload, _ in payloads)

    def remember(self, payloads: Iterable[Payload]) -> None:
        """Keep those payloads in memory, all of them stored, whose bytes are at hand."""
        for payload in payloads:
            if isinstance(payload.content, bytes):
                self._recent.put(payload.digest, payload.content)


def _open_store(
    url: str,
    checkouts: Path | None,
    cache: tuple[Path, int] | None = None,
    stats: str | None = None,
) -> ArtifactStore:
    path, size = cache or (None, None)
    return ArtifactStore(url, checkouts=checkouts, cache=path, cache_size=size, stat_cache=stats)
