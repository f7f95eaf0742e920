"""Packing: a tree whose members come in one after another, and the packs of its small files.

A pack is filled by way of one buffer of 1 MiB: a file is read into it and hashed there, and what
has gathered is hashed and written at once, which costs far less than file by file. The bytes that
are hashed are those that are written, whatever happens to the file.

Files whose digests are remembered are not read. A pack of nothing but such files, whose own digest
is remembered for them, is not filled either, unless it turns out that the store does not have it.

Nor is a pack that begins like one that the store has made lately, in this process: it is assumed to
be that one, and of its files only the digests are taken. If it turns out to be another, they are
read a second time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeAlias

from .digest import digest_of, hasher
from .member import PACKED_BELOW, Member, closes_after, closes_before
from .payload import Payload
from .tree import Manifest, Part

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import BinaryIO

    from .payload import Stage, StagedFile


class Packs(Protocol):
    """Which packs are remembered: their digests, by that of their members' digests."""

    def pack(self, members: str) -> str | None:
        """Return a pack's digest, if it is remembered."""

    def note_pack(self, members: str, digest: str) -> None:
        """Remember a pack's digest."""


Read: TypeAlias = Callable[[Member, memoryview], None]
"""Reads a member into a buffer, one byte longer than it is; refuses one that has changed."""


class Pack:
    """A pack that is being filled, and then the next one."""

    def __init__(self, stage: Stage) -> None:
        self.size = 0
        self._stage = stage
        self._buffer = memoryview(b"")
        self._filled = 0
        self._begin()

    def _begin(self) -> None:
        self.size = 0
        self._file: tuple[BinaryIO, StagedFile] | None = None
        self._hasher = hasher(self._stage.algorithm)

    def room(self, size: int) -> memoryview:
        """Return a buffer for a file of less than 1 MiB, and for one byte more."""
        end = self._filled + size + 1
        if end > len(self._buffer):
            self._write()
            self._buffer, end = self._buffer or memoryview(bytearray(PACKED_BELOW)), size + 1
        return self._buffer[self._filled : end]

    def add(self, size: int) -> None:
        """Take what lies in the buffer that :meth:`room` has returned."""
        self._filled += size
        self.size += size

    def payload(self) -> Payload:
        """Return the pack, and begin another."""
        self._write()
        assert self._file is not None  # noqa: S101 (no pack is empty)
        fp, staged = self._file
        fp.close()
        payload = Payload(self._hasher.hexdigest(), self.size, staged)
        self._begin()
        return payload

    def close(self) -> None:
        """Drop a pack that has not been ended."""
        if self._file is not None:
            self._file[0].close()
        self._file = None

    def _write(self) -> None:
        if not self._filled:
            return
        if self._file is None:
            self._file = self._stage.new_file()
        data = self._buffer[: self._filled]
        self._hasher.update(data)
        self._file[0].write(data)
        self._filled = 0


class Draft:
    """A tree whose members are still coming in."""

    def __init__(
        self,
        stage: Stage,
        read: Read,
        again: Callable[[str, list[Member]], Payload],
        seen: Packs | None = None,
    ) -> None:
        self._stage = stage
        self._read = read
        self._again = again
        self._seen = seen
        self._members: list[Member] = []
        self._total = 0
        self._packs: list[Part] = []
        self._parts: dict[str, Payload] = {}
        self._pack = Pack(stage)
        self._size = 0
        # The files of the pack that is being filled, and how many of them have been read.
        self._packed: list[Member] = []
        self._filled = 0
        # What is known of a pack that begins like this one, and the files that were only hashed.
        self._made: bytes | None = None
        self._hashed: list[Member] = []

    def add(self, member: Member) -> None:
        """Take a directory, a link, or a file whose bytes lie elsewhere or nowhere."""
        self._members.append(member)
        self._total += member.size
        self._stage.check_size(self._total)

    def add_large(self, member: Member, payload: Payload) -> None:
        """Take a file that is a blob of its own."""
        self._parts.setdefault(payload.digest, payload)
        self.add(member)

    def room(self, size: int) -> memoryview:
        """Return a buffer to read a small file to, and one byte more, for :meth:`add_read`."""
        if closes_before(self._size, size):
            self._end_pack()
        if self._filled < len(self._packed) and self._made is None:
            self._fill()
        return self._pack.room(size)

    def add_read(self, member: Member) -> None:
        """Take a small file whose bytes lie in the buffer."""
        if not self._packed:
            self._made = self._stage.packs.get(member.digest)
        if self._made is None:
            self._pack.add(member.size)
            self._filled += 1
            self._stage.report(1, member.size)
        else:
            self._hashed.append(member)
        self._take(member)

    def add_unread(self, member: Member) -> None:
        """Take a small file whose bytes are still where they were."""
        if closes_before(self._size, member.size):
            self._end_pack()
        self._take(member)

    def _take(self, member: Member) -> None:
        size = member.size
        self._packed.append(member)
        self._size += size
        self.add(member)
        if closes_after(size, member.digest):
            self._end_pack()

    def finish(self) -> tuple[Manifest, tuple[Payload, ...]]:
        """Return the manifest, and its parts."""
        self._end_pack()
        return Manifest(tuple(self._members), tuple(self._packs)), tuple(self._parts.values())

    def close(self) -> None:
        """Drop a pack that has not been ended."""
        self._pack.close()

    def _fill(self) -> None:
        """Read those files of the pack that have not been read."""
        for member in self._packed[self._filled :]:
            self._read(member, self._pack.room(member.size))
            self._pack.add(member.size)
        self._filled = len(self._packed)

    def _end_pack(self) -> None:
        if not self._packed:
            return
        payload = self._payload()
        self._parts.setdefault(payload.digest, payload)
        self._packs.append(Part(payload.digest, payload.size))
        self._packed, self._size, self._filled = [], 0, 0
        self._made, self._hashed = None, []

    def _payload(self) -> Payload:
        digests = "".join(member.digest for member in self._packed)
        key = digest_of(digests.encode("ascii"), self._stage.algorithm)
        if not self._filled and (known := self._known_as(key)) is not None:
            if self._hashed:
                self._stage.report(len(self._hashed), sum(file.size for file in self._hashed))
            return Payload(known, self._size, partial(self._again, known, self._packed))
        self._fill()
        payload = self._pack.payload()
        made = (key + payload.digest).encode("ascii")
        self._stage.packs.put(self._packed[0].digest, made)
        if self._seen is not None:
            self._seen.note_pack(key, payload.digest)
        return payload

    def _known_as(self, key: str) -> str | None:
        """Return the digest of a pack whose members' digests have this one, if it is remembered."""
        if self._made is not None and self._made.startswith(key.encode("ascii")):
            return self._made[len(key) :].decode("ascii")
        return None if self._seen is None else self._seen.pack(key)


def fill(stage: Stage, members: Iterable[Member], read: Read) -> Payload:
    """Make the payload of a pack."""
    with contextlib.closing(Pack(stage)) as pack:
        for member in members:
            read(member, pack.room(member.size))
            pack.add(member.size)
        return pack.payload()
