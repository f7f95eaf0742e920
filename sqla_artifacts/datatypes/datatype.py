"""What a datatype is: an encoder and a decoder under a name."""

from __future__ import annotations

import contextlib
import mmap
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TypeAlias, cast

from ..copying import has_descriptor
from ..errors import ArtifactError, DecodeError, InvalidValueError, SourceError
from ..payload import Spool
from ..reference import IDENTIFIER
from ..upload import chunks_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ..payload import Payload, Stage
    from ..upload import Upload

Info: TypeAlias = "Mapping[str, Any] | None"
Encodable: TypeAlias = Literal["artifact", "lazy_artifact", "file"]


@dataclass(frozen=True)
class Encoded:
    """A value that is encoded already: bytes, a path, or what :mod:`~sqla_artifacts.upload` reads.

    Assign it to a column in place of the value; the bytes are stored as they are, under the
    column's datatype. Nobody checks that the datatype can decode them.
    """

    content: bytes | str | os.PathLike[str] | Upload

    def __repr__(self) -> str:
        return f"<Encoded {_typename(self.content)}>"

    def stage(self, stage: Stage) -> Payload:
        """Make a payload of the bytes.

        Raises :class:`SourceError` for what cannot be read, and :class:`InvalidValueError` for
        what holds no bytes.
        """
        if isinstance(self.content, bytes | bytearray | memoryview):
            return stage.data(bytes(self.content))
        if (chunks := chunks_of(self.content)) is not None:
            with contextlib.closing(chunks):
                return stage.chunks(chunks)
        if not isinstance(self.content, str | os.PathLike):
            raise InvalidValueError(expected("bytes, a path or a binary stream", self.content))
        path = os.fspath(self.content)
        try:
            with open(path, "rb") as file:
                return stage.copy(file.fileno(), path)
        except ArtifactError:
            raise
        except OSError as error:
            msg = f"cannot read {path!r}: {error.strerror}"
            raise SourceError(msg) from error


@dataclass(frozen=True, eq=False)
class DataType:
    """An encoder and a decoder under a name.

    ``encoder(value, info)`` returns bytes and ``decoder(data, info)`` returns the value;
    both must be thread-safe, and both are needed unless ``encodable`` is ``"file"``.
    ``identifier`` goes into every row: up to 64 letters, digits, ``.``, ``_``, ``-``.

    For values that should not be in memory twice there are streaming forms, used for large
    ones: ``dump(value, fp, info)`` writes to a binary stream in place of ``encoder``, and
    ``load(fp, info)`` reads from a seekable one in place of ``decoder``, when all its bytes
    have been verified. ``mappable`` says that ``decoder`` takes any read-only buffer and does
    not copy it, so that ``unpack(mmap=True)`` can hand it a mapped file.

    ``deterministic`` promises that equal values give equal bytes. ``media_type`` is that of
    the bytes. ``encodable`` is the column type that :meth:`column_type` returns.

    Raises ``ValueError`` for an identifier that no reference could hold, and ``TypeError``
    without encoder or decoder.
    """

    identifier: str
    encoder: Callable[[Any, Info], bytes] | None = None
    decoder: Callable[[bytes, Info], Any] | None = None
    encodable: Encodable = field(default="artifact", kw_only=True)
    info: Info = field(default=None, kw_only=True)
    media_type: str | None = field(default=None, kw_only=True)
    deterministic: bool = field(default=False, kw_only=True)
    dump: Callable[[Any, BinaryIO, Info], None] | None = field(default=None, kw_only=True)
    load: Callable[[BinaryIO, Info], Any] | None = field(default=None, kw_only=True)
    mappable: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        if not IDENTIFIER.fullmatch(self.identifier):
            msg = f"{self.identifier!r} cannot be a datatype's identifier"
            raise ValueError(msg)
        if self.encodable not in {"artifact", "lazy_artifact", "file"}:
            msg = f"encodable must be 'artifact', 'lazy_artifact' or 'file', not {self.encodable!r}"
            raise ValueError(msg)
        if self.encodable != "file" and not (self.encoder and self.decoder):
            msg = f"datatype {self.identifier!r} needs an encoder and a decoder"
            raise TypeError(msg)

    def __repr__(self) -> str:
        return f"<DataType {self.identifier}>"

    def __reduce__(self) -> str | tuple[Any, ...]:
        from . import resolve, resolved

        if resolved(self.identifier) is self:
            return (resolve, (self.identifier,))
        return super().__reduce__()

    def encode(self, value: Any, stage: Stage) -> Payload:
        """Turn a value into a payload; large ones go to the stage, not to memory.

        Raises :class:`InvalidValueError` for whatever the encoder raises.
        """
        try:
            if isinstance(value, Encoded):
                return value.stage(stage)
            if self.dump is not None:
                with Spool(stage) as spool:
                    self.dump(value, cast("BinaryIO", spool), self.info)
                return spool.payload()
            data = self._codec(self.encoder)(value, self.info)
        except (ArtifactError, OSError, MemoryError):
            raise
        except Exception as error:
            what = f"datatype {self.identifier!r} cannot encode a {_typename(value)}"
            msg = f"{what}: {_cause(error)}"
            raise InvalidValueError(msg) from error
        if not isinstance(data, bytes | bytearray | memoryview):
            msg = f"the encoder of {self.identifier!r} gave a {_typename(data)}, not bytes"
            raise InvalidValueError(msg)
        return stage.data(bytes(data))

    def decode(self, data: bytes) -> Any:
        """Turn stored bytes into a value.

        Raises :class:`DecodeError` for whatever the decoder raises.
        """
        with self._decoding(len(data)):
            return self._codec(self.decoder)(data, self.info)

    def decode_stream(self, fp: BinaryIO, size: int) -> Any:
        """Turn a verified stream of stored bytes into a value, as :meth:`decode` does."""
        if self.load is None:
            return self.decode(fp.read())
        with self._decoding(size):
            return self.load(fp, self.info)

    def decode_mapped(self, fp: BinaryIO, size: int) -> Any:
        """Turn a verified file into a value that lies in the mapped file itself.

        A stream that is no file is read. Raises :class:`DecodeError` for a datatype that is
        not ``mappable``.
        """
        if not self.mappable:
            msg = f"datatype {self.identifier!r} cannot be mapped: unpack it without mmap=True"
            raise DecodeError(msg)
        if not (size and has_descriptor(fp)):
            return self.decode(fp.read())
        with self._decoding(size):
            mapped = mmap.mmap(fp.fileno(), 0, access=mmap.ACCESS_READ)
            return self._codec(self.decoder)(cast("bytes", mapped), self.info)

    def column_type(self, **options: Any) -> Any:
        """Return the column type that ``encodable`` names; options go to its constructor."""
        from .. import types

        if self.encodable == "file":
            return types.FileDir(**options)
        kind = types.Artifact if self.encodable == "artifact" else types.LazyArtifact
        return kind(self, **options)

    def _codec(self, codec: Callable[[Any, Info], Any] | None) -> Callable[[Any, Info], Any]:
        if codec is None:
            msg = f"{self.identifier!r} is a datatype of files: it belongs to a FileDir column"
            raise InvalidValueError(msg)
        return codec

    @contextlib.contextmanager
    def _decoding(self, size: int) -> Iterator[None]:
        try:
            yield
        except (ArtifactError, MemoryError):
            raise
        except Exception as error:
            msg = f"datatype {self.identifier!r} cannot decode {size} bytes: {_cause(error)}"
            raise DecodeError(msg) from error


@contextlib.contextmanager
def extra(name: str) -> Iterator[None]:
    """Import an optional library inside, and have a missing one say which extra installs it."""
    try:
        yield
    except ModuleNotFoundError as error:
        msg = f'{error}: pip install "sqla_artifacts[{name}]"'
        raise ModuleNotFoundError(msg) from error


def expected(what: str, value: object) -> str:
    """Return the message for a value of another type."""
    return f"expected {what}, not a {_typename(value)}"


def _typename(value: object) -> str:
    return type(value).__qualname__


def _cause(error: Exception) -> str:
    # The encoder's message may quote the payload (a UnicodeEncodeError does, whole).
    name, text = type(error).__name__, str(error)
    return name if len(text) > _CAUSE_MAX else f"{name}: {text}"


_CAUSE_MAX = 200
