"""Fillings: the ranges of blobs that fill a tree's files.

A blob that is a pack fills the files whose bytes it concatenates; one that is a large file fills
all the files of its digest. Of a blob that is to fill only some of its files, or is better
fetched in pieces, a range will do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..member import PACKED_BELOW, Member
from ..tree import Part

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ..tree import Manifest

NEAR = 64 << 10
"""Bytes between two ranges that cost less to fetch than a request of their own."""

FAR = 1 << 20
"""Bytes that cost about as much as a request, where there are too many for one round."""

PIECE = 8 << 20
"""The most bytes of a pack that are fetched in one request for a range."""


class Filling(NamedTuple):
    """A range of a blob, and the files that it fills, each with its offset in the blob."""

    blob: Part
    start: int
    end: int
    files: list[tuple[int, Member]]

    @property
    def size(self) -> int:
        """How many bytes the range has."""
        return self.end - self.start

    @property
    def is_whole(self) -> bool:
        """Whether the range is all of the blob."""
        return self.size == self.blob.size

    @property
    def is_large(self) -> bool:
        """Whether the blob is a large file, and not a pack."""
        return self.files[0][1].size >= PACKED_BELOW


def fillings(manifest: Manifest, chosen: Mapping[str, Member] | None = None) -> Iterator[Filling]:
    """Return what fills the files of a tree, or those whose paths are ``chosen``.

    The values of ``chosen`` are the members as they are to be made: under other paths, say.
    """
    for blob, files in _placed(manifest):
        if chosen is not None:
            files = [(at, chosen[file.path]) for at, file in files if file.path in chosen]  # noqa: PLW2901 (fewer of the same)
        if files:
            yield _filling(blob, files)


def _placed(manifest: Manifest) -> Iterator[tuple[Part, list[tuple[int, Member]]]]:
    for pack, members in manifest.filled_packs():
        files, at = [], 0
        for member in members:
            files.append((at, member))
            at += member.size
        yield pack, files
    large: dict[Part, list[tuple[int, Member]]] = {}
    for member in manifest.members:
        if member.size >= PACKED_BELOW:
            large.setdefault(Part(member.digest, member.size), []).append((0, member))
    yield from large.items()


def _filling(blob: Part, files: list[tuple[int, Member]]) -> Filling:
    at, last = files[-1]
    return Filling(blob, files[0][0], at + last.size, files)


def split(filling: Filling, *, gap: int, size: int) -> Iterator[Filling]:
    """Cut a range where more than ``gap`` bytes fill no file, and before it exceeds ``size``.

    A file is never cut.
    """
    if filling.is_large:
        yield filling
        return
    piece: list[tuple[int, Member]] = []
    begin = end = filling.start
    for at, member in filling.files:
        if piece and (at - end > gap or at + member.size - begin > size):
            yield _filling(filling.blob, piece)
            piece = []
        if not piece:
            begin = at
        piece.append((at, member))
        end = at + member.size
    yield _filling(filling.blob, piece)


def requests(all_of_them: Iterable[Filling], count: int) -> list[Filling]:
    """Return the ranges to fetch from a distance, neighbours joined, about ``count`` if need be.

    A pack of which most is wanted is fetched whole.
    """
    wanted = list(all_of_them)
    gaps = sorted((gap for filling in wanted for gap in _gaps(filling)), reverse=True)
    cuts = max(0, count - len(wanted))
    widest_kept = gaps[cuts] if cuts < len(gaps) else 0
    gap = max(NEAR, min(widest_kept, FAR))
    found: list[Filling] = []
    for filling in wanted:
        pieces = list(split(filling, gap=gap, size=PIECE))
        if 2 * sum(piece.size for piece in pieces) > filling.blob.size:
            pieces = [filling._replace(start=0, end=filling.blob.size)]
        found += pieces
    return found


def _gaps(filling: Filling) -> Iterator[int]:
    if not filling.is_large:
        end = filling.start
        for at, member in filling.files:
            yield at - end
            end = at + member.size
