"""Fetching: the bytes of stored files and trees, from their blobs to local files.

The parts of a tree are fetched by the store's pool, as many at once as the store takes. However
many fetch, one at a time makes small files. Packs on their way are in memory, 128 MiB of them;
large files are streamed. Of a part of a tree only the ranges are fetched that it needs, neighbours
in one request.
"""

from __future__ import annotations

import io
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

from .copying import has_descriptor
from .digest import digest_of
from .errors import BlobCorruptedError
from .member import PACKED_BELOW
from .progress import Report
from .reference import Reference
from .unpacking import (
    PIECE,
    Filling,
    fillings,
    read_up_to,
    requests,
    unpack_file,
    unpack_members,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from .member import Member
    from .progress import OnProgress
    from .store import ArtifactStore
    from .tree import Manifest, Place
    from .unpacking import Done

# Ranges are read in steps of so many bytes, as those who fetch them do.
_BLOCK = 256 << 10


def open_member(store: ArtifactStore, manifest: Manifest, path: str) -> BinaryIO:
    """Open a file of a tree as a seekable stream, whose bytes are verified.

    A file of less than 1 MiB is read and verified now. A larger one is a blob of its own, opened as
    ``ArtifactStore.open`` does, and of which only what is read is fetched. Raises the ``OSError``
    that opening the path in a directory would.
    """
    place = manifest.place(path)
    if place is None:
        return io.BytesIO()
    if place.size >= PACKED_BELOW:
        return store.open_blob(place.digest)
    return io.BytesIO(_read_packed(store, place, manifest.find(path)))


def _read_packed(store: ArtifactStore, place: Place, member: Member) -> bytes:
    """Read a file out of its pack, out of a later generation of that if need be."""
    for open_blob in (store.open_unchecked, store.open_sound):
        with open_blob(place.digest) as pack:
            pack.seek(place.offset)
            data = read_up_to(pack, place.size)
        if digest_of(data, store.algorithm) == member.digest:
            return data
    msg = (
        f"blob {place.digest} is corrupt: what it holds of {member.path!r} does not have the "
        f"digest {member.digest}"
    )
    raise BlobCorruptedError(msg)


def until_sound(write: Callable[..., None]) -> None:
    """Call a function with ``is_sound=False``, and if a blob is corrupt with ``is_sound=True``.

    A later generation of it may be sound: then one is looked for, and all is read twice.
    """
    try:
        write(is_sound=False)
    except BlobCorruptedError:
        write(is_sound=True)


def write_file(
    store: ArtifactStore,
    reference: Reference,
    mode: int | None,
    progress: OnProgress | None,
    target: Path,
    *,
    read_only: bool,
    is_sound: bool,
) -> None:
    """Write a stored file to a new local one; see :func:`.unpacking.unpack_file`."""
    done, left = told(progress, reference.size), reference.size

    def copied(size: int) -> None:
        nonlocal left
        left -= size
        done(0, size)

    with (store.open_sound if is_sound else store.open_unchecked)(reference.digest) as source:
        unpack_file(
            source,
            reference.digest,
            target,
            algorithm=store.algorithm,
            read_only=read_only,
            mode=mode,
            copied=copied,
        )
    done(1, left)


def write_tree(
    store: ArtifactStore,
    manifest: Manifest,
    chosen: Mapping[str, Member] | None,
    progress: OnProgress | None,
    target: Path,
    *,
    read_only: bool,
    is_sound: bool,
) -> None:
    """Write a tree, or those of its members that are chosen, to a new local directory."""
    members = manifest.members if chosen is None else tuple(chosen.values())
    # The largest files first: nobody should be left with one of them at the end.
    wanted = sorted(fillings(manifest, chosen), key=lambda filling: not filling.is_large)
    is_far = store.backend.is_remote
    unpack_members(
        members,
        requests(wanted, store.pool.concurrency) if is_far else wanted,
        partial(_opened, store, is_sound=is_sound),
        target,
        algorithm=store.algorithm,
        read_only=read_only,
        each=partial(store.pool.each, size=_on_the_way if is_far else None),
        done=told(progress, sum(member.size for member in members)),
    )


def _on_the_way(filling: Filling) -> int:
    # What is fetched may be in memory twice, as long as it is in a transport's hands.
    return 2 * min(filling.size, PIECE if filling.is_large else filling.size)


def _opened(store: ArtifactStore, filling: Filling, *, is_sound: bool) -> BinaryIO:
    """Open a blob where a range begins; of a pack from a distance the range is fetched at once."""
    digest, size = filling.blob
    is_fetched = store.backend.is_remote and not filling.is_large and not is_sound
    if is_fetched and filling.is_whole:
        return io.BytesIO(store.get(Reference("file", digest, size, "pack")))
    stream = (store.open_sound if is_sound else store.open_unchecked)(digest)
    stream.seek(filling.start)
    if not is_fetched or has_descriptor(stream):
        return stream
    with stream:
        # In whole blocks, or the last bytes would be one more request.
        return io.BytesIO(read_up_to(stream, -(-filling.size // _BLOCK) * _BLOCK))


def told(progress: OnProgress | None, total: int) -> Done:
    """Return what passes on how many files and bytes are done, of ``total`` bytes."""
    if progress is None:
        return lambda files, size: None
    report = Report(progress)
    report.expect("unpack", total)
    return partial(report.add, "unpack")
