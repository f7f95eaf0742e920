"""Archives that would become much, or take much memory, if they were let."""

import binascii
import bz2
import functools
import gzip
import io
import lzma
import stat
import struct
import tarfile
import zipfile

from .archives import member, tar_of, zip_member, zip_of

MIB = 1 << 20
GIB = 1 << 30


@functools.cache
def zeros(compress):
    """A GiB of zeros, compressed."""
    return compress(bytes(16 * MIB)) * 64


def header(name, size, kind=tarfile.REGTYPE):
    """A tar header that is followed by as much as it says, or not."""
    tarinfo = tarfile.TarInfo(name)
    tarinfo.size = size
    tarinfo.type = kind
    return tarinfo.tobuf(tarfile.GNU_FORMAT)


def zip_that_says(size, compression, content, count=1, mode=None):
    """A zip file whose members say that they have another size than they have."""
    members = (zip_member(str(number), content, mode) for number in range(count))
    packed = bytearray(zip_of(*members, compression=compression))
    at = -1
    while (at := packed.find(b"PK\1\2", at + 1)) >= 0:
        packed[at + 24 : at + 28] = struct.pack("<I", size)
    return bytes(packed)


def zip_directory(count, name=b"a", extra=b""):
    """A zip file whose directory has so many entries, and that holds nothing else."""
    fixed = struct.pack("<4s6H3I5H2I", b"PK\1\2", *(20, 20, 0, 0, 0, 0), 0, 0, 0,
                        len(name), len(extra), 0, 0, 0, 0, 0)  # fmt: skip
    directory = (fixed + name + extra) * count
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, count & 0xFFFF, count & 0xFFFF,
                      len(directory), 0, 0)  # fmt: skip
    return directory + end


def greedy_xz(content):
    """An xz stream that asks for a dictionary of 1.5 GiB."""
    packed = bytearray(lzma.compress(content))
    size = (packed[12] + 1) * 4  # of the block header, at whose end is its checksum
    at = packed.index(b"\x21\x01", 12) + 2
    packed[at] = 37
    checksum = binascii.crc32(packed[12 : 12 + size - 4])
    packed[12 + size - 4 : 12 + size] = struct.pack("<I", checksum)
    return bytes(packed)


def many_headers(kind):
    """A tar file of many members, each after a pax header with a keyword of its own."""
    fp = io.BytesIO()
    with gzip.GzipFile(fileobj=fp, mode="wb", compresslevel=1) as out:
        for number in range(2400):
            keyword, value = f"K{number}", "x" * 31_000
            record = f" {keyword}={value}\n"
            record = f"{len(record) + 5}{record}".encode()
            assert len(record) == int(record[:5])
            out.write(header("pax", len(record), kind))
            out.write(record + bytes(-len(record) % 512))
            out.write(header(f"a{number}", 0))
        out.write(bytes(1024))
    return fp.getvalue()


def tar_that_says(size, kind, compress, first=b""):
    """A tar file whose last header announces so much, of which a GiB of zeros comes."""
    return compress(first + header("a", size, kind)) + zeros(compress)


SIZE = "InvalidValueError: the archive '{}' holds more than max_size=4294967296 bytes: raise that"
MEMBERS = "InvalidValueError: the archive '{}' holds more than max_members=20000 files"
HEADER = "InvalidValueError: the archive '{}' describes a member by more than 32768 bytes"
DAMAGED = "SourceError: the archive '{}' is damaged or cut off"
TARGET = "InvalidTreeError: the archive '{}' is refused for its member '0': a link's target of more"
UNREADABLE = "SourceError: cannot read '{}': "

COMPRESS = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}
METADATA = {
    "pax header": tarfile.XHDTYPE,
    "global pax header": tarfile.XGLTYPE,
    "GNU long name": tarfile.GNUTYPE_LONGNAME,
    "GNU long link": tarfile.GNUTYPE_LONGLINK,
}
LONG_ENTRY = b"\xff\xff\xfb\xff" + bytes(65531)


def bombs():
    """The bombs: a name, what is expected to be said, and the bytes."""
    for name, compress in COMPRESS.items():
        yield f"tar.{name}", SIZE, tar_that_says(8 * GIB, tarfile.REGTYPE, compress)
        yield f"zeros.{name}", DAMAGED, zeros(compress)
    for name, kind in METADATA.items():
        yield name, HEADER, tar_that_says(GIB, kind, gzip.compress)
        first = header("first", 0)
        yield f"second {name}", HEADER, tar_that_says(GIB, kind, gzip.compress, first)
    yield "headers", HEADER, gzip.compress(header("a", 0, tarfile.XGLTYPE) * 100_000)
    yield "global headers", "stored", many_headers(tarfile.XGLTYPE)
    yield "local headers", "stored", many_headers(tarfile.XHDTYPE)
    yield "dictionary.xz", UNREADABLE, greedy_xz(tar_of(member("a")))
    yield "honest.zip", SIZE, zip_that_says(GIB, zipfile.ZIP_DEFLATED, bytes(MIB), 5)
    yield "deflate.zip", UNREADABLE, zip_that_says(10, zipfile.ZIP_DEFLATED, bytes(16 * MIB))
    yield "bzip2.zip", DAMAGED, zip_that_says(10, zipfile.ZIP_BZIP2, bytes(80 * MIB))
    yield "lzma.zip", DAMAGED, zip_that_says(10, zipfile.ZIP_LZMA, bytes(16 * MIB))
    links = {"content": bytes(80 * MIB), "mode": stat.S_IFLNK | 0o777}
    yield "long link.zip", TARGET, zip_that_says(80 * MIB, zipfile.ZIP_BZIP2, **links)
    yield "short link.zip", DAMAGED, zip_that_says(10, zipfile.ZIP_BZIP2, **links)
    yield "millions.zip", MEMBERS, zip_directory(2_000_000)
    yield "many.zip", MEMBERS, zip_directory(200_000)
    yield "long.zip", MEMBERS, zip_directory(200, extra=LONG_ENTRY)
