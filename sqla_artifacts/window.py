"""Windows: payloads that are fetched together, because their references came together.

The read hook (:mod:`.prefetch`) marks the references of a result's rows with the window that
they are in. The column type that decodes one asks the window for its bytes, and the window
fetches those that will be asked for next along with it: as many as the store takes at once a
few times over, and no more bytes than ``LIMIT``. So a result of any length is read in bounded
memory, and a row that nobody looks at costs nothing.
"""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .store import ArtifactStore

LIMIT = 64 << 20
"""The most bytes that a window fetches at once."""

ROUNDS = 4
"""How many times the store's concurrency a window fetches at once."""

_LARGE = LIMIT // 4
_BLOB = re.compile(r"&:blob:[0-9a-f]{64}:([0-9]{1,18}):")


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

    def __init__(self, store: ArtifactStore, sizes: dict[str, int]) -> None:
        self._store = store
        self._sizes = sizes
        self._coming = list(sizes)
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
        self._fetched = {
            text: found for text in wanted if (found := self._store.recent(text[7:71]))
        }
        missing = [text for text in wanted if text not in self._fetched]
        self._fetched.update(
            zip(missing, self._store.pool.each(self._attempt, missing), strict=True)
        )

    def _attempt(self, text: str) -> bytes | Exception:
        try:
            return self._store.get(text)
        except Exception as error:  # noqa: BLE001 (raised for the row that it belongs to)
            return error


def together(store: ArtifactStore, texts: list[Any]) -> list[Any]:
    """Return the items of one row's list, its references marked with a window of their own."""
    sizes = {text: size for text in texts if (size := early(text)) is not None}
    if not sizes or len(texts) <= 1 or store.pool.concurrency <= 1:
        return texts
    window = Window(store, sizes)
    return [Expected.of(text, window) if text in sizes else text for text in texts]


def early(text: object) -> int | None:
    """Return the size of what a row's cell refers to, if it belongs into a window.

    A large payload does not: it is streamed, if its datatype can do that.
    """
    match = _BLOB.match(text) if isinstance(text, str) else None
    if match is None or (size := int(match[1])) > _LARGE:
        return None
    return size
