"""Scratch directories: where a process keeps what it is still writing.

Each process has one of its own under a store's ``tmp/`` and holds a lock on the file
``lock`` in it for as long as it lives, however it ends. A directory whose lock is free
belongs to nobody any more, and whoever comes next to write removes it.

The lock is ``flock``, which belongs to the open file, not to the process: a forked child
keeps its parent's directory locked, too, so it is removed no earlier than both are gone.
On a network file system it works between machines where the mount passes locks on. Where
locks are refused altogether, nothing is removed. A mount that grants them without telling
other machines (NFS with ``nolock`` or ``local_lock``) must not be shared by writers: one
could remove what the other is writing, whose ``put`` would then fail.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import tempfile
import weakref
from typing import TYPE_CHECKING

from ..copying import copy, write
from ..durable import check_written, start_writeback, sync_file
from ..payload import StagedFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

    from ..durable import Directories

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            raise BlockingIOError(*error.args) from error
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


_NAME = "lock"

# What link(2) answers where there are no hard links, or none between these two places.
NO_LINKS = frozenset({errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})

# Objects never change. Windows, though, would neither replace nor remove a read-only file.
_MODE = 0o666 if sys.platform == "win32" else 0o444

_PLAIN = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _PLAIN

# Windows flushes only what is open for writing.
_TO_SYNC = _PLAIN | (os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)

# Files open at a time, before the first is flushed; other threads have as many.
_OPEN_MAX = 8

# A file of this size is worth a system call of its own to have the disk begin early, even if
# the whole file system is flushed soon.
_EARLY = 1 << 18


# What removes those directories whose Scratch is gone while there is still a file in them.
_lingering: dict[str, Callable[[], object]] = {}


class Scratch:
    """A directory that is this process's own, under ``parent``; made and locked at once.

    Making one removes those beside it that were left behind. It goes with this object, or when the
    process ends; a file that is still in it then keeps it, at most until the end of the process.
    """

    def __init__(self, parent: str) -> None:
        for path, leave in list(_lingering.items()):
            _give_up(path, leave)
        self.pid = os.getpid()
        self.path, descriptor = _claim(parent)
        # At exit finalizers run last in, first out: this one after those of the files that will
        # be staged here, if it waits until then, for which it must outlive this object.
        leave = weakref.finalize(Scratch, _leave, self.path, descriptor, self.pid)
        weakref.finalize(self, _give_up, self.path, leave).atexit = False
        with os.scandir(parent) as entries:
            others = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        for other in others:
            if other != self.path:
                _sweep(other)


def _claim(parent: str) -> tuple[str, int]:
    while True:
        path = tempfile.mkdtemp(prefix="", dir=parent)
        lock = os.path.join(path, _NAME)
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
        except FileNotFoundError:
            continue  # taken for one left behind, between these two calls
        try:
            _lock(descriptor)
        except BlockingIOError:
            pass  # a sweeper has it
        except OSError:
            return path, descriptor  # no locks here, so nobody removes it
        else:
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.stat(lock), os.fstat(descriptor)):
                    return path, descriptor
        os.close(descriptor)


def _sweep(path: str) -> None:
    """Remove a directory if nobody holds its lock."""
    lock = os.path.join(path, _NAME)
    # A file of another user's, or one that vanishes meanwhile, is no trouble of ours.
    with contextlib.suppress(OSError):
        try:
            descriptor = os.open(lock, os.O_RDWR)
        except FileNotFoundError:
            os.rmdir(path)  # refused unless empty; whoever just made it makes another
            return
        try:
            _lock(descriptor)
            for name in os.listdir(path):
                if name != _NAME:
                    os.unlink(os.path.join(path, name))
            # The lock goes last, so that an interrupted sweep is taken up again.
            os.unlink(lock)
        finally:
            os.close(descriptor)
        os.rmdir(path)


def _give_up(path: str, leave: Callable[[], object]) -> None:
    """Leave a directory, now if it is empty, else later."""
    if _is_empty(path):
        _lingering.pop(path, None)
        leave()
    else:
        _lingering[path] = leave


def _leave(path: str, descriptor: int, pid: int) -> None:
    """Give up the lock, and remove the directory if it is empty."""
    if pid != os.getpid():
        return  # a forked child, which may be writing there and goes on holding the lock
    with contextlib.suppress(OSError):
        os.close(descriptor)
        if _is_empty(path):
            os.unlink(os.path.join(path, _NAME))
            os.rmdir(path)


def _is_empty(path: str) -> bool:
    try:
        return os.listdir(path) == [_NAME]
    except FileNotFoundError:
        return True


class Temporaries:
    """The temporary files of one piece of work; none is left at the end of the ``with``."""

    def __init__(
        self,
        scratch: str,
        numbers: Iterator[int],
        sync_all: Callable[[], None] | None = None,
        *,
        fast: bool = False,
    ) -> None:
        self._scratch = scratch
        self._numbers = numbers
        self._sync_all = sync_all
        self._fast = fast
        self._waiting: dict[str, str] = {}
        self._linked: set[str] = set()
        self._open: list[int] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
        for name in self._waiting:
            remove(name)

    def write(self, target: str, content: bytes | StagedFile) -> str:
        """Write what is to lie at ``target``, and return the name of the temporary file."""
        name = os.path.join(self._scratch, f"new-{next(self._numbers)}")
        self._waiting[name] = target
        if isinstance(content, StagedFile):
            self._link(os.fspath(content.path), name)
        else:
            descriptor = self._create(name)
            write(descriptor, content)
            if self._fast and (self._sync_all is None or len(content) >= _EARLY):
                start_writeback(descriptor, 0, len(content))
        if self._sync_all is not None:
            self._close()
        elif len(self._open) >= _OPEN_MAX:
            self.flush()
        return name

    def flush(self) -> None:
        """Make the bytes of all files so far durable."""
        if self._sync_all is None:
            for descriptor in self._open:
                sync_file(descriptor)
        else:
            self._sync_all()
            for name in self._linked:
                self._open.append(os.open(name, _TO_SYNC))
                check_written(self._open[-1])
                self._close()
        self._close()

    def move(self, directories: Directories) -> None:
        """Rename all files onto their targets, atomically each."""
        for name, target in list(self._waiting.items()):
            try:
                os.replace(name, target)
            except FileNotFoundError:
                directories.remake(os.path.dirname(target))
                os.replace(name, target)
            if name not in self._linked:
                del self._waiting[name]

    def _create(self, name: str) -> int:
        descriptor = os.open(name, _NEW, _MODE)
        self._open.append(descriptor)
        return descriptor

    def _link(self, path: str, name: str) -> None:
        try:
            os.link(path, name)
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            # On another file system, say.
            source = os.open(path, os.O_RDONLY | _PLAIN)
            try:
                copy(source, self._create(name), fast=self._fast)
            finally:
                os.close(source)
        else:
            # If the target is this very file already, the rename would leave this name behind.
            self._linked.add(name)
            descriptor = os.open(name, _TO_SYNC)
            self._open.append(descriptor)
            if sys.platform != "win32":
                os.fchmod(descriptor, _MODE)

    def _close(self) -> None:
        while self._open:
            os.close(self._open.pop())


def write_new(path: str, data: bytes) -> bool:
    """Write a file durably, in place; say whether there was none."""
    try:
        descriptor = os.open(path, _NEW, _MODE)
    except FileExistsError:
        return False
    try:
        write(descriptor, data)
        sync_file(descriptor)
    except BaseException:
        remove(path)
        raise
    finally:
        os.close(descriptor)
    return True


def remove(path: str) -> None:
    """Remove a file, if it is there."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
