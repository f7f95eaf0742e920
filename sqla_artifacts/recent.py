"""Recent payloads, in memory, by digest.

What a digest names never changes, so what is here is right for ever. A value that was just
written, or is loaded again after a commit, then costs no request.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

RECENT = 64 << 20
"""How many bytes of them a store remembers, if nothing else is said."""

SHARE = 8
"""No payload takes more than one part in so many."""


class Recent:
    """The payloads used last, of ``size`` bytes in all; thread-safe, and empty after a fork."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._clear()

    def _clear(self) -> None:
        self._payloads: OrderedDict[str, bytes] = OrderedDict()
        self._filled = 0
        # A lock that another thread held while the process forked would be held for ever.
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def get(self, digest: str) -> bytes | None:
        """Return a payload's bytes, if they are here."""
        if self._pid != os.getpid():
            self._clear()
        with self._lock:
            return self._taken(digest)

    def get_each(self, digests: Iterable[str]) -> list[bytes | None]:
        """Return the bytes of many payloads, each of them if it is here."""
        if self._pid != os.getpid():
            self._clear()
        with self._lock:
            return list(map(self._taken, digests))

    def _taken(self, digest: str) -> bytes | None:
        data = self._payloads.get(digest)
        if data is not None:
            self._payloads.move_to_end(digest)
        return data

    def put(self, digest: str, data: bytes) -> None:
        """Keep a payload's bytes, unless there are too many of them."""
        if len(data) > self.size // SHARE:
            return
        if self._pid != os.getpid():
            self._clear()
        with self._lock:
            self._filled += len(data) - len(self._payloads.pop(digest, b""))
            self._payloads[digest] = data
            while self._filled > self.size:
                self._filled -= len(self._payloads.popitem(last=False)[1])

    def discard(self, digest: str) -> None:
        """Forget a payload's bytes, if they are here."""
        if self._pid != os.getpid():
            self._clear()
        with self._lock:
            self._filled -= len(self._payloads.pop(digest, b""))
