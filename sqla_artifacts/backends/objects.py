"""A store in a bucket of Amazon S3, Google Cloud Storage or Azure, or of what speaks like them.

``obstore`` carries the bytes. An object of up to 64 MiB is one request of known length; a larger
one is sent in parts, and appears when the last one has arrived. If that fails the parts are
given up. A process that is killed meanwhile leaves them behind, unseen: the bucket's own rules
have to remove them.

Requests are repeated after errors that may pass, with growing pauses, eight times within a minute
unless ``retry_config`` says otherwise. One that gets no answer fails after two minutes
(``read_timeout``).

``obstore`` has threads of its own, which a forked process lacks. A backend may be made before a
fork and used after it, but a process and its forked child cannot both use object stores.
"""

from __future__ import annotations

import contextlib
import errno
import io
import mmap
import os
import re
import time
import uuid
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    GenericError,
    PermissionDeniedError,
    UnauthenticatedError,
)

from ..errors import UnknownProtocolError
from . import Entry
from .client import Client, reason
from .keys import checked, folder_of, is_listed
from .ranges import FIRST, RangeStream

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from typing_extensions import Buffer

    from ..payload import Payload, StagedFile

LARGE = 64 << 20
"""The most bytes that are sent in one request."""

_PART = 8 << 20
_PARTS = 10_000  # the most that S3 takes
_AT_ONCE = 4

_LONGEST = timedelta(days=7)  # that S3 and Google sign for

# The name under which an object tells which upload made it; Azure wants an identifier.
_UPLOAD = "upload"

_MISSING_BUCKET = re.compile(r"<Code>(NoSuchBucket|ContainerNotFound)<")


class ObjectBackend:
    """The place ``url``: ``s3://bucket/prefix``, ``gs://bucket/…``, ``az://container/…``.

    ``options`` are obstore's: ``access_key_id=``, ``secret_access_key=``, ``endpoint=``,
    ``region=``, ``account_name=`` and so on, those of its client (``read_timeout=``,
    ``allow_http=``), ``retry_config=`` and ``credential_provider=``. What is left out comes from
    the environment. Nothing of them is in ``.url``, in messages, or in a pickled backend, which
    looks for credentials where it is opened again.

    Raises :class:`UnknownProtocolError` for a URL or an option that obstore does not know.
    """

    is_remote = True

    def __init__(self, url: str, **options: Any) -> None:
        scheme, _, rest = url.partition("://")
        bucket, _, root = rest.rstrip("/").partition("/")
        # A bucket has no user, and of a query or a percent sign everybody has his own idea.
        if not bucket or re.search(r"[?#%:\\]|//", rest) or ("@" in rest and scheme[0] != "a"):
            msg = f"obstore does not know a {scheme} URL of this form"
            raise UnknownProtocolError(msg)
        self.url = f"{scheme}://{rest.rstrip('/')}"
        self.staging: Path | None = None
        self._root = f"{checked(root)}/" if root else ""
        self._client = Client(f"{scheme}://{bucket}", options)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.url,))

    # -- writing --------------------------------------------------------------------------------

    def put(self, objects: Sequence[tuple[str, Payload]]) -> None:
        """Store payloads under their keys, one after the other."""
        for key, payload in objects:
            path = self._path(key)
            content = cast("bytes | StagedFile", payload.content)
            with self._errors("write", key):
                if payload.size > LARGE:
                    source = content if isinstance(content, bytes) else content.path
                    self._put_in_parts(path, source, payload.size)
                else:
                    obstore.put(self._client.store, path, _whole(content), use_multipart=False)

    def create(self, key: str, data: bytes) -> bool:
        """Store a few bytes if the key is free; say whether it was.

        Exclusive where the server has conditional writes, as S3, Google Cloud Storage and Azure
        do. That an answer is lost on its way makes no difference: the object says who made it.
        """
        path, upload = self._path(key), uuid.uuid4().hex
        options: Any = {"mode": "create", "attributes": {_UPLOAD: upload}}
        with self._errors("create", key):
            for pause in (0.1, 0.4, 1.6, None):
                try:
                    obstore.put(self._client.store, path, data, **options)
                except (BaseError, FileNotFoundError) as error:
                    maker = self._maker(path)
                    if maker is not None:
                        return maker == upload
                    # S3 says that a key is taken while another write to it is on its way, too.
                    if pause is None or not isinstance(error, AlreadyExistsError):
                        raise
                    time.sleep(pause)
                else:
                    break
        return True

    def delete(self, key: str) -> None:
        """Remove an object, if it is there."""
        path = self._path(key)
        with contextlib.suppress(FileNotFoundError), self._errors("delete", key, missing=True):
            obstore.delete(self._client.store, path)

    # -- reading --------------------------------------------------------------------------------

    def get(self, key: str) -> bytes:
        """Return an object's bytes."""
        path = self._path(key)
        with self._errors("read", key, missing=True):
            return obstore.get(self._client.store, path).bytes().to_bytes()

    def open(self, key: str) -> BinaryIO:
        """Return a seekable stream over an object's bytes.

        Costs one request up to 256 KiB. What is read in order comes in larger and larger pieces,
        8 MiB at most.
        """
        return cast("BinaryIO", io.BufferedReader(RangeStream(partial(self._range, key)), FIRST))

    def size(self, key: str) -> int:
        """Return an object's size in bytes."""
        path = self._path(key)
        with self._errors("find", key, missing=True):
            return int(obstore.head(self._client.store, path)["size"])

    def list(self, prefix: str) -> Iterator[Entry]:
        """Yield the objects whose keys start with ``prefix``, from pages of 1,000.

        Only the prefix's directory is read.
        """
        folder = f"{self._root}{folder_of(prefix)}".rstrip("/")
        with self._errors("list", prefix):
            pages = obstore.list(self._client.store, folder or None, chunk_size=1000)
        while True:
            with self._errors("list", prefix):
                page = next(pages, None)
            if page is None:
                return
            for found in page:
                key = found["path"].removeprefix(self._root)
                if is_listed(key, prefix):
                    yield Entry(key, int(found["size"]))

    def presign(self, key: str, expires: timedelta) -> str:
        """Return a URL from which anybody can read an object until it expires.

        ``expires`` is how long that is, at most seven days. Costs no request if the credentials
        are keys. Nothing asks whether there is such an object.
        """
        path = self._path(key)
        if not timedelta(0) < expires <= _LONGEST:
            msg = f"a URL can be signed for up to {_LONGEST.days} days, not for {expires}"
            raise ValueError(msg)
        with self._errors("sign a URL of", key):
            return obstore.sign(self._client.store, "GET", path, expires)

    # -- the bucket -----------------------------------------------------------------------------

    def _path(self, key: str) -> str:
        return f"{self._root}{checked(key)}"

    def _range(self, key: str, start: int, length: int) -> tuple[Buffer, int]:
        path = self._path(key)
        options: Any = {"range": (start, start + length)}
        with self._errors("read", key, missing=True):
            try:
                found = obstore.get(self._client.store, path, options=options)
                return found.bytes(), int(found.meta["size"])
            except GenericError as error:
                # No range satisfies those who have nothing.
                if " 416 " not in str(error):
                    raise
                return b"", int(obstore.head(self._client.store, path)["size"])

    def _put_in_parts(self, path: str, source: bytes | Path, size: int) -> None:
        upload = uuid.uuid4().hex
        try:
            obstore.put(
                self._client.store,
                path,
                source,
                attributes={_UPLOAD: upload},
                use_multipart=True,
                chunk_size=max(_PART, -(-size // _PARTS)),
                max_concurrency=_AT_ONCE,
            )
        except (BaseError, FileNotFoundError):
            # Repeated because its answer was lost, the last request finds no upload any more.
            if self._maker(path) != upload:
                raise

    def _maker(self, path: str) -> str | None:
        """Return which upload has made an object, or None if there is none, or no answer."""
        try:
            found = obstore.get(self._client.store, path, options={"head": True})
        except (BaseError, FileNotFoundError):
            return None
        return str(found.attributes.get(_UPLOAD, ""))

    @contextlib.contextmanager
    def _errors(self, verb: str, key: str, *, missing: bool = False) -> Iterator[None]:
        """Turn obstore's errors into Python's, without credentials.

        ``missing`` says that there may be no such object, which is a FileNotFoundError then.
        """
        try:
            yield
        except (BaseError, FileNotFoundError) as error:
            is_missing = isinstance(error, FileNotFoundError)
            if missing and is_missing and not _MISSING_BUCKET.search(str(error)):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), key) from None
            denied = isinstance(error, PermissionDeniedError | UnauthenticatedError)
            kind = PermissionError if denied else OSError
            raise kind(f"cannot {verb} {key!r} in {self.url}: {reason(error)}") from None


def _whole(content: bytes | StagedFile) -> bytes | mmap.mmap:
    """Return what one request sends: of a file a map, since obstore would copy it twice."""
    if isinstance(content, bytes):
        return content
    with content.path.open("rb") as fp:
        is_empty = not os.fstat(fp.fileno()).st_size
        return b"" if is_empty else mmap.mmap(fp.fileno(), 0, access=mmap.ACCESS_READ)
