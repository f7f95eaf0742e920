"""Archives: storing what a zip or tar file holds, as a directory.

::

    row.run = FileDir.from_archive(request.files["run"], max_size=100_000_000)

Read are zip files, and tar files that are plain or compressed by gzip, bzip2, xz, or zstd (from
Python 3.14 on), told by their content. They are read when the value is flushed.

An archive is unpacked into a private directory in the system's place for temporary files, which
is stored like any other and then removed. So the tree, its digest included, is that of the same
directory on disk: names, contents, empty directories, permission bits and links that stay
inside. Where an archive tells no permissions they are 644, and 755 for directories; nothing is
less than readable for its owner. A hard link becomes a file of its own.

An archive is taken whole or refused whole:

* as an :class:`~sqla_artifacts.errors.InvalidTreeError`, members whose names have ``..``, begin
  at the root or with a drive letter, or have a backslash, which separates names elsewhere;
  members that come twice, or lie below what is no directory, a link for instance; devices and
  FIFOs; links that may lead out of the tree, by the rule of :mod:`.member`; hard links to
  anything but a file that came before;
* as an :class:`~sqla_artifacts.errors.InvalidValueError`, more than ``max_size`` bytes in all
  files, counted while they are unpacked; more than ``max_members`` files, links and directories,
  those that are only implied included; or names of more than 512 bytes each on average;
* as a :class:`~sqla_artifacts.errors.SourceError`, what is damaged, cut off, encrypted, or no
  archive.

In memory are the members' names, and pieces of 1 MiB.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import stat
import tarfile
import tempfile
import zipfile
from typing import IO, TYPE_CHECKING, TypeAlias

from ..directory import TreePayload, stage_directory
from ..errors import InvalidValueError, SourceError
from ..upload import Upload, chunks_of, is_upload, name_of, reading
from .decoding import COMPRESSED
from .extraction import Extraction, extraction
from .tars import extract_tar
from .zips import extract_zip

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..payload import Stage

ArchiveSource: TypeAlias = "str | os.PathLike[str] | bytes | Upload"

MAX_SIZE = 4 << 30
"""How many bytes the files of an archive may have, unless somebody says otherwise."""
MAX_MEMBERS = 20_000
"""How many files, links and directories an archive may hold, unless somebody says otherwise."""

_SUFFIX = re.compile(r"(?<=.)\.(zip|whl|jar|tar(\.\w+)?|tgz|tbz2?|txz|tzst)\Z", re.IGNORECASE)
# A FIFO must not hang the one who opens it.
_READ: int = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)


class Archive:
    """A zip or tar file, to be stored as the directory that it holds.

    ``source`` is a path, an open binary file, the bytes, or whatever else :mod:`.upload` reads.
    ``name`` is the tree's; if it is not given, it is the archive's own without its suffix.
    ``max_size`` and ``max_members`` limit what is unpacked.

    Raises :class:`InvalidValueError` for what cannot be a source.
    """

    def __init__(
        self,
        source: ArchiveSource,
        *,
        name: str | None = None,
        max_size: int = MAX_SIZE,
        max_members: int = MAX_MEMBERS,
    ) -> None:
        self.source = source
        self.max_size = max_size
        self.max_members = max_members
        self._own_name = _own_name(source)
        self.name = name if name is not None else _SUFFIX.sub("", self._own_name)

    def __repr__(self) -> str:
        return f"<Archive {self._own_name!r}>"

    def stage(self, stage: Stage) -> TreePayload:
        """Unpack the archive, and make a payload of its tree; takes its size on disk meanwhile.

        Raises :class:`SourceError`, :class:`InvalidTreeError` or :class:`InvalidValueError` for
        an archive that is refused.
        """
        limits = self.max_size, self.max_members
        with self._open() as fp, extraction(self._own_name, limits, stage) as tree:
            _extract(fp, tree)
            return stage_directory(tree.finish(), stage)

    def _open(self) -> contextlib.AbstractContextManager[IO[bytes]]:
        source = self.source
        if isinstance(source, str | os.PathLike):
            return _open_path(os.fspath(source))
        if isinstance(source, bytes | bytearray | memoryview):
            return io.BytesIO(source)
        return self._copy()

    @contextlib.contextmanager
    def _copy(self) -> Iterator[IO[bytes]]:
        """Copy an upload to a temporary file, as reading an archive goes back and forth."""
        chunks = chunks_of(self.source, self._own_name)
        assert chunks is not None  # noqa: S101 (checked when this was made)
        # What cannot be an archive within the limits, such as a response without an end.
        limit = (1 << 20) + self.max_size + (self.max_size >> 6) + (self.max_members << 12)
        with tempfile.TemporaryFile() as fp, contextlib.closing(chunks):
            for chunk in chunks:
                fp.write(chunk)
                if fp.tell() > limit:
                    msg = (
                        f"the archive {self._own_name!r} is itself larger than its "
                        f"max_size={self.max_size} allows: raise that if you trust it"
                    )
                    raise InvalidValueError(msg)
            fp.seek(0)
            yield fp


def _extract(fp: IO[bytes], tree: Extraction) -> None:
    with tree.reading():
        head = fp.read(tarfile.BLOCKSIZE)
        fp.seek(0)
        opener = next((COMPRESSED[magic] for magic in COMPRESSED if head.startswith(magic)), None)
        is_tar = head[257:262] == b"ustar"  # first: a tar file may end with a zip file
        is_zip = head.startswith(b"PK") or (not is_tar and zipfile.is_zipfile(fp))
        fp.seek(0)
        stream = opener(fp) if opener else fp
    if is_zip and opener is None:
        extract_zip(fp, tree)
    else:
        extract_tar(stream, tree)


def _open_path(path: str) -> IO[bytes]:
    with reading(path):
        descriptor = os.open(path, _READ)
    fp = os.fdopen(descriptor, "rb") if _is_file(descriptor) else None
    if fp is None:
        os.close(descriptor)
        msg = f"{path!r} is no regular file, so it is no archive"
        raise SourceError(msg)
    return fp


def _is_file(descriptor: int) -> bool:
    return stat.S_ISREG(os.fstat(descriptor).st_mode)


def _own_name(source: object) -> str:
    if isinstance(source, str | os.PathLike):
        return os.path.basename(os.path.abspath(os.fspath(source)))
    if isinstance(source, bytes | bytearray | memoryview):
        return "archive"
    if is_upload(source):
        return name_of(source)
    msg = (
        "an archive is given as a path, an open binary file, an upload, a response, or bytes, "
        f"not as a {type(source).__qualname__}"
    )
    raise InvalidValueError(msg)
