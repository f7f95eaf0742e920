"""Contents: reading the files of a directory that is to be stored.

An error says which file it is about. That a file is read again, later, happens where its digest was
remembered: the bytes must have that digest, or the file has changed.
"""

from __future__ import annotations

import contextlib
import os
import stat
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from .digest import digest_of
from .errors import InvalidTreeError, SourceError
from .folder import DESCRIPTORS, Folder
from .packing import fill

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .member import Member
    from .payload import Payload, Stage

# A FIFO that has taken a file's place must not hang the one who opens it.
_READ: int = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)


class Contents:
    """The files of a directory that is to be staged."""

    def __init__(self, root: str, stage: Stage, *, descriptors: bool = DESCRIPTORS) -> None:
        self.root = root
        self.stage = stage
        self._descriptors = descriptors

    def folder(self) -> Folder:
        """Open the directory."""
        with naming(self.root):
            return Folder(self.root, descriptors=self._descriptors)

    def read(self, folder: Folder, member: Member, room: memoryview) -> None:
        """Read a small file whose digest was remembered into a buffer, one byte longer than it."""
        shown = folder.show(member.path)
        with opened(folder, member.path) as descriptor:
            count = read_file(descriptor, room, folder, member.path)
        if digest_of(room[:count], self.stage.algorithm) != member.digest:
            refuse_changed(shown)
        self.stage.report(1, count)

    def pack(self, digest: str, members: list[Member]) -> Payload:
        """Read the files of a pack after all."""
        with self.folder() as folder:
            payload = fill(self.stage, members, partial(self.read, folder))
        if payload.digest != digest:
            refuse_changed(self.root)
        return payload

    def large(self, member: Member) -> Payload:
        """Read a large file after all."""
        shown = os.path.join(self.root, member.path)
        with self.folder() as folder, opened(folder, member.path) as descriptor:
            payload = self.stage.copy(descriptor, shown)
        if payload.digest != member.digest:
            refuse_changed(shown)
        return payload


def open_file(folder: Folder, path: str) -> int:
    """Open whatever lies where a file was."""
    try:
        return folder.open(path, _READ)
    except OSError as error:
        refuse_unreadable(folder.show(path), error)


@contextlib.contextmanager
def opened(folder: Folder, path: str) -> Iterator[int]:
    """Open a regular file, for its descriptor."""
    descriptor = open_file(folder, path)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            refuse_changed(folder.show(path))
        yield descriptor
    finally:
        os.close(descriptor)


def read_file(descriptor: int, room: memoryview, folder: Folder, path: str) -> int:
    """Read a file to fill a buffer, or to its end; return how many bytes it was."""
    try:
        count = size = _read_some(descriptor, room)
        # A read may return less than there is, on network file systems say; one byte less than
        # there is room for is the expected end.
        while size and count < len(room) - 1:
            size = _read_some(descriptor, room[count:])
            count += size
    except OSError as error:
        refuse_unreadable(folder.show(path), error)
    return count


if hasattr(os, "readv"):

    def _read_some(descriptor: int, room: memoryview) -> int:
        return os.readv(descriptor, [room])
else:

    def _read_some(descriptor: int, room: memoryview) -> int:
        data = os.read(descriptor, len(room))
        room[: len(data)] = data
        return len(data)


@contextlib.contextmanager
def naming(shown: str) -> Iterator[None]:
    """Let errors say which path they are about."""
    try:
        yield
    except (InvalidTreeError, UnicodeEncodeError) as error:
        raise InvalidTreeError(f"{shown!r} cannot be stored: {error}") from error
    except OSError as error:
        refuse_unreadable(shown, error)


def refuse_unreadable(shown: str, error: OSError) -> NoReturn:
    """Raise :class:`SourceError` for what cannot be read."""
    raise SourceError(f"{shown!r} cannot be read: {error.strerror or error}") from error


def refuse_changed(shown: str) -> NoReturn:
    """Raise :class:`SourceError` for what is not what it was."""
    raise SourceError(f"{shown!r} changed while it was read: store it again when it is at rest")
