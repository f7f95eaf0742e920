"""Where a blob lies: under its digest, or under a later generation of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .backends import Backend


class Stat(NamedTuple):
    """What the store knows of a blob without reading it."""

    key: str
    size: int


def key_of(digest: str, generation: int = 0) -> str:
    """Return the key under which a blob lies."""
    key = f"blobs/{digest[:2]}/{digest[2:4]}/{digest}"
    return f"{key}~{generation}" if generation else key


def keys_of(backend: Backend, digest: str) -> Iterator[str]:
    """Yield the keys under which a blob may lie, the likeliest first.

    The store is listed only if the first one is not enough.
    """
    first = key_of(digest)
    yield first
    later = (entry.key.rpartition("~")[2] for entry in backend.list(f"{first}~"))
    for generation in sorted(map(int, filter(str.isdecimal, later)), reverse=True):
        yield key_of(digest, generation)
