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

import io
import json
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

import platformdirs

from .backends import Backend, open_backend
from .digest import CHUNK, Algorithm, VerifyingReader, digest_of, verify
from .errors import (
    BlobCorruptedError,
    BlobNotFoundError,
    ForeignStoreError,
    StoreFormatError,
    StoreWriteError,
)
from .payload import Payload, Stage
from .reference import Reference, parse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy import Engine, MetaData
    from sqlalchemy.ext.asyncio import AsyncEngine

FORMAT = 1
"""The version of the layout that this code writes, and the only one that it reads."""


class Stat(NamedTuple):
    """What the store knows of a blob without reading it."""

    key: str
    size: int


class ArtifactStore:
    """Blobs under one URL.

    ``url`` is a directory (``filesystem://./artifacts``, ``file:///srv/artifacts`` or a plain
    path), ``memory://``, or any URL that fsspec opens; ``options`` go to fsspec. A new store
    takes its digests with ``algorithm``, an old one with what its ``store.json`` says.
    ``checkouts`` is the local directory for unpacked files and directories; left out, it is
    in the user's cache directory.

    Making one does no I/O. Thread-safe; a pickled store is its URL, without options, so that
    credentials never travel.
    """

    def __init__(
        self,
        url: str,
        *,
        algorithm: Algorithm = "blake3",
        checkouts: str | Path | None = None,
        **options: Any,
    ) -> None:
        if algorithm not in {"blake3", "sha256"}:
            msg = f"algorithm must be 'blake3' or 'sha256', not {algorithm!r}"
            raise ValueError(msg)
        self.backend: Backend = open_backend(url, **options)
        self._algorithm = algorithm
        self._checkouts = None if checkouts is None else Path(checkouts).absolute()
        self._about: dict[str, Any] | None = None

    def __repr__(self) -> str:
        return f"<ArtifactStore {self.url}>"

    def __reduce__(self) -> tuple[Any, ...]:
        if self.url == "memory://":
            msg = "a memory:// store lives in one process and cannot be pickled"
            raise TypeError(msg)
        return (_open_store, (self.url, self._checkouts))

    def __deepcopy__(self, memo: object) -> ArtifactStore:
        return self  # a copy in this process keeps its credentials

    @property
    def url(self) -> str:
        """The store's URL: absolute, without credentials."""
        return self.backend.url

    @property
    def id(self) -> str | None:
        """The store's id, or None while nothing was ever stored. Reads ``store.json`` once."""
        about = self._read_about()
        return None if about is None else cast("str", about["id"])

    @property
    def algorithm(self) -> Algorithm:
        """The algorithm of the store's digests."""
        about = self._read_about()
        return self._algorithm if about is None else about["digest"]

    @property
    def checkouts(self) -> Path:
        """The local directory for unpacked files and directories."""
        return self._checkouts or platformdirs.user_cache_path("sqla_artifacts") / "checkouts"

    @property
    def stage(self) -> Stage:
        """Where payloads wait to be stored; a forked process gets one of its own."""
        return Stage(self.algorithm, self.backend.staging)

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
        its manifest. Costs one request to the store; more only if the blob was taken and
        stored again. Raises :class:`BlobNotFoundError`, :class:`BlobCorruptedError`, or
        :class:`InvalidReferenceError`.
        """
        digest = _parsed(reference).digest
        failure: BlobCorruptedError | None = None
        for key in self._keys(digest):
            try:
                data = self.backend.get(key)
                verify(digest_of(data, self.algorithm), digest)
            except FileNotFoundError:
                continue
            except BlobCorruptedError as error:
                failure = failure or error
            else:
                return data
        raise failure or self._missing(digest)

    def open(self, reference: str | Reference) -> BinaryIO:
        """Open a blob as a seekable binary stream.

        The bytes are checked as far as they are read in order: the read that meets the end
        raises :class:`BlobCorruptedError` if they are not the blob's. Raises
        :class:`BlobNotFoundError` at once.
        """
        return self.open_blob(_parsed(reference).digest)

    def open_blob(self, digest: str, *, checked: bool = False) -> BinaryIO:
        """Open a blob by its digest alone, as :meth:`open` does: a part of a tree, say.

        ``checked`` reads it whole before it returns it, and passes over corrupt generations.
        """
        failure: BlobCorruptedError | None = None
        for key in self._keys(digest):
            try:
                raw = self.backend.open(key)
            except FileNotFoundError:
                continue
            reader = VerifyingReader(raw, digest, self.algorithm)
            blob = cast("BinaryIO", io.BufferedReader(reader, CHUNK))
            if not checked:
                return blob
            try:
                while blob.read(CHUNK):
                    pass
                blob.seek(0)
            except BlobCorruptedError as error:
                blob.close()
                failure = failure or error
            else:
                return blob
        raise failure or self._missing(digest)

    def payload(self, digest: str) -> Payload:
        """Read a blob back, verified, to store it again or elsewhere."""
        with self.open_blob(digest) as blob:
            return self.stage.stream(blob)

    def stat(self, reference: str | Reference) -> Stat:
        """Return a blob's key and size. Raises :class:`BlobNotFoundError`."""
        digest = _parsed(reference).digest
        for key in self._keys(digest):
            try:
                return Stat(key, self.backend.size(key))
            except FileNotFoundError:
                continue
        raise self._missing(digest)

    def _keys(self, digest: str) -> Iterator[str]:
        yield key_of(digest)
        later = (entry.key.rpartition("~")[2] for entry in self.backend.list(f"{key_of(digest)}~"))
        for generation in sorted(map(int, filter(str.isdecimal, later)), reverse=True):
            yield key_of(digest, generation)

    def _missing(self, digest: str) -> BlobNotFoundError:
        return BlobNotFoundError(f"blob {digest} is not in the store {self.url}")

    # -- writing: for the ledger, which knows what may be written, and when ---------------------

    def prepare(self) -> None:
        """Make sure that ``store.json`` is there, so that nobody has to look for it again.

        Raises :class:`StoreWriteError`.
        """
        self._about = self._read_about() or self._create_about()

    def put(self, payloads: Sequence[tuple[Payload, int]]) -> None:
        """Store payloads under their generations, all durable on return.

        Only what the ledger protects stays: this is for the ledger, and for tools that fill a
        store before its database exists. Raises :class:`StoreWriteError`.
        """
        try:
            self.backend.put([(key_of(p.digest, generation), p) for p, generation in payloads])
        except OSError as error:
            msg = f"cannot write to the store {self.url}: {error}"
            raise StoreWriteError(msg) from error

    def claim(self, owner: Mapping[str, str | None]) -> str:
        """Make sure that this store belongs to a database, and return the store's id.

        A store without an owner becomes this owner's. Raises :class:`ForeignStoreError`.
        """
        self.prepare()
        found = self._read_or_create("owner.json", dict(owner))
        if found != owner:
            msg = (
                f"the store {self.url} belongs to another database (its owner.json says {found}, "
                f"this one is {dict(owner)}): attach a store of its own to this database; if the "
                "other one is gone for ever, remove owner.json"
            )
            raise ForeignStoreError(msg)
        return cast("str", self.id)

    def _read_about(self) -> dict[str, Any] | None:
        if self._about is None:
            try:
                self._about = self._checked(self.backend.get("store.json"))
            except FileNotFoundError:
                return None
        return self._about

    def _create_about(self) -> dict[str, Any]:
        about = {"format": FORMAT, "digest": self._algorithm, "id": uuid.uuid4().hex}
        self._about = self._checked(json.dumps(self._read_or_create("store.json", about)))
        return self._about

    def _checked(self, data: str | bytes) -> dict[str, Any]:
        try:
            about = json.loads(data)
            valid = about["format"] == FORMAT and isinstance(about["id"], str)
            valid = valid and about["digest"] in {"blake3", "sha256"}
        except (ValueError, TypeError, KeyError):
            valid = False
        if not valid:
            msg = (
                f"store.json of {self.url} is not one of format {FORMAT}: the store is damaged, or "
                "was written by a later version of sqla_artifacts"
            )
            raise StoreFormatError(msg)
        return cast("dict[str, Any]", about)

    def _read_or_create(self, key: str, content: dict[str, Any]) -> Any:
        """Return what stands under a key, which is ``content`` if there was nothing."""
        try:
            try:
                return json.loads(self.backend.get(key))
            except FileNotFoundError:
                data = json.dumps(content, sort_keys=True).encode()
                if self.backend.create(key, data):
                    return content
            # Another process came first, and what it wrote holds.
            return json.loads(self.backend.get(key))
        except (OSError, ValueError) as error:
            msg = f"cannot read or create {key} of the store {self.url}: {error}"
            raise StoreWriteError(msg) from error


def key_of(digest: str, generation: int = 0) -> str:
    """Return the key under which a blob lies."""
    key = f"blobs/{digest[:2]}/{digest[2:4]}/{digest}"
    return f"{key}~{generation}" if generation else key


def _parsed(reference: str | Reference) -> Reference:
    return reference if isinstance(reference, Reference) else parse(reference)


def _open_store(url: str, checkouts: Path | None) -> ArtifactStore:
    return ArtifactStore(url, checkouts=checkouts)
