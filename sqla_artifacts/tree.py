"""Trees: how a directory is written down.

A tree's manifest is ASCII text, one line a member, each line ended by LF::

    sqla_artifacts tree 1
    d 755 .
    f 644 5 ea8f163db38682925e4491c5e58d4bb3506ef8c14eb78a86e908c5624a67200f hello.txt
    l hello.txt latest
    p 5 ea8f163db38682925e4491c5e58d4bb3506ef8c14eb78a86e908c5624a67200f

``d <mode> <path>``
    a directory. The first is the tree itself, whose path is ``.``.
``f <mode> <size> <digest> <path>``
    a file, its size in bytes and its content's digest.
``l <target> <path>``
    a symbolic link.
``p <size> <digest>``
    a pack. The packs follow the members, in the order in which they are filled.

One space parts the fields. A mode is the permission bits in octal, without set-id and sticky
bits; no number has leading zeros; sizes, and their sum, are below 2**63. The bytes of paths
and targets are percent-encoded but for letters, digits, ``-``, ``.``, ``_``, ``~`` and ``/``,
so that a manifest is the same on every machine, whatever its locale.

Members are sorted by the bytes of their path's components: a directory comes before what it
holds, and that before the directory's next sibling. Every directory on the way to a member
is a member. What may be a member, where its links may lead, and which files make up a pack
is in :mod:`sqla_artifacts.member`.

There is one manifest for each tree. :func:`parse_manifest` refuses all other bytes.
"""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, NoReturn, get_args
from urllib.parse import unquote_to_bytes

from .digest import Algorithm, digest_of
from .errors import InvalidTreeError
from .member import (
    PACKED_BELOW,
    Member,
    check_length,
    check_name,
    check_target,
    decode,
    is_plain,
    plan_packs,
    quote,
    shorten,
    sort_key,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Manifest", "Member", "Part", "Place", "parse_manifest"]

HEADER = "sqla_artifacts tree 1\n"
# Bytes that are encoded, and no others: a path is written in one way.
_ENCODED = r"%(?:[0189A-F][0-9A-F]|2[0-9A-C]|3[A-F]|40|5[B-E]|60|7[B-DF])"
_PATH = rf"((?:[A-Za-z0-9._~/-]++|{_ENCODED})++)"
_MODE = r"(0|[1-7][0-7]{0,2})"
_DIGEST = r"([0-9a-f]{64})"
_LINE = re.compile(
    rf"f {_MODE} (0|[1-9][0-9]{{0,18}}) {_DIGEST} {_PATH}\n|d {_MODE} {_PATH}\n"
    rf"|l {_PATH} {_PATH}\n|p ([1-9][0-9]{{0,7}}) {_DIGEST}\n"
)
# The group that a line of each kind ends with.
_FILE, _DIRECTORY, _SYMLINK = 4, 6, 8
_SIZE_LIMIT = 1 << 63
_LINKS_MAX = 40
_EMPTY = frozenset(digest_of(b"", algorithm) for algorithm in get_args(Algorithm))


class Part(NamedTuple):
    """A blob that a tree is made of: a pack, or a large file."""

    digest: str
    size: int


class Place(NamedTuple):
    """Where a file's bytes lie: a range of a blob."""

    digest: str
    offset: int
    size: int


@dataclass(frozen=True)
class Manifest:
    """The members of a tree in order, and the packs that hold its small files.

    Whoever makes one answers for it; :func:`parse_manifest` checks what it makes.
    """

    members: tuple[Member, ...]
    packs: tuple[Part, ...]

    def format(self) -> bytes:
        """Return the manifest's bytes."""
        lines = [HEADER]
        # Most often no path of all has to be encoded, and few modes occur.
        quoted = str if is_plain("".join(member.path for member in self.members)) else quote
        modes = {mode: f"{mode:o}" for mode in {member.mode for member in self.members}}
        for path, kind, mode, size, digest, target in self.members:
            if kind == "file":
                lines.append(f"f {modes[mode]} {size} {digest} {quoted(path)}\n")
            elif kind == "directory":
                lines.append(f"d {modes[mode]} {quoted(path)}\n")
            else:
                lines.append(f"l {quote(target)} {quoted(path)}\n")
        lines += [f"p {size} {digest}\n" for digest, size in self.packs]
        return "".join(lines).encode("ascii")

    @cached_property
    def size(self) -> int:
        """The sum of the sizes of all files."""
        return sum(member.size for member in self.members)

    @cached_property
    def plan(self) -> list[list[Member]]:
        """The files of each pack, as the members alone say."""
        return list(plan_packs(self.members))

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The blobs that hold the files' bytes, each once: packs, then large files."""
        large = (Part(m.digest, m.size) for m in self.members if m.size >= PACKED_BELOW)
        return tuple(dict.fromkeys((*self.packs, *large)))

    def filled_packs(self) -> Iterator[tuple[Part, list[Member]]]:
        """Return each pack with the files whose bytes make it up, in order."""
        return zip(self.packs, self.plan, strict=True)

    def find(self, path: str) -> Member:
        """Return the member at a path, following the tree's symbolic links.

        Raises the :class:`OSError` that looking up the path in a directory would.
        """
        todo = [name for name in reversed(path.split("/")) if name not in {"", "."}]
        here: list[str] = []
        member = self.members[0]
        links = 0
        while todo:
            name = todo.pop()
            if member.kind != "directory":
                _refuse(errno.ENOTDIR, path)
            if name == ".." and here:
                here.pop()
                member = self._index["/".join(here) or "."]
                continue
            found = self._index.get("/".join((*here, name)))
            if found is None or path.startswith("/"):
                _refuse(errno.ENOENT, path)
            if found.kind == "symlink":
                links += 1
                if links > _LINKS_MAX:
                    _refuse(errno.ELOOP, path)
                todo.extend(reversed(found.target.split("/")))
            else:
                here.append(name)
                member = found
        return member

    def place(self, path: str) -> Place | None:
        """Return where the bytes of the file at a path lie, ``None`` if it is empty.

        Raises the :class:`OSError` that opening the path in a directory would.
        """
        member = self.find(path)
        if member.kind == "directory":
            _refuse(errno.EISDIR, path)
        if not member.size:
            return None
        return self._packed.get(member.path) or Place(member.digest, 0, member.size)

    @cached_property
    def _index(self) -> dict[str, Member]:
        return {member.path: member for member in self.members}

    @cached_property
    def _packed(self) -> dict[str, Place]:
        places = {}
        for pack, members in self.filled_packs():
            offset = 0
            for member in members:
                places[member.path] = Place(pack.digest, offset, member.size)
                offset += member.size
        return places


def parse_manifest(data: bytes) -> Manifest:
    """Read a manifest.

    Raises :class:`InvalidTreeError` for all bytes that :meth:`Manifest.format` would not
    write for a directory. Time and memory are proportional to the length of ``data``.
    """
    parser, line, at = _Parser(), 1, len(HEADER)
    try:
        text = data.decode("ascii")
        if not text.startswith(HEADER):
            _invalid(f"it is not {HEADER.strip()!r}")
        while at < len(text):
            line += 1
            match = _LINE.match(text, at)
            if match is None:
                _invalid(f"{shorten(text[at : at + 121])} has none of the forms")
            parser.take(match)
            at = match.end()
        line += 1
        return parser.finish()
    except UnicodeDecodeError:
        msg = "a manifest is ASCII text, and this is not"
        raise InvalidTreeError(msg) from None
    except InvalidTreeError as error:
        msg = f"line {line} of the manifest: {error}"
        raise InvalidTreeError(msg) from None


class _Parser:
    """What has to be known of the lines so far to judge the next."""

    def __init__(self) -> None:
        self._members: list[Member] = []
        self._packs: list[Part] = []
        self._directories: set[bytes] = set()
        self._last = b""
        self._total = 0

    def take(self, line: re.Match[str]) -> None:
        kind = line.lastindex
        if self._packs and kind in {_FILE, _DIRECTORY, _SYMLINK}:
            _invalid("a member after the packs")
        if kind == _FILE:
            mode, digits, digest, text = line.group(1, 2, 3, 4)
            path, size = self._path(text)[0], int(digits)
            self._total += size
            if self._total >= _SIZE_LIMIT:
                _invalid("the tree is larger than any file system")
            if not size and digest not in _EMPTY:
                _invalid("the digest is not that of an empty file")
            self._members.append(Member(path, "file", int(mode, 8), size, digest))
        elif kind == _SYMLINK:
            path, raw = self._path(line[8])
            target = unquote_to_bytes(line[7])
            check_target(target, raw.count(b"/"))
            self._members.append(Member(path, "symlink", target=decode(target)))
        elif kind == _DIRECTORY:
            path = line[6]
            if path != "." or self._members:
                path, raw = self._path(path)
                self._directories.add(raw)
            self._members.append(Member(path, "directory", int(line[5], 8)))
        else:
            self._packs.append(Part(line[10], int(line[9])))

    def _path(self, text: str) -> tuple[str, bytes]:
        encoded = "%" in text
        raw = unquote_to_bytes(text) if encoded else text.encode("ascii")
        parent, slash, name = raw.rpartition(b"/")
        # As its directory has been checked, checking the name checks the path.
        if not self._members or (slash and parent not in self._directories):
            _invalid(f"{shorten(raw)} is in no directory of the tree")
        check_name(name)
        check_length(raw)
        key = sort_key(raw)
        if key <= self._last:
            _invalid(f"{shorten(raw)} is there twice or out of order")
        self._last = key
        return (decode(raw) if encoded else text), raw

    def finish(self) -> Manifest:
        if not self._members:
            _invalid("it has no members")
        manifest = Manifest(tuple(self._members), tuple(self._packs))
        if [sum(m.size for m in pack) for pack in manifest.plan] != [p.size for p in self._packs]:
            _invalid("the packs are not those that the files make up")
        for part, pack in manifest.filled_packs():
            if len(pack) == 1 and pack[0].digest != part.digest:
                _invalid("a pack of one file has not that file's digest")
        if len(manifest.parts) != len({part.digest for part in manifest.parts}):
            _invalid("a digest has two sizes")
        return manifest


def _invalid(msg: str) -> NoReturn:
    raise InvalidTreeError(msg)


def _refuse(code: int, path: str) -> NoReturn:
    # OSError makes of this the subclass that the code stands for.
    raise OSError(code, os.strerror(code), path)
