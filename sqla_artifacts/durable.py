"""Durability: what makes written bytes survive a power failure.

A new file is durable once its bytes are flushed (:func:`sync_file`) and the directory that
names it is, too (:func:`sync_directory`), and the directory above that one if it is new
(:class:`Directories`). Many files share one flush of their whole file system
(:func:`opened_for_syncfs`), which costs about as much as flushing one of them.

Every function here raises the ``OSError`` of a flush that failed: after it, nobody knows
what the disk holds.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
import re
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import NoReturn

if sys.platform == "darwin":
    import fcntl

# Where syncfs(2) is known to wait for the data of every file and to report what failed, by
# the f_type of statfs(2): ext2/3/4, XFS, Btrfs, F2FS, tmpfs. Elsewhere it may do less: FUSE
# does not pass it on, and overlayfs does not report errors of the file system beneath.
_SYNCFS_TYPES = frozenset({0xEF53, 0x58465342, 0x9123683E, 0xF2F52010, 0x01021994})

# Before Linux 5.8 syncfs(2) returned success whatever happened to the data.
_SYNCFS_REPORTS_ERRORS = (5, 8)

_SYNC_FILE_RANGE_WAIT_BEFORE = 1
_SYNC_FILE_RANGE_WRITE = 2

# What fsync(2) answers for a directory on file systems that have nothing to flush for one.
_NOT_FOR_DIRECTORIES = frozenset({errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF})


def sync_file(descriptor: int) -> None:
    """Flush a file's bytes and size to its device."""
    if sys.platform == "darwin":
        # fsync(2) there leaves the bytes in the drive's own volatile cache.
        with contextlib.suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
    os.fsync(descriptor)


def sync_directory(path: str) -> None:
    """Flush a directory's entries; nothing where the platform cannot (Windows)."""
    if sys.platform == "win32":
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync_file(descriptor)
    except OSError as error:
        if error.errno not in _NOT_FOR_DIRECTORIES:
            raise
    finally:
        os.close(descriptor)


def start_writeback(descriptor: int, offset: int, size: int) -> None:
    """Ask the kernel to begin to write out a range now, so that a later flush waits less.

    A hint: nothing is awaited, and errors are left to that flush to report.
    """
    function = _sync_file_range()
    if function is not None:
        function(descriptor, offset, size, _SYNC_FILE_RANGE_WRITE)


def check_written(descriptor: int) -> None:
    """Raise what writing a file out has met so far, unless somebody has been told.

    For a file that was written before :func:`opened_for_syncfs` was entered: the flush writes the
    rest of it, but does not report what failed earlier.
    """
    function = _sync_file_range()
    if function is not None and function(descriptor, 0, 0, _SYNC_FILE_RANGE_WAIT_BEFORE):
        _raise_errno()


@contextlib.contextmanager
def opened_for_syncfs(directory: str) -> Iterator[Callable[[], None] | None]:
    """Yield a function that flushes all of the directory's file system, or None.

    It is None where ``syncfs`` is missing or cannot be trusted. Errors are reported for what
    was written after this context was entered: enter it first.
    """
    function = _syncfs()
    if function is None:
        yield None
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield functools.partial(function, descriptor) if _trusted(descriptor) else None
    finally:
        os.close(descriptor)


class Directories:
    """The directories that one piece of work needs below ``root``, made and then settled.

    ``settled`` is shared by all work of a process: the directories whose own entries are known to
    be durable. One that merely exists is not known to be: whoever made it may not have
    flushed it yet, or may never have.
    """

    def __init__(self, root: str, settled: set[str]) -> None:
        self._root = root
        self._settled = settled
        self._seen: set[str] = set()
        self._changed: set[str] = set()
        self._above: set[str] = set()

    def make(self, path: str) -> None:
        """Make a directory, the root or below it, in which an entry is about to change."""
        self._changed.add(path)
        self._make(path)

    def remake(self, path: str) -> None:
        """Make it again, after all: somebody has removed it."""
        self._settled.clear()
        self._seen.clear()
        self._make(path)

    def settle(self, sync_all: Callable[[], None] | None = None) -> None:
        """Make all the entries durable, with ``sync_all`` if that flushes the whole file system."""
        if sync_all is not None:
            sync_all()
        else:
            for path in self._changed:
                sync_directory(path)
        for path in self._above:
            # Not ours: if it may not even be read, whoever made it has to see to it.
            with contextlib.suppress(PermissionError):
                sync_directory(path)
        self._settled |= self._seen

    def _make(self, path: str) -> None:
        if path in self._settled or path in self._seen:
            return
        if path == self._root:
            self._make_root()
        else:
            parent = os.path.dirname(path)
            self._make(parent)
            with contextlib.suppress(FileExistsError):
                os.mkdir(path)
            self._changed.add(parent)
        self._seen.add(path)

    def _make_root(self) -> None:
        place = os.path.realpath(self._root)
        self._above.add(os.path.dirname(place))
        while not os.path.isdir(place):
            place = os.path.dirname(place)
            self._above.add(os.path.dirname(place))
        os.makedirs(self._root, exist_ok=True)


@functools.cache
def _library() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    try:
        return ctypes.CDLL(None, use_errno=True)
    except OSError:
        return None


@functools.cache
def _sync_file_range() -> Callable[[int, int, int, int], int] | None:
    function = getattr(_library(), "sync_file_range", None)
    if function is not None:
        function.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    return function


@functools.cache
def _syncfs() -> Callable[[int], None] | None:
    function = getattr(_library(), "syncfs", None)
    if function is None or _kernel() < _SYNCFS_REPORTS_ERRORS:
        return None
    function.argtypes = [ctypes.c_int]

    def syncfs(descriptor: int) -> None:
        if function(descriptor):
            _raise_errno()

    return syncfs


def _raise_errno() -> NoReturn:
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number))


def _kernel() -> tuple[int, int]:
    match = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _trusted(descriptor: int) -> bool:
    # struct statfs differs between architectures, but f_type comes first in all of them;
    # where it is not a long, an unknown number is read, and each file is flushed by itself.
    buffer = (ctypes.c_long * 64)()
    function = getattr(_library(), "fstatfs", None)
    if function is None or function(descriptor, buffer):
        return False
    return buffer[0] & 0xFFFFFFFF in _SYNCFS_TYPES
