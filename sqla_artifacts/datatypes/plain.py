"""Bytes, text and JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ..upload import is_upload
from .datatype import DataType, Encoded, expected

if TYPE_CHECKING:
    from ..payload import Payload, Stage
    from .datatype import Info


class _Bytes(DataType):
    """Bytes, or what they can be read from."""

    def encode(self, value: Any, stage: Stage) -> Payload:
        """Make a payload of the bytes; an upload or open file is streamed."""
        return super().encode(Encoded(value) if is_upload(value) else value, stage)


def _bytes(value: Any, info: Info) -> bytes:
    if not isinstance(value, bytes | bytearray | memoryview):
        raise TypeError(expected("bytes", value))
    return bytes(value)


def _same(data: bytes, info: Info) -> bytes:
    return data


def _text(value: Any, info: Info) -> bytes:
    if not isinstance(value, str):
        raise TypeError(expected("a str", value))
    return value.encode()


def _from_text(data: bytes, info: Info) -> str:
    return data.decode()


def _json(value: Any, info: Info) -> bytes:
    return json.dumps(
        value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
    ).encode()


def _from_json(data: bytes, info: Info) -> Any:
    return json.loads(data)


BYTES = _Bytes("bytes", _bytes, _same, media_type="application/octet-stream", deterministic=True)
TEXT = DataType(
    "text", _text, _from_text, media_type="text/plain; charset=utf-8", deterministic=True
)
JSON = DataType("json", _json, _from_json, media_type="application/json", deterministic=True)
