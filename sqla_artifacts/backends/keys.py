"""Keys: relative POSIX paths such as ``blobs/9f/86/9f86…``.

The store makes them from digests, so none can be unsafe; these checks stand where a path is
made of one all the same.
"""

from __future__ import annotations

TEMPORARY = "tmp"
"""The top directory of what is being written; no listing shows it unless it is asked for."""


def checked(key: str) -> str:
    """Return the key; raise ``ValueError`` for one that could lead out of the store."""
    parts = key.split("/")
    if "\0" in key or "\\" in key or not {"", ".", ".."}.isdisjoint(parts):
        msg = f"{key!r} is no key: it must be relative, without empty parts, '.' and '..'"
        raise ValueError(msg)
    return key


def folder_of(prefix: str) -> str:
    """Return the deepest directory that holds every key with this prefix, "" for the top."""
    folder = prefix.rpartition("/")[0]
    return checked(folder) if folder else ""


def is_listed(key: str, prefix: str) -> bool:
    """Say whether a listing of ``prefix`` shows ``key``."""
    return key.startswith(prefix) and (
        prefix.startswith(TEMPORARY) or not key.startswith(f"{TEMPORARY}/")
    )
