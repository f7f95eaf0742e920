"""Folders: reaching what is below a directory without following a link."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

    from .member import MemberKind

DESCRIPTORS = (
    {os.chmod, os.mkdir, os.open, os.readlink, os.rmdir, os.stat, os.symlink, os.unlink}
    <= os.supports_dir_fd
    and os.scandir in os.supports_fd
    and hasattr(os, "O_NOFOLLOW")
    and hasattr(os, "O_DIRECTORY")
)
"""Whether directories can be entered by descriptor here."""

_FLAGS: int = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
# Far fewer than the 256 files that a process may have open on some systems.
_ENTERED_MAX = 32
_DIRECTORY: int = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)
_LOOK: int = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)


class Folder:
    """A directory, whose members are named by their paths in a tree.

    With ``descriptors`` each directory on the way is opened relative to the one above it, so
    that nobody who puts a link in the place of one can lead the way out. However deep the tree,
    few are open at a time. Without, the members are reached by their full paths, which is as
    safe where nobody else may write.

    ``path`` itself may be a link. With ``opened`` it only stands in messages, and the directory is
    the one that is open. Not thread-safe.
    """

    def __init__(
        self, path: str, *, descriptors: bool = DESCRIPTORS, opened: int | None = None
    ) -> None:
        self.path = path
        self._prefix = path if path.endswith(os.sep) else path + os.sep
        self._root: int | None = None
        if descriptors:
            self._root = os.open(path, _DIRECTORY) if opened is None else os.dup(opened)
        # The directory entered last, and those above it: the next member is most often there,
        # or not far from there.
        self._entered: list[tuple[str, int]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the descriptors."""
        while self._entered:
            os.close(self._entered.pop()[1])
        if self._root is not None:
            os.close(self._root)
            self._root = None

    def show(self, path: str) -> str:
        """Return a member's full path."""
        return self.path if path == "." else self._prefix + path.replace("/", os.sep)

    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        """Open a file or directory, and return the descriptor."""
        name, parent = self._at(path)
        return os.open(name, flags | _FLAGS, mode, dir_fd=parent)

    def stat(self, path: str) -> os.stat_result:
        """Return a member's own status, not that of a link's target."""
        name, parent = self._at(path)
        return os.stat(name, dir_fd=parent, follow_symlinks=path == ".")

    def scan(self, path: str) -> list[tuple[str, MemberKind | None]]:
        """Return the names in a directory and what they are, in no order."""
        if self._root is None:
            return _scanned(self.show(path))
        descriptor = self.open(path, _DIRECTORY)
        try:
            return _scanned(descriptor)
        finally:
            os.close(descriptor)

    def readlink(self, path: str) -> str:
        """Return a link's target."""
        name, parent = self._at(path)
        return os.readlink(name, dir_fd=parent)

    def mkdir(self, path: str) -> None:
        """Make a directory that is this user's alone."""
        name, parent = self._at(path)
        os.mkdir(name, 0o700, dir_fd=parent)

    def symlink(self, target: str, path: str) -> None:
        """Make a link."""
        # Windows wants to know; elsewhere it makes no difference.
        above = os.path.dirname(self.show(path))
        to_directory = os.name == "nt" and os.path.isdir(os.path.join(above, target))
        name, parent = self._at(path)
        os.symlink(target.replace("/", os.sep), name, to_directory, dir_fd=parent)

    def chmod(self, path: str, mode: int) -> None:
        """Set the mode of a member that is no link."""
        name, parent = self._at(path)
        if parent is None:
            os.chmod(name, mode)
            return
        try:
            # By its name, chmod would follow a link that has taken its place.
            descriptor = os.open(name, _LOOK | _FLAGS, dir_fd=parent)
        except PermissionError:  # a link would be ELOOP; this is a member that is closed to us
            os.chmod(name, mode, dir_fd=parent)
            return
        try:
            os.fchmod(descriptor, mode)
        finally:
            os.close(descriptor)

    def remove(self, path: str, kind: MemberKind) -> None:
        """Remove a file, a link, or an empty directory."""
        name, parent = self._at(path)
        (os.rmdir if kind == "directory" else os.unlink)(name, dir_fd=parent)

    def _at(self, path: str) -> tuple[str, int | None]:
        """Return the path and ``dir_fd`` by which the functions of :mod:`os` reach a member."""
        if self._root is None:
            return self.show(path), None
        parent, _, name = path.rpartition("/")
        if self._entered and self._entered[-1][0] == parent:  # most often
            return name, self._entered[-1][1]
        return name, self._enter(parent, self._root)

    def _enter(self, parent: str, root: int) -> int:
        while self._entered and not f"{parent}/".startswith(f"{self._entered[-1][0]}/"):
            os.close(self._entered.pop()[1])
        path, here = self._entered[-1] if self._entered else ("", root)
        rest = parent[len(path) :].strip("/")
        for name in rest.split("/") if rest else ():
            here = os.open(name, _DIRECTORY | _FLAGS, dir_fd=here)
            path = f"{path}/{name}" if path else name
            self._entered.append((path, here))
            if len(self._entered) > _ENTERED_MAX:
                os.close(self._entered.pop(0)[1])
        return here


def _scanned(directory: int | str) -> list[tuple[str, MemberKind | None]]:
    with os.scandir(directory) as entries:
        return [
            (entry.name, "file" if entry.is_file(follow_symlinks=False) else _kind(entry))
            for entry in entries
        ]


def _kind(entry: os.DirEntry[str]) -> MemberKind | None:
    if entry.is_symlink():
        return "symlink"
    return "directory" if entry.is_dir(follow_symlinks=False) else None
