"""A store on whatever fsspec opens: object stores, SFTP, SMB, WebDAV, HDFS and more.

Bytes are never streamed to a key. An object store makes an object visible when the upload of a
known length is complete, so uploads go straight to the key. Elsewhere a file can be seen
while it is written, so it is written below ``tmp/`` and then moved to its key, which is as atomic
as that file system's own move. What a killed process leaves there is removed by a later one,
once it is older by a day than what that one writes.

What is durable on return, and what a reader may see while an object is replaced, is for the
other side to say; an upload that fails half way leaves nothing under the key.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import threading
import uuid
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast
from urllib.parse import urlsplit

from fsspec.core import url_to_fs

from ..errors import UnknownProtocolError
from . import Entry
from .keys import TEMPORARY, checked, folder_of, is_listed
from .temporaries import sweep_older

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ..payload import Payload, StagedFile

# Where an upload of known length is one atomic PUT, or a multipart upload that appears when
# it is completed. Everything else takes the way through tmp/.
_ATOMIC = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oss", "memory"})

# There, what stands before an @ is a container, as in abfs://container@account.example/path.
_CONTAINERS = frozenset({"az", "abfs", "abfss", "adl"})

# Protocols for which this package has an extra of its own.
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"} | dict.fromkeys(
    ("az", "abfs", "abfss"), "azure"
)

_LOCAL = frozenset({"file", "local"})


class _Opened(NamedTuple):
    pid: int
    fs: Any
    root: str


class GenericBackend:
    """The fsspec URL ``url``; ``options`` are those of its file system.

    ``.url`` is without user, password and query, and so is everything that shows it. Pass secrets
    as options, or leave them to the environment. A pickled backend carries the URL and the
    options that it was made with.
    """

    is_remote = True

    def __init__(self, url: str, **options: Any) -> None:
        self.url = "::".join(_without_secrets(part) for part in url.split("::"))
        self.staging: Path | None = None
        self._made_with = (url, options)
        self._protocol = url.partition("://")[0]
        self._opened = self._open_fs()
        self._creating = threading.Lock()
        self._has_swept = False
        _refuse_secrets_in_path(url, self.url, self._opened.root)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return (_reopen, self._made_with)

    # -- writing --------------------------------------------------------------------------------

    def put(self, objects: Sequence[tuple[str, Payload]]) -> None:
        """Store payloads under their keys, one after the other."""
        for key, payload in objects:
            path = self._path(key)
            content = cast("bytes | StagedFile", payload.content)
            if self._is_atomic:
                self._upload(content, path)
            else:
                self._upload_and_move(content, path)

    def create(self, key: str, data: bytes) -> bool:
        """Store a few bytes if the key is free; say whether it was.

        Exclusive where the protocol has a conditional write and its fsspec package uses it (S3,
        Google Cloud Storage, Azure, local files, SFTP), and among the threads of one process.
        Elsewhere, two processes that come at the same moment may both be told that it was.
        """
        path = self._path(key)
        with self._creating:
            self._fs.invalidate_cache()
            if self._fs.exists(path):
                return False
            try:
                self._create(path, data)
            except FileExistsError:
                return False
        return True

    def delete(self, key: str) -> None:
        """Remove an object, if it is there."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            self._fs.rm_file(self._path(key))

    # -- reading --------------------------------------------------------------------------------

    def get(self, key: str) -> bytes:
        """Return an object's bytes."""
        with _missing(key):
            return cast("bytes", self._fs.cat_file(self._path(key)))

    def open(self, key: str) -> BinaryIO:
        """Return a seekable stream over an object's bytes, read in blocks as they are needed."""
        if self._is_memory:
            # All who open one of these share one file position.
            return io.BytesIO(self.get(key))
        with _missing(key):
            self._fs.invalidate_cache()
            stream = self._fs.open(self._path(key), "rb")
            # Buckets have no directories, and so some open what looks like one.
            if (getattr(stream, "details", None) or {}).get("type") == "directory":
                stream.close()
                raise IsADirectoryError
        return cast("BinaryIO", stream)

    def size(self, key: str) -> int:
        """Return an object's size in bytes."""
        with _missing(key):
            self._fs.invalidate_cache()
            info = self._fs.info(self._path(key))
            if info["type"] != "file":
                raise IsADirectoryError
        return int(info["size"])

    def list(self, prefix: str) -> Iterator[Entry]:
        """Yield the objects whose keys start with ``prefix``; only its directory is read."""
        folder = folder_of(prefix)
        root = self._opened_here().root
        self._fs.invalidate_cache()
        try:
            found = self._fs.find(f"{root}/{folder}" if folder else root, detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return
        for name, info in found.items():
            key = name.removeprefix(f"{root}/")
            if key != name and is_listed(key, prefix):
                yield Entry(key, int(info["size"]))

    # -- the file system ------------------------------------------------------------------------

    @property
    def _fs(self) -> Any:
        return self._opened_here().fs

    @property
    def _is_atomic(self) -> bool:
        return self._protocol in _ATOMIC

    @property
    def _is_memory(self) -> bool:
        return self._protocol == "memory"

    def _path(self, key: str) -> str:
        return f"{self._opened_here().root}/{checked(key)}"

    def _opened_here(self) -> _Opened:
        # The event loop's thread that fsspec drives most protocols with is not there in a
        # forked child.
        if self._opened.pid != os.getpid():
            self._creating = threading.Lock()
            self._opened = self._open_fs()
        return self._opened

    def _open_fs(self) -> _Opened:
        url, options = self._made_with
        try:
            # An instance of our own, so that what follows changes nobody else's.
            fs, root = url_to_fs(url, skip_instance_cache=True, **options)
        except ImportError as error:
            extra = _EXTRAS.get(self._protocol)
            hint = f' (pip install "sqla_artifacts[{extra}]")' if extra else ""
            raise UnknownProtocolError(f"{self.url} cannot be opened: {error}{hint}") from error
        except ValueError as error:
            if "not known" not in str(error):
                raise
            raise UnknownProtocolError(
                f"nothing here speaks the protocol {self._protocol!r} of {self.url}"
            ) from None
        # Others write to the store, too: a remembered listing would be stale.
        if hasattr(fs, "dircache"):
            fs.dircache.use_listings_cache = False
        return _Opened(os.getpid(), fs, root.rstrip("/"))

    def _upload(self, content: bytes | StagedFile, path: str) -> None:
        if isinstance(content, bytes):
            self._fs.pipe_file(path, content)
        elif self._is_memory:
            # Its put_file shows the object while it grows.
            self._fs.pipe_file(path, content.path.read_bytes())
        else:
            self._fs.put_file(os.fspath(content.path), path)

    def _upload_and_move(self, content: bytes | StagedFile, path: str) -> None:
        temporary = self._path(f"{TEMPORARY}/{uuid.uuid4().hex}")
        for name in (temporary, path):
            self._fs.makedirs(name.rpartition("/")[0], exist_ok=True)
        try:
            self._upload(content, temporary)
            if not self._has_swept:
                self._has_swept = True
                sweep_older(self._fs, temporary)
            self._move(temporary, path)
        except BaseException:
            # What failed is the news, not that it cannot be tidied up after it.
            with contextlib.suppress(Exception):
                self._fs.rm_file(temporary)
            raise

    def _move(self, temporary: str, path: str) -> None:
        try:
            self._fs.mv(temporary, path)
        except FileExistsError:
            # Some protocols do not rename onto a file (WebDAV, SMB).
            self._fs.rm_file(path)
            self._fs.mv(temporary, path)

    def _create(self, path: str, data: bytes) -> None:
        if self._is_atomic:
            self._fs.pipe_file(path, data, mode="create")
            return
        self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        try:
            stream = self._fs.open(path, "xb")
        except (NotImplementedError, ValueError):
            self._upload_and_move(data, path)
            return
        try:
            with stream:
                stream.write(data)
        except BaseException:
            with contextlib.suppress(Exception):
                self._fs.rm_file(path)
            raise


def _without_secrets(url: str) -> str:
    """Return a URL without user, password and query."""
    protocol, separator, rest = url.partition("://")
    if not separator or protocol in _LOCAL:
        return url
    place = rest.partition("?")[0]
    host, slash, path = place.partition("/")
    user, at, bare = host.rpartition("@")
    if at and (protocol not in _CONTAINERS or ":" in user):
        host = bare
    return f"{protocol}://{host}{slash}{path}"


def _refuse_secrets_in_path(url: str, shown: str, root: str) -> None:
    """Refuse a URL of whose secret parts the protocol has made a part of every path.

    They would then stand in its exceptions, and in what it stores.
    """
    if url == shown or "::" in url:
        return
    parts = urlsplit(url)
    secrets = {parts.query, parts.netloc.rpartition("@")[0]} - {""}
    if any(secret in root for secret in secrets):
        raise ValueError(
            f"{shown} was given with a user or a query, which this protocol takes for a part of "
            "the path: give options as keyword arguments"
        )


@contextlib.contextmanager
def _missing(key: str) -> Iterator[None]:
    """Turn what a file system says of an object that is not there into one kind of error."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), key) from None


def _reopen(url: str, options: dict[str, Any]) -> GenericBackend:
    return GenericBackend(url, **options)
