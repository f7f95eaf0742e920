"""Archives that have to be refused, by what is wrong with them, and as which error."""

import io
import os
import random
import stat
import tarfile
import zipfile

from sqla_artifacts.errors import InvalidTreeError, SourceError

from .archives import hard_link, link, member, tar_of, zip_link, zip_member, zip_of
from .bombs import zip_that_says

NAMES = {
    "dots": "../evil",
    "dots further down": "a/../../evil",
    "dots that stay inside": "a/../evil",
    "only dots": "..",
    "absolute": "/evil",
    "absolute twice": "//evil",
    "a drive": "C:/evil",
    "only a drive": "C:",
    "backslashes": "..\\evil",
    "a drive and backslashes": "C:\\evil",
    "a backslash": "a\\evil",
    "a long name": "x" * 256,
    "a long path": "a/" * 2048 + "b",
}
# Each of members that cannot be together.
TOGETHER = {
    "a member twice": ["a", "a"],
    "a member twice, spelled otherwise": ["a/b", "./a//b"],
    "a file where a directory is": ["a/b", "a"],
    "a file where a directory is needed": ["a", "a/b"],
    "a directory twice": ["a/", "a/"],
    "a directory where a file is": ["a", "a/"],
    "a root that is a file": ["."],
}
TARGETS = {
    "an absolute link": ("link", "/etc/passwd"),
    "a link that leads out": ("link", "../canary"),
    "a link that leads out further down": ("a/link", "../../canary"),
    "a link that leads out by a detour": ("link", "a/../../canary"),
    "a link that may lead out": ("link", "a/../b"),
    "a link to nothing": ("link", ""),
    "a link to too much": ("link", "a/" * 2048),
}
SPECIAL = {
    "a fifo": (tarfile.FIFOTYPE, stat.S_IFIFO),
    "a block device": (tarfile.BLKTYPE, stat.S_IFBLK),
    "a character device": (tarfile.CHRTYPE, stat.S_IFCHR),
}


def _tar_member(name):
    return member(name, type=tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE)


def _encrypted():
    """A zip file whose member has the flag of those that are encrypted."""
    packed = bytearray(zip_of(zip_member("a", b"secret"), compression=zipfile.ZIP_STORED))
    packed[6] |= 1
    packed[packed.index(b"PK\1\2") + 8] |= 1
    return bytes(packed)


def _trees():
    for what, name in NAMES.items():
        yield f"tar: {what}", tar_of(member("good", b"good"), member(name, b"evil"))
        yield f"zip: {what}", zip_of(zip_member("good", b"good"), zip_member(name, b"evil"))
    for what, names in TOGETHER.items():
        yield f"tar: {what}", tar_of(*map(_tar_member, names))
        yield f"zip: {what}", zip_of(*map(zip_member, names))
    for what, (name, target) in TARGETS.items():
        yield f"tar: {what}", tar_of(link(name, target))
        yield f"zip: {what}", zip_of(zip_link(name, target))
    for what, (kind, mode) in SPECIAL.items():
        yield f"tar: {what}", tar_of(member("evil", type=kind))
        yield f"zip: {what}", zip_of(zip_member("evil", mode=mode | 0o644))
    yield "zip: a socket", zip_of(zip_member("evil", mode=stat.S_IFSOCK | 0o644))
    yield "zip: a link that is called a directory", zip_of(zip_member("a/", b"b", stat.S_IFLNK))
    yield "zip: NUL", zip_of(zip_member("a?b")).replace(b"a?b", b"a\0b")
    yield "tar: NUL", tar_of(member("a", pax_headers={"path": "a\0b"}))
    yield "tar: below a link", tar_of(member("a/b"), link("c", "a"), member("c/evil", b"evil"))
    yield "zip: below a link", zip_of(zip_member("a/b"), zip_link("c", "a"), zip_member("c/evil"))
    yield "tar: a link twice, then below it", tar_of(link("a", "b"), link("a", "c"), member("a/b"))
    yield "tar: a file over a link", tar_of(link("a", "b"), member("a", b"evil"))
    for target in ("/etc/passwd", "../canary/file", "missing", "a", "b", "", "link", "later"):
        members = [member("a/b"), link("link", "a/b"), hard_link("b", target), member("later")]
        yield f"tar: a hard link to {target!r}", tar_of(*members)
    yield "tar: a kind that nobody knows", tar_of(member("a", b"a" * 600, type=b"Q"))


def _damaged():
    content = random.Random(5).randbytes(3000)
    yield "nothing", b""
    yield "text", b"text" * 1000
    yield "a picture", b"\x89PNG\r\n\x1a\n" + content
    yield "zip: encrypted", _encrypted()
    yield "zip: an end without a start", zip_of()[:-1]
    yield "tar: cut at a member's end", tar_of(member("a", content[:512]), member("b"))[:1024]
    yield "tar: cut at a header", tar_of(member("a", content[:512]))[:512]
    yield "tar: two in one file", tar_of(member("a")) + tar_of(member("b"))
    packed = bytearray(tar_of(member("a"), member("b")))
    packed[515] ^= 1
    yield "tar: a header in the middle", bytes(packed)
    for mode in ("w:gz", "w:bz2", "w:xz"):
        packed = tar_of(member("a", content), mode=mode)
        yield f"tar {mode}: cut", packed[: len(packed) // 2]
        yield f"tar {mode}: cut at the end", packed[:-4]
        yield f"tar {mode}: a bit", _flip(packed, len(packed) // 2)
        yield f"tar {mode}: what is no tar file", _compressed_text(mode)
    for method in (0, 8, 12, 14):
        packed = zip_of(zip_member("a", content), compression=method)
        yield f"zip {method}: cut", packed[: len(packed) // 2]
        yield f"zip {method}: a bit", _flip(packed, 1000)
        yield f"zip {method}: shorter than it says", zip_that_says(11, method, b"ten bytes.")
        yield f"zip {method}: a bit of a checksum", _flip(packed, packed.rindex(b"PK\1\2") + 16)


def _compressed_text(mode):
    fp = io.BytesIO()
    with tarfile.open(fileobj=fp, mode=mode) as tar:
        tar.fileobj.write(os.urandom(2000))
    return fp.getvalue()


def _flip(data, at):
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


HOSTILE = {
    **{what: (InvalidTreeError, data) for what, data in _trees()},
    **{what: (SourceError, data) for what, data in _damaged()},
}
