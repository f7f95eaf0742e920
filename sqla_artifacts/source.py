"""Sources: what may be assigned to a column of files.

``"./runs/7"``, ``Path("./runs/7")``
    a file or a directory on this machine; a symbolic link is followed
``open("cat.png", "rb")``, ``request.files["cat"]``, ``requests.get(url, stream=True)``
    whatever :mod:`.upload` reads: open files, uploads of web frameworks, HTTP responses
``("cat.png", data)``, ``("cat.png", stream)``
    a file from memory, or any of the above, under a name
``FileDir.from_archive("run.zip")``
    what a zip or tar file holds, as a directory: see :mod:`.archive`

The name and the content are stored. Times, owners, and where it came from are not.
"""

from __future__ import annotations

import contextlib
import os
import stat
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from .archive import Archive
from .contents import refuse_changed
from .directory import stage_directory
from .errors import InvalidValueError, SourceError
from .payload import Payload
from .reference import Reference, label_of
from .upload import Upload, chunks_of, is_upload, reading
from .upload import name_of as name_of_upload

if TYPE_CHECKING:
    from .payload import Stage

Source: TypeAlias = "str | os.PathLike[str] | Upload | tuple[str, bytes | Upload] | Archive"


# A FIFO that has taken a file's place must not hang the one who opens it.
_READ: int = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)


def stage_source(source: Source, stage: Stage) -> tuple[Reference, Payload]:
    """Copy a source to the stage, and return its reference and payload.

    Raises :class:`SourceError` for what cannot be read, :class:`InvalidTreeError` for a
    directory or archive that no tree can hold, and :class:`InvalidValueError` for what is no
    source.
    """
    if isinstance(source, str | os.PathLike):
        return _stage_path(os.fspath(source), stage)
    if isinstance(source, Archive):
        label = label_of(source.name)
        tree = source.stage(stage)
        return Reference("tree", tree.digest, tree.total, label), tree
    name, content = _named(source)
    label = label_of(name)
    payload = _stage_content(name, content, stage)
    return Reference("file", payload.digest, payload.size, label), payload


def name_of(source: Source) -> str | None:
    """Return the name under which a source will be stored, if it says one."""
    if isinstance(source, str | os.PathLike):
        return os.path.basename(os.path.abspath(os.fspath(source)))
    if isinstance(source, Archive):
        return source.name
    match source:
        case (str(name), *_):
            return name
        case tuple():
            return None
    return name_of_upload(source)


def _named(source: Any) -> tuple[str, Any]:
    match source:
        case (str(name), content):
            return name, content
        case _ if is_upload(source):
            return name_of_upload(source), source
    msg = (
        "a file or directory is given as a path, an open binary file, an upload, a response, "
        f"(name, bytes), or FileDir.from_archive(...), not as a {type(source).__qualname__}"
    )
    raise InvalidValueError(msg)


def _stage_path(path: str, stage: Stage) -> tuple[Reference, Payload]:
    label = label_of(os.path.basename(os.path.abspath(path)))
    with reading(path):
        mode = os.stat(path).st_mode
        descriptor = os.open(path, _READ) if stat.S_ISREG(mode) else -1
    if stat.S_ISDIR(mode):
        tree = stage_directory(path, stage)
        return Reference("tree", tree.digest, tree.total, label), tree
    if not stat.S_ISREG(mode):
        msg = f"{path!r} is neither a regular file nor a directory"
        raise SourceError(msg)
    try:
        payload = _stage_file(descriptor, path, stage)
    finally:
        os.close(descriptor)
    return Reference("file", payload.digest, payload.size, label), payload


def _stage_file(descriptor: int, path: str, stage: Stage) -> Payload:
    """Copy an open file to the stage, unless its digest is remembered."""
    status = os.fstat(descriptor)
    if stage.stat_cache is None:
        stage.expect(status.st_size)
        return stage.copy(descriptor, path)
    with stage.stat_cache.session(stage.algorithm) as seen:
        file = seen.enter(path)
        digest = file.digest(b"", status)
        if digest is not None:
            stage.check_size(status.st_size)
            payload = Payload(digest, status.st_size, partial(_stage_again, path, digest, stage))
        else:
            stage.expect(status.st_size)
            payload = stage.copy(descriptor, path)
            file.note(b"", status, payload.digest)
        seen.leave(file)
    return payload


def _stage_again(path: str, digest: str, stage: Stage) -> Payload:
    """Copy a file whose digest was remembered after all."""
    with reading(path):
        descriptor = os.open(path, _READ)
    try:
        payload = stage.copy(descriptor, path)
    finally:
        os.close(descriptor)
    if payload.digest != digest:
        refuse_changed(path)
    return payload


def _stage_content(name: str, content: Any, stage: Stage) -> Payload:
    if isinstance(content, bytes | bytearray | memoryview):
        return stage.data(bytes(content))
    chunks = chunks_of(content, name)
    if chunks is None:
        kind = type(content).__qualname__
        msg = f"the content of {name!r} must be bytes or a binary stream, not a {kind}"
        raise InvalidValueError(msg)
    with contextlib.closing(chunks):
        return stage.chunks(chunks)
