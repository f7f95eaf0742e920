"""Leftovers: temporary files and directories whose maker was killed, and who removes them.

Whoever makes one holds a lock on it for as long as he lives, however he ends. The next process
that makes one in the same directory removes those whose lock is free, once; no clock is asked.

The lock is ``flock`` on the file or directory itself; a forked child holds it, too. Where locks
are refused, as a network file system refuses them for directories, and on Windows, nothing is
removed. Only what is this user's, and has a name as it is given here, is taken for a leftover.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
import sys
from typing import TYPE_CHECKING

from .folder import DESCRIPTORS, Folder

if sys.platform == "win32":
    import msvcrt

    def try_lock(descriptor: int) -> None:
        """Take a file's lock, or raise ``BlockingIOError`` if somebody has it."""
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            raise BlockingIOError(*error.args) from error
else:
    import fcntl

    def try_lock(descriptor: int) -> None:
        """Take a file's lock, or raise ``BlockingIOError`` if somebody has it."""
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


if TYPE_CHECKING:
    from collections.abc import Callable

_NEW: int = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
_SEEN: int = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_MANY = 10_000

_swept: set[tuple[str, str]] = set()


def new_file(directory: str, prefix: str, mode: int = 0o600) -> tuple[str, int]:
    """Make a file, open for reading and writing; it is kept until the descriptor is closed."""
    return _claim(directory, prefix, lambda path: os.open(path, _NEW, mode))


def new_directory(directory: str, prefix: str) -> tuple[str, int]:
    """Make a directory of this user's alone; it is kept until the descriptor is closed."""

    def make(path: str) -> int:
        os.mkdir(path, 0o700)
        # Windows opens no directory, and so locks none.
        return os.open(path if sys.platform != "win32" else os.devnull, _SEEN)

    return _claim(directory, prefix, make)


def remove_tree(path: str, *, descriptors: bool = DESCRIPTORS, opened: int | None = None) -> None:
    """Remove a directory of ours with all that is in it, as far as that can be done.

    Nothing is done if it is not the directory that is ``opened``. Not by ``shutil.rmtree``, which
    in some Pythons recurses as deep as the tree goes.
    """
    suppress = contextlib.suppress(OSError)
    with suppress:
        os.chmod(path if opened is None else opened, 0o700)
        with Folder(path, descriptors=descriptors) as folder:
            if opened is not None and not os.path.samestat(folder.stat("."), os.fstat(opened)):
                return
            pending, directories = ["."], []
            while pending:
                here = pending.pop()
                directories.append(here)
                with suppress:
                    folder.chmod(here, 0o700)
                    for name, kind in folder.scan(here):
                        member = name if here == "." else f"{here}/{name}"
                        if kind == "directory":
                            pending.append(member)
                        else:
                            _remove(folder, member)
            for each in reversed(directories[1:]):
                with suppress:
                    folder.remove(each, "directory")
        os.rmdir(path)


def _remove(folder: Folder, member: str) -> None:
    with contextlib.suppress(OSError):
        if sys.platform == "win32":  # There a read-only file cannot be removed.
            folder.chmod(member, 0o600)
        folder.remove(member, "file")


def _claim(directory: str, prefix: str, make: Callable[[str], int]) -> tuple[str, int]:
    _sweep(directory, prefix)
    while True:
        path = os.path.join(directory, f"{prefix}{secrets.token_hex(8)}")
        try:
            descriptor = make(path)
        except FileNotFoundError:
            if not os.path.isdir(directory):
                raise
            continue  # taken for a leftover, between its making and its opening
        try:
            if sys.platform != "win32":
                try_lock(descriptor)
            if os.path.lexists(path):
                return path, descriptor
        except BlockingIOError:
            pass  # a sweeper has it
        except OSError:
            return path, descriptor  # no locks here, so nobody removes it
        os.close(descriptor)


def _sweep(directory: str, prefix: str) -> None:
    """Remove leftovers; once a process, since a directory may hold a lot besides."""
    place = (os.path.abspath(directory), prefix)
    if place in _swept or sys.platform == "win32":
        return
    if len(_swept) >= _MANY:
        _swept.clear()
    _swept.add(place)
    ours = re.compile(re.escape(prefix) + "[0-9a-f]{16}")
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            if ours.fullmatch(entry.name):
                # What vanishes meanwhile, or cannot be had, is no trouble of ours.
                with contextlib.suppress(OSError):
                    _remove_left(entry.path)


def _remove_left(path: str) -> None:
    descriptor = os.open(path, _SEEN)
    try:
        status = os.fstat(descriptor)
        if status.st_uid != os.geteuid():
            return
        try_lock(descriptor)
        if stat.S_ISDIR(status.st_mode):
            remove_tree(path, opened=descriptor)
        elif stat.S_ISREG(status.st_mode):
            os.unlink(path)
    finally:
        os.close(descriptor)
