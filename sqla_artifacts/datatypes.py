"""Datatypes: how a value becomes bytes, and bytes a value.

A column names the datatype that it trusts, ``Artifact("numpy")``; none is implied, so that
pickle is always a choice. A row says which datatype wrote it, but never chooses the decoder:
a column reads what was written by the datatypes that it names, and nothing else.

========== ===================================== ============= ==========================
identifier takes                                 deterministic gives back
========== ===================================== ============= ==========================
bytes      ``bytes``, ``bytearray``, memoryview  yes           ``bytes``
text       ``str``                               yes           ``str``
json       what ``json.dumps`` takes, but NaN    yes           the same, keys as strings
pickle     what ``pickle`` takes                 no            an equal object
numpy      ``numpy.ndarray`` without objects     yes           a read-only array, C order
========== ===================================== ============= ==========================

*Deterministic* says that equal values always give equal bytes, which is what comparing a
column with a value needs.

A datatype of one's own is a :class:`DataType` in a module of one's own::

    wav = DataType("wav", encoder=to_wav, decoder=from_wav, media_type="audio/wav")
"""

from __future__ import annotations

import io
import json
import pickle
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TypeAlias, cast

from .errors import ArtifactError, DecodeError, InvalidValueError, UnknownDataTypeError
from .payload import Spool
from .reference import IDENTIFIER

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np

    from .payload import Payload, Stage

Info: TypeAlias = "Mapping[str, Any] | None"
Encodable: TypeAlias = Literal["artifact", "lazy_artifact", "file"]


@dataclass(frozen=True, eq=False)
class DataType:
    """An encoder and a decoder under a name.

    ``encoder(value, info)`` returns bytes and ``decoder(data, info)`` returns the value;
    both must be thread-safe. ``dump(value, fp, info)``, where there is one, is used in place
    of ``encoder`` and writes to a binary stream, so that a large value is never in memory
    twice. ``identifier`` goes into every row: up to 64 letters, digits, ``.``, ``_``, ``-``.
    ``deterministic`` promises that equal values give equal bytes. ``encodable`` is the
    column type that :meth:`column_type` returns.

    Raises ``ValueError`` for an identifier that no reference could hold.
    """

    identifier: str
    encoder: Callable[[Any, Info], bytes]
    decoder: Callable[[bytes, Info], Any]
    encodable: Encodable = field(default="artifact", kw_only=True)
    info: Info = field(default=None, kw_only=True)
    media_type: str | None = field(default=None, kw_only=True)
    deterministic: bool = field(default=False, kw_only=True)
    dump: Callable[[Any, BinaryIO, Info], None] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if not IDENTIFIER.fullmatch(self.identifier):
            msg = f"{self.identifier!r} cannot be a datatype's identifier"
            raise ValueError(msg)
        if self.encodable not in {"artifact", "lazy_artifact", "file"}:
            msg = f"encodable must be 'artifact', 'lazy_artifact' or 'file', not {self.encodable!r}"
            raise ValueError(msg)

    def __repr__(self) -> str:
        return f"<DataType {self.identifier}>"

    def __reduce__(self) -> str | tuple[Any, ...]:
        if BUILTIN.get(self.identifier) is self:
            return (resolve, (self.identifier,))
        return super().__reduce__()

    def encode(self, value: Any, stage: Stage) -> Payload:
        """Turn a value into a payload; large ones go to the stage, not to memory.

        Raises :class:`InvalidValueError` for whatever the encoder raises.
        """
        try:
            if self.dump is not None:
                with Spool(stage) as spool:
                    self.dump(value, cast("BinaryIO", spool), self.info)
                return spool.payload()
            data = self.encoder(value, self.info)
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
        try:
            return self.decoder(data, self.info)
        except (ArtifactError, MemoryError):
            raise
        except Exception as error:
            msg = f"datatype {self.identifier!r} cannot decode {len(data)} bytes: {_cause(error)}"
            raise DecodeError(msg) from error

    def column_type(self, **options: Any) -> Any:
        """Return the column type that ``encodable`` names; options go to its constructor."""
        from . import types

        if self.encodable == "file":
            return types.FileDir(**options)
        kind = types.Artifact if self.encodable == "artifact" else types.LazyArtifact
        return kind(self, **options)


def resolve(datatype: str | DataType) -> DataType:
    """Return the built-in datatype of that identifier, or the datatype itself.

    Raises :class:`UnknownDataTypeError`.
    """
    if isinstance(datatype, DataType):
        return datatype
    try:
        return BUILTIN[datatype]
    except KeyError:
        msg = (
            f"no datatype {datatype!r}; built in are {', '.join(BUILTIN)}; "
            "pass a DataType for one of your own"
        )
        raise UnknownDataTypeError(msg) from None


def _bytes(value: Any, info: Info) -> bytes:
    if not isinstance(value, bytes | bytearray | memoryview):
        raise TypeError(_expected("bytes", value))
    return bytes(value)


def _same(data: bytes, info: Info) -> bytes:
    return data


def _text(value: Any, info: Info) -> bytes:
    if not isinstance(value, str):
        raise TypeError(_expected("a str", value))
    return value.encode()


def _from_text(data: bytes, info: Info) -> str:
    return data.decode()


def _json(value: Any, info: Info) -> bytes:
    return json.dumps(
        value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
    ).encode()


def _from_json(data: bytes, info: Info) -> Any:
    return json.loads(data)


def _pickle(value: Any, info: Info) -> bytes:
    return pickle.dumps(value, protocol=5)


def _dump_pickle(value: Any, fp: BinaryIO, info: Info) -> None:
    pickle.dump(value, fp, protocol=5)


def _from_pickle(data: bytes, info: Info) -> Any:
    return pickle.loads(data)


def _dump_numpy(value: Any, fp: BinaryIO, info: Info) -> None:
    """Write the NPY format, version 1.0 or later, in C order.

    Source of the format: ``numpy.lib.format``. One order for all arrays is what makes equal
    arrays equal bytes.
    """
    import numpy as np

    if type(value) is not np.ndarray:
        raise TypeError(_expected("a numpy.ndarray", value))
    if value.dtype.hasobject:
        msg = "an array of Python objects would need pickle; name the datatype 'pickle' for it"
        raise TypeError(msg)
    array = np.asarray(value, order="C")
    header = {**np.lib.format.header_data_from_array_1_0(array), "fortran_order": False}
    try:
        np.lib.format.write_array_header_1_0(fp, header)
    except ValueError:  # a long header, or field names beyond Latin-1
        np.lib.format.write_array(fp, array, version=(3, 0), allow_pickle=False)
        return
    if array.nbytes:
        fp.write(array.reshape(-1).view(np.uint8).data)


def _numpy(value: Any, info: Info) -> bytes:
    fp = io.BytesIO()
    _dump_numpy(value, fp, info)
    return fp.getvalue()


def _from_numpy(data: bytes, info: Info) -> np.ndarray[Any, Any]:
    """Map the array onto the bytes themselves: no copy, and therefore read-only."""
    import numpy as np

    head = io.BytesIO(data[: 1 << 16])
    if np.lib.format.read_magic(head) != (1, 0):
        # What was stored is read: NumPy's own limit is for headers that nobody vouches for.
        array = np.lib.format.read_array(
            io.BytesIO(data), allow_pickle=False, max_header_size=len(data)
        )
        array.setflags(write=False)
        return array
    shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(
        head, max_header_size=len(data)
    )
    if dtype.hasobject:
        msg = "an array of Python objects is never read"
        raise ValueError(msg)
    order: Literal["C", "F"] = "F" if fortran_order else "C"
    return np.ndarray(shape, dtype, data, head.tell(), order=order)


def _expected(what: str, value: object) -> str:
    return f"expected {what}, not a {_typename(value)}"


def _typename(value: object) -> str:
    return type(value).__qualname__


def _cause(error: Exception) -> str:
    # The encoder's message may quote the payload (a UnicodeEncodeError does, whole).
    name, text = type(error).__name__, str(error)
    return name if len(text) > _CAUSE_MAX else f"{name}: {text}"


_CAUSE_MAX = 200

BUILTIN: Mapping[str, DataType] = MappingProxyType(
    {
        datatype.identifier: datatype
        for datatype in (
            DataType(
                "bytes",
                _bytes,
                _same,
                media_type="application/octet-stream",
                deterministic=True,
            ),
            DataType(
                "text",
                _text,
                _from_text,
                media_type="text/plain; charset=utf-8",
                deterministic=True,
            ),
            DataType("json", _json, _from_json, media_type="application/json", deterministic=True),
            DataType("pickle", _pickle, _from_pickle, dump=_dump_pickle),
            DataType("numpy", _numpy, _from_numpy, dump=_dump_numpy, deterministic=True),
        )
    }
)
"""The datatypes that a name alone stands for."""
