"""Temporary files on their way to their keys: written, flushed, and renamed together."""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import os
import sys
from typing import TYPE_CHECKING, Any

from ..copying import copy, write
from ..durable import check_written, start_writeback, sync_file
from ..payload import StagedFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

    from ..durable import Directories

# What link(2) answers where there are no hard links, or none between these two places.
NO_LINKS = frozenset({errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})

# Long past any upload.
_ABANDONED = dt.timedelta(days=1)

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


def sweep_older(fs: Any, own: str) -> None:
    """Remove from an fsspec file system what lies beside a new file and is older by a day.

    There are no locks to say whose it is. Both times are the other side's; where it tells none,
    or refuses, nothing is removed.
    """
    with contextlib.suppress(Exception):
        now = fs.modified(own)
        for path in fs.find(own.rpartition("/")[0]):
            if now - fs.modified(path) > _ABANDONED:
                fs.rm_file(path)
