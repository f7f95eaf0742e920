"""A seekable stream over an object that can be asked for ranges of its bytes."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from typing_extensions import Buffer

FIRST = 256 << 10
"""How many bytes are asked for at first, and after a jump."""

LARGEST = 8 << 20
"""The most bytes that are asked for at once."""


class Read(Protocol):
    """Returns up to ``length`` bytes from ``start`` on, and the size of the whole object."""

    def __call__(self, start: int, length: int) -> tuple[Buffer, int]:
        """Ask for a range."""


class RangeStream(io.RawIOBase):
    """An object's bytes, read in ranges that grow as long as they follow on each other.

    No connection is held between them, so a reader may take its time. The first one is read at
    once: that is when a missing object shows.
    """

    def __init__(self, read: Read) -> None:
        self._read = read
        self._position = self._start = 0
        self._window = FIRST
        data, self._size = read(0, FIRST)
        self._data = memoryview(data)

    def readable(self) -> bool:
        """Say that this stream reads."""
        return True

    def seekable(self) -> bool:
        """Say that this stream seeks."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place; nothing is read yet."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            msg = f"cannot seek to {base + offset}"
            raise ValueError(msg)
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """Return the place."""
        return self._position

    def readinto(self, buffer: Buffer, /) -> int:
        """Read what is at hand, or the next range."""
        target = memoryview(buffer).cast("B")
        if self._position >= self._size or not target:
            return 0
        if not self._start <= self._position < self._start + len(self._data):
            self._fetch(len(target))
        offset = self._position - self._start
        data = self._data[offset : offset + len(target)]
        target[: len(data)] = data
        self._position += len(data)
        return len(data)

    def _fetch(self, wanted: int) -> None:
        follows = self._position == self._start + len(self._data)
        self._window = min(2 * self._window, LARGEST) if follows else FIRST
        length = min(max(self._window, wanted), LARGEST, self._size - self._position)
        self._data = memoryview(b"")  # or there would be two at once
        data, _ = self._read(self._position, length)
        self._data, self._start = memoryview(data), self._position
        if not self._data:
            msg = f"the object became shorter than {self._size} bytes while it was read"
            raise OSError(msg)
