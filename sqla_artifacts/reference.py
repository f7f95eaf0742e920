"""References: what a row holds.

A reference is one line of ASCII text::

    &:<kind>:<digest>:<size>:<label>
    &:blob:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08:1048576:numpy

``kind``
    four letters: ``blob`` for an encoded value, ``file`` for a file's own bytes, ``tree`` for
    the manifest of a directory.
``digest``
    64 hexadecimal digits, at the same place in every reference, so that
    ``substr(column, 8, 64)`` is the digest on every database.
``size``
    in bytes and decimal: of the blob, of the file, or of all the files of the tree.
``label``
    the datatype's identifier for a ``blob``; else the name of the file or directory, its
    bytes percent-encoded (RFC 3986, section 2.1) but for letters, digits, ``-``, ``.``,
    ``_`` and ``~``.

There is one way to write a reference. Any other string is an
:class:`~sqla_artifacts.errors.InvalidReferenceError`, and never a path.
"""

from __future__ import annotations

import os
import re
from typing import Literal, NamedTuple, TypeAlias, cast
from urllib.parse import quote_from_bytes, unquote_to_bytes

from .errors import InvalidReferenceError, InvalidValueError

Kind: TypeAlias = Literal["blob", "file", "tree"]

DIGEST = re.compile(r"[0-9a-f]{64}")
IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
NAME_MAX = 255
"""The longest name of a file in bytes, as on every common file system."""

_REFERENCE = re.compile(
    r"&:(blob|file|tree):([0-9a-f]{64}):(0|[1-9][0-9]{0,17}):((?:[A-Za-z0-9._~-]|%[0-9A-F]{2}){1,765})"
)


class Reference(NamedTuple):
    """A parsed reference; ``str()`` of it is what the row holds."""

    kind: Kind
    digest: str
    size: int
    label: str

    def __str__(self) -> str:
        return f"&:{self.kind}:{self.digest}:{self.size}:{self.label}"

    @property
    def name(self) -> str:
        """The name of the file or directory, decoded from the label."""
        return os.fsdecode(unquote_to_bytes(self.label))


def parse(text: object) -> Reference:
    """Read a reference, which is a ``str``, whatever else a database may hold.

    Raises :class:`InvalidReferenceError` for whatever :func:`str` of a
    :class:`Reference` could not have written.
    """
    match = _REFERENCE.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        msg = f"{_shorten(text)} is not a reference of the form &:kind:digest:size:label"
        raise InvalidReferenceError(msg)
    kind, digest, size, label = match.groups()
    if kind == "blob":
        valid = IDENTIFIER.fullmatch(label) is not None
    else:
        raw = unquote_to_bytes(label)
        valid = _is_name(raw) and quote_from_bytes(raw, safe="") == label
    if not valid:
        msg = f"{_shorten(text)} is not a reference: its label is none that this package writes"
        raise InvalidReferenceError(msg)
    return Reference(cast("Kind", kind), digest, int(size), label)


def label_of(name: str) -> str:
    """Return the label for the name of a file or directory.

    Raises :class:`InvalidValueError` for what cannot be one name in a directory.
    """
    try:
        raw = os.fsencode(name)
    except UnicodeEncodeError:  # half of a surrogate pair is the name of nothing
        raw = b""
    if not _is_name(raw):
        msg = f"{_shorten(name)} is no name for a file: that is one name of 1 to 255 bytes"
        raise InvalidValueError(msg)
    return quote_from_bytes(raw, safe="")


def _shorten(text: object, limit: int = 120) -> str:
    if not isinstance(text, str):
        return f"a {type(text).__name__}"
    return repr(text[:limit]) + ("…" if len(text) > limit else "")


def _is_name(raw: bytes) -> bool:
    return (
        0 < len(raw) <= NAME_MAX
        and raw not in {b".", b".."}
        and b"/" not in raw
        and b"\0" not in raw
    )


def as_reference(reference: str | Reference) -> Reference:
    """Return a reference that is parsed, whether it was or not."""
    return reference if isinstance(reference, Reference) else parse(reference)
