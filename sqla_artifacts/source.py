"""Sources: what may be assigned to a column of files.

``"./runs/7"``, ``Path("./runs/7")``
    a file or a directory on this machine; a symbolic link is followed
``open("cat.png", "rb")``
    an open binary file: from its start if it can seek, else from where it stands
``("cat.png", data)``, ``("cat.png", stream)``
    a file from memory, or from a binary stream, under a name

The name and the content are stored. Times, owners, and where it came from are not.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
from typing import IO, TYPE_CHECKING, Any, TypeAlias, TypeGuard

from .digest import CHUNK
from .directory import stage_directory
from .errors import ArtifactError, InvalidValueError, SourceError
from .reference import Reference, label_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .payload import Payload, Stage

Source: TypeAlias = "str | os.PathLike[str] | IO[bytes] | tuple[str, bytes | IO[bytes]]"


# A FIFO that has taken a file's place must not hang the one who opens it.
_READ: int = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)


def stage_source(source: Source, stage: Stage) -> tuple[Reference, Payload]:
    """Copy a source to the stage, and return its reference and payload.

    Raises :class:`SourceError` for what cannot be read, and :class:`InvalidValueError` for
    what is no source.
    """
    if isinstance(source, str | os.PathLike):
        return _stage_path(os.fspath(source), stage)
    name, content = _named(source)
    label = label_of(name)
    if isinstance(content, bytes | bytearray | memoryview):
        payload = stage.data(bytes(content))
    elif _is_stream(content):
        payload = _stage_stream(content, name, stage)
    else:
        kind = type(content).__qualname__
        msg = f"the content of {name!r} must be bytes or a binary stream, not a {kind}"
        raise InvalidValueError(msg)
    return Reference("file", payload.digest, payload.size, label), payload


def name_of(source: Source) -> str | None:
    """Return the name under which a source will be stored, if it says one."""
    if isinstance(source, str | os.PathLike):
        return os.path.basename(os.path.abspath(os.fspath(source)))
    name = source[0] if isinstance(source, tuple) else getattr(source, "name", None)
    return os.path.basename(name) if isinstance(name, str) else None


def _named(source: Any) -> tuple[str, Any]:
    match source:
        case (str(name), content):
            return name, content
        case _ if _is_stream(source):
            named = getattr(source, "name", None)  # of a temporary file without one: a number
            return os.path.basename(named) or "file" if isinstance(named, str) else "file", source
    msg = (
        "a file or directory is given as a path, an open binary file, or (name, bytes), "
        f"not as a {type(source).__qualname__}"
    )
    raise InvalidValueError(msg)


def _stage_path(path: str, stage: Stage) -> tuple[Reference, Payload]:
    label = label_of(os.path.basename(os.path.abspath(path)))
    with _readable(path):
        mode = os.stat(path).st_mode
        descriptor = os.open(path, _READ) if stat.S_ISREG(mode) else -1
    if stat.S_ISDIR(mode):
        tree = stage_directory(path, stage)
        return Reference("tree", tree.digest, tree.total, label), tree
    if not stat.S_ISREG(mode):
        msg = f"{path!r} is neither a regular file nor a directory"
        raise SourceError(msg)
    try:
        payload = stage.copy(descriptor, path)
    finally:
        os.close(descriptor)
    return Reference("file", payload.digest, payload.size, label), payload


def _stage_stream(stream: IO[bytes], name: str, stage: Stage) -> Payload:
    if isinstance(stream, io.TextIOBase):
        msg = f"{name!r} is open as text: open it in binary mode ('rb')"
        raise InvalidValueError(msg)
    with _readable(name):
        seekable = hasattr(stream, "seekable") and stream.seekable()
        place = stream.tell() if seekable else 0
        if seekable:
            stream.seek(0)
    try:
        return stage.chunks(_chunks(stream, name))
    finally:
        if seekable:
            with contextlib.suppress(OSError, ValueError):
                stream.seek(place)


def _chunks(stream: IO[bytes], name: str) -> Iterator[bytes]:
    while True:
        with _readable(name):
            data = stream.read(CHUNK)
        if not isinstance(data, bytes | bytearray | memoryview):
            msg = f"{name!r} does not read as bytes: it gives a {type(data).__qualname__}"
            raise InvalidValueError(msg)
        if not data:
            return
        yield data


@contextlib.contextmanager
def _readable(name: str) -> Iterator[None]:
    try:
        yield
    except (ArtifactError, MemoryError):
        raise
    except Exception as error:  # whatever a stream raises, and ValueError for a NUL in a path
        cause = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        msg = f"cannot read {name!r}: {cause[:200]}"
        raise SourceError(msg) from error


def _is_stream(value: object) -> TypeGuard[IO[bytes]]:
    return callable(getattr(value, "read", None))
