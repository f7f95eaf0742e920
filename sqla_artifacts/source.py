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

from .directory import stage_directory
from .errors import InvalidValueError, SourceError
from .reference import Kind, Reference, label_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .payload import Payload, Stage

Source: TypeAlias = "str | os.PathLike[str] | IO[bytes] | tuple[str, bytes | IO[bytes]]"


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
    kind: Kind = "file"
    payload: Payload
    with _readable(path):
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            kind, tree = "tree", stage_directory(path, stage)
            payload, size = tree, tree.total
        elif stat.S_ISREG(mode):
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
            try:
                payload = stage.copy(descriptor, path)
            finally:
                os.close(descriptor)
            size = payload.size
        else:
            msg = f"{path!r} is neither a regular file nor a directory"
            raise SourceError(msg)
    return Reference(kind, payload.digest, size, label), payload


def _stage_stream(stream: IO[bytes], name: str, stage: Stage) -> Payload:
    if isinstance(stream, io.TextIOBase):
        msg = f"{name!r} is open as text: open it in binary mode ('rb')"
        raise InvalidValueError(msg)
    seekable = hasattr(stream, "seekable") and stream.seekable()
    with _readable(name):
        place = stream.tell() if seekable else 0
        if seekable:
            stream.seek(0)
        try:
            return stage.stream(stream)
        except TypeError as error:
            msg = f"{name!r} does not read as bytes: {error}"
            raise InvalidValueError(msg) from error
        finally:
            if seekable:
                stream.seek(place)


@contextlib.contextmanager
def _readable(name: str) -> Iterator[None]:
    try:
        yield
    except (SourceError, InvalidValueError):
        raise
    except (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError) as error:
        msg = f"cannot read {name!r}: {error.strerror}"
        raise SourceError(msg) from error
    except ValueError as error:  # a NUL in a path, or a closed file
        msg = f"cannot read {name!r}: {error}"
        raise SourceError(msg) from error


def _is_stream(value: object) -> TypeGuard[IO[bytes]]:
    return callable(getattr(value, "read", None))
