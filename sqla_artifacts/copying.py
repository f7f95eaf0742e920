"""Copying a file while its digest is taken.

The fast way, on Linux: the kernel copies (``copy_file_range``, which shares the blocks where
the file system can), the disk begins to write at once if the copy is going to be flushed, and
a thread that follows the copy takes the digest of what has arrived, out of the page cache. The
disk is then the only thing that anybody waits for. The plain way reads, writes and hashes in turn.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import threading
from typing import IO, TYPE_CHECKING

from .digest import CHUNK, Algorithm, hasher
from .durable import start_writeback

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from types import TracebackType
    from typing import Self

# Below this, a thread costs more than it saves.
_FOLLOW_FROM = 4 * CHUNK

# What one system call copies: long enough to cost nothing, short enough to be followed closely.
_STEP = 8 * CHUNK

# What is hashed at a time: it is still in the core's own cache after it was read.
_HASHED = CHUNK // 4

# Answers of copy_file_range(2) that mean "not with these two files", not "the copy failed".
# A sandbox that does not know the call answers EPERM.
_NOT_THESE = frozenset({errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM})


def copy_and_hash(
    source: int,
    target: int,
    algorithm: Algorithm,
    *,
    fast: bool = True,
    flushed: bool = True,
    copied: Callable[[int], object] = lambda _: None,
) -> tuple[str, int]:
    """Copy as :func:`copying` does; ``copied`` is told of every step how many bytes it was."""
    with contextlib.closing(
        copying(source, target, algorithm, fast=fast, flushed=flushed)
    ) as steps:
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                found: tuple[str, int] = end.value
                return found
            copied(step)


def copying(
    source: int, target: int, algorithm: Algorithm, *, fast: bool = True, flushed: bool = True
) -> Generator[int, None, tuple[str, int]]:
    """Copy ``source`` to ``target`` (descriptors), and return digest and size of the copy.

    All of the source is copied, wherever its file position is, to the start of the target, which is
    empty and open for reading, too. A source that grows while it is copied is followed no
    further than it takes for the returned size to tell. Memory is bounded. The size of every step
    is yielded. Of a sparse file the fast way copies no holes. Unless the copy is going to be
    ``flushed``, when to write it out is left to the kernel.
    """
    size = 0
    expected = os.fstat(source).st_size
    if fast and expected >= _FOLLOW_FROM and hasattr(os, "preadv"):
        with _Follower(target, algorithm) as follower:
            for reached in _copied(source, target, expected, flushed=flushed):
                follower.reached(reached)
                yield reached - size
                size = reached
        return follower.hexdigest(), size
    digest = hasher(algorithm)
    for data in _chunks(source, 0, expected):
        write(target, data, size)
        digest.update(data)
        size += len(data)
        yield len(data)
    return digest.hexdigest(), size


def copy(source: int, target: int, *, fast: bool = True) -> int:
    """Copy as :func:`copy_and_hash` does, without a digest; return the size."""
    return max(_copied(source, target, os.fstat(source).st_size, fast=fast), default=0)


def _copied(
    source: int, target: int, expected: int, *, fast: bool = True, flushed: bool = True
) -> Iterator[int]:
    """Copy, yielding the size so far after every step, until it exceeds what was expected."""
    size = 0
    if fast and hasattr(os, "copy_file_range"):
        for reached in _copied_by_kernel(source, target, expected):
            if flushed:
                start_writeback(target, size, reached - size)
            size = reached
            yield size
    begun = size
    # Nothing is left after a complete copy. It is asked again all the same, because to
    # copy_file_range(2) files of some virtual file systems look empty.
    for data in _chunks(source, size, expected):
        write(target, data, size)
        size += len(data)
        if fast and flushed and size - begun >= _STEP:
            start_writeback(target, begun, size - begun)
            begun = size
        yield size


def _copied_by_kernel(source: int, target: int, expected: int) -> Iterator[int]:
    size = 0
    is_sparse = hasattr(os, "SEEK_HOLE") and os.fstat(source).st_blocks * 512 < expected
    hole, data = (0, 0) if is_sparse else (expected, expected)
    while size <= expected:
        if is_sparse and data <= size < expected:
            hole, data = _next_hole(source, size, expected)
        if hole <= size < data:
            # No further at a time than a copy would go, for those who follow.
            size = min(size + _STEP, data)
            os.ftruncate(target, size)
            yield size
            continue
        # Past the end, too: it may have grown.
        wanted = hole - size if size < hole < data else _STEP
        try:
            count = os.copy_file_range(source, target, min(_STEP, wanted), size, size)
        except OSError as error:
            if error.errno in _NOT_THESE:
                return
            raise
        if not count:
            return
        size += count
        yield size


def _next_hole(source: int, offset: int, size: int) -> tuple[int, int]:
    """Return where, from an offset on, a file has no blocks, and where it has some again.

    Both are ``size``, that of the file, if there is no such place.
    """
    position = os.lseek(source, 0, os.SEEK_CUR)
    try:
        hole = _sought(source, offset, os.SEEK_HOLE, size)
        return hole, _sought(source, hole, os.SEEK_DATA, size) if hole < size else size
    finally:
        os.lseek(source, position, os.SEEK_SET)


def _sought(source: int, offset: int, what: int, size: int) -> int:
    try:
        return min(os.lseek(source, offset, what), size)
    except OSError as error:
        if error.errno != errno.ENXIO:  # there is none, or the file has been cut
            raise
        return size


def _chunks(source: int, offset: int, expected: int) -> Iterator[bytes]:
    """Read from an offset to the end, or until more was read than was expected."""
    while offset <= expected and (data := _read(source, offset)):
        offset += len(data)
        yield data


if sys.platform == "win32":
    # There the file position is the only way to say where, so it moves.
    def _read(descriptor: int, offset: int) -> bytes:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, CHUNK)

    def _write_some(descriptor: int, data: memoryview, offset: int) -> int:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.write(descriptor, data)
else:

    def _read(descriptor: int, offset: int) -> bytes:
        return os.pread(descriptor, CHUNK, offset)

    def _write_some(descriptor: int, data: memoryview, offset: int) -> int:
        return os.pwrite(descriptor, data, offset)


def write(descriptor: int, data: bytes, offset: int = 0) -> None:
    """Write all of the bytes at an offset."""
    rest = memoryview(data)
    while rest:
        count = _write_some(descriptor, rest, offset)
        rest = rest[count:]
        offset += count


class _Follower:
    """Takes the digest of a file that grows, in a thread if there can be one."""

    def __init__(self, descriptor: int, algorithm: Algorithm) -> None:
        self._descriptor = descriptor
        self._hasher = hasher(algorithm)
        self._buffer = memoryview(bytearray(_HASHED))
        self._offset = 0
        self._changed = threading.Condition()
        self._reached = 0
        self._ended = False
        self._abandoned = False
        self._error: Exception | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        # A daemon, for the one case in which it is not joined: an interrupt during the join.
        thread = threading.Thread(target=self._follow, name="artifact digest", daemon=True)
        # There are limits to threads, and none starts when the interpreter is about to end.
        with contextlib.suppress(RuntimeError):
            thread.start()
            self._thread = thread
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._changed:
            self._ended = True
            self._abandoned = kind is not None
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()
        if kind is None and self._error is not None:
            raise self._error

    def reached(self, size: int) -> None:
        """Say how long the file is by now; raise what has stopped the thread, if it has."""
        if self._thread is None:
            self._catch_up(size)
            return
        with self._changed:
            if self._error is not None:
                raise self._error
            self._reached = size
            self._changed.notify()

    def hexdigest(self) -> str:
        """Return the digest, after the ``with`` block."""
        return self._hasher.hexdigest()

    def _follow(self) -> None:
        try:
            while self._wait():
                self._catch_up(self._reached)
        except Exception as error:  # noqa: BLE001 - raised where the copy is made
            self._error = error

    def _wait(self) -> bool:
        """Wait for more, or for the end; say whether there is more."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._reached > self._offset)
            return self._reached > self._offset and not self._abandoned

    def _catch_up(self, size: int) -> None:
        while self._offset < size and not self._abandoned:
            wanted = self._buffer[: size - self._offset]
            count = os.preadv(self._descriptor, [wanted], self._offset)
            if not count:
                raise OSError(errno.EIO, "the copy is shorter than what was copied")
            self._hasher.update(wanted[:count])
            self._offset += count


def has_descriptor(fp: IO[bytes]) -> bool:
    """Say whether a stream is a real file of the operating system's."""
    try:
        return fp.fileno() >= 0
    except (AttributeError, OSError):
        return False
