"""The collector: deletes what nothing refers to any more, and nothing else.

::

    print(collect(store, engine, metadata=Base.metadata))                   # what would be done
    print(collect(store, engine, metadata=Base.metadata, dry_run=False))    # once a day, say

A blob goes in three steps, each in some later run if need be. It is *doomed* when nothing refers
to it. It is *taken* when every transaction is over that may have known it without its doom, a
time of ``grace`` is over, and still nothing refers to it: a value stored from now on gets a new
key. It is *deleted* when the ``retention`` time is over, for readers that are slower than that and
for a database that is restored as it was before.

Runs may be broken off and begun again at any time, and several machines may run at once, beside
any number of writers. Safety rests on the ledger and needs no clock.

Nothing is taken or deleted, and a :class:`~sqla_artifacts.errors.CollectError` says why, where a
column with references has vanished, a look fails, the store has another owner, the database is a
standby, or the garbage is a larger share of the store than ``limit_share``.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

from ..attach import schema_of
from ..errors import CollectError, LedgerError
from ..progress import Progress
from .postgresql import PostgreSQLCollector
from .report import Due, Report, Tally
from .sqlite import SQLiteCollector

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine, MetaData

    from ..progress import OnProgress
    from ..store import ArtifactStore
    from .collector import Collector

__all__ = ["Due", "Report", "Tally", "adopt", "collect", "forget_column"]

_COLLECTORS: dict[str, type[PostgreSQLCollector | SQLiteCollector]] = {
    "postgresql": PostgreSQLCollector,
    "sqlite": SQLiteCollector,
}
_log = logging.getLogger(__name__)


def collect(
    store: ArtifactStore,
    engine: Engine,
    *,
    metadata: MetaData | None = None,
    dry_run: bool = True,
    grace: dt.timedelta = dt.timedelta(hours=1),
    retention: dt.timedelta = dt.timedelta(days=7),
    limit_share: float = 0.5,
    schema: str | None = None,
    progress: OnProgress | None = None,
) -> Report:
    """Collect what nothing in a database refers to; with ``dry_run`` only say what that would be.

    Args:
        store: The store, which has to belong to this database.
        engine: An engine of the database, not an asynchronous one.
        metadata: The models: their columns are looked into even if no writer has used them yet.
        dry_run: Change nothing.
        grace: How long a blob is doomed before it is taken.
        retention: How long a blob is kept after it was taken. No backup of the database that is
            older than this can be restored with all its artifacts.
        limit_share: The largest part of the ledger's blobs, and of the keys that it does not know,
            from 0 to 1, that may be garbage at once. More of it rather means that a table is
            missing, or that the database is an old copy.
        schema: The ledger's schema, if the store is not attached to the engine.
        progress: Called as the run goes on.

    Raises :class:`~sqla_artifacts.errors.CollectError` and
    :class:`~sqla_artifacts.errors.ForeignStoreError`; what was taken before stays taken, safely.
    Costs a few scans of all columns with references, in the database, and a listing of the store.
    """
    if min(grace, retention) < dt.timedelta(0) or not 0 <= limit_share <= 1:
        msg = "grace and retention cannot be negative, and limit_share is a number from 0 to 1"
        raise ValueError(msg)
    with opened(store, engine, schema, metadata) as collector:
        report = Report(dry_run)
        run = _Run(collector, report, progress)
        if dry_run:
            run.look(retention)
        else:
            run.collect(grace, retention, limit_share)
    return report


def forget_column(
    store: ArtifactStore, engine: Engine, column: str, *, schema: str | None = None
) -> None:
    """Have collectors no longer look into a column that was dropped: ``"schema.table.column"``.

    The schema may be left out if it is the database's default one. What only that column referred
    to is garbage from now on. Raises :class:`~sqla_artifacts.errors.CollectError` if the ledger
    knows of no such column.
    """
    *rest, table, name = column.split(".")
    with opened(store, engine, schema, None) as collector:
        collector.forget_column(".".join(rest), table, name)


def adopt(store: ArtifactStore, engine: Engine, *, schema: str | None = None) -> None:
    """Make a store belong to this database, which was restored or moved to another server.

    Only for when the database that it belonged to is gone for ever: two databases that collect in
    one store delete each other's blobs. Every doom is lifted, since transaction ids of the other
    server mean nothing here.
    """
    with opened(store, engine, schema, None, adopting=True):
        pass


@contextlib.contextmanager
def opened(
    store: ArtifactStore,
    engine: Engine,
    schema: str | None,
    metadata: MetaData | None,
    *,
    adopting: bool = False,
) -> Iterator[Collector]:
    """Open what looks after a store on a database, once it is sure that they belong together.

    Not only for collecting. Raises :class:`~sqla_artifacts.errors.CollectError` for a statement
    that fails, :class:`~sqla_artifacts.errors.ForeignStoreError`, and
    :class:`~sqla_artifacts.errors.LedgerError`.
    """
    make = _COLLECTORS.get(engine.dialect.name)
    if make is None or engine.dialect.is_async:
        what = "an asynchronous engine" if make else engine.dialect.name
        msg = f"use a synchronous engine for SQLite or PostgreSQL here, not {what}"
        raise LedgerError(msg)
    collector = make(
        store, engine, schema or schema_of(engine), [] if metadata is None else [metadata]
    )
    with contextlib.closing(collector):
        try:
            collector.check(adopting=adopting)
            yield collector
        except DBAPIError as error:
            msg = f"a statement has failed, so nothing more is done: {error.orig}"
            raise CollectError(msg) from error


class _Run:
    """One run of a collector, which fills in a report."""

    def __init__(self, collector: Collector, report: Report, progress: OnProgress | None) -> None:
        self._collector = collector
        self._report = report
        self._progress = progress or (lambda _: None)

    def look(self, retention: dt.timedelta) -> None:
        """Find out what there is to do."""
        self._report.garbage = self._collector.garbage()
        self._report.strays = self._collector.sweep(dry_run=True)
        self._count(retention)

    def collect(self, grace: dt.timedelta, retention: dt.timedelta, limit_share: float) -> None:
        """Do every step that can be done by now."""
        report, collector = self._report, self._collector
        token = collector.token()
        report.marked = self._done("mark", collector.mark(token))
        collector.stamp(token)
        report.strays = collector.sweep(dry_run=True)
        self._count(retention)
        self._check_share(limit_share)
        report.taken = self._done("take", collector.take(grace))
        report.spared = collector.spare()
        if report.strays.blobs:
            report.strays = collector.sweep()
        self._done("sweep", report.strays)
        due = collector.due(retention)
        with contextlib.closing(collector.delete(retention)) as deletions:
            for deleted in deletions:
                report.deleted += deleted
                self._done("delete", report.deleted, due.size)
        report.rescued, report.lost = collector.rescue(retention)
        for digest in report.lost:
            _log.error("blob %s is referenced, was taken, and cannot be read", digest)
        self._count(retention)

    def _count(self, retention: dt.timedelta) -> None:
        report, collector = self._report, self._collector
        report.total, report.waiting = collector.totals()
        report.schedule = collector.schedule(retention)
        report.held_by = collector.held_by() if report.waiting.blobs else ()
        if not report.dry_run:
            report.garbage = report.waiting

    def _check_share(self, limit: float) -> None:
        # With the keys that the ledger does not know: in an old copy of a database, most of them.
        total, garbage = (
            each + self._report.strays for each in (self._report.total, self._report.waiting)
        )
        if garbage.blobs > limit * total.blobs:
            msg = (
                f"{garbage.blobs:,} of {total.blobs:,} blobs seem to be garbage, a larger share "
                f"than limit_share={limit:g}: is a table missing, or empty that should not be, "
                "or is this an old copy of the database? If all is well, call collect() with a "
                "larger limit_share once"
            )
            raise CollectError(msg)

    def _done(self, step: str, tally: Tally, total: int | None = None) -> Tally:
        if tally.blobs:
            _log.info("%s: %s", step, tally)
        self._progress(Progress(step, tally.blobs, tally.size, total))
        return tally
