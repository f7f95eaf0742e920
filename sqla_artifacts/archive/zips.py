"""Zip files.

:mod:`zipfile` reads the directory at the end of the file into memory, and has bzip2 and LZMA
decompress as much as they like. So the directory is looked at before it is parsed, and those
two, and zstd, are decoded here.
"""

from __future__ import annotations

import contextlib
import stat
import struct
import zipfile
import zlib
from copy import copy
from typing import IO, TYPE_CHECKING, Any, cast

from ..errors import InvalidTreeError, SourceError
from ..member import PATH_MAX, decode
from .decoding import open_bz2, open_zip_lzma, open_zstd

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .decoding import Stream
    from .extraction import Extraction

_ENCRYPTED = 0x1
_MARKS_ITS_END = 0x2
_UTF_8 = 0x800
_UNIX = 3
_ENTRY = b"PK\x01\x02"
_UNICODE_PATH = 0x7075
_FIELD = struct.Struct("<HH")
_ZSTD = 93
_DECODED = frozenset({zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, _ZSTD})
_KINDS = frozenset({0, stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK})


def extract_zip(fp: IO[bytes], tree: Extraction) -> None:
    """Extract all members. Raises what :class:`Extraction` does."""
    checked = _Checked(fp, tree)
    with tree.reading():
        archive = zipfile.ZipFile(cast("IO[bytes]", checked))
    checked.parsing = False
    with archive:
        infos = archive.infolist()
        tree.expect(sum(info.file_size for info in infos))
        for info in infos:
            with tree.reading():
                name = _name(info)
            with tree.member(name) as path:
                _extract(archive, info, path, tree, is_directory=name.endswith("/"))


class _Checked:
    """A zip file that gives no directory that is too long for the limits."""

    def __init__(self, fp: IO[bytes], tree: Extraction) -> None:
        self._fp = fp
        self._tree = tree
        self.parsing = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._fp, name)

    def read(self, size: int = -1) -> bytes:
        if not self.parsing:
            return self._fp.read(size)
        self._tree.expect_members(0, size)
        data = self._fp.read(size)
        self._tree.expect_members(data.count(_ENTRY), 0)
        return data


def _extract(
    archive: zipfile.ZipFile,
    info: zipfile.ZipInfo,
    path: str,
    tree: Extraction,
    *,
    is_directory: bool,
) -> None:
    if info.flag_bits & _ENCRYPTED:
        raise SourceError(f"the archive {tree.name!r} is encrypted: decrypt it first")
    mode = info.external_attr >> 16
    kind = stat.S_IFMT(mode)
    if is_directory:
        kind = kind or stat.S_IFDIR
    if is_directory != (kind == stat.S_IFDIR) or kind not in _KINDS:
        raise InvalidTreeError("it is neither a file nor a directory nor a link")
    if is_directory:
        tree.directory(path, mode or 0o755)
    elif kind == stat.S_IFLNK:
        if info.file_size > PATH_MAX:
            raise InvalidTreeError(f"a link's target of more than {PATH_MAX} bytes")
        content = tree.exactly(info.file_size, _content(archive, info, tree))
        tree.symlink(path, decode(b"".join(content)))
    else:
        tree.file(path, mode or 0o644, info.file_size, _content(archive, info, tree))


def _content(archive: zipfile.ZipFile, info: zipfile.ZipInfo, tree: Extraction) -> Iterator[bytes]:
    with tree.reading():
        stream = _open(archive, info)
    checksum = 0
    for data in tree.chunks(stream):
        checksum = zlib.crc32(data, checksum)
        yield data
    if checksum != info.CRC:
        raise tree.damaged("the checksum of a member is wrong")


def _open(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Stream:
    if info.compress_type not in _DECODED:
        return archive.open(info)
    raw = copy(info)  # the member as it lies there, for which zipfile has no method
    raw.compress_type = zipfile.ZIP_STORED
    raw.file_size = raw.compress_size
    del raw.CRC
    fp = archive.open(raw)
    if info.compress_type == zipfile.ZIP_LZMA:
        return open_zip_lzma(fp, -1 if info.flag_bits & _MARKS_ITS_END else info.file_size)
    return open_bz2(fp) if info.compress_type == zipfile.ZIP_BZIP2 else open_zstd(fp)


def _name(info: zipfile.ZipInfo) -> str:
    """Return a member's name, with all that is in it, as the archive's maker meant it.

    Without a flag that it is UTF-8 that is code page 437, unless there is the extra field that
    Info-ZIP writes, which not every Python knows (APPNOTE.TXT, section 4.6.9); or it was made
    on Unix, where Info-ZIP at times writes UTF-8 and says nothing.
    """
    name = info.orig_filename
    raw = name.encode("utf-8" if info.flag_bits & _UTF_8 else "cp437")
    if info.create_system == _UNIX:
        with contextlib.suppress(UnicodeDecodeError):
            name = raw.decode()
    extra = info.extra
    while len(extra) > _FIELD.size:
        kind, size = _FIELD.unpack_from(extra)
        field, extra = extra[4 : 4 + size], extra[4 + size :]
        if kind == _UNICODE_PATH and field[:5] == b"\x01" + zlib.crc32(raw).to_bytes(4, "little"):
            name = field[5:].decode()
    return name
