"""Extractions: the private directory that an archive is unpacked into.

Nothing is written but below directories that this made itself, so nothing follows a link; and
nothing further than the limits.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from typing import TYPE_CHECKING

from ..digest import CHUNK
from ..errors import ArtifactError, InvalidTreeError, InvalidValueError, SourceError
from ..folder import Folder
from ..leftovers import new_directory
from ..member import Member, check_length, check_name, check_target, encode, shorten
from ..upload import reading

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..payload import Stage
    from .decoding import Stream

NAME_BYTES = 512
"""How many bytes of names, and of what else describes a member, are allowed for each."""

_CREATE: int = os.O_WRONLY | os.O_CREAT | os.O_EXCL
_MODE = 0o777
_IMPLIED = -1  # the mode of a directory of which only members have been seen
_DRIVE = re.compile(r"[A-Za-z]:(/|$)")


@contextlib.contextmanager
def extraction(name: str, limits: tuple[int, int], stage: Stage) -> Iterator[Extraction]:
    """Make a directory to extract to, and remove it at the end.

    ``limits`` are the bytes and the members that may be extracted; the stage has a limit on
    bytes, too.
    """
    place, kept = new_directory(tempfile.gettempdir(), "sqla_artifacts-")
    root = os.path.join(place, "tree")
    try:
        os.mkdir(root, 0o700)
        with Folder(root) as folder:
            extracted = Extraction(name, limits, stage, folder)
            try:
                yield extracted
            finally:
                extracted.remove()
    finally:
        for path in (root, place):
            with contextlib.suppress(OSError):
                os.rmdir(path)
        os.close(kept)


class Extraction:
    """A directory on its way out of an archive, whose name is for messages."""

    def __init__(self, name: str, limits: tuple[int, int], stage: Stage, folder: Folder) -> None:
        self.name = name
        self.max_size, self.max_members = limits
        self._stage = stage
        self._folder = folder
        # Parents come before what is in them.
        self._members = {".": Member(".", "directory", _IMPLIED)}
        self._size = 0
        self._names = 0

    # -- members ----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def member(self, name: str) -> Iterator[str]:
        """Give the path for a member's name, and have errors say which member they are about."""
        try:
            yield path_of(name)
        except InvalidTreeError as error:
            msg = f"the archive {self.name!r} is refused for its member {shorten(name)}: {error}"
            raise InvalidTreeError(msg) from error

    def directory(self, path: str, mode: int) -> None:
        """Make a directory."""
        there = self._members.get(path)
        if there is not None and there.kind == "directory" and there.mode == _IMPLIED:
            self._members[path] = there._replace(mode=mode & _MODE)
        else:
            self._add(Member(path, "directory", mode & _MODE))

    def symlink(self, path: str, target: str) -> None:
        """Make a link that stays inside."""
        check_target(_encode(target), path.count("/"))
        self._add(Member(path, "symlink", target=target))

    def file(self, path: str, mode: int, size: int, chunks: Iterable[bytes]) -> None:
        """Make a file of so many bytes."""
        self.expect(size)
        self._add(Member(path, "file", mode & _MODE, size))
        with os.fdopen(self._folder.open(path, os.O_WRONLY), "wb") as fp:
            for chunk in self.exactly(size, chunks):
                fp.write(chunk)
        self._size += size

    def link(self, path: str, mode: int, target: str) -> None:
        """Make a file of what a hard link leads to."""
        there = self._members.get(path_of(target))
        if there is None or there.kind != "file":
            raise InvalidTreeError(f"a hard link to {shorten(target)}, which is no file before it")
        with os.fdopen(self._folder.open(there.path, os.O_RDONLY), "rb") as fp:
            self.file(path, mode, there.size, iter(lambda: fp.read(CHUNK), b""))

    def finish(self) -> str:
        """Set the modes, and return the path of the directory."""
        # From below, as a directory may become one that we cannot enter.
        for member in reversed(self._members.values()):
            if member.kind == "file":
                self._folder.chmod(member.path, member.mode | 0o400)
            elif member.kind == "directory":
                mode = 0o755 if member.mode == _IMPLIED else member.mode
                self._folder.chmod(member.path, mode | 0o500)
        return self._folder.path

    def remove(self) -> None:
        """Remove everything below the directory."""
        # Not by shutil.rmtree, which in some Pythons recurses as deep as the tree goes.
        suppress = contextlib.suppress(OSError)
        for member in self._members.values():
            if member.kind == "directory" or (member.kind == "file" and os.name == "nt"):
                with suppress:
                    self._folder.chmod(member.path, 0o700)
        for path, member in reversed(self._members.items()):
            if path != ".":
                with suppress:
                    self._folder.remove(path, member.kind)

    def _add(self, member: Member) -> None:
        """Make a member, with the directories above it; a file empty."""
        missing = []
        parent = os.path.dirname(member.path)
        while parent and parent not in self._members:
            missing.append(parent)
            parent = os.path.dirname(parent)
        if parent and self._members[parent].kind != "directory":
            msg = f"it lies below {shorten(parent)}, which is a {self._members[parent].kind}"
            raise InvalidTreeError(msg)
        for path in reversed(missing):
            self._make(Member(path, "directory", _IMPLIED))
        self._make(member)

    def _make(self, member: Member) -> None:
        path = member.path
        if path in self._members:
            raise InvalidTreeError(f"it is there already, as a {self._members[path].kind}")
        self._names += len(_encode(path)) + len(_encode(member.target))
        self.expect_members(len(self._members), self._names)
        try:
            if member.kind == "directory":
                self._folder.mkdir(path)
            elif member.kind == "symlink":
                self._folder.symlink(member.target, path)
            else:
                os.close(self._folder.open(path, _CREATE))
        except FileExistsError as error:
            msg = "another member has that name, to the file system for temporary files"
            raise InvalidTreeError(msg) from error
        self._members[path] = member

    # -- limits -----------------------------------------------------------------------------------

    def expect(self, size: int) -> None:
        """Refuse the archive if it must not hold so many bytes more."""
        if size > self.max_size - self._size:
            msg = (
                f"the archive {self.name!r} holds more than max_size={self.max_size} bytes: "
                "raise that if you trust it"
            )
            raise InvalidValueError(msg)
        self._stage.check_size(self._size + size)

    def expect_members(self, count: int, names: int) -> None:
        """Refuse the archive if it must not have so many members, or that long names."""
        if count > self.max_members or names > (self.max_members + 128) * NAME_BYTES:
            msg = (
                f"the archive {self.name!r} holds more than max_members={self.max_members} files, "
                f"links and directories, or names longer than {NAME_BYTES} bytes on average: "
                "raise that if you trust it"
            )
            raise InvalidValueError(msg)

    # -- reading ----------------------------------------------------------------------------------

    def reading(self) -> contextlib.AbstractContextManager[None]:
        """Have what reading the archive raises arrive as a :class:`SourceError`."""
        return reading(self.name)

    def chunks(self, stream: Stream) -> Iterator[bytes]:
        """Return the rest of a stream of the archive's, piece by piece."""
        while True:
            with self.reading():
                data = stream.read(CHUNK)
            if not data:
                return
            yield data

    def exactly(self, size: int, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Return the chunks of a member, whose size may be a lie."""
        got = 0
        for chunk in chunks:
            got += len(chunk)
            if got > size:
                break
            yield chunk
        if got != size:
            raise self.damaged(f"a member does not have the {size} bytes that it should")

    def damaged(self, what: str) -> ArtifactError:
        """Return the error for an archive that cannot be read."""
        return SourceError(f"the archive {self.name!r} is damaged or cut off: {what}")


def path_of(name: str) -> str:
    """Return the path in a tree for a member's name, ``.`` for the tree itself."""
    if "\\" in name or name.startswith("/") or _DRIVE.match(name):
        raise InvalidTreeError("a name that is absolute, or has a drive letter or a backslash")
    names = [part for part in name.split("/") if part not in {"", "."}]
    for part in names:
        check_name(_encode(part))
    path = "/".join(names) or "."
    check_length(_encode(path))
    return path


def _encode(name: str) -> bytes:
    try:
        return encode(name)
    except UnicodeEncodeError as error:
        raise InvalidTreeError("a name that no file can have here") from error
