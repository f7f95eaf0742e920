"""Scratch directories: where a process keeps what it is still writing.

A process that writes to a store has one of its own under the store's ``tmp/``, and holds a
lock on the file ``lock`` in it for as long as it lives, however it ends. A directory whose
lock is free belongs to nobody any more, and whoever comes next to write removes it.

The lock is ``flock``, which belongs to the open file, not to the process: a forked child
keeps its parent's directory locked, too, so it is removed no earlier than both are gone.
On a network file system it works between machines where the mount passes locks on. Where
locks are refused altogether, nothing is removed. A mount that grants them without telling
other machines (NFS with ``nolock`` or ``local_lock``) must not be shared by writers: one
could remove what the other is writing, whose ``put`` would then fail.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
import threading
import weakref
from pathlib import Path

from ..leftovers import try_lock

_NAME = "lock"

# One process makes one for a directory; a fork waits until it is made.
_making = threading.Lock()
_private: dict[str, Scratch] = {}
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_making.acquire, after_in_parent=_making.release, after_in_child=_making.release
    )


class Scratch:
    """A directory that is this process's own, under ``parent``; made and locked at once.

    Making one removes those beside it that were left behind. It goes with this object, or when the
    process ends; whoever keeps files there keeps this object, too.
    """

    def __init__(self, parent: str) -> None:
        self.pid = os.getpid()
        self.path, descriptor = _claim(parent)
        # At exit finalizers run last in, first out: this one after those of the staged files.
        weakref.finalize(self, _leave, self.path, descriptor, self.pid)
        with os.scandir(parent) as entries:
            others = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        for other in others:
            if other != self.path:
                _sweep(other)


def private_scratch() -> Path | None:
    """Return this process's scratch directory in the system's place for temporary files.

    For what is on its way to a store elsewhere. None if this user cannot have one there.
    """
    user = str(os.geteuid()) if hasattr(os, "geteuid") else "user"
    parent = os.path.join(tempfile.gettempdir(), f"sqla_artifacts-{user}")
    with _making, contextlib.suppress(OSError):
        with contextlib.suppress(FileExistsError):
            os.mkdir(parent, 0o700)
        status = os.lstat(parent)  # in a directory that is everybody's, it may be another's
        ours = not hasattr(os, "geteuid") or (
            status.st_uid == os.geteuid() and not status.st_mode & 0o077
        )
        if stat.S_ISDIR(status.st_mode) and ours:
            scratch = _private.get(parent)
            if scratch is None or scratch.pid != os.getpid() or not os.path.isdir(scratch.path):
                scratch = _private[parent] = Scratch(parent)
            return Path(scratch.path)
    return None


def _claim(parent: str) -> tuple[str, int]:
    while True:
        path = tempfile.mkdtemp(prefix="", dir=parent)
        lock = os.path.join(path, _NAME)
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
        except FileNotFoundError:
            continue  # taken for one left behind, between these two calls
        try:
            try_lock(descriptor)
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
            try_lock(descriptor)
            for name in os.listdir(path):
                if name != _NAME:
                    os.unlink(os.path.join(path, name))
            # The lock goes last, so that an interrupted sweep is taken up again.
            with contextlib.suppress(PermissionError):
                os.unlink(lock)
        finally:
            os.close(descriptor)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(lock)  # Windows removes no open file
        os.rmdir(path)


def _leave(path: str, descriptor: int, pid: int) -> None:
    """Give up the lock, and remove the directory if it is empty."""
    if pid != os.getpid():
        return  # a forked child, which may be writing there and goes on holding the lock
    with contextlib.suppress(OSError):
        os.close(descriptor)
        if os.listdir(path) == [_NAME]:
            os.unlink(os.path.join(path, _NAME))
            os.rmdir(path)
