"""Unpacking: making a local copy of a file or tree.

The copy has its name only once it is complete (:mod:`sqla_artifacts.placing`) and every
digest has been checked.

Nothing leads out of a tree that is being unpacked: its temporary directory is this user's
alone until all is in it; its members are reached through
:class:`~sqla_artifacts.folder.Folder` and made where there is nothing, the links last; and
the links of a manifest stay inside.
"""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, TypeVar

from .copying import copy_and_hash
from .digest import CHUNK, Algorithm, digest_of, hasher, verify
from .errors import BlobCorruptedError, UnpackError
from .folder import DESCRIPTORS, Folder
from .leftovers import new_directory, new_file, remove_tree
from .member import PACKED_BELOW, Member, check_portable
from .placing import naming, new_sibling, place_directory, place_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from .tree import Manifest

T = TypeVar("T")

_CREATE: int = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
_WRITE_BITS = 0o222


class Filling(NamedTuple):
    """A blob and the files that it fills: the files of a pack, or all that are the blob."""

    digest: str
    files: list[Member]


def in_turn(function: Callable[[T], None], items: Iterable[T]) -> None:
    """Call a function for one item after the other."""
    for item in items:
        function(item)


def unpack_file(
    source: BinaryIO,
    digest: str,
    target: str | os.PathLike[str],
    *,
    algorithm: Algorithm,
    read_only: bool = False,
) -> None:
    """Copy a blob, open at its start, to a new file.

    If ``source`` has a ``fileno()``, that file is taken to be the blob. Raises
    :class:`BlobCorruptedError` for other bytes than the digest's, and :class:`UnpackError`
    where the file cannot be made or there is something of its name.
    """
    path = Path(target)
    check_portable(path.name)
    temporary, descriptor = new_sibling(path, partial(new_file, mode=0o666))
    try:
        try:
            verify(_copy(source, descriptor, algorithm, path), digest)
            mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
            with naming(path):
                if read_only:
                    temporary.chmod(mode & ~_WRITE_BITS)
                if os.name != "nt":  # There a file that is open cannot be renamed.
                    place_file(temporary, path)
        finally:
            os.close(descriptor)
        if os.name == "nt":
            place_file(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            if os.name == "nt":  # There a read-only file cannot be removed.
                temporary.chmod(0o600)
            temporary.unlink()


def unpack_tree(
    manifest: Manifest,
    open_blob: Callable[[str], BinaryIO],
    target: str | os.PathLike[str],
    *,
    algorithm: Algorithm,
    read_only: bool = False,
    descriptors: bool = DESCRIPTORS,
    each: Callable[[Callable[[Filling], None], Iterable[Filling]], object] = in_turn,
) -> None:
    """Make a new directory of a tree.

    ``open_blob`` is called with the digest of a part, and returns a stream at its start; if
    that has a ``fileno()``, the file is taken to be the blob. ``each`` calls a function for
    every part, in threads if it likes; it does not return or raise while one still runs.

    With ``read_only`` the files, not the directories, are without write permission.

    Raises :class:`UnpackError` where the directory cannot be made or there is something of
    its name; :class:`BlobCorruptedError` where a file's bytes are not those of its digest;
    and what ``open_blob`` raises.
    """
    path = Path(target)
    for member in manifest.members[1:]:
        check_portable(member.path)
        check_portable(member.target)
    temporary, kept = new_sibling(path, new_directory)
    unpacking = _Unpacking(
        manifest.members, path, temporary, open_blob, algorithm, read_only, descriptors
    )
    try:
        unpacking.make_empty()
        each(unpacking.fill, _fillings(manifest))
        unpacking.finish()
        place_directory(temporary, path)
    except BaseException:
        remove_tree(os.fspath(temporary), descriptors=descriptors)
        raise
    finally:
        os.close(kept)


def _fillings(manifest: Manifest) -> Iterator[Filling]:
    for pack, files in manifest.filled_packs():
        yield Filling(pack.digest, files)
    large: dict[str, list[Member]] = {}
    for member in manifest.members:
        if member.size >= PACKED_BELOW:
            large.setdefault(member.digest, []).append(member)
    for digest, files in large.items():
        yield Filling(digest, files)


@dataclass(frozen=True)
class _Unpacking:
    """A tree on its way into a temporary directory."""

    members: tuple[Member, ...]
    target: Path
    temporary: Path
    open_blob: Callable[[str], BinaryIO]
    algorithm: Algorithm
    read_only: bool
    descriptors: bool

    def make_empty(self) -> None:
        """Make the directories, and the files that need no bytes."""
        with self._folder() as folder:
            for member in self.members[1:]:
                if member.kind == "directory":
                    with self._making(folder, member):
                        folder.mkdir(member.path)
                elif member.kind == "file" and not member.size:
                    self._write(folder, member, b"", member.digest)

    def fill(self, filling: Filling) -> None:
        """Make the files that a blob fills."""
        with self._folder() as folder, self.open_blob(filling.digest) as source:
            if filling.files[0].size >= PACKED_BELOW:
                self._write_large(folder, filling.files, source)
                return
            for member in filling.files:
                self._write(folder, member, _read(source, member.size), filling.digest)

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

    def _write(self, folder: Folder, member: Member, data: bytes, blob: str) -> None:
        if digest_of(data, self.algorithm) != member.digest:
            raise BlobCorruptedError(
                f"blob {blob} is corrupt: what it holds of {member.path!r} does not have the "
                f"digest {member.digest}"
            )
        with self._making(folder, member):
            descriptor = folder.open(member.path, _CREATE)
            try:
                _write(descriptor, data)
            finally:
                os.close(descriptor)
            folder.chmod(member.path, self._mode(member))

    def _write_large(self, folder: Folder, files: list[Member], source: BinaryIO) -> None:
        first, *others = files
        with self._creating(folder, first) as descriptor:
            path = self.target / first.path
            verify(_copy(source, descriptor, self.algorithm, path), first.digest)
            for member in others:
                with self._creating(folder, member) as another, naming(self.target, member.path):
                    verify(copy_and_hash(descriptor, another, self.algorithm)[0], member.digest)

    @contextlib.contextmanager
    def _creating(self, folder: Folder, member: Member) -> Iterator[int]:
        """Open a new file, and let errors in the block be what they are."""
        with self._making(folder, member):
            descriptor = folder.open(member.path, _CREATE)
        try:
            yield descriptor
        finally:
            os.close(descriptor)
        with self._making(folder, member):
            folder.chmod(member.path, self._mode(member))

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
        return member.mode & ~_WRITE_BITS if self.read_only else member.mode

    def _folder(self) -> Folder:
        with naming(self.target):
            return Folder(str(self.temporary), descriptors=self.descriptors)


def _other_name(folder: Folder, path: str) -> str:
    """Return the path under which there is something at a path already."""
    parent, slash, own = path.rpartition("/")
    there = folder.stat(path)
    for name, _ in folder.scan(parent or "."):
        if name != own and os.path.samestat(there, folder.stat(f"{parent}{slash}{name}")):
            return f"{parent}{slash}{name}"
    return path


def _copy(source: BinaryIO, target: int, algorithm: Algorithm, path: Path) -> str:
    """Copy a blob to a new file, and return the digest of the copy."""
    descriptor = _file_of(source)
    if descriptor is not None:
        with naming(path):
            return copy_and_hash(descriptor, target, algorithm)[0]
    digest = hasher(algorithm)
    while data := source.read(CHUNK):
        digest.update(data)
        with naming(path):
            _write(target, data)
    return digest.hexdigest()


def _file_of(source: BinaryIO) -> int | None:
    try:
        descriptor = source.fileno()
    except (AttributeError, OSError):
        return None
    return descriptor if stat.S_ISREG(os.fstat(descriptor).st_mode) else None


def _read(source: BinaryIO, size: int) -> bytes:
    """Return the next ``size`` bytes, fewer only at the end."""
    data = source.read(size)
    while len(data) < size and (more := source.read(size - len(data))):
        data += more
    return data


def _write(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
