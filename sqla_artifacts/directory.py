"""Directories: storing one as a tree.

What is stored of a directory is what its manifest lists: names, permission bits, contents
and symbolic links; not owners, times, extended attributes, nor that two names are links to
one file.

It is read in one pass, in member order. The bytes that are staged are those whose digests are
listed, whatever happens to the directory meanwhile; a file that changes while it is read, or
a directory that changes while it or anything below it is, is refused as far as sizes and
times show it.

With a stat cache (see :mod:`.stat_cache`) a file that has not changed since it was last read is
not read again, unless its bytes turn out not to be in the store.
"""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from .contents import Contents, naming, open_file, read_file, refuse_changed, refuse_unreadable
from .digest import digest_of
from .errors import InvalidTreeError
from .folder import DESCRIPTORS
from .member import (
    PACKED_BELOW,
    Member,
    MemberKind,
    check_length,
    check_name,
    check_target,
    encode,
)
from .packing import Draft
from .payload import Payload
from .reference import NAME_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .folder import Folder
    from .payload import Stage
    from .stat_cache import Directory, Sightings

# Set-id and sticky bits are not for others to set.
_MODE = 0o777


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

    Costs an open, a read and two looks at its status for each file, and that all bytes are hashed,
    those of packed files twice. In memory are the members, and 1 MiB of content.
    """
    contents = Contents(os.fspath(path), stage, descriptors=descriptors)
    stage.expect(None)
    with contextlib.ExitStack() as opened:
        folder = opened.enter_context(contents.folder())
        seen = None
        if stage.stat_cache is not None:
            seen = opened.enter_context(stage.stat_cache.session(stage.algorithm))
        draft = Draft(stage, partial(contents.read, folder), contents.pack, seen)
        opened.enter_context(contextlib.closing(draft))
        _Walk(contents, folder, draft, seen).run()
        manifest, parts = draft.finish()
        data = manifest.format()
    return TreePayload(digest_of(data, stage.algorithm), len(data), data, parts, manifest.size)


@dataclass(frozen=True)
class _Level:
    """A directory that is being walked."""

    path: str
    status: os.stat_result
    entries: Iterator[tuple[str, MemberKind | None]]
    seen: Directory | None


class _Walk:
    """One pass over a directory, in member order."""

    def __init__(
        self, contents: Contents, folder: Folder, draft: Draft, seen: Sightings | None
    ) -> None:
        self._contents = contents
        self._folder = folder
        self._draft = draft
        self._seen = seen
        self._algorithm = contents.stage.algorithm

    def run(self) -> None:
        levels = [self._enter(".")]
        while levels:
            below = self._add_entries(levels[-1])
            if below is not None:
                levels.append(self._enter(below))
            else:
                self._leave(levels.pop())

    def _enter(self, path: str) -> _Level:
        shown = self._folder.show(path)
        with naming(shown):
            status = self._folder.stat(path)
            entries = self._folder.scan(path)
            entries.sort(key=lambda entry: encode(entry[0]))
        self._draft.add(Member(path, "directory", status.st_mode & _MODE))
        seen = None if self._seen is None else self._seen.enter(shown)
        return _Level(path, status, iter(entries), seen)

    def _leave(self, level: _Level) -> None:
        shown = self._folder.show(level.path)
        with naming(shown):
            after = self._folder.stat(level.path)
        if _differs(after, level.status):
            refuse_changed(shown)
        if self._seen is not None and level.seen is not None:
            self._seen.leave(level.seen)

    def _add_entries(self, level: _Level) -> str | None:
        """Add what is in a directory, up to the next one below, whose path is returned."""
        above = "" if level.path == "." else f"{level.path}/"
        for name, kind in level.entries:
            path = above + name
            if kind == "file" and path.isascii() and len(name) <= NAME_MAX > len(above):
                self._add_file(level, name, path)
                continue
            with naming(self._folder.show(path)):
                check_name(encode(name))
                check_length(encode(path))
                if kind is None:
                    raise InvalidTreeError("it is neither a file nor a directory nor a link")
                if kind == "symlink":
                    self._draft.add(self._link(path))
            if kind == "directory":
                return path
            if kind == "file":
                self._add_file(level, name, path)
        return None

    def _link(self, path: str) -> Member:
        target = self._folder.readlink(path).replace(os.sep, "/")
        check_target(encode(target), path.count("/"))
        return Member(path, "symlink", target=target)

    def _add_file(self, level: _Level, name: str, path: str) -> None:
        if level.seen is not None and self._add_known(level.seen, name, path):
            return
        descriptor = open_file(self._folder, path)
        try:
            status = os.fstat(descriptor)
            if status.st_size < PACKED_BELOW:
                digest = self._add_small(descriptor, path, status)
            else:
                digest = self._add_large(descriptor, path, status)
        finally:
            os.close(descriptor)
        if level.seen is not None:
            level.seen.note(encode(name), status, digest)

    def _add_small(self, descriptor: int, path: str, status: os.stat_result) -> str:
        size = status.st_size
        room = self._draft.room(size) if size else memoryview(bytearray(1))
        if (
            not stat.S_ISREG(status.st_mode)
            or read_file(descriptor, room, self._folder, path) != size
            or _differs(os.fstat(descriptor), status)
        ):
            refuse_changed(self._folder.show(path))
        digest = digest_of(room[:size], self._algorithm)
        member = Member(path, "file", status.st_mode & _MODE, size, digest)
        if size:
            self._draft.add_read(member)
        else:
            self._draft.add(member)
            self._contents.stage.report(1, 0)
        return digest

    def _add_large(self, descriptor: int, path: str, status: os.stat_result) -> str:
        shown = self._folder.show(path)
        payload = self._contents.stage.copy(descriptor, shown)
        if payload.size != status.st_size or not stat.S_ISREG(status.st_mode):
            refuse_changed(shown)
        member = Member(path, "file", status.st_mode & _MODE, payload.size, payload.digest)
        self._draft.add_large(member, payload)
        return payload.digest

    def _add_known(self, seen: Directory, name: str, path: str) -> bool:
        """Add a file whose digest is remembered; say whether it is."""
        try:
            status = self._folder.stat(path)
        except OSError as error:
            refuse_unreadable(self._folder.show(path), error)
        digest = seen.digest(encode(name), status)
        if digest is None or not stat.S_ISREG(status.st_mode):
            return False
        member = Member(path, "file", status.st_mode & _MODE, status.st_size, digest)
        if not member.size:
            self._draft.add(member)
        elif member.size < PACKED_BELOW:
            self._draft.add_unread(member)
        else:
            content = partial(self._contents.large, member)
            self._draft.add_large(member, Payload(digest, member.size, content))
        return True


def _differs(status: os.stat_result, other: os.stat_result) -> bool:
    # Not the inode's number, which some network file systems make up anew.
    return status.st_mtime_ns != other.st_mtime_ns or status.st_size != other.st_size
