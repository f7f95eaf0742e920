r"""Uploads: open files, uploaded files and HTTP responses, read a chunk at a time.

No framework is imported; a value is told by what it can do.

* an open binary file, one of :mod:`tempfile`, whatever has a ``read(size)`` that gives bytes:
  that is Werkzeug's ``FileStorage``, Django's ``File`` and ``UploadedFile``, and a response of
  ``http.client`` or ``urllib.request``, too
* Starlette's and FastAPI's ``UploadFile``: the file beneath its ``async`` methods
* a response of ``requests`` or ``httpx``, streamed or read; its content encoding is undone

What can seek is read from its start, and put back where it stood. What cannot is read from where
it stands, and must not be closed before the flush.

*The name* is that of the upload, else the one in ``Content-Disposition``, else the last part of
the URL, else ``file``. A client may send any name: only what follows its last ``/`` or ``\`` is
used, NUL becomes ``_``, and what is too long is cut before its suffix.

*Cut off* is whatever gives fewer bytes than its ``Content-Length``, or the size that the
framework counted, says: a :class:`~sqla_artifacts.errors.SourceError`, as is every error that
reading raises.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import re
from email.message import Message
from email.utils import collapse_rfc2231_value
from typing import IO, TYPE_CHECKING, Any, Protocol, TypeAlias
from urllib.parse import unquote

from .digest import CHUNK
from .errors import ArtifactError, InvalidValueError, SourceError
from .reference import NAME_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator


class Readable(Protocol):
    """A binary stream."""

    def read(self, size: int = ..., /) -> bytes:
        """Return the next bytes."""


class Storage(Protocol):
    """An upload of Werkzeug's."""

    @property
    def stream(self) -> IO[bytes]:
        """The file."""


class Wrapper(Protocol):
    """An upload of Starlette's or Django's."""

    @property
    def file(self) -> IO[bytes]:
        """The file."""


class RequestsResponse(Protocol):
    """A response of requests."""

    def iter_content(self, chunk_size: int | None = ...) -> Iterator[bytes]:
        """Return the content in chunks."""


class HttpxResponse(Protocol):
    """A response of httpx."""

    def iter_bytes(self, chunk_size: int | None = ...) -> Iterator[bytes]:
        """Return the content in chunks."""


Upload: TypeAlias = "Readable | Storage | Wrapper | RequestsResponse | HttpxResponse"

# With a host, or, as urllib3 has it, without.
_URL_PATH = re.compile(r"(?:[A-Za-z][\w+.-]*://[^/?#]*|(?=/))([^?#]*)")
_LENGTH = re.compile(r"[0-9]{1,18}")
_LONGEST_SUFFIX = 32


def is_upload(value: object) -> bool:
    """Say whether a value is an upload, a response or an open file."""
    return any(callable(_get(value, name)) for name in ("iter_bytes", "iter_content", "read"))


def name_of(value: object) -> str:
    """Return the name under which an upload, response or open file is stored; does no I/O."""
    own = _get(value, "name")
    if isinstance(value, io.IOBase) and isinstance(own, str | bytes):
        return os.path.basename(os.fsdecode(own)) or "file"  # the name of a file of ours
    for name in _names(value, own):
        if isinstance(name, str) and (cleaned := _clean(name)):
            return cleaned
    return "file"


def chunks_of(value: object, name: str | None = None) -> Generator[bytes, None, None] | None:
    """Return the bytes of an upload, response or open file in chunks; None for anything else.

    Nothing is read before the first chunk is asked for. Close the generator: that puts what can
    seek back where it stood. ``name`` is for messages.

    The generator raises :class:`SourceError` for what cannot be read, is closed, or ends before
    its announced size, and :class:`InvalidValueError` for what is open as text, can only be read
    with ``await``, or is a form's field that was left empty.
    """
    return _chunks(value, name or name_of(value)) if is_upload(value) else None


@contextlib.contextmanager
def reading(name: str) -> Iterator[None]:
    """Have whatever reading raises arrive as a :class:`SourceError` that gives a name."""
    try:
        yield
    except (ArtifactError, MemoryError):
        raise
    except Exception as error:  # whatever a stream raises, and ValueError for a NUL in a path
        cause = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        msg = f"cannot read {name!r}: {cause[:200]}"
        raise SourceError(msg) from error


def _chunks(value: Any, name: str) -> Generator[bytes, None, None]:
    body = _readable(value, name)
    announced, got = _announced(value), 0
    with contextlib.closing(_pieces(body, name)) as pieces:
        for data in pieces:
            if not isinstance(data, bytes | bytearray | memoryview):
                msg = f"{name!r} does not read as bytes: it gives a {type(data).__qualname__}"
                raise InvalidValueError(msg)
            got += len(data)
            yield bytes(data)
    if announced is not None and got < announced:
        msg = f"{name!r} is cut off, or was read in part before: {got} bytes of {announced} came"
        raise SourceError(msg)
    if not got and _get(value, "filename") == "":
        msg = "the form's file field was left empty: look at the upload's filename, and assign None"
        raise InvalidValueError(msg)


def _readable(value: Any, name: str) -> Any:
    """Return the object to read from, which for UploadFile is the file beneath."""
    body = value
    if inspect.iscoroutinefunction(_get(value, "read")):
        body = _get(value, "file")
    if not is_upload(body) or _only_async(body):
        msg = f"{name!r} can only be read with await: do that first, and assign (name, bytes)"
        raise InvalidValueError(msg)
    if isinstance(body, io.TextIOBase):
        msg = f"{name!r} is open as text: open it in binary mode ('rb')"
        raise InvalidValueError(msg)
    if _spent(body):
        msg = f"cannot read {name!r}: it is closed or was read before; store it while it is open"
        raise SourceError(msg)
    return body


def _only_async(body: Any) -> bool:
    """Say whether this is a response of httpx's AsyncClient that was not read."""
    stream = _get(body, "stream")
    asynchronous = hasattr(stream, "__aiter__") and not hasattr(stream, "__iter__")
    return asynchronous and _get(body, "content") is None


def _spent(body: Any) -> bool:
    """Say whether this would read as empty, or fail, for being closed."""
    if _get(body, "closed") is True:
        return True
    isclosed = _get(body, "isclosed")
    if callable(isclosed):  # a response of http.client
        return isclosed() is True
    # A response of requests: False is what it has for a content that it has not read.
    return _get(body, "_content") is False and _get(_get(body, "raw"), "closed") is True


def _pieces(body: Any, name: str) -> Generator[Any, None, None]:
    """Return what the object gives, chunk by chunk."""
    iterate = _get(body, "iter_bytes") or _get(body, "iter_content")
    if iterate is not None:
        with reading(name):
            yield from iterate(CHUNK)
        return
    with reading(name):
        seekable = _get(body, "seekable")
        place = body.tell() if callable(seekable) and seekable() else None
        if place is not None:
            body.seek(0)
    try:
        yield from _read(body.read, name)
    finally:
        if place is not None:
            with contextlib.suppress(OSError, ValueError):
                body.seek(place)


def _read(read: Callable[[int], Any], name: str) -> Iterator[Any]:
    while True:
        with reading(name):
            data = read(CHUNK)
        if isinstance(data, bytes | bytearray | memoryview) and not data:
            return
        yield data


def _announced(value: Any) -> int | None:
    """Return how many bytes are to come, if anybody says so."""
    # A plain attribute only: as a property it may ask a disk or a server.
    size = vars(value).get("size") if hasattr(value, "__dict__") else None
    if isinstance(size, int):
        return size
    decodes = any(_get(value, name) for name in ("iter_bytes", "iter_content", "decode_content"))
    if _header(value, "Transfer-Encoding") or (decodes and _header(value, "Content-Encoding")):
        return None
    length = _LENGTH.fullmatch(_header(value, "Content-Length"))
    return int(length[0]) if length else None


def _names(value: object, own: object) -> Iterator[object]:
    if hasattr(value, "filename"):
        yield _get(value, "filename")
    elif not str(own).startswith("<"):  # "<urllib response>" is no name
        yield own
    yield _disposition(_header(value, "Content-Disposition"))
    url = _URL_PATH.match(str(_get(value, "url") or ""))
    if url is not None:
        yield unquote(url[1].rpartition("/")[2])


def _disposition(header: str) -> str | None:
    """Return the file name in a Content-Disposition header (RFC 6266)."""
    message = Message()
    message["Content-Disposition"] = header
    with contextlib.suppress(ValueError, LookupError, TypeError):  # a header may be anything
        params = message.get_params([], "Content-Disposition")
        values = [value for key, value in params if key.lower() == "filename"]
        for value in values:
            if isinstance(value, tuple):  # filename*=, which says its encoding, goes first
                return collapse_rfc2231_value(value)
        for value in values:
            return _as_utf8(value)
    return None


def _header(value: object, name: str) -> str:
    get = _get(_get(value, "headers"), "get")
    try:
        return str(get(name) or "") if callable(get) else ""
    except Exception:  # noqa: BLE001 (email.header.Header has headers that are no str)
        return ""


def _as_utf8(text: str) -> str:
    """Return a header's text as its sender meant it, if that was UTF-8."""
    try:
        return text.encode("latin-1").decode()
    except UnicodeError:
        return text


def _clean(name: str) -> str:
    """Return a name that a file can have of what a client sent, or an empty one."""
    name = re.split(r"[/\\]", name)[-1]
    name = re.sub("[\0\ud800-\udfff]", "_", name)
    if name in {".", ".."}:
        return ""
    if len(name.encode()) > NAME_MAX:
        stem, suffix = os.path.splitext(name)
        if len(suffix.encode()) > _LONGEST_SUFFIX:
            stem, suffix = name, ""
        room = NAME_MAX - len(suffix.encode())
        name = stem.encode()[:room].decode(errors="ignore") + suffix
    return name


def _get(value: object, name: str) -> Any:
    """Return an attribute, or None: Django's raise whatever they like."""
    try:
        return getattr(value, name, None)
    except Exception:  # noqa: BLE001 (a property may do anything)
        return None
