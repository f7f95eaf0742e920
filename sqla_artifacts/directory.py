"""Directories: storing one as a tree.

What is stored of a directory is what its manifest lists: names, permission bits, contents
and symbolic links; not owners, times, extended attributes, nor that two names are links to
one file.

It is read in one pass, in member order. The bytes that are staged are those whose digests are
listed, whatever happens to the directory meanwhile; a file that changes while it is read, or
a directory that changes while it or anything below it is, is refused as far as sizes and
times show it.
"""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, NoReturn

from .digest import Hasher, digest_of, hasher
from .errors import InvalidTreeError, SourceError
from .folder import DESCRIPTORS, Folder
from .member import (
    PACKED_BELOW,
    Member,
    MemberKind,
    check_length,
    check_name,
    check_target,
    closes_after,
    closes_before,
    encode,
)
from .payload import Payload
from .tree import Manifest, Part

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .payload import Stage, StagedFile

# Set-id and sticky bits are not for others to set.
_MODE = 0o777
# A FIFO that has taken a file's place must not hang the one who opens it.
_READ: int = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)


@dataclass(slots=True, eq=False)
class TreePayload(Payload):
    """A tree's manifest, and ``total``, the sum of the sizes of its files."""

    total: int = 0


def stage_directory(
    path: str | os.PathLike[str], stage: Stage, *, descriptors: bool = DESCRIPTORS
) -> TreePayload:
    """Make a payload of a directory: its manifest, with packs and large files as its parts.

    ``path`` itself may be a symbolic link. Raises :class:`SourceError` for what cannot be
    read or is seen to change, and :class:`InvalidTreeError` for what no tree can hold:
    sockets, FIFOs, devices, links that may lead out of the tree.

    In memory are the members, and the content of one file of less than 1 MiB.
    """
    root = os.fspath(path)
    with _naming(root):
        folder = Folder(root, descriptors=descriptors)
    with folder, contextlib.closing(_Draft(stage)) as draft:
        for member in _walk(folder):
            if member.kind == "file":
                _add_file(draft, folder, member.path)
            else:
                draft.members.append(member)
        return draft.finish()


class _Draft:
    """A tree whose members are still coming in."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.members: list[Member] = []
        self._total = 0
        self._packs: list[Part] = []
        self._parts: dict[str, Payload] = {}
        self._pack: tuple[BinaryIO, StagedFile, Hasher] | None = None
        self._pack_size = 0
        self._pack_open = contextlib.ExitStack()

    def add_large(self, path: str, mode: int, payload: Payload) -> None:
        """Take a file that is a blob of its own."""
        self._parts.setdefault(payload.digest, payload)
        self._add(Member(path, "file", mode, payload.size, payload.digest))

    def add_small(self, path: str, mode: int, data: bytes) -> None:
        """Take a file that is empty, or lies in a pack."""
        size, digest = len(data), digest_of(data, self.stage.algorithm)
        self._add(Member(path, "file", mode, size, digest))
        if not size:
            return
        if closes_before(self._pack_size, size):
            self._end_pack()
        if self._pack is None:
            fp, staged = self._pack_open.enter_context(self.stage.file())
            self._pack = fp, staged, hasher(self.stage.algorithm)
        self._pack[0].write(data)
        self._pack[2].update(data)
        self._pack_size += size
        if closes_after(size, digest):
            self._end_pack()

    def finish(self) -> TreePayload:
        """Return the tree's payload."""
        self._end_pack()
        manifest = Manifest(tuple(self.members), tuple(self._packs))
        payload = self.stage.data(manifest.format())
        parts = tuple(self._parts.values())
        return TreePayload(payload.digest, payload.size, payload.content, parts, manifest.size)

    def close(self) -> None:
        """Drop a pack that has not been ended."""
        self._pack_open.close()

    def _add(self, member: Member) -> None:
        self.members.append(member)
        self._total += member.size
        self.stage.check_size(self._total)

    def _end_pack(self) -> None:
        if self._pack is None:
            return
        _, staged, hashed = self._pack
        self._pack_open.close()
        payload = Payload(hashed.hexdigest(), self._pack_size, staged)
        self._parts.setdefault(payload.digest, payload)
        self._packs.append(Part(payload.digest, payload.size))
        self._pack, self._pack_size = None, 0


@dataclass(frozen=True)
class _Level:
    """A directory that is being walked."""

    path: str
    status: os.stat_result
    entries: Iterator[tuple[str, MemberKind | None]]

    @property
    def member(self) -> Member:
        return Member(self.path, "directory", self.status.st_mode & _MODE)


def _walk(folder: Folder) -> Iterator[Member]:
    """Return all members in order; of a file, only its path."""
    levels = [_level(folder, ".")]
    yield levels[0].member
    while levels:
        above = levels[-1]
        name, kind = next(above.entries, ("", None))
        if not name:
            shown = folder.show(above.path)
            with _naming(shown):
                after = folder.stat(above.path)
            if _state(after) != _state(above.status):
                _refuse_changed(shown)
            levels.pop()
            continue
        path = name if above.path == "." else f"{above.path}/{name}"
        with _naming(folder.show(path)):
            raw = encode(path)
            check_name(encode(name))
            check_length(raw)
            if kind is None:
                raise InvalidTreeError("it is neither a file nor a directory nor a link")
            if kind == "symlink":
                target = folder.readlink(path).replace(os.sep, "/")
                check_target(encode(target), raw.count(b"/"))
                member = Member(path, "symlink", target=target)
            else:
                member = Member(path, kind)
        if kind == "directory":
            levels.append(_level(folder, path))
            member = levels[-1].member
        yield member


def _level(folder: Folder, path: str) -> _Level:
    with _naming(folder.show(path)):
        status = folder.stat(path)
        entries = folder.scan(path)
        entries.sort(key=lambda entry: encode(entry[0]))
    return _Level(path, status, iter(entries))


def _add_file(draft: _Draft, folder: Folder, path: str) -> None:
    shown = folder.show(path)
    with _naming(shown):
        descriptor = folder.open(path, _READ)
    try:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            _refuse_changed(shown)
        mode, size = before.st_mode & _MODE, before.st_size
        if size >= PACKED_BELOW:
            payload = draft.stage.copy(descriptor, shown)
            if payload.size != size:
                _refuse_changed(shown)
            draft.add_large(path, mode, payload)
            return
        with _naming(shown):
            data = _read(descriptor, size + 1)
        if len(data) != size or _state(os.fstat(descriptor)) != _state(before):
            _refuse_changed(shown)
        draft.add_small(path, mode, data)
    finally:
        os.close(descriptor)


def _read(descriptor: int, size: int) -> bytes:
    """Return the next bytes, fewer only at the end of the file."""
    data = os.read(descriptor, size)
    # A read may return less than there is, on network file systems say; one byte less than
    # was asked for is the expected end.
    while len(data) < size - 1 and (more := os.read(descriptor, size - len(data))):
        data += more
    return data


def _state(status: os.stat_result) -> tuple[int, int]:
    # Not the inode's number, which some network file systems make up anew.
    return status.st_size, status.st_mtime_ns


@contextlib.contextmanager
def _naming(shown: str) -> Iterator[None]:
    """Let errors say which path they are about."""
    try:
        yield
    except (InvalidTreeError, UnicodeEncodeError) as error:
        raise InvalidTreeError(f"{shown!r} cannot be stored: {error}") from error
    except OSError as error:
        raise SourceError(f"{shown!r} cannot be read: {error.strerror or error}") from error


def _refuse_changed(shown: str) -> NoReturn:
    raise SourceError(f"{shown!r} changed while it was read: store it again when it is at rest")
