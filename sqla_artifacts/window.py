"""Windows: payloads that are fetched together, because their references came together.

The read hook (:mod:`.prefetch`) marks the references of a result's rows with the window that
they are in. The column type that decodes one asks the window for its bytes, and the window
fetches those that will be asked for next along with it: as many as the store takes at once a
few times over, and no more bytes than ``LIMIT``. So a result of any length is read in bounded
memory, and a row that nobody looks at costs nothing.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .store import ArtifactStore

LIMIT = 64 << 20
"""The most bytes that a window fetches at once."""

ROUNDS = 4
"""How many times the store's concurrency a window fetches at once."""

_LARGE = LIMIT // 4
_BLOB = "&:blob:"


class Expected(str):
    """A reference as a row holds it, and the window that it is in."""

    __slots__ = ("window",)
    window: Window

    @classmethod
    def of(cls, text: str, window: Window) -> Expected:
        """Return the reference, marked."""
        marked = cls(text)
        marked.window = window
        return marked


class Decoded(str):
    """A reference as a row holds it, and the value that it has been decoded to already."""

    __slots__ = ("value",)
    value: Any

    @classmethod
    def of(cls, text: str, value: Any) -> Decoded:
        """Return the reference, with its value."""
        decoded = cls(text)
        decoded.value = value
        return decoded


class Window:
    """References in the order in which they will be asked for. Thread-safe."""

    def __init__(self, store: ArtifactStore, references: Iterable[str]) -> None:
        self._store = store
        self._sizes = {text: size_of(text) for text in references}
        self._coming = list(self._sizes)
        self._places = {text: place for place, text in enumerate(self._coming)}
        self._fetched: dict[str, bytes | Exception] = {}
        self._lock = threading.Lock()

    def take(self, text: str) -> bytes:
        """Return a payload's bytes, verified. Raises what ``ArtifactStore.get`` does."""
        with self._lock:
            if text not in self._fetched:
                self._fetch(self._places[text])
            found = self._fetched[text]
        if isinstance(found, Exception):
            raise found
        return found

    def _fetch(self, place: int) -> None:
        wanted: list[str] = []
        total = 0
        for text in self._coming[place : place + ROUNDS * self._store.pool.concurrency]:
            total += self._sizes[text]
            if wanted and total > LIMIT:
                break
            wanted.append(text)
        # What was fetched before has been decoded; a row that repeats it asks the store again,
        # which remembers what was read last.
        self._fetched = dict(zip(wanted, self._store.get_each(wanted), strict=True))


def together(store: ArtifactStore, texts: list[Any]) -> list[Any]:
    """Return the items of one row's list, its references marked with a window of their own."""
    early = [text for text in texts if is_fetched_early(text)]
    if len(early) <= 1 or store.pool.concurrency <= 1:
        return texts
    window = Window(store, early)
    return [Expected.of(text, window) if is_fetched_early(text) else text for text in texts]


def is_fetched_early(text: object) -> bool:
    """Say whether a row's cell is a reference that belongs into a window.

    A large payload does not: it is streamed, if its datatype can do that.
    """
    return isinstance(text, str) and text.startswith(_BLOB) and size_of(text) <= _LARGE


def size_of(text: str) -> int:
    """Return the size that a reference states; of what is no reference, 0."""
    size = text[len(_BLOB) + 64 + 1 :].partition(":")[0]
    return int(size) if size.isdecimal() else 0
