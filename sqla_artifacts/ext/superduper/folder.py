"""The folder of a Superduper artifact store.

What the versions of Superduper wrote into a field of artifacts, and where the bytes are:

==================================================== =======================================
in the row                                           in the folder
==================================================== =======================================
``&:blob:<id>``                                      ``<id>``, a file
``&:file:<id>``                                      ``<id>/<name>``, a file or directory
``&:file:<name, with __ for .>:<id>``                the same
``?<key>``                                           what the row's ``_builds[key]`` names
``{"_content": {"leaf_type": …, "file_id": …, …}}``  ``<id>``, or ``<id>/<name>``
==================================================== =======================================

The id of a blob with 40 digits is the SHA-1 of its bytes, and is verified. Superduper 0.6 and
later make longer ids, of the value; and those of files were never made of the bytes. There is
nothing to verify these by.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ...errors import (
    ArtifactError,
    BlobCorruptedError,
    BlobNotFoundError,
    InvalidReferenceError,
    SourceError,
    UnknownProtocolError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_REFERENCE = re.compile(r"&:(blob|file):(?:(.+):)?([^:]+)", re.DOTALL)
_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}")
_SHA1 = re.compile(r"[0-9a-f]{40}")


class ArtifactFolder:
    """The folder of a Superduper artifact store, for reading.

    ``url`` is ``filesystem://<path>``, ``file://<path>`` or a path. ``blobs`` and ``files``
    name the folders in it that Superduper was given under these names. Raises
    :class:`SourceError` if there is no such folder.

    Whatever a reference says, nothing outside of the folder is reached, and no link followed.
    """

    def __init__(self, url: str | os.PathLike[str], *, blobs: str = "", files: str = "") -> None:
        protocol, separator, path = os.fspath(url).partition("://")
        if separator and protocol not in {"filesystem", "file"}:
            msg = f"an artifact folder is a folder on this machine, not {protocol}://"
            raise UnknownProtocolError(msg)
        root = path if separator else protocol
        self._blobs, self._files = (Path(root, each).absolute() for each in (blobs, files))
        for folder in (self._blobs, self._files):
            if not root or not folder.is_dir():
                msg = (
                    f"{os.fspath(url)!r} is no artifact folder: there is no folder {str(folder)!r}"
                )
                raise SourceError(msg)

    def blob(self, reference: str | Mapping[str, Any]) -> Path:
        """Return the path of a blob, once its bytes are verified as far as its id allows.

        Raises :class:`InvalidReferenceError`, :class:`BlobNotFoundError`,
        :class:`BlobCorruptedError` or :class:`SourceError`.
        """
        return self._path(_parse(reference), "blob")

    def file(self, reference: str | Mapping[str, Any]) -> Path:
        """Return the path of a file or directory, which ends in its name.

        Raises :class:`InvalidReferenceError`, :class:`BlobNotFoundError` or
        :class:`SourceError`.
        """
        return self._path(_parse(reference), "file")

    def _path(self, reference: _Reference, kind: str) -> Path:
        if reference.kind != kind:
            msg = f"expected the reference of a {kind}, not {reference}"
            raise InvalidReferenceError(msg)
        try:
            return self._blob(reference) if kind == "blob" else self._file(reference)
        except FileNotFoundError as error:
            msg = f"{reference} is not in {str(self._blobs if kind == 'blob' else self._files)!r}"
            raise BlobNotFoundError(msg) from error
        except ArtifactError:
            raise
        except OSError as error:
            msg = f"cannot read {reference}: {error.strerror}"
            raise SourceError(msg) from error

    def _blob(self, reference: _Reference) -> Path:
        path = self._blobs / reference.id
        _check_kind(path, stat.S_ISREG)
        if reference.sha1 is not None:
            with path.open("rb") as fp:
                found = hashlib.file_digest(fp, _sha1).hexdigest()
            if found != reference.sha1:
                msg = f"{reference} is corrupt: the SHA-1 of its bytes is {found}"
                raise BlobCorruptedError(msg)
        return path

    def _file(self, reference: _Reference) -> Path:
        folder = self._files / reference.id
        _check_kind(folder, stat.S_ISDIR)
        names = [name for name in sorted(os.listdir(folder)) if reference.names(name)]
        if not names:
            raise FileNotFoundError
        if len(names) > 1:
            msg = f"{reference} may be any of {', '.join(map(repr, names))[:200]}"
            raise InvalidReferenceError(msg)
        _check_kind(folder / names[0], stat.S_ISREG, stat.S_ISDIR)
        return folder / names[0]


class _Reference(NamedTuple):
    """What a field of artifacts refers to."""

    kind: str
    id: str
    name: str | None
    sha1: str | None

    def __str__(self) -> str:
        return repr(":".join(filter(None, ("&", self.kind, self.name, self.id)))[:300])

    def names(self, name: str) -> bool:
        """Say whether this may be what refers to a file of that name."""
        return self.name in {None, name, name.replace(".", "__")}


def _parse(value: Any) -> _Reference:
    sha1s: tuple[Any, ...]
    match value:
        case str():
            found = _REFERENCE.fullmatch(value)
            kind, name, identifier = found.groups() if found else ("", None, "")
            sha1s = (identifier,)
        case {"_content": {"leaf_type": str(leaf), "file_id": str(file_id)} as content}:
            kind = "file" if leaf.endswith("file") else "blob"
            identifier, _, name = file_id.partition("/")
            # With a URI, the id is the URI's SHA-1.
            sha1s = (content.get("sha1"), None if content.get("uri") else identifier)
        case _:
            kind, name, identifier, sha1s = "", None, "", ()
    if not _ID.fullmatch(identifier) or (kind == "blob" and name):
        shown = isinstance(value, str) and value.startswith("&:")
        what = repr(value[:100]) if shown else f"a {type(value).__name__}"
        msg = f"{what} is no reference of Superduper's into its folder"
        raise InvalidReferenceError(msg)
    sha1 = next((s for s in sha1s if isinstance(s, str) and _SHA1.fullmatch(s)), None)
    return _Reference(kind, identifier, name or None, sha1)


def _check_kind(path: Path, *kinds: Callable[[int], bool]) -> None:
    mode = path.lstat().st_mode
    if not any(kind(mode) for kind in kinds):
        msg = f"{str(path)!r} is a link, or of another kind than Superduper makes"
        raise SourceError(msg)


def _sha1() -> Any:
    return hashlib.sha1(usedforsecurity=False)
