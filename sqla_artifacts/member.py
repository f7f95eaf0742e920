"""Members: what a tree may hold, and which of its files share a blob.

*Names.* A member's path has components of 1 to 255 bytes, neither ``.`` nor ``..``, without
NUL, and is at most 4095 bytes long; so is a symbolic link's target.

*Why links stay inside.* A link's target is ``..``, no more often than there are directories
above the link, then plain names; it need not exist. To resolve a path of plain names from
the root of the tree is to take names off a list. Let ``k`` be the depth of the directory
where the resolution stands; the list is at all times ``..``, at most ``k`` times, and then
plain names. That holds at the start. A ``..`` lowers both counts by one. A name is only
taken once no ``..`` is left in front of it: a directory raises ``k``; and a link, which is
met in the very directory that holds it, puts its target before a list of plain names, and
the target has at most ``k`` times ``..``. So ``k`` never becomes negative, and the
resolution never leaves the tree. A ``..`` after a name would break this: the name may be a
link that leads further up than the name is deep.

*Packs.* Files of 1 MiB and more are blobs of their own, and empty files need no bytes. The
rest are concatenated in member order. A pack ends after a file whose digest's first 64 bits
are less than 2**64 · size / 16 MiB, hence after 16 MiB on average, and before one that would
take it past 64 MiB. So the packs follow from the members alone, and as the content chooses
where they end, a file that is added, changed or removed leaves the packs after the next such
end as they were.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias
from urllib.parse import quote_from_bytes

from .errors import InvalidTreeError, UnpackError
from .reference import NAME_MAX

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_PLAIN = re.compile(r"[A-Za-z0-9._~/-]*")

MemberKind: TypeAlias = Literal["directory", "file", "symlink"]

PACKED_BELOW = 1 << 20
"""Files of this size and more are blobs of their own."""
PACK_MAX = 64 << 20
"""No pack is larger."""
PATH_MAX = 4095
"""The longest path or target in bytes, as on Linux."""

# What os.fsencode and os.fsdecode use, but for Windows, where those refuse names that are
# legal elsewhere.
_ENCODING = sys.getfilesystemencoding()

_RESERVED = re.compile(
    # What is reserved on Windows is so with a suffix, too, and with spaces before that.
    r"(?:CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(?:COM|LPT)[1-9\u00b9\u00b2\u00b3])[ ]*(?:\..*)?",
    re.IGNORECASE | re.DOTALL,
)
_NOT_ON_WINDOWS = re.compile(r'[\x00-\x1f<>:"|?*\\\ud800-\udfff]')


class Member(NamedTuple):
    """A directory, file or symbolic link of a tree.

    ``path`` is relative, with ``/`` between its components on every platform, and ``.`` for
    the tree itself. ``mode`` is that of a directory or file, ``size`` and ``digest`` those
    of a file, ``target`` that of a symbolic link.
    """

    path: str
    kind: MemberKind
    mode: int = 0
    size: int = 0
    digest: str = ""
    target: str = ""


def closes_before(filled: int, size: int) -> bool:
    """Say whether a pack of ``filled`` bytes ends before a file of ``size`` bytes."""
    return filled + size > PACK_MAX


def closes_after(size: int, digest: str) -> bool:
    """Say whether a pack ends after this file."""
    # As a packed file's size has 20 bits, fifteen of sixteen files are told by the first digit.
    return digest[0] == "0" and int(digest[:16], 16) < size << 40


def plan_packs(members: Iterable[Member]) -> Iterator[list[Member]]:
    """Return the files of each pack, for the members of a tree in order."""
    pack: list[Member] = []
    filled = 0
    for member in members:
        size = member.size
        if not 0 < size < PACKED_BELOW:
            continue
        if closes_before(filled, size):
            yield pack
            pack, filled = [], 0
        pack.append(member)
        filled += size
        if closes_after(size, member.digest):
            yield pack
            pack, filled = [], 0
    if pack:
        yield pack


def encode(path: str) -> bytes:
    """Return a path's bytes, as :func:`os.fsencode` does on POSIX."""
    return path.encode(_ENCODING, "surrogateescape")


def decode(raw: bytes) -> str:
    """Return the path that these bytes are, as :func:`os.fsdecode` does on POSIX."""
    return raw.decode(_ENCODING, "surrogateescape")


def is_plain(path: str) -> bool:
    """Say whether :func:`quote` returns a path as it is, and those whose concatenation it is."""
    return _PLAIN.fullmatch(path) is not None


def quote(path: str) -> str:
    """Return a path as ASCII text, percent-encoded where it has to be."""
    return path if is_plain(path) else quote_from_bytes(encode(path), safe="/")


def sort_key(raw: bytes) -> bytes:
    """Return the key that sorts paths, or names, by their components."""
    # NUL is in no name, and less than every byte that is.
    return raw.replace(b"/", b"\0")


def check_name(raw: bytes) -> None:
    """Raise :class:`InvalidTreeError` unless these bytes can be one name in a directory."""
    if not 0 < len(raw) <= NAME_MAX or raw in {b".", b".."} or b"/" in raw or b"\0" in raw:
        msg = f"{shorten(raw)} is not a name of 1 to {NAME_MAX} bytes"
        raise InvalidTreeError(msg)


def check_length(raw: bytes) -> None:
    """Raise :class:`InvalidTreeError` if a path or target is too long."""
    if len(raw) > PATH_MAX:
        msg = f"{shorten(raw)} is longer than {PATH_MAX} bytes"
        raise InvalidTreeError(msg)


def check_target(target: bytes, depth: int) -> None:
    """Raise :class:`InvalidTreeError` unless a link, ``depth`` directories down, stays inside."""
    check_length(target)
    names = target.split(b"/")
    up = next((i for i, name in enumerate(names) if name != b".."), len(names))
    if up > depth or b".." in names[up:] or target.startswith(b"/"):
        msg = f"the link's target {shorten(target)} may lead out of the tree"
        raise InvalidTreeError(msg)
    for name in names[up:]:
        check_name(name)


def shorten(raw: bytes | str, limit: int = 120) -> str:
    """Return a path as a message shows it."""
    shown = repr(decode(raw[:limit]) if isinstance(raw, bytes) else raw[:limit])
    return f"{shown}…" if len(raw) > limit else shown


def check_portable(path: str, platform: str = sys.platform) -> None:
    """Raise :class:`UnpackError` for a path or target that a platform would misunderstand.

    On Windows those are paths with a drive, a backslash or another character that cannot be
    in a name there, with the name of a device, and with names that would lose their last dot
    or space.
    """
    if platform != "win32":
        return
    for name in path.split("/"):
        if (
            _NOT_ON_WINDOWS.search(name)
            or _RESERVED.fullmatch(name)
            or (name.endswith((".", " ")) and name not in {".", ".."})
        ):
            raise UnpackError(f"{path!r} cannot be unpacked: {name!r} is no file name on Windows")
