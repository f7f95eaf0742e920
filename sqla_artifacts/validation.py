"""Validation: what a column refuses, before anything is stored.

::

    avatar: PathMapped[StoredPath] = mapped_column(
        FileDir(max_size=5_000_000, media_types=["image/png", "image/jpeg"])
    )
    weights: LazyMapped[Any] = mapped_column(LazyArtifact("numpy", validators=[is_finite]))

``max_size``
    bytes: of the encoded value, of the file, of all files of the directory. A stream is not
    read further than that.
``media_types``
    the media types that are taken, ``"image/png"`` or ``"image/*"``. They are told from the
    content, by its first kilobytes; the name of a file may not say otherwise. Text is
    ``text/plain``, what is not known ``application/octet-stream``, and a directory
    ``inode/directory``.
``validators``
    functions that raise, or return False, for what is to be refused. Those of an ``Artifact``
    are called with the value, those of a ``FileDir`` with a :class:`Candidate`.

Whatever is refused is an :class:`~sqla_artifacts.errors.InvalidValueError` that names the
column. What is compared with a column is not validated.
"""

from __future__ import annotations

import codecs
import mimetypes
import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, BinaryIO

from .errors import ArtifactError, InvalidValueError
from .tree import Member, parse_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from .payload import Payload
    from .reference import Kind, Reference

HEAD = 8 << 10
"""How many of the first bytes tell what a content is."""

DIRECTORY = "inode/directory"
TEXT = "text/plain"
UNKNOWN = "application/octet-stream"

_PATTERN = re.compile(r"[^/*\s]+/([^/*\s]+|\*)")

# Names that say the same as the registered one.
_ALIASES = {"audio/wave": "audio/wav", "image/ms-bmp": "image/bmp", "text/xml": "application/xml"}


@dataclass(frozen=True)
class Candidate:
    """A file or directory that is about to be stored, as a validator sees it."""

    reference: Reference
    payload: Payload

    @property
    def name(self) -> str:
        """The name of the file or directory."""
        return self.reference.name

    @property
    def kind(self) -> Kind:
        """``"file"`` or ``"tree"``."""
        return self.reference.kind

    @property
    def size(self) -> int:
        """The size in bytes: of the file, or of all files of the directory."""
        return self.reference.size

    @property
    def members(self) -> Mapping[str, Member]:
        """The members of a directory by their paths; of a file, none."""
        if self.kind != "tree":
            return MappingProxyType({})
        with self.payload.open() as fp:
            manifest = parse_manifest(fp.read())
        return {member.path: member for member in manifest.members if member.path != "."}

    def open(self) -> BinaryIO:
        """Open the file, or a directory's manifest, as a seekable stream."""
        return self.payload.open()


def patterns(media_types: Iterable[str]) -> tuple[str, ...]:
    """Return media types and ranges of them in one spelling. Raises ``ValueError``."""
    given = (media_types,) if isinstance(media_types, str) else tuple(media_types)
    for media_type in given:
        if not _PATTERN.fullmatch(media_type):
            msg = f"{media_type!r} is no media type: write 'image/png' or 'image/*'"
            raise ValueError(msg)
    return tuple(_canonical(media_type) for media_type in given)


def check_size(size: int, limit: int | None) -> None:
    """Refuse what is larger than the limit."""
    if limit is not None and size > limit:
        msg = f"{size} bytes are more than the column's max_size of {limit}"
        raise InvalidValueError(msg)


def check_media_type(candidate: Candidate, allowed: tuple[str, ...]) -> None:
    """Refuse a content that is of no allowed media type, or a file name that claims another."""
    if not allowed:
        return
    if candidate.kind == "tree":
        found: tuple[str, ...] = (DIRECTORY,)
    else:
        with candidate.payload.load().open() as fp:
            found = media_types_of(fp.read(HEAD))
    if not any(_matches(each, allowed) for each in found):
        what = f"the content is {' or '.join(found)}"
    elif candidate.kind == "file" and not _matches(_claimed(candidate.name), allowed):
        what = f"the name {candidate.name!r} says {_claimed(candidate.name)}"
    else:
        return
    msg = f"{what}, and the column takes {', '.join(allowed)}"
    raise InvalidValueError(msg)


def validate(subject: Any, validators: tuple[Callable[[Any], object], ...]) -> None:
    """Call each validator. Raises :class:`InvalidValueError` for what one of them refuses."""
    for validator in validators:
        name = getattr(validator, "__qualname__", type(validator).__qualname__)
        try:
            refused = validator(subject) is False
        except (ArtifactError, MemoryError):
            raise
        except Exception as error:
            msg = f"refused by {name}: {error}"[:_MESSAGE]
            raise InvalidValueError(msg) from error
        if refused:
            msg = f"refused by {name}"
            raise InvalidValueError(msg)


def media_types_of(head: bytes) -> tuple[str, ...]:
    """Return the media types that content may have, told from its first bytes.

    There can be several, where formats begin alike: a Word document is a ZIP archive.
    """
    import puremagic

    try:
        matches = puremagic.magic_string(head)
    except (puremagic.PureError, ValueError):  # nothing known, or nothing there
        matches = []
    best = max((match.confidence for match in matches), default=0)
    names = dict.fromkeys(
        _canonical(name)
        for match in matches
        if match.confidence == best
        for name in (match.mime_type, mimetypes.guess_type(f"name{match.extension}")[0])
        if name
    )
    if _is_text(head):
        names[TEXT] = None
    return tuple(names) or (UNKNOWN,)


_MESSAGE = 300


def _claimed(name: str) -> str | None:
    media_type, encoding = mimetypes.guess_type(name)
    if encoding:
        return f"application/{encoding}"
    return media_type and _canonical(media_type)


def _matches(media_type: str | None, allowed: tuple[str, ...]) -> bool:
    if media_type is None:  # a name without a suffix that is known claims nothing
        return True
    whole = media_type.partition("/")[0] + "/*"
    return media_type in allowed or whole in allowed or "*/*" in allowed


def _canonical(media_type: str) -> str:
    name = media_type.lower().replace("/x-", "/")
    return _ALIASES.get(name, name)


def _is_text(head: bytes) -> bool:
    if not head or b"\0" in head:
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # the last letter may be cut
    except UnicodeDecodeError:
        return False
    return True
