"""A file of its own, out of a blob."""

from __future__ import annotations

import contextlib
import os
import stat
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ..copying import copying
from ..digest import CHUNK, Algorithm, hasher, verify
from ..leftovers import new_file
from ..member import check_portable
from ..placing import naming, new_sibling, place_file

if TYPE_CHECKING:
    from collections.abc import Callable

WRITE_BITS = 0o222


def _ignored(size: int) -> None:
    pass


def unpack_file(
    source: BinaryIO,
    digest: str,
    target: str | os.PathLike[str],
    *,
    algorithm: Algorithm,
    read_only: bool = False,
    mode: int | None = None,
    copied: Callable[[int], object] = _ignored,
) -> None:
    """Copy a blob, open at its start, to a new file.

    Its ``mode`` is that of a new file if none is given. ``copied`` is told of bytes that were
    copied, as they come. If ``source`` has a ``fileno()``, that file is taken to be the blob.
    Raises :class:`BlobCorruptedError` for other bytes than the digest's, and :class:`UnpackError`
    where the file cannot be made or there is something of its name.
    """
    path = Path(target)
    check_portable(path.name)
    temporary, descriptor = new_sibling(path, partial(new_file, mode=0o666))
    try:
        try:
            verify(copy_blob(source, descriptor, algorithm, path, copied), digest)
            with naming(path):
                if read_only or mode is not None:
                    there = stat.S_IMODE(os.fstat(descriptor).st_mode) if mode is None else mode
                    # Not by its name, which may be somebody else's by now.
                    itself = descriptor if os.chmod in os.supports_fd else temporary
                    os.chmod(itself, there & ~WRITE_BITS if read_only else there)
                if os.name != "nt":  # There a file that is open cannot be renamed.
                    place_file(temporary, path, descriptor)
        finally:
            os.close(descriptor)
        if os.name == "nt":
            place_file(temporary, path, None)
    finally:
        with contextlib.suppress(OSError):
            if os.name == "nt":  # There a read-only file cannot be removed.
                temporary.chmod(0o600)
            temporary.unlink()


def copy_blob(
    source: BinaryIO,
    target: int,
    algorithm: Algorithm,
    path: Path,
    copied: Callable[[int], object] = _ignored,
) -> str:
    """Copy a blob to a new file, which is to be at ``path``; return the digest of the copy."""
    descriptor = _file_of(source)
    if descriptor is not None:
        return _copy_file(descriptor, target, algorithm, path, copied)
    digest = hasher(algorithm)
    while data := source.read(CHUNK):
        digest.update(data)
        with naming(path):
            write_all(target, data)
        copied(len(data))
    return digest.hexdigest()


def _copy_file(
    source: int, target: int, algorithm: Algorithm, path: Path, copied: Callable[[int], object]
) -> str:
    with contextlib.closing(copying(source, target, algorithm, flushed=False)) as steps:
        while True:
            with naming(path):  # not what the listener raises
                try:
                    step = next(steps)
                except StopIteration as end:
                    return str(end.value[0])
            copied(step)


def _file_of(source: BinaryIO) -> int | None:
    try:
        descriptor = source.fileno()
    except (AttributeError, OSError):
        return None
    return descriptor if stat.S_ISREG(os.fstat(descriptor).st_mode) else None


def read_up_to(source: BinaryIO, size: int) -> bytes:
    """Return the next ``size`` bytes of a stream, fewer only at the end."""
    data = source.read(size)
    if len(data) == size:
        return data
    pieces, missing = [data], size - len(data)
    while missing and (more := source.read(missing)):
        pieces.append(more)
        missing -= len(more)
    return b"".join(pieces)


def read_into(source: BinaryIO, room: memoryview) -> memoryview:
    """Fill a buffer with the next bytes of a stream; return less of it only at the end."""
    count = 0
    while count < len(room) and (more := source.readinto(room[count:])):  # type: ignore[attr-defined]
        count += more
    return room[:count]


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write all of the bytes where the file stands."""
    written = os.write(descriptor, data) if data else 0
    while written < len(data):
        written += os.write(descriptor, memoryview(data)[written:])
