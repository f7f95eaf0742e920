"""Shares: the memory in which payloads wait, for all of a process's statements together.

All values of a statement are bound before the first of them is stored, so what waits is limited.
"""

from __future__ import annotations

import os
import threading


class Share:
    """Bytes of the memory in which payloads wait; given back with the last who holds it."""

    LIMIT = 128 << 20
    """The most bytes that wait in memory, in this process."""

    # One that its owner may take again: a garbage collection can end a share inside.
    lock = threading.RLock()
    taken = 0

    def __init__(self, size: int) -> None:
        self._size = size

    def __del__(self) -> None:
        with self.lock:  # by way of self: when the interpreter ends, the module may be gone
            type(self).taken -= self._size

    @classmethod
    def fits(cls, size: int) -> bool:
        """Say whether there is room for so many bytes."""
        return cls.taken + size <= cls.LIMIT

    @classmethod
    def take(cls, size: int) -> Share | None:
        """Return a share of so many bytes, or None if there is no room for them."""
        with cls.lock:
            if not cls.fits(size):
                return None
            cls.taken += size
        return cls(size)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=Share.lock.acquire,
        after_in_parent=Share.lock.release,
        after_in_child=Share.lock.release,
    )
