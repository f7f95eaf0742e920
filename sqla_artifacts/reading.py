"""Reading one blob: out of the cache, or out of the store over the generations of its digest.

With a cache, what is read whole fills it, however large it is. So does whatever is opened at all,
if it has no more bytes than a pack may have: a tree's members are likely to be asked for one after
the other. Of what is larger, opening fetches the ranges that are read, and leaves the cache alone.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, cast

from .cache import SMALL
from .digest import CHUNK, Algorithm, VerifyingReader, digest_of, hasher, verify
from .errors import BlobCorruptedError, BlobError, BlobNotFoundError
from .location import keys_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Buffer

    from .backends import Backend
    from .cache import Cache, Check


class Opened(NamedTuple):
    """A blob's bytes, and whether they are a copy in the cache."""

    stream: BinaryIO
    is_copy: bool


class Blobs(NamedTuple):
    """The blobs of a store, and the cache in front of it, if there is one."""

    backend: Backend
    algorithm: Algorithm
    cache: Cache | None

    def get(self, digest: str) -> bytes:
        """Return a blob's bytes, verified."""
        cache = self.cache
        if cache is None:
            return self._get(digest)
        data = cache.get(digest, self.algorithm)
        if data is None:
            with cache.alone(digest):
                data = cache.get(digest, self.algorithm)
                if data is None:
                    data = self._get(digest)
                    cache.put(digest, data)
        return data

    def open(self, digest: str, *, check: Check = "never", largest: int = sys.maxsize) -> Opened:
        """Open a blob, after filling the cache with it unless it is larger than ``largest``.

        ``check`` is that of :meth:`Cache.open`; what is no copy is not read beforehand.
        """
        if self.cache is None:
            return Opened(self._open(digest), is_copy=False)
        copy = self.cache.open(digest, self.algorithm, check=check)
        if copy is not None:
            return Opened(copy, is_copy=True)
        with self.cache.alone(digest):
            return self._open_copied(self.cache, digest, check, largest)

    def open_checking(self, digest: str, *, is_whole: bool = False) -> BinaryIO:
        """Open a blob as a stream that is checked as far as it is read in order.

        ``is_whole`` says that all of it is going to be read.
        """
        if is_whole:
            stream, is_copy = self.open(digest)
        else:
            stream, is_copy = self.open(digest, check="once", largest=SMALL)
        if self.cache is not None and is_copy:
            reader: VerifyingReader = _CopyReader(stream, digest, self.algorithm, self.cache)
        else:
            reader = VerifyingReader(stream, digest, self.algorithm)
        return cast("BinaryIO", io.BufferedReader(reader, CHUNK))

    def open_sound(self, digest: str) -> BinaryIO:
        """Open a blob after reading it whole, and passing over generations that are corrupt."""
        if self.cache is not None:
            stream, is_copy = self.open(digest, check="always")
            if is_copy:
                return stream
            stream.close()
        damage = ""
        for stream in self._streams(digest):
            try:
                check = hasher(self.algorithm)
                while data := stream.read(CHUNK):
                    check.update(data)
                verify(check.hexdigest(), digest)
            except BlobCorruptedError as error:
                stream.close()
                damage = damage or str(error)
            else:
                stream.seek(0)
                return stream
        raise unread(self.backend, digest, damage)

    def _get(self, digest: str) -> bytes:
        damage = ""
        for key in keys_of(self.backend, digest):
            try:
                data = self.backend.get(key)
                verify(digest_of(data, self.algorithm), digest)
            except FileNotFoundError:
                continue
            except BlobCorruptedError as error:
                damage = damage or str(error)
            else:
                return data
        raise unread(self.backend, digest, damage)

    def _open(self, digest: str) -> BinaryIO:
        for stream in self._streams(digest):
            return stream
        raise missing(self.backend, digest)

    def _open_copied(self, cache: Cache, digest: str, check: Check, largest: int) -> Opened:
        copy = cache.open(digest, self.algorithm, check=check)  # another thread's, meanwhile
        if copy is not None:
            return Opened(copy, is_copy=True)
        damage = ""
        for stream in self._streams(digest):
            try:
                is_wanted = stream.seek(0, os.SEEK_END) <= largest
                if is_wanted and cache.fill(digest, self.algorithm, stream):
                    copy = cache.open(digest, self.algorithm, check=check)
            except BlobCorruptedError as error:
                stream.close()
                damage = damage or str(error)
                continue
            except BaseException:
                stream.close()
                raise
            if copy is None:  # it was not to be kept, or could not be, or has been removed already
                stream.seek(0)
                return Opened(stream, is_copy=False)
            stream.close()
            return Opened(copy, is_copy=True)
        raise unread(self.backend, digest, damage)

    def _streams(self, digest: str) -> Iterator[BinaryIO]:
        """Open the generations of a digest, the likeliest first; who takes one closes it."""
        for key in keys_of(self.backend, digest):
            with contextlib.suppress(FileNotFoundError):
                yield self.backend.open(key)


class _CopyReader(VerifyingReader):
    """Reads a copy in the cache, which it discards if it turns out to be corrupt.

    It does so with the last byte already: who knows the size never reads on to the end.
    """

    def __init__(self, copy: BinaryIO, digest: str, algorithm: Algorithm, cache: Cache) -> None:
        super().__init__(copy, digest, algorithm)
        self._size = os.fstat(copy.fileno()).st_size
        self._cache = cache

    def readinto(self, buffer: Buffer, /) -> int:
        """Fill the buffer, and check the digest once all has been read in order."""
        count = super().readinto(buffer)
        if self._hashed == self._size and self._hasher.hexdigest() != self._digest:
            with contextlib.suppress(OSError):
                self._cache.discard(self._digest)
            msg = (
                f"the copy of blob {self._digest} in {self._cache.path} was corrupt: read it again"
            )
            raise BlobCorruptedError(msg)
        return count


def unread(backend: Backend, digest: str, damage: str) -> BlobError:
    """Return the error that says why no generation of a blob could be read.

    It is made here, of what was wrong with the first: a function that has an error in a variable
    when it raises it keeps its callers' variables, and the cursor that they read, until the
    garbage is collected.
    """
    return BlobCorruptedError(damage) if damage else missing(backend, digest)


def missing(backend: Backend, digest: str) -> BlobNotFoundError:
    """Return the error that says that a blob is not in a store."""
    return BlobNotFoundError(f"blob {digest} is not in the store {backend.url}")
