"""Tar files: plain or compressed, read from one end to the other.

:mod:`tarfile` reads headers of any length into memory, and takes one that is damaged for the
archive's end. So the headers go through a meter, and the end has to be one.
"""

from __future__ import annotations

import tarfile
from typing import IO, TYPE_CHECKING, Any, Self, cast

from ..errors import InvalidTreeError, InvalidValueError

if TYPE_CHECKING:
    from .decoding import Stream
    from .extraction import Extraction

# Two paths of 4095 bytes fit in, and a few extended attributes. Some Pythons need time that is
# quadratic in this for a header of digits (CVE-2024-6232).
_HEADER_MAX = 32 << 10
_BUFFER = 20 * tarfile.BLOCKSIZE
# After the end comes what fills a record of a tape.
_PADDING_MAX = 16 << 20
_END: type[Exception] = tarfile.EOFHeaderError  # type: ignore[attr-defined]


def extract_tar(fp: Stream, tree: Extraction) -> None:
    """Extract all members. Raises what :class:`Extraction` does."""
    meter = _Meter(fp, tree.name)
    with tree.reading():
        tar: Any = tarfile.open(  # noqa: SIM115 (it opens nothing)
            fileobj=cast("IO[bytes]", meter), mode="r|", tarinfo=_Header
        )
    while True:
        meter.left = _HEADER_MAX
        with tree.reading():
            header = tar.next()
        # Both would grow with the archive. A global header's records hold for one member only.
        tar.members.clear()
        tar.pax_headers.clear()
        meter.left = None
        if header is None:
            break
        _extract(tar, header, tree)
    _check_padding(tar, meter, tree)


class _Header(tarfile.TarInfo):
    """A member's header, of which a damaged one is an error."""

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tarfile_)
        except _END:
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(
                f"no zip or tar file, or damaged or cut off: {error}"
            ) from error


class _Meter:
    """A stream that refuses to give more than is ``left``."""

    def __init__(self, fp: Stream, name: str) -> None:
        self._fp = fp
        self._name = name
        self.left: int | None = _HEADER_MAX

    def read(self, size: int) -> bytes:
        data = self._fp.read(size)
        if self.left is not None:
            self.left -= len(data)
            if self.left < -_BUFFER:  # which may have been read ahead
                msg = (
                    f"the archive {self._name!r} describes a member by more than {_HEADER_MAX} "
                    "bytes: unpack it yourself if you trust it, and store the directory"
                )
                raise InvalidValueError(msg)
        return data


def _extract(tar: tarfile.TarFile, header: tarfile.TarInfo, tree: Extraction) -> None:
    if header.size < 0:
        raise tree.damaged("a member's size is negative")
    with tree.member(header.name) as path:
        if header.isdir():
            tree.directory(path, header.mode)
        elif header.issym():
            tree.symlink(path, header.linkname)
        elif header.islnk():
            tree.link(path, header.mode, header.linkname)
        elif header.isreg():
            with tree.reading():
                content = cast("IO[bytes]", tar.extractfile(header))
            tree.file(path, header.mode, header.size, tree.chunks(content))
        else:
            raise InvalidTreeError("it is neither a file nor a directory nor a link")


def _check_padding(tar: Any, meter: _Meter, tree: Extraction) -> None:
    """Read to the end, where a compressed file has its checksum; only zeros may come."""
    meter.left = None
    size = 0
    for data in tree.chunks(tar.fileobj):
        size += len(data)
        if size > _PADDING_MAX or data.count(0) != len(data):
            raise tree.damaged("something comes after its end")
