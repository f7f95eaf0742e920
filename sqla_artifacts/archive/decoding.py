"""Decoding: streams out of compressed ones, which give no more bytes at a time than are asked for.

The dictionary of LZMA and xz may take 64 MiB, as with ``xz -9``; what wants more is refused.
"""

from __future__ import annotations

import bz2
import gzip
import importlib
import io
import lzma
import sys
from typing import IO, TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Callable

_MEMORY = 80 << 20
_PIECE = 1 << 16


class Stream(Protocol):
    """A binary stream that reads, and no more."""

    def read(self, size: int, /) -> bytes:
        """Return up to so many of the next bytes; none at the end."""


class LzmaStream:
    """The content of an xz or LZMA stream.

    In place of :class:`lzma.LZMAFile`, which takes as much memory as the stream asks for.
    """

    def __init__(self, fp: Stream, form: int = lzma.FORMAT_XZ) -> None:
        self._fp = fp
        self._form = form
        self._decoder = self._new()

    def read(self, size: int, /) -> bytes:
        """Return up to so many of the next bytes; none at the end."""
        while True:
            if self._decoder.eof:
                data = self._decoder.unused_data.lstrip(b"\0")  # padding between xz streams
                while not data:
                    piece = self._fp.read(_PIECE)
                    if not piece:
                        return b""
                    data = piece.lstrip(b"\0")
                self._decoder = self._new()
            else:
                data = self._fp.read(_PIECE) if self._decoder.needs_input else b""
                if self._decoder.needs_input and not data:
                    raise EOFError("the compressed data ends before its end")
            decoded = self._decoder.decompress(data, size)
            if decoded:
                return decoded

    def _new(self) -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(self._form, memlimit=_MEMORY)


def open_gzip(fp: IO[bytes]) -> Stream:
    """Return the content of a gzip file."""
    return gzip.GzipFile(fileobj=fp, mode="rb")


def open_bz2(fp: IO[bytes]) -> Stream:
    """Return the content of a bzip2 file."""
    return bz2.BZ2File(fp)


def open_zstd(fp: IO[bytes]) -> Stream:
    """Return the content of a zstd file. Raises ``NotImplementedError`` before Python 3.14."""
    if sys.version_info < (3, 14):
        raise NotImplementedError("zstd needs Python 3.14 or later")
    return cast("Stream", importlib.import_module("compression.zstd").ZstdFile(fp))


def open_zip_lzma(fp: IO[bytes], size: int) -> Stream:
    """Return the content of a member of a zip file that is compressed by LZMA.

    Source of the format: APPNOTE.TXT, section 5.8. It is made into the one of lzma(1), whose
    header has a size, or -1 where the data mark their own end.
    """
    header = fp.read(4)
    properties = fp.read(int.from_bytes(header[2:], "little"))
    start = io.BytesIO(properties + size.to_bytes(8, "little", signed=True))
    return LzmaStream(_Joined(start, fp), lzma.FORMAT_ALONE)


class _Joined:
    """One stream after the other."""

    def __init__(self, *streams: Stream) -> None:
        self._streams = streams

    def read(self, size: int, /) -> bytes:
        for stream in self._streams:
            if data := stream.read(size):
                return data
        return b""


COMPRESSED: dict[bytes, Callable[[IO[bytes]], Stream]] = {
    b"\x1f\x8b": open_gzip,
    b"BZh": open_bz2,
    b"\xfd7zXZ\0": LzmaStream,
    b"\x28\xb5\x2f\xfd": open_zstd,
}
"""What opens a compressed file, by how it begins."""
