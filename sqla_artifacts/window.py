"""Windows: payloads that are fetched together, because their references came together.

The read hook (:mod:`.prefetch`) says which references are in the rows that SQLAlchemy is about
to make, by :func:`expect`. The column type that decodes one asks for its bytes, and its window
fetches those that will be asked for next along with it: as many as the store takes at once a
few times over, and no more bytes than ``LIMIT``. So a result of any length is read in bounded
memory, and a row that nobody looks at costs nothing.

What is expected belongs to the task or thread that makes the rows. A reference says which bytes
it stands for, so whoever asks for one that is expected for another's sake is given the right
ones, and one that nobody expects is fetched by itself.
"""

from __future__ import annotations

import re
import threading
import weakref
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .store import ArtifactStore

LIMIT = 64 << 20
"""The most bytes that a window fetches at once."""

ROUNDS = 4
"""How many times the store's concurrency a window fetches at once."""

_LARGE = LIMIT // 4
_BLOB = re.compile(r"&:blob:[0-9a-f]{64}:([0-9]{1,18}):")


class Decoded(str):
    """What a row's cell held, and the value that it has been decoded to already."""

    __slots__ = ("value",)
    value: Any

    @classmethod
    def of(cls, text: str, value: Any) -> Decoded:
        """Return the text, with its value."""
        decoded = cls(text)
        decoded.value = value
        return decoded


class Window:
    """References to one store, in the order in which they will be asked for. Thread-safe."""

    def __init__(
        self, store: ArtifactStore, cells: Iterable[object], before: Window | None = None
    ) -> None:
        self._store = store
        self._coming: list[Any] = [cell for cell in cells if cell.__class__ is str]
        self._next = 0
        self._places: dict[str, int] = {}
        self._fetched: dict[str, bytes | None] = before._fetched if before else {}  # noqa: SLF001 (its own kind)
        self._lock = threading.Lock()

    def take(self, text: str) -> bytes | None:
        """Return a payload's bytes, verified, or None if they are for its reader to fetch."""
        found = self._fetched.get(text)
        if found is None:
            with self._lock:
                self._fetch(text)
                found = self._fetched.get(text)
        return found

    def _fetch(self, text: str) -> None:
        place = self._place(text)
        if place is None or text in self._fetched or _size(text) is None:
            return
        # What was fetched before has been decoded; a row that repeats it asks the store again,
        # which remembers what was read last.
        found: dict[str, bytes | None] = {}
        missing: dict[str, None] = {}
        total = 0
        coming = self._coming[place : place + ROUNDS * self._store.pool.concurrency]
        remembered = self._store.recent([each[7:71] for each in coming])
        for each, data in zip(coming, remembered, strict=True):
            if data is not None:
                found[each] = data
            elif each not in missing and (size := _size(each)) is not None:
                total += size
                if missing and total > LIMIT:
                    break
                missing[each] = None
            place += 1
        found.update(zip(missing, self._store.pool.each(self._attempt, missing), strict=True))
        self._fetched, self._next = found, place

    def _place(self, text: str) -> int | None:
        if self._coming[self._next : self._next + 1] == [text]:
            return self._next
        if not self._places:  # they are not asked for in turn; of equal ones the first counts
            places = range(len(self._coming) - 1, -1, -1)
            self._places = dict(zip(reversed(self._coming), places, strict=True))
        return self._places.get(text)

    def _attempt(self, text: str) -> bytes | None:
        """Return a payload's bytes, or None, so that its reader fails in its own row.

        An error that was kept for that row would keep what its traceback names: the rows of this
        window, and a cursor that stays open until the garbage is collected.
        """
        try:
            return self._store.get(text)
        except Exception:  # noqa: BLE001 (the reader meets it again)
            return None


class Windows(dict["ArtifactStore", Window]):
    """The windows of the rows that are being made, one for each store."""

    __slots__ = ("__weakref__",)


_CURRENT: ContextVar[Callable[[], Windows | None]] = ContextVar(
    "artifact_windows", default=lambda: None
)


def expect(windows: Windows) -> None:
    """Have what these windows hold fetched together, as long as somebody keeps the windows."""
    _CURRENT.set(weakref.ref(windows))


def expected(store: ArtifactStore, text: str) -> bytes | None:
    """Return the bytes of a payload that is expected, or None; see :meth:`Window.take`."""
    windows = _CURRENT.get()()
    window = windows and windows.get(store)
    return window.take(text) if window else None


def _size(text: str) -> int | None:
    """Return the size of what a row's cell refers to, if it belongs into a window.

    A large payload does not: it is streamed, if its datatype can do that.
    """
    match = _BLOB.match(text)
    if match is None or (size := int(match[1])) > _LARGE:
        return None
    return size
