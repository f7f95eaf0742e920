"""A cache on the local disk, in front of a store.

::

    <cache>/sqla_artifacts/blobs/9f/9f86…0a08    a copy of a blob; its name is its digest
    <cache>/sqla_artifacts/tmp/                  what is being written; swept like a store's
    <cache>/sqla_artifacts/size                  about how many bytes all that takes
    <cache>/sqla_artifacts/evicting              a lock

``ArtifactStore("s3://…", cache="./cache", cache_size="20GB")`` has one. Any number of processes
may share it, and be killed at any time: a copy is written to a temporary file, its digest taken
on the way, and gets its name when it is complete. Nothing is flushed; every read is verified,
and what a power failure or anything else has damaged is discarded and fetched again. A digest
names the same bytes in every store, so stores may share a cache, too, whatever their algorithms.

*Size.* The file ``size`` is counted up before a copy gets its name. Past ``cache_size`` one process
looks at every file once and removes the copies not used for the longest time, an eighth more
than is needed; the others go on meanwhile. So the size is kept but for what is added at that very
moment. A copy's time of modification says when it was last used, to the minute. A copy that
somebody has open can be removed, and stays readable for him.

*Failure.* Where the directory cannot be written, or the disk is full, the store is read as
if there were no cache, and the logger ``sqla_artifacts.cache`` gets one warning. (No Python
warning: the program could not do anything about it, and must not be stopped by its filters.)

Copies can be read by their owner alone. Everything in the directory may be removed at any time.
Thread-safe; a forked child goes on with a scratch directory of its own.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import threading
import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, TypeAlias

from ..backends.keys import checked
from ..backends.local import LocalBackend
from ..backends.temporaries import remove
from ..copying import write
from ..digest import CHUNK, Algorithm, digest_of, hasher, verify
from ..member import PACK_MAX
from .room import Room, parse_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SIZE = "10GB"
"""How large a cache may grow, if nothing else is said."""

SMALL = PACK_MAX
"""The largest blob in bytes that is read whole for the sake of a part: as large as a pack."""

Check: TypeAlias = Literal["never", "once", "always"]

_FOLDER = "sqla_artifacts"  # or somebody's own tmp and blobs might be taken for ours
_MINUTE = 60.0
_REMEMBERED = 10_000

_logger = logging.getLogger(__name__)


class Cache:
    """Copies of blobs below a local directory, of about ``size`` bytes in all.

    ``size`` is a number of bytes, or a string such as ``"20GB"`` or ``"512MiB"``. Making one does
    no I/O; what is missing of the directory is made by the first copy. Errors of the disk are
    logged, and never raised but by :meth:`discard`.
    """

    def __init__(self, path: str | os.PathLike[str], size: int | str = SIZE) -> None:
        if not os.fspath(path):
            msg = "cache='' cannot be a directory: name one, such as './cache'"
            raise ValueError(msg)
        self.path = Path(path).absolute()
        self.size = parse_size(size)
        self._files = LocalBackend(self.path / _FOLDER)
        self._root = str(self._files.root)
        self._room = Room(self._root, self.size)
        self._sound: dict[str, tuple[int, int, int]] = {}
        self._has_warned = False
        self._clear()

    def __repr__(self) -> str:
        return f"<Cache {self.path}>"

    def _clear(self) -> None:
        self._turns: weakref.WeakValueDictionary[str, _Turn] = weakref.WeakValueDictionary()
        # A lock that another thread held while the process forked would be held for ever.
        self._turns_lock = threading.Lock()
        self._pid = os.getpid()

    # -- reading ---------------------------------------------------------------------------

    def get(self, digest: str, algorithm: Algorithm) -> bytes | None:
        """Return a blob's bytes, verified, or None if there is no sound copy here.

        A copy that is not sound is discarded. Does not ask the store.
        """
        copy = self._open(digest)
        if copy is None:
            return None
        with copy, self._warning():
            data = copy.read()
            if digest_of(data, algorithm) == digest:
                return data
            self._drop(digest)
        return None

    def open(
        self, digest: str, algorithm: Algorithm, *, check: Check = "always"
    ) -> BinaryIO | None:
        """Open the copy of a blob, as a file, or return None if there is no sound one here.

        ``check`` says whether it is read whole beforehand: ``"once"`` if this process has not
        done so since the copy was made, and it is ``SMALL``. What is
        found not to be sound is discarded. Does not ask the store.
        """
        copy = self._open(digest)
        if copy is None or check == "never":
            return copy
        if check == "once" and (_size(copy) > SMALL or self._is_known(digest, copy)):
            return copy
        if not self._is_sound(digest, copy, algorithm):
            copy.close()
            self._drop(digest)
            return None
        copy.seek(0)
        return copy

    def discard(self, digest: str) -> None:
        """Remove the copy of a blob, if there is one; who has it open goes on reading it.

        For copies that are corrupt, and for blobs that are to be forgotten. A read that is
        filling the cache meanwhile may bring the copy back, and the caches of other machines are
        not reached. Raises ``OSError`` if there is a copy and it cannot be removed.
        """
        remove(self._path(digest))

    # -- filling ---------------------------------------------------------------------------

    def put(self, digest: str, data: bytes) -> bool:
        """Keep a blob's bytes, which the caller has verified; say whether they are here now."""
        return self._keep(digest, len(data), [data])

    def fill(self, digest: str, algorithm: Algorithm, source: BinaryIO) -> bool:
        """Copy a blob from a seekable stream, and say whether it is here now.

        It is not if it is larger than the whole cache, or if the disk does not take it. Raises
        :class:`~sqla_artifacts.errors.BlobCorruptedError` if the bytes are not the digest's,
        and what reading the stream raises; nothing is kept then.
        """
        return self._keep(digest, _size(source), _verified(source, digest, algorithm))

    @contextlib.contextmanager
    def alone(self, digest: str) -> Iterator[None]:
        """Let one thread of this process at a time fill a copy, so that the next ones find it."""
        if self._pid != os.getpid():
            self._clear()
        with self._turns_lock:
            turn = self._turns.setdefault(digest, _Turn())
        with turn.lock:
            yield

    def _keep(self, digest: str, size: int, chunks: Iterable[bytes]) -> bool:
        if not self._room.takes(size):
            return False
        try:
            with _writing():
                descriptor, name = tempfile.mkstemp(prefix="new-", dir=self._files.staging)
            try:
                _write(descriptor, chunks)
                with _writing():
                    self._room.make(size)
                    self._place(name, self._path(digest))
            finally:
                with contextlib.suppress(OSError):
                    remove(name)
        except _UnwritableError as error:
            self._warn(error.__cause__)
            return False
        return True

    def _place(self, name: str, target: str) -> None:
        try:
            os.replace(name, target)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            os.replace(name, target)

    # -- files -----------------------------------------------------------------------------

    def _path(self, digest: str) -> str:
        return os.path.join(self._root, checked(f"blobs/{digest[:2]}/{digest}"))

    def _open(self, digest: str) -> BinaryIO | None:
        path = self._path(digest)
        with self._warning(), contextlib.suppress(FileNotFoundError):
            copy = open(path, "rb")  # noqa: SIM115 (for the caller, who closes it)
            if abs(time.time() - os.fstat(copy.fileno()).st_mtime) > _MINUTE:
                with contextlib.suppress(OSError):
                    os.utime(path)
            return copy
        return None

    def _is_known(self, digest: str, copy: BinaryIO) -> bool:
        return self._sound.get(digest) == _state(copy)

    def _is_sound(self, digest: str, copy: BinaryIO, algorithm: Algorithm) -> bool:
        """Read a copy whole, and remember it if it is sound."""
        with self._warning():
            check = hasher(algorithm)
            while data := copy.read(CHUNK):
                check.update(data)
            if check.hexdigest() != digest:
                return False
            if len(self._sound) >= _REMEMBERED:
                self._sound.clear()
            self._sound[digest] = _state(copy)
            return True
        return False

    def _drop(self, digest: str) -> None:
        with self._warning():
            self.discard(digest)

    @contextlib.contextmanager
    def _warning(self) -> Iterator[None]:
        """Do without what the disk refuses."""
        try:
            yield
        except OSError as error:
            self._warn(error)

    def _warn(self, error: BaseException | None) -> None:
        if not self._has_warned:
            self._has_warned = True
            _logger.warning("the store is read without its cache %s: %s", self.path, error)


class _Turn:
    """Whose turn it is to fill a copy."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


class _UnwritableError(Exception):
    """Raised from what the disk has refused, and not the source of the bytes."""


def _size(source: BinaryIO) -> int:
    """Return how many bytes a stream has, from its start, where it stands then."""
    size = source.seek(0, os.SEEK_END)
    source.seek(0)
    return size


def _state(copy: BinaryIO) -> tuple[int, int, int]:
    status = os.fstat(copy.fileno())
    return status.st_ino, status.st_size, status.st_mtime_ns


def _verified(source: BinaryIO, digest: str, algorithm: Algorithm) -> Iterator[bytes]:
    """Yield a stream's bytes, and raise at the end if they are not the digest's."""
    check = hasher(algorithm)
    while data := source.read(CHUNK):
        check.update(data)
        yield data
    verify(check.hexdigest(), digest)


def _write(descriptor: int, chunks: Iterable[bytes]) -> None:
    """Write a file and close it."""
    offset = 0
    try:
        for data in chunks:
            with _writing():
                write(descriptor, data, offset)
            offset += len(data)
    finally:
        with _writing():  # a network file system may say only now what it could not write
            os.close(descriptor)


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _UnwritableError from error
