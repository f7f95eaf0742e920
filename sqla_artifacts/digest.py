"""Digests: how blobs get their names.

A blob is named by the digest of its plain bytes, 64 lower-case hexadecimal digits: BLAKE3
with 256 bits of output (https://github.com/BLAKE3-team/BLAKE3-specs), or SHA-256 (FIPS
180-4) in a store that was made with it. A store never mixes the two.

Both hash on one core and release the GIL while they do.
"""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING, BinaryIO, Literal, Protocol, TypeAlias

from blake3 import blake3

from .errors import BlobCorruptedError

if TYPE_CHECKING:
    from typing_extensions import Buffer

Algorithm: TypeAlias = Literal["blake3", "sha256"]

CHUNK = 1 << 20
"""Bytes moved at a time where a payload streams."""


class Hasher(Protocol):
    """What ``hashlib`` and ``blake3`` have in common."""

    def update(self, data: Buffer, /) -> object:
        """Take more bytes."""

    def hexdigest(self) -> str:
        """Return the digest of all bytes so far."""


def hasher(algorithm: Algorithm) -> Hasher:
    """Return a new hasher of a store's algorithm."""
    return blake3() if algorithm == "blake3" else hashlib.sha256()


def digest_of(data: Buffer, algorithm: Algorithm) -> str:
    """Return the digest of bytes in memory."""
    if algorithm == "blake3":
        return blake3(data).hexdigest()
    return hashlib.sha256(data).hexdigest()


class VerifyingReader(io.RawIOBase):
    """A seekable binary stream whose bytes are checked as far as they are read in order.

    Once every byte from the first to the last has been read, in order and whatever was
    skipped to in between, the read that meets the end raises
    :class:`~sqla_artifacts.errors.BlobCorruptedError` unless the bytes have the digest that
    was asked for. Who reads a part only, reads a part that nobody has checked.
    """

    def __init__(self, raw: BinaryIO, digest: str, algorithm: Algorithm) -> None:
        self._raw = raw
        self._digest = digest
        self._hasher = hasher(algorithm)
        self._hashed = 0

    def readable(self) -> bool:
        """Say that this stream reads."""
        return True

    def seekable(self) -> bool:
        """Say that this stream seeks."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move to another place."""
        return self._raw.seek(offset, whence)

    def tell(self) -> int:
        """Return the place."""
        return self._raw.tell()

    def readinto(self, buffer: Buffer, /) -> int:
        """Fill the buffer, and check the digest where the stream ends."""
        view = memoryview(buffer).cast("B")
        start = self._raw.tell()
        data = self._raw.read(len(view))
        view[: len(data)] = data
        if start <= self._hashed < start + len(data):
            self._hasher.update(view[self._hashed - start : len(data)])
            self._hashed = start + len(data)
        if not data and len(view) and start == self._hashed:
            verify(self._hasher.hexdigest(), self._digest)
        return len(data)

    def close(self) -> None:
        """Close the stream beneath, too."""
        self._raw.close()
        super().close()


def verify(found: str, expected: str) -> None:
    """Raise :class:`BlobCorruptedError` unless the digests are equal."""
    if found != expected:
        msg = f"blob {expected} is corrupt: its bytes have the digest {found}"
        raise BlobCorruptedError(msg)
