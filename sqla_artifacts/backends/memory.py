"""A store in this process's memory, for tests and for databases that live there, too."""

from __future__ import annotations

import errno
import io
import os
import threading
from typing import TYPE_CHECKING, BinaryIO, NoReturn

from . import Entry
from .keys import checked, folder_of, is_listed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ..payload import Payload


class MemoryBackend:
    """A dictionary. Each one is a store of its own, and is gone with its last reference.

    Nothing survives the process, so nothing is durable; and nothing is shared with another
    process, so a pickled one would be empty there and is refused.
    """

    is_remote = False

    def __init__(self) -> None:
        self.url = "memory://"
        self.staging: Path | None = None
        self._objects: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def __reduce__(self) -> NoReturn:
        msg = "a memory:// store lives in one process and cannot be pickled: use a directory"
        raise TypeError(msg)

    def put(self, objects: Sequence[tuple[str, Payload]]) -> None:
        """Store payloads under their keys, all of them or none."""
        ready = {}
        for key, payload in objects:
            with payload.open() as stream:
                ready[checked(key)] = stream.read()
        with self._lock:
            self._objects.update(ready)

    def create(self, key: str, data: bytes) -> bool:
        """Store a few bytes if the key is free; say whether it was."""
        with self._lock:
            if checked(key) in self._objects:
                return False
            self._objects[key] = bytes(data)
            return True

    def get(self, key: str) -> bytes:
        """Return an object's bytes."""
        with self._lock:
            data = self._objects.get(checked(key))
        if data is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), key)
        return data

    def open(self, key: str) -> BinaryIO:
        """Return a seekable stream over an object's bytes."""
        return io.BytesIO(self.get(key))

    def size(self, key: str) -> int:
        """Return an object's size in bytes."""
        return len(self.get(key))

    def list(self, prefix: str) -> Iterator[Entry]:
        """Yield the objects whose keys start with ``prefix``, as they are now."""
        folder_of(prefix)  # refuses what no other backend takes
        with self._lock:
            entries = [Entry(key, len(data)) for key, data in self._objects.items()]
        return (entry for entry in entries if is_listed(entry.key, prefix))

    def delete(self, key: str) -> None:
        """Remove an object, if it is there."""
        with self._lock:
            self._objects.pop(checked(key), None)
