"""A directory of its own, out of the blobs of a tree."""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeAlias, TypeVar

from ..copying import copy_and_hash
from ..digest import Algorithm, digest_of, verify
from ..errors import BlobCorruptedError, InvalidTreeError, UnpackError
from ..folder import DESCRIPTORS, Folder
from ..leftovers import new_directory, remove_tree
from ..member import PACKED_BELOW, Member, check_portable
from ..placing import naming, new_sibling, place_directory
from .file import WRITE_BITS, copy_blob, read_into, write_all
from .filling import Filling, fillings, split

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ..tree import Manifest

T = TypeVar("T")

_CREATE: int = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)

# What is read of a pack at a time: it is still in the core's own cache when it is written.
_READ = 256 << 10

Each: TypeAlias = "Callable[[Callable[[Filling], None], Iterable[Filling]], object]"
"""Calls a function for every filling, in threads if it likes.

It does not return or raise while one still runs.
"""

Done: TypeAlias = "Callable[[int, int], object]"
"""What is told, in any thread, that so many files and bytes more are done."""


def in_turn(function: Callable[[T], None], items: Iterable[T]) -> None:
    """Call a function for one item after the other."""
    for item in items:
        function(item)


def _ignored(files: int, size: int) -> None:
    pass


def unpack_tree(
    manifest: Manifest,
    open_blob: Callable[[str], BinaryIO],
    target: str | os.PathLike[str],
    *,
    algorithm: Algorithm,
    read_only: bool = False,
    descriptors: bool = DESCRIPTORS,
    each: Each = in_turn,
) -> None:
    """Make a new directory of a tree.

    ``open_blob`` is called with the digest of a part, and returns a stream at its start; if
    that has a ``fileno()``, the file is taken to be the blob. For the rest, and what is raised,
    see :func:`unpack_members`.
    """
    unpack_members(
        manifest.members,
        fillings(manifest),
        lambda filling: open_blob(filling.blob.digest),
        target,
        algorithm=algorithm,
        read_only=read_only,
        descriptors=descriptors,
        each=each,
    )


def unpack_members(
    members: Sequence[Member],
    filled: Iterable[Filling],
    open_filling: Callable[[Filling], BinaryIO],
    target: str | os.PathLike[str],
    *,
    algorithm: Algorithm,
    read_only: bool = False,
    descriptors: bool = DESCRIPTORS,
    each: Each = in_turn,
    done: Done = _ignored,
) -> None:
    """Make a new directory of members, the first of which is the directory itself.

    ``open_filling`` returns a stream that stands at the start of a filling's range; if only some
    of the files in the range are wanted, it can seek.

    With ``read_only`` the files, not the directories, are without write permission.

    Raises :class:`UnpackError` where the directory cannot be made or there is something of
    its name; :class:`BlobCorruptedError` where a file's bytes are not those of its digest;
    :class:`InvalidTreeError` where a file has another size than the manifest says; and what
    ``open_filling`` raises.
    """
    path = Path(target)
    for member in members[1:]:
        check_portable(member.path)
        check_portable(member.target)
    temporary, kept = new_sibling(path, new_directory)
    opened = kept if descriptors else None
    unpacking = _Unpacking(
        members, path, temporary, open_filling, algorithm, read_only, opened, done
    )
    try:
        unpacking.make_empty()
        each(unpacking.fill, filled)
        unpacking.finish()
        place_directory(temporary, path, kept)
    except BaseException:
        remove_tree(os.fspath(temporary), descriptors=descriptors, opened=opened)
        raise
    finally:
        os.close(kept)


@dataclass(frozen=True)
class _Unpacking:
    """A tree on its way into a temporary directory, which is ``opened`` if that can be."""

    members: Sequence[Member]
    target: Path
    temporary: Path
    open_filling: Callable[[Filling], BinaryIO]
    algorithm: Algorithm
    read_only: bool
    opened: int | None
    done: Done
    # Threads that make small files at the same time only fight for the locks of Python and of the
    # file system.
    turn: threading.Lock = field(default_factory=threading.Lock)

    def make_empty(self) -> None:
        """Make the directories, and the files that need no bytes."""
        with self._folder() as folder:
            for member in self.members[1:]:
                if member.kind == "directory":
                    with self._making(folder, member):
                        folder.mkdir(member.path)
                elif member.kind == "file" and not member.size:
                    self._write(folder, member, b"", member.digest)
                    self.done(1, 0)

    def fill(self, filling: Filling) -> None:
        """Make the files that a range fills."""
        with self._folder() as folder, self.open_filling(filling) as source:
            if filling.is_large:
                self._write_large(folder, [member for _, member in filling.files], source)
            else:
                with self.turn:
                    self._write_packed(folder, filling, source)

    def finish(self) -> None:
        """Make the links, and set the modes of the directories."""
        with self._folder() as folder:
            for member in self.members:
                if member.kind == "symlink":
                    with self._making(folder, member):
                        folder.symlink(member.target, member.path)
            # From below, as a directory may become one that we cannot enter.
            for member in reversed(self.members):
                if member.kind == "directory":
                    with self._making(folder, member):
                        folder.chmod(member.path, member.mode)

    def _write_packed(self, folder: Folder, filling: Filling, source: BinaryIO) -> None:
        place = filling.start
        room = memoryview(bytearray(PACKED_BELOW))
        for run in split(filling, gap=0, size=_READ):
            if run.start > place:
                source.seek(run.start - place, os.SEEK_CUR)
            place = run.end
            data = read_into(source, room[: run.size])
            for at, member in run.files:
                begin = at - run.start
                content = data[begin : begin + member.size]
                self._write(folder, member, content, filling.blob.digest)
            self.done(len(run.files), run.size)

    def _write(self, folder: Folder, member: Member, data: bytes | memoryview, blob: str) -> None:
        if digest_of(data, self.algorithm) != member.digest:
            raise BlobCorruptedError(
                f"blob {blob} is corrupt: what it holds of {member.path!r} does not have the "
                f"digest {member.digest}"
            )
        _check_size(member, len(data))
        try:
            descriptor = self._create(folder, member)
            try:
                write_all(descriptor, data)
            finally:
                self._close(descriptor, folder, member)
        except OSError:
            with self._making(folder, member):
                raise

    def _write_large(self, folder: Folder, files: list[Member], source: BinaryIO) -> None:
        first, *others = files
        with self._creating(folder, first) as descriptor:
            path = self.target / first.path
            self._verify_copy(source, descriptor, path, first)
            for member in others:
                with self._creating(folder, member) as another, naming(self.target, member.path):
                    found = copy_and_hash(descriptor, another, self.algorithm, flushed=False)[0]
                    verify(found, member.digest)
                self.done(1, member.size)

    def _verify_copy(self, source: BinaryIO, target: int, path: Path, member: Member) -> None:
        left = member.size

        def copied(size: int) -> None:
            nonlocal left
            left -= size
            self.done(0, size)

        verify(copy_blob(source, target, self.algorithm, path, copied), member.digest)
        _check_size(member, os.fstat(target).st_size)
        self.done(1, left)

    @contextlib.contextmanager
    def _creating(self, folder: Folder, member: Member) -> Iterator[int]:
        """Open a new file, and let errors in the block be what they are."""
        with self._making(folder, member):
            descriptor = self._create(folder, member)
        try:
            yield descriptor
        finally:
            with self._making(folder, member):
                self._close(descriptor, folder, member)

    def _create(self, folder: Folder, member: Member) -> int:
        return folder.open(member.path, _CREATE, self._mode(member))

    def _close(self, descriptor: int, folder: Folder, member: Member) -> None:
        # Most often the process's mask lets the file have its mode from the beginning; to ask
        # costs far less than to set it.
        mode = self._mode(member)
        is_right = stat.S_IMODE(os.fstat(descriptor).st_mode) == mode
        os.close(descriptor)
        if not is_right:
            folder.chmod(member.path, mode)

    @contextlib.contextmanager
    def _making(self, folder: Folder, member: Member) -> Iterator[None]:
        with naming(self.target, member.path):
            try:
                yield
            except FileExistsError:
                other = _other_name(folder, member.path)
                raise UnpackError(
                    f"{str(self.target)!r} cannot be unpacked: to the file system there "
                    f"{member.path!r} and {other!r} are the same name"
                ) from None

    def _mode(self, member: Member) -> int:
        return member.mode & ~WRITE_BITS if self.read_only else member.mode

    def _folder(self) -> Folder:
        with naming(self.target):
            return Folder(
                str(self.temporary), descriptors=self.opened is not None, opened=self.opened
            )


def _check_size(member: Member, size: int) -> None:
    # Its digest is right, and so the manifest is not: nobody should rely on what it says.
    if size != member.size:
        msg = f"{member.path!r} has {size} bytes, and {member.size} in the manifest"
        raise InvalidTreeError(msg)


def _other_name(folder: Folder, path: str) -> str:
    """Return the path under which there is something at a path already."""
    parent, slash, own = path.rpartition("/")
    there = folder.stat(path)
    for name, _ in folder.scan(parent or "."):
        if name != own and os.path.samestat(there, folder.stat(f"{parent}{slash}{name}")):
            return f"{parent}{slash}{name}"
    return path
