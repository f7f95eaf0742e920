"""Checkouts: local copies of stored files and directories.

The shared checkout of a reference is ``<checkouts>/<kind>-<digest>/<name>``: made once,
verified while it is made, its files read-only, the same for every process of this user.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, BinaryIO, cast

from .digest import VerifyingReader
from .errors import BlobCorruptedError, UnpackError
from .member import check_portable
from .tree import parse_manifest
from .unpacking import unpack_file, unpack_tree

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from typing_extensions import Buffer

    from .reference import Reference
    from .store import ArtifactStore


def check_out(store: ArtifactStore, reference: Reference) -> Path:
    """Return the shared checkout, made if it is not there yet."""
    parent = store.checkouts / f"{reference.kind}-{reference.digest}"
    target = _inside(parent, reference)
    if not target.exists():
        parent.mkdir(parents=True, exist_ok=True)
        try:
            _unpack(store, reference, target, read_only=True)
        except UnpackError:
            # Another process may have made it meanwhile: the same bytes, verified by it.
            if not target.exists():
                raise
    return target


def unpack_to(store: ArtifactStore, reference: Reference, directory: Path) -> Path:
    """Make a private copy inside a directory, and return its path."""
    directory.mkdir(parents=True, exist_ok=True)
    target = _inside(directory, reference)
    _unpack(store, reference, target, read_only=False)
    return target


def open_member(store: ArtifactStore, reference: Reference, member: str | None) -> BinaryIO:
    """Open a file of a tree as a seekable stream, checked as far as it is read in order.

    Fetches the manifest, and of the blob that holds the member only what is read. Raises the
    ``OSError`` that opening the path in a directory would.
    """
    if reference.kind != "tree" or member is None:
        kind = NotADirectoryError if reference.kind == "file" else IsADirectoryError
        raise kind(reference.name)
    manifest = parse_manifest(store.get(reference))
    place = manifest.place(member)
    if place is None:
        return io.BytesIO()
    part = io.BufferedReader(_Range(store.open_blob(place.digest), place.offset, place.size))
    reader = VerifyingReader(cast("BinaryIO", part), manifest.find(member).digest, store.algorithm)
    return cast("BinaryIO", io.BufferedReader(reader))


def _inside(directory: Path, reference: Reference) -> Path:
    check_portable(reference.name)  # on Windows, a name may be more than one
    return directory / reference.name


def _unpack(store: ArtifactStore, reference: Reference, target: Path, *, read_only: bool) -> None:
    try:
        _write(store, reference, target, store.open_unchecked, read_only=read_only)
    except BlobCorruptedError:
        # A later generation may be sound: look for one that is, reading everything twice.
        _write(store, reference, target, store.open_sound, read_only=read_only)


def _write(
    store: ArtifactStore,
    reference: Reference,
    target: Path,
    open_blob: Callable[[str], BinaryIO],
    *,
    read_only: bool,
) -> None:
    digest, algorithm = reference.digest, store.algorithm
    if reference.kind == "tree":
        manifest = parse_manifest(store.get(reference))
        unpack_tree(manifest, open_blob, target, algorithm=algorithm, read_only=read_only)
    else:
        with open_blob(digest) as source:
            unpack_file(source, digest, target, algorithm=algorithm, read_only=read_only)


class _Range(io.RawIOBase):
    """A part of a seekable stream."""

    def __init__(self, whole: BinaryIO, offset: int, size: int) -> None:
        self._whole, self._offset, self._size = whole, offset, size
        whole.seek(offset)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._whole.tell() - self._offset

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self.tell(), io.SEEK_END: self._size}[whence]
        if start + offset < 0:
            msg = f"negative seek position {start + offset}"
            raise ValueError(msg)
        return self._whole.seek(self._offset + start + offset) - self._offset

    def readinto(self, buffer: Buffer, /) -> int:
        view = memoryview(buffer).cast("B")
        left = max(0, self._size - self.tell())
        data = self._whole.read(min(len(view), left))
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._whole.close()
        super().close()
