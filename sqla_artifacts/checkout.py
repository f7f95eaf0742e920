"""Checkouts: local copies of stored files and directories.

The shared checkout of a reference is ``<checkouts>/<kind>-<digest>/<name>``: made once,
verified while it is made, its files read-only, the same for every process of this user. That of a
single file of a directory is the one that the file would have if it were stored by itself.
"""

from __future__ import annotations

import posixpath
from functools import partial
from typing import TYPE_CHECKING

from .errors import UnpackError
from .fetching import open_member, told, until_sound, write_file, write_tree
from .member import PACKED_BELOW, check_portable
from .reference import Reference, label_of
from .tree import Manifest, parse_manifest
from .unpacking import unpack_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from .member import Member
    from .progress import OnProgress
    from .store import ArtifactStore


def check_out(
    store: ArtifactStore, reference: Reference, progress: OnProgress | None = None
) -> Path:
    """Return the shared checkout, made if it is not there yet."""
    return _shared(store, reference, partial(_unpack, store, reference, progress))


def unpack_to(
    store: ArtifactStore,
    reference: Reference,
    directory: Path,
    progress: OnProgress | None = None,
) -> Path:
    """Make a private copy inside a directory, and return its path."""
    target = _private(directory, reference.name)
    _unpack(store, reference, progress, target, read_only=False)
    return target


def check_out_file(
    store: ArtifactStore, manifest: Manifest, path: str, progress: OnProgress | None = None
) -> Path:
    """Return the shared checkout of one file of a tree, of which nothing else is fetched."""
    file = _file_of(manifest, path)
    return _shared(store, file, partial(_unpack_file, store, manifest, path, progress))


def unpack_file_to(
    store: ArtifactStore,
    manifest: Manifest,
    path: str,
    directory: Path,
    progress: OnProgress | None = None,
) -> Path:
    """Make a private copy of one file of a tree inside a directory, and return its path."""
    target = _private(directory, _file_of(manifest, path).name)
    _unpack_file(store, manifest, path, progress, target, read_only=False)
    return target


def unpack_part_to(
    store: ArtifactStore,
    manifest: Manifest,
    chosen: Mapping[str, Member],
    target: tuple[Path, str],
    progress: OnProgress | None = None,
) -> Path:
    """Make a private copy of some members of a tree, as :func:`.selection.selection` has them.

    ``target`` is the directory, and the name in it.
    """
    path = _private(*target)
    until_sound(partial(write_tree, store, manifest, chosen, progress, path, read_only=False))
    return path


def _shared(store: ArtifactStore, reference: Reference, make: Callable[..., None]) -> Path:
    parent = store.checkouts / f"{reference.kind}-{reference.digest}"
    target = _inside(parent, reference.name)
    if not target.exists():
        parent.mkdir(parents=True, exist_ok=True)
        try:
            make(target, read_only=True)
        except UnpackError:
            # Another process may have made it meanwhile: the same bytes, verified by it.
            if not target.exists():
                raise
    return target


def _private(directory: Path, name: str) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    return _inside(directory, name)


def _inside(directory: Path, name: str) -> Path:
    check_portable(name)  # on Windows, a name may be more than one
    return directory / name


def _file_of(manifest: Manifest, path: str) -> Reference:
    """Return the reference that a file of a tree would have by itself, under this name."""
    file = manifest.find(path)
    return Reference("file", file.digest, file.size, label_of(posixpath.basename(path)))


def _unpack(
    store: ArtifactStore,
    reference: Reference,
    progress: OnProgress | None,
    target: Path,
    *,
    read_only: bool,
) -> None:
    if reference.kind == "tree":
        manifest = parse_manifest(store.get(reference))
        write = partial(write_tree, store, manifest, None, progress, target)
    else:
        write = partial(write_file, store, reference, None, progress, target)
    until_sound(partial(write, read_only=read_only))


def _unpack_file(
    store: ArtifactStore,
    manifest: Manifest,
    path: str,
    progress: OnProgress | None,
    target: Path,
    *,
    read_only: bool,
) -> None:
    file, reference = manifest.find(path), _file_of(manifest, path)
    # A file that was made executable is so in the copy; the shared one may be that of others, too.
    mode = None if read_only else file.mode
    if file.size >= PACKED_BELOW:
        write = partial(write_file, store, reference, mode, progress, target)
        until_sound(partial(write, read_only=read_only))
        return
    with open_member(store, manifest, path) as source:
        unpack_file(
            source,
            file.digest,
            target,
            algorithm=store.algorithm,
            read_only=read_only,
            mode=mode,
        )
    told(progress, file.size)(1, file.size)
