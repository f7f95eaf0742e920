"""The checks, depth by depth."""

from __future__ import annotations

import os
import time
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from ..collect.caretaker import BATCH, Found, batches, blob_of
from ..collect.report import Tally
from ..digest import CHUNK, hasher
from ..leftovers import try_lock
from ..location import key_of
from ..progress import Progress
from ..reference import DIGEST
from .marking import condemn, suspend
from .report import Finding
from .rows import malformed, named_in, unregistered
from .sql import INCOMPLETE, LISTED, LIVE, STILL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..collect.caretaker import Caretaker
    from ..progress import OnProgress
    from ..store import ArtifactStore
    from .report import Kind, Verification

SHARE = 250_000
"""How many blobs' keys are kept in memory at once, about."""

STEP = 200
"""After how many blobs a run can be stopped, and gone on with."""

_STATES = (
    "the ledger does not know it",
    "it was never written to its end, or a part of it is damaged",
    "it was taken, erased, or found damaged",
)
_WHOLE = 1 << 32


class Flaw(NamedTuple):
    """What is wrong with a key."""

    kind: Kind
    detail: str = ""


class Sample(NamedTuple):
    """A part of all digests: ``share`` of them, another one each turn, and all in time."""

    share: float
    turn: int

    def takes(self, digest: str) -> bool:
        """Say whether a digest is in this turn's part."""
        width = min(int(self.share * _WHOLE) + 1, _WHOLE)
        return (int(digest[-8:], 16) - self.turn * width) % _WHOLE < width


class Verifier:
    """One run, which fills in a report."""

    def __init__(
        self,
        caretaker: Caretaker,
        report: Verification,
        *,
        is_marking: bool,
        on_finding: Callable[[Finding], object],
        progress: OnProgress | None,
    ) -> None:
        self._caretaker = caretaker
        self._store = caretaker.store
        self._report = report
        self._is_marking = is_marking
        self._found = on_finding
        self._progress = progress or (lambda _: None)
        self._seen = 0  # bytes that the listing has shown

    def references(self) -> None:
        """Compare what rows name with what the ledger has."""
        for rows in self._caretaker.find("unmet"):
            unmet = {row.digest: row for row in rows if DIGEST.fullmatch(row.digest)}
            places = named_in(self._caretaker, unmet)
            for digest in sorted(places):
                detail = _STATES[unmet[digest].number]
                self._found(Finding("missing", digest, "", detail, places[digest]))
        for trees in paged(self._caretaker, INCOMPLETE):
            places = named_in(self._caretaker, [tree.digest for tree in trees])
            for digest, generation, _ in trees:
                key, detail = key_of(digest, generation), "a blob that the tree needs is not live"
                self._found(Finding("incomplete", digest, key, detail, places.get(digest, ())))
        for finding in (*malformed(self._caretaker), *unregistered(self._caretaker)):
            self._found(finding)

    def listing(self) -> None:
        """Compare what the ledger has with the store's keys."""
        total = self._caretaker.totals()[0]
        for prefixes in _shares(total.blobs):
            there = set(self._listed(prefixes))
            share = f"AND substr(blob.digest, 1, 2) IN ({', '.join(map(repr, prefixes))})"
            for rows in paged(self._caretaker, LIVE.replace("{share}", share if prefixes else "")):
                absent = [row for row in rows if _short(row) not in there]
                self._confirm(absent, partial(measure, self._store))
        for entry in dangling(self._store):
            self._found(entry)

    def content(self, sample: Sample, after: str | None, stop_after: float) -> None:
        """Read and hash what the ledger has; what the listing has shown is not said again."""
        look = partial(examine if after else examine_further, self._store)
        report, total = self._report, self._caretaker.totals()[0].size
        # Digests are spread evenly: so much of them, and so of the bytes, comes after one.
        whole = int(total * sample.share * (1 - int((after or "0")[:8], 16) / _WHOLE))
        stop = time.monotonic() + stop_after
        for rows in paged(self._caretaker, LIVE.replace("{share}", ""), after or "", STEP):
            chosen = [row for row in rows if sample.takes(row.digest)]
            self._confirm(chosen, look)
            report.hashed += Tally(len(chosen), sum(row.size for row in chosen))
            self._progress(Progress("hash", report.hashed.blobs, report.hashed.size, whole))
            if time.monotonic() >= stop and len(rows) == STEP:
                report.after = rows[-1].digest
                return

    def mark_trees(self) -> None:
        """Mark the trees of what was marked; last, since what is marked is not looked at."""
        if self._is_marking:
            for trees in paged(self._caretaker, INCOMPLETE):
                self._report.marked += suspend(self._caretaker, trees)

    def _listed(self, prefixes: list[str]) -> Iterator[bytes]:
        """Yield what is live and there, and find the keys that should not be there."""
        for prefix in [f"blobs/{each}/" for each in prefixes] or ["blobs/"]:
            for entries in batches(self._store.backend.list(prefix)):
                self._report.keys += len(entries)
                self._seen += sum(entry.size for entry in entries)
                blobs = {entry.key: blob_of(entry) for entry in entries}
                rows = [row for row in blobs.values() if row is not None]
                with self._caretaker.looking() as connection:
                    known = self._caretaker.run(connection, LISTED, rows)
                sizes = {row[:2]: row.size for row in known}
                for key, row in blobs.items():
                    if row is None:
                        self._found(Finding("orphan", "", key, "it is not a blob's name"))
                    elif sizes[row[:2]] == -1:
                        self._found(Finding("orphan", row.digest, key))
                live = [row for row in rows if sizes[row[:2]] >= 0]
                wrong = [row._replace(size=sizes[row[:2]]) for row in live]
                wrong = [now for row, now in zip(live, wrong, strict=True) if row != now]
                self._confirm(wrong, partial(measure, self._store))
                yield from map(_short, live)
                self._progress(Progress("list", self._report.keys, self._seen))

    def _confirm(self, suspects: list[Found], look: Callable[[Found], Flaw | None]) -> None:
        """Look at keys themselves, and report what is wrong with those that are live even now."""
        flawed: dict[Found, Flaw] = dict.fromkeys(suspects, Flaw("corrupt"))
        for _ in range(2):  # it may have been no more than a bad moment
            flaws = zip(flawed, self._store.pool.each(look, flawed), strict=True)
            flawed = {row: flaw for row, flaw in flaws if flaw is not None}
        if not flawed:
            return
        with self._caretaker.looking() as connection:
            still = self._caretaker.run(connection, STILL, list(flawed))
        places = named_in(self._caretaker, [row.digest for row in still])
        for row in sorted(still):
            kind, detail = flawed[row]
            key = key_of(row.digest, row.number)
            self._found(Finding(kind, row.digest, key, detail, places.get(row.digest, ())))
        if self._is_marking:
            damaged = [row for row in still if flawed[row].kind != "unreadable"]
            self._report.marked += condemn(self._caretaker, damaged)


def measure(store: ArtifactStore, blob: Found) -> Flaw | None:
    """Say what is wrong with a blob's key, as far as its size shows it."""
    try:
        size = store.backend.size(key_of(blob.digest, blob.number))
    except FileNotFoundError:
        return Flaw("missing", "it is not in the store")
    return (
        None if size == blob.size else Flaw("corrupt", f"{size:,} bytes instead of {blob.size:,}")
    )


def examine(store: ArtifactStore, blob: Found) -> Flaw | None:
    """Read a blob's key, whatever the cache has, and say what is wrong with it."""
    check, size = hasher(store.algorithm), 0
    try:
        with store.backend.open(key_of(blob.digest, blob.number)) as stream:
            while data := stream.read(CHUNK):
                check.update(data)
                size += len(data)
    except FileNotFoundError:
        return Flaw("missing", "it is not in the store")
    except OSError as error:
        return Flaw("unreadable", f"{type(error).__name__}: {error.strerror or error}")
    if check.hexdigest() == blob.digest:
        return None
    what = f"{size:,} bytes instead of {blob.size:,}" if size != blob.size else "other bytes"
    return Flaw("corrupt", what)


def examine_further(store: ArtifactStore, blob: Found) -> Flaw | None:
    """Say what is wrong with a blob's key, if its size does not show it."""
    flaw = examine(store, blob)
    return None if flaw is None or measure(store, blob) is not None else flaw


def paged(
    caretaker: Caretaker, sql: str, after: str = "", limit: int = BATCH
) -> Iterator[list[Found]]:
    """Yield a query's rows in the order of digests, each page in a transaction of its own."""
    rows: list[Any] = [None] * limit
    while len(rows) == limit:
        asked = {"store": caretaker.store_id, "after": after, "limit": limit}
        with caretaker.looking() as connection:
            rows = [Found(*row) for row in connection.execute(caretaker.text(sql), asked)]
        if rows:
            yield rows
            after = rows[-1].digest


def dangling(store: ArtifactStore) -> Iterator[Finding]:
    """Find what was left by writers that were killed."""
    root = getattr(store.backend, "root", None)
    held: dict[str, bool] = {}
    for entry in store.backend.list("tmp/"):
        folder, _, name = entry.key.rpartition("/")
        if root is None:
            yield Finding("dangling", "", entry.key, "unless it is being written now")
        elif name != "lock":
            if folder not in held:
                held[folder] = _is_held(os.path.join(root, folder, "lock"))
            if not held[folder]:
                yield Finding("dangling", "", entry.key, "the next writer removes it")


def _is_held(lock: str) -> bool:
    """Say whether the process is alive that a scratch directory belongs to, or may be."""
    try:
        descriptor = os.open(lock, os.O_RDWR)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        try_lock(descriptor)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _shares(total: int) -> list[list[str]]:
    """Return the prefixes to list together, so that each share fits into memory."""
    if total <= SHARE:
        return [[]]
    prefixes = [f"{number:02x}" for number in range(256)]
    count = max(1, 256 * SHARE // total)
    return [prefixes[start : start + count] for start in range(0, 256, count)]


def _short(blob: Found) -> bytes:
    return bytes.fromhex(blob.digest)
