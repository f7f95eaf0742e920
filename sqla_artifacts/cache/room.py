"""Room in a cache: what its copies take, and which of them make way.

The file ``size`` says how many bytes that is, about. A copy is added before it gets its name, so
that a process that is killed leaves too large a number rather than too small a one. Past the
limit one process looks at all copies, and the number is right again.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from typing import TYPE_CHECKING

from ..backends.temporaries import remove
from ..copying import write
from ..leftovers import try_lock

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Iterator

_OPEN = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)

# A process that was stopped may hold a lock for ever. Nobody waits for it longer than this.
_TRIES = 50

_BLOCK = 4096  # even a single byte takes as much on a disk

_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?) ?([kmgt]?)(i?)b", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


class Room:
    """The room below a directory, of ``size`` bytes. Thread-safe."""

    def __init__(self, directory: str, size: int) -> None:
        self.size = size
        self._directory = directory

    def takes(self, size: int) -> bool:
        """Say whether a copy of so many bytes fits at all."""
        return _space(size) <= self.size

    def make(self, size: int) -> None:
        """Count a copy that is about to get its name, and remove those that it takes the place of.

        While another thread or process removes some, this one goes on. Raises ``OSError``.
        """
        total = self._add(_space(size))
        if total > self.size:
            with self._file("evicting") as descriptor, _lock(descriptor) as is_alone:
                while is_alone and total > self.size:
                    left = self._evict()
                    total = self._add(left - total)  # and what others have added meanwhile
                    if left > self.size:
                        break  # what is left cannot be removed

    def _add(self, space: int) -> int:
        """Change the number in the file, and return it; a missing one counts as too large."""
        with self._file("size") as descriptor, _lock(descriptor, tries=_TRIES):
            try:
                before = int(os.read(descriptor, 20))
            except ValueError:
                before = self.size
            total = max(before + space, 0)
            write(descriptor, b"%020d" % total)
        return total

    def _evict(self) -> int:
        """Remove the copies used least recently if there is no room; return what is left."""
        copies = list(self._files("blobs"))
        total = sum(space for _, space, _ in [*copies, *self._files("tmp")])
        if total <= self.size:
            return total
        for _, space, path in sorted(copies):
            if total <= self.size - self.size // 8:
                break
            with contextlib.suppress(OSError):
                remove(path)
                total -= space
        return total

    def _files(self, folder: str) -> Iterator[tuple[int, int, str]]:
        """Yield when each file was last used, the space that it takes, and its path."""
        for directory in _entries(os.path.join(self._directory, folder)):
            for entry in _entries(directory.path):
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat()
                    yield status.st_mtime_ns, _space(status.st_size), entry.path

    @contextlib.contextmanager
    def _file(self, name: str) -> Iterator[int]:
        descriptor = os.open(os.path.join(self._directory, name), _OPEN, 0o600)
        try:
            yield descriptor
        finally:
            os.close(descriptor)


def parse_size(size: int | str) -> int:
    """Return a number of bytes that was given as such, or as ``"20GB"`` or ``"512MiB"``.

    Raises ``ValueError``.
    """
    if isinstance(size, int) and not isinstance(size, bool) and size > 0:
        return size
    match = _SIZE.fullmatch(size) if isinstance(size, str) else None
    if match is not None:
        number, power, binary = match.groups()
        parsed = int(float(number) * (1024 if binary else 1000) ** _POWERS[power.lower()])
        if parsed and (power or not binary):
            return parsed
    msg = f"cache_size must be a number of bytes, or such as '20GB' or '512MiB', not {size!r}"
    raise ValueError(msg)


def _space(size: int) -> int:
    """Return what a copy takes on the disk."""
    return -(-size // _BLOCK) * _BLOCK


@contextlib.contextmanager
def _lock(descriptor: int, *, tries: int = 1) -> Iterator[bool]:
    """Hold a file's lock, and say whether it could be had; some milliseconds are waited for it.

    Where there are no locks it counts as had: two may remove copies then, and too many of them.
    """
    is_held = True
    for _ in range(tries):
        try:
            try_lock(descriptor)
        except BlockingIOError:
            is_held = False
            if tries > 1:
                time.sleep(0.001)
        except OSError:
            is_held = True
            break
        else:
            is_held = True
            break
    try:
        yield is_held
    finally:
        if sys.platform != "win32":
            # A child that was forked meanwhile has the file open, too, and would hold the lock.
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_UN)


def _entries(directory: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []
