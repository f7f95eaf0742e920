"""Erase: the content of a blob gone now, because it has to be.

::

    print(erase(store, engine, sample.scan))                   # what would be done
    erasure = erase(store, engine, sample.scan, dry_run=False)
    erasure.rows                                                # what names it, for you to clear

The bytes are deleted at once, in all generations: from the store and its ``quarantine/``, from
this process's memory, the store's cache, and the shared checkouts of this machine. The rows
that name them stay as they are, and read as a
:class:`~sqla_artifacts.errors.BlobNotFoundError`. Storing the value again works as ever, under a
new key.

Of a tree, its manifest goes, and with it the parts that no other tree and no row needs. A part
that others share, a pack say, cannot go without breaking them: it is in ``shared``, with the trees
that need it. Erase those, too, if what they share is what has to go. The other way round, a blob
that is a part of a tree breaks the tree, which is in ``broken``. A small file is no blob of its
own in a tree, but lies in a pack. The trees that hold a file with this very content are in
``holding``: they are read for it, and left alone.

What it does not reach: the caches, checkouts and memory of other machines and processes, private
copies, backups, versions that a bucket keeps by itself. A transaction that is open meanwhile, and
has stored the same value, may still commit a row that names it; so may one that stores it again.
Look at it again, with ``dry_run``, when such transactions are over: ``rows`` shows them. If it is
broken off, call it again.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .collect import opened
from .collect.caretaker import Found, blob_of
from .collect.sql import ASK, CHANGE
from .errors import BlobError
from .location import key_of
from .proxy import Proxy
from .reference import DIGEST, Reference, as_reference
from .verify.checks import paged
from .verify.marking import suspend
from .verify.rows import rows_naming
from .verify.sql import LOCK_ANY, MANIFESTS, NEEDING, TAKE_ANY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine, MetaData

    from .backends import Entry
    from .collect.collector import Collector
    from .store import ArtifactStore

ROWS = 10_000
"""How many rows of each column are shown for each blob."""


class Row(NamedTuple):
    """A row that names a blob."""

    column: str
    key: dict[str, Any]
    digest: str


@dataclass
class Erasure:
    """What :func:`erase` did, or would do. ``str()`` of it is for people."""

    dry_run: bool
    digests: list[str]
    """The blobs: what was asked for, and the parts of a tree that only it needs."""
    rows: list[Row] = field(default_factory=list)
    """The rows that name it, or a tree that it breaks."""
    shared: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Parts that stay, with the other trees that need them; none if rows name them directly."""
    broken: list[str] = field(default_factory=list)
    """Trees that need what is erased."""
    holding: list[str] = field(default_factory=list)
    """Other trees that hold a file of the same content."""
    keys: list[str] = field(default_factory=list)
    """What is deleted from the store."""
    checkouts: list[Path] = field(default_factory=list)
    """The shared checkouts that are removed."""

    def __str__(self) -> str:
        verb = "would erase" if self.dry_run else "erased"
        lines = [f"{verb} {digest}" for digest in self.digests]
        lines += [f"{verb} {where}" for where in (*self.keys, *self.checkouts)]
        lines += [f"named in {row.column} by the row {row.key}" for row in self.rows]
        lines += [f"stays, for others share it: {part}" for part in self.shared]
        lines += [f"breaks the tree {tree}" for tree in self.broken]
        lines += [f"the same content is in the tree {tree}" for tree in self.holding]
        return "\n".join(lines)


def erase(
    store: ArtifactStore,
    engine: Engine,
    what: str | Reference | Proxy,
    *,
    dry_run: bool = True,
    metadata: MetaData | None = None,
    schema: str | None = None,
) -> Erasure:
    """Erase a blob, or with ``dry_run`` say what that would do.

    Args:
        store: The store, which has to belong to this database.
        engine: An engine of the database, not an asynchronous one.
        what: A digest, a reference, or a row's value: a ``Lazy`` or a ``StoredPath``.
        dry_run: Change nothing.
        metadata: The models: their columns are looked into even if no writer has used them yet.
        schema: The ledger's schema, if the store is not attached to the engine.

    Raises what :func:`~sqla_artifacts.verify.verify` does, ``OSError`` where something cannot be
    deleted, and :class:`~sqla_artifacts.errors.NotStoredError` for a value that was not stored.
    Costs scans of all columns with references, and reading the manifests of all trees.
    """
    digest = _digest_of(what)
    with opened(store, engine, schema, metadata) as collector:
        run = _Eraser(collector, digest, dry_run=dry_run)
        run.look()
        if not dry_run:
            run.erase()
        run.find_rows()
    return run.report


class _Eraser:
    """One run, which fills in a report."""

    def __init__(self, collector: Collector, digest: str, *, dry_run: bool) -> None:
        self.report = Erasure(dry_run, [digest])
        self._collector = collector
        self._store = collector.store
        self._digest = digest

    def look(self) -> None:
        """Find out what goes, what stays, and what breaks."""
        report, collector = self.report, self._collector
        asked = {"store": collector.store_id, "digest": self._digest}
        with collector.looking() as connection:
            parts = [row[0] for row in connection.execute(collector.text(ASK["parts"]), asked)]
        for part in parts:
            others = tuple(tree for tree in self._needing(part) if tree != self._digest)
            if others or self._is_named(part):
                report.shared[part] = others
            else:
                report.digests.append(part)
        report.broken = self._needing(self._digest)
        report.holding = [tree for tree in self._holding() if tree not in report.broken]
        report.keys = [key_of(digest, generation) for digest, generation, _ in self._generations()]
        report.keys += [e.key for digest in report.digests for e in self._quarantined(digest)]
        report.checkouts = list(self._checkouts())

    def erase(self) -> None:
        """Have it taken, in the ledger; then delete the bytes; then write that down."""
        collector, report = self._collector, self.report
        asked, listed = [Found(digest, 0, 0) for digest in report.digests], self._generations()
        with collector.changing() as connection:
            collector.run(connection, TAKE_ANY, collector.run(connection, LOCK_ANY, asked))
            collector.run(connection, CHANGE["bury"], listed)
            gone = collector.run(connection, LOCK_ANY, asked)
            collector.run(connection, CHANGE["trash"], gone)
        suspend(collector, asked)
        # What is stored from now on has a later generation, and is not ours.
        last = {row.digest: row.number for row in gone}
        ours = [row for row in self._generations() if row.number <= last.get(row.digest, -1)]
        collector.discard([*ours, *(row for row in gone if row not in ours)])
        for digest in report.digests:
            for entry in self._quarantined(digest):
                self._store.backend.delete(entry.key)
            self._store.forget(digest)
        for path in report.checkouts:
            _remove(path)

    def find_rows(self) -> None:
        """Find the rows, last: those that were committed meanwhile are among them."""
        with self._collector.looking() as connection:
            sources = self._collector.inventory(connection).sources
            for digest in (self._digest, *self.report.broken):
                for source in sources:
                    keys = rows_naming(connection, source, digest, ROWS)
                    self.report.rows += [Row(str(source.place), key, digest) for key in keys]

    def _needing(self, digest: str) -> list[str]:
        with self._collector.looking() as connection:
            rows = self._collector.run(connection, NEEDING, [Found(digest, 0, 0)])
        return [row.digest for row in rows]

    def _is_named(self, digest: str) -> bool:
        with self._collector.looking() as connection:
            sources = self._collector.inventory(connection).sources
            return any(rows_naming(connection, source, digest, 1) for source in sources)

    def _holding(self) -> Iterator[str]:
        """Yield the other trees that have a file of this content."""
        for trees in paged(self._collector, MANIFESTS):
            for tree, _, _ in trees:
                with contextlib.suppress(BlobError), self._store.open_blob(tree) as manifest:
                    if tree != self._digest and self._digest.encode() in manifest.read():
                        yield tree

    def _generations(self) -> list[Found]:
        """Return all generations that are in the store."""
        backend = self._store.backend
        entries = (entry for each in self.report.digests for entry in backend.list(key_of(each)))
        return [blob for entry in entries if (blob := blob_of(entry)) is not None]

    def _quarantined(self, digest: str) -> list[Entry]:
        return list(self._store.backend.list(f"quarantine/{digest}"))

    def _checkouts(self) -> Iterator[Path]:
        names = [f"{kind}-{digest}" for digest in self.report.digests for kind in ("file", "tree")]
        names += [f"tree-{digest}" for digest in self.report.broken]
        return filter(Path.exists, map(self._store.checkouts.joinpath, names))


def _digest_of(what: str | Reference | Proxy) -> str:
    if isinstance(what, Proxy):
        return what.reference.digest
    if isinstance(what, str) and DIGEST.fullmatch(what):
        return what
    return as_reference(what).digest


def _remove(path: Path) -> None:
    """Remove a directory, whatever its permissions."""
    for folder, names, _ in os.walk(path):
        for name in names:
            inner = os.path.join(folder, name)
            if not os.path.islink(inner):
                os.chmod(inner, 0o700)
    shutil.rmtree(path)
