"""Stored members: what is in a stored directory, reached as with :mod:`pathlib`.

::

    layer = row.run / "weights" / "layer0.bin"      # no I/O
    layer.size, layer.exists()                      # the manifest is fetched, once for all
    layer.read_bytes()                              # this file's bytes, and no others
    torch.load(layer)                               # a local path: this file's shared checkout
    [m.path for m in row.run.glob("**/*.bin")]
    row.run.unpack("dest", members="weights/*")     # dest/<name>/weights/…, and nothing else

Symbolic links are followed within the directory, as an operating system would follow them.
``is_dir`` and ``is_file`` are properties, as those of a
:class:`~sqla_artifacts.stored_path.StoredPath` are. What is not there raises the
``FileNotFoundError`` (``NotADirectoryError``, ``IsADirectoryError``) that a local path would.
"""

from __future__ import annotations

import errno
import os
import posixpath
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypeAlias

from .checkout import check_out_file, unpack_file_to, unpack_part_to
from .errors import ArtifactError, StoreError
from .fetching import open_member
from .member import PACKED_BELOW, Member
from .reference import Reference, label_of
from .selection import matching, selection

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import timedelta

    from .progress import OnProgress
    from .stored_path import StoredPath

Members: TypeAlias = "str | Iterable[str | PurePath | StoredMember]"
"""Some members of a directory: a pattern, or their paths."""


class Difference(NamedTuple):
    """How two directories differ: the paths of members, in order."""

    added: list[str]
    removed: list[str]
    changed: list[str]


class StoredMember(os.PathLike[str]):
    """A file or directory inside a stored directory; making one does no I/O.

    An ``os.PathLike``: whatever wants a path gets that of a shared, read-only checkout, of a file
    by itself, of a directory that of the whole stored directory. Two are equal if their paths and
    the references of their directories are.
    """

    __slots__ = ("path", "root")

    def __init__(self, root: StoredPath, path: str) -> None:
        self.root = root
        self.path = path

    def __repr__(self) -> str:
        return f"<StoredMember {self.path!r} of {self.root!r}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, StoredMember):
            return NotImplemented
        return (self.path, self.root) == (other.path, other.root)

    def __hash__(self) -> int:
        return hash((self.path, self.root))

    def __reduce__(self) -> tuple[Any, ...]:
        return (StoredMember, (self.root, self.path))

    def __truediv__(self, path: str | PurePath) -> StoredMember:
        if not isinstance(path, str | PurePath):
            return NotImplemented
        return StoredMember(self.root, self._join(path))

    def __fspath__(self) -> str:
        return os.fspath(self.unpack())

    # -- what it is ------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The last part of the path; of the directory itself, that one's name."""
        return self.root.name if self.path == "." else posixpath.basename(self.path)

    @property
    def is_dir(self) -> bool:
        """Whether there is a directory."""
        return self._kind == "directory"

    @property
    def is_file(self) -> bool:
        """Whether there is a file."""
        return self._kind == "file"

    def exists(self) -> bool:
        """Say whether there is something, and not only a link that leads nowhere."""
        return self._kind is not None

    @property
    def member(self) -> Member:
        """The manifest's entry, of what a link leads to."""
        with self.root.finding():
            return self.root.manifest().find(self.path)

    @property
    def size(self) -> int:
        """The size in bytes: of the file, of all files of the directory."""
        member = self.member
        if member.kind == "file":
            return member.size
        return sum(below.size for below in self.members.values())

    @property
    def digest(self) -> str:
        """The digest of a file's bytes. A directory inside another has none."""
        return self._file().digest

    @property
    def members(self) -> Mapping[str, Member]:
        """The members of a directory by their paths in it; of a file, none."""
        home = self.member.path
        prefix = "" if home == "." else f"{home}/"
        return {
            member.path.removeprefix(prefix): member
            for member in self.root.manifest().members[1:]
            if member.path.startswith(prefix)
        }

    # -- what is in it ---------------------------------------------------------------------------

    def iterdir(self) -> Iterator[StoredMember]:
        """Return what is in a directory, in order."""
        self._check(self)
        return (self / path for path in self.members if "/" not in path)

    def glob(self, pattern: str) -> Iterator[StoredMember]:
        """Return the members of a directory that a pattern matches, in order.

        See :mod:`.selection` for patterns. Raises ``ValueError`` for what is none.
        """
        members = self.members
        found = matching(members, pattern)
        if pattern.endswith("/"):
            found = (path for path in found if members[path].kind == "directory")
        return (self / path for path in found)

    def diff(self, other: StoredPath | StoredMember) -> Difference:
        """Say what ``other`` has and this directory has not, what it lacks, and what differs.

        Members differ in kind, mode, content, or where a link leads. From the manifests alone.
        """
        self._check(self, other)
        ours, theirs = self.members, other.members
        changed = [p for p in ours if p in theirs and ours[p][1:] != theirs[p][1:]]
        return Difference(
            added=[path for path in theirs if path not in ours],
            removed=[path for path in ours if path not in theirs],
            changed=changed,
        )

    # -- its bytes -------------------------------------------------------------------------------

    def open(self) -> BinaryIO:
        """Open a file as a seekable binary stream; only what is read of it is fetched.

        A file of less than 1 MiB is fetched and verified now, a larger one is verified as
        ``ArtifactStore.open`` does, as far as it is read in order.
        """
        self._file()
        with self.root.naming():
            return open_member(self.root.store, self.root.manifest(), self.path)

    def read_bytes(self) -> bytes:
        """Return a file's bytes, verified."""
        with self.open() as stream:
            return stream.read()

    def read_text(self, encoding: str = "utf-8") -> str:
        """Return a file's text, verified."""
        return self.read_bytes().decode(encoding)

    def unpack(
        self,
        to: str | os.PathLike[str] | None = None,
        members: Members | None = None,
        *,
        progress: OnProgress | None = None,
    ) -> Path:
        """Return a local path that ends in this name; see :meth:`.StoredPath.unpack`.

        Without ``to`` it is a shared checkout: a file's own, of a directory the one of the whole
        stored directory. A link that leads out of a directory that is unpacked by itself is
        refused.
        """
        if to is None:
            if members is not None:
                msg = "members= without to=: a shared checkout is whole, so say where: to='./part'"
                raise ValueError(msg)
            return self._check_out(progress)
        store, manifest, member = self.root.store, self.root.manifest(), self.member
        if member.kind == "file":
            with self.root.naming():
                return unpack_file_to(store, manifest, self.path, Path(to), progress)
        with self.root.finding():
            chosen = selection(manifest, self._paths(members), self.path)
        with self.root.naming():
            return unpack_part_to(store, manifest, chosen, (Path(to), self.name), progress)

    async def aunpack(
        self,
        to: str | os.PathLike[str] | None = None,
        members: Members | None = None,
        *,
        progress: OnProgress | None = None,
    ) -> Path:
        """Return what :meth:`unpack` does, without holding up the event loop."""
        pool = self.root.store.pool
        return await pool.off_loop(self.unpack, to, members, progress=progress)

    def url(self, *, expires: timedelta) -> str:
        """Return a URL under which anybody can read a file of 1 MiB or more until it expires.

        Smaller ones lie in a pack with others. Otherwise as :meth:`.StoredPath.url`.
        """
        file = self._file()
        with self.root.naming():
            if file.size < PACKED_BELOW:
                msg = f"{self.path!r} lies in a pack with other files, which has no URL: open() it"
                raise StoreError(msg)
        alone = Reference("file", file.digest, file.size, label_of(self.name))
        return self.root.sibling(alone).url(expires=expires)

    def _check_out(self, progress: OnProgress | None) -> Path:
        if self.member.kind == "directory":
            return self.root.unpack(progress=progress) / self.path
        with self.root.naming():
            store, manifest = self.root.store, self.root.manifest()
            return check_out_file(store, manifest, self.path, progress)

    @property
    def _kind(self) -> str | None:
        try:
            return self.member.kind
        except ArtifactError:
            raise
        except OSError:
            return None

    def _file(self) -> Member:
        member = self.member
        if member.kind == "directory":
            with self.root.finding():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), self.path)
        return member

    def _join(self, path: str | PurePath) -> str:
        text = path.as_posix() if isinstance(path, PurePath) else path
        if text.startswith("/"):
            return text  # as pathlib has it; there is nothing at such a path
        names = [name for name in f"{self.path}/{text}".split("/") if name not in {"", "."}]
        return "/".join(names) or "."

    def _paths(self, members: Members | None) -> list[str]:
        """Return the paths in this directory that are asked for."""
        if members is None:
            return ["."]
        if isinstance(members, str):
            found = [self._below(each) for each in self.glob(members)]
            if not found:
                raise FileNotFoundError(errno.ENOENT, "Nothing matches the pattern", members)
            return found
        return [self._below(each) for each in members]

    def _below(self, path: str | PurePath | StoredMember) -> str:
        if not isinstance(path, StoredMember):
            return path.as_posix() if isinstance(path, PurePath) else path
        top = "" if self.path == "." else f"{self.path}/"
        if path.root != self.root or not path.path.startswith(top):
            msg = f"{path!r} is not in {self!r}"
            raise ValueError(msg)
        return path.path.removeprefix(top)

    def _check(self, *directories: StoredPath | StoredMember) -> None:
        for each in directories:
            if not each.is_dir:
                with self.root.finding():
                    if isinstance(each, StoredMember):
                        each.root.manifest().find(each.path)
                    raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), each.name)
