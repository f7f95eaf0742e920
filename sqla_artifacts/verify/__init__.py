"""Verify: whether what the rows name is in the store, and is what it should be.

::

    print(verify(store, engine, metadata=Base.metadata))                   # the database alone
    print(verify(store, engine, metadata=Base.metadata, depth="listing"))  # and the store's keys
    print(verify(store, engine, depth="content", sample=0.01))             # and 1 % of the bytes

There are three depths, each including those before it.

``"references"``
    What rows name, by themselves or through a tree, the ledger has as live. Columns of references
    hold nothing else, and have been noted.
``"listing"``
    What the ledger has is in the store, in its size; and the store has nothing else.
``"content"``
    The bytes have their digests: all of them are read, or a sample. The cache is not asked.

What can be found:

``missing``
    a blob that is named, or live in the ledger, and not there
``corrupt``
    other bytes, or another number of them, than the digest's
``unreadable``
    a key that the store has and fails to read
``incomplete``
    a tree that counts as whole, of which a part is not live
``malformed``
    strings in a column of references that are none; not looked for in lists and arrays
``unregistered``
    a column that holds references, of the models or declared by a revision, that no writer has
    noted
``orphan``
    a key that nothing needs; on SQLite also one whose writer has not committed yet
``dangling``
    a temporary file that a killed writer has left. What a bucket keeps of an upload in parts that
    was broken off cannot be listed: the bucket's own rules have to remove it.

Nothing is deleted. With ``mark``, what is missing or corrupt is no longer de-duplicated against:
:mod:`.marking` says how, :mod:`~sqla_artifacts.repair` what to do then. Runs may be broken off,
and go on beside writers and collectors: a finding was looked at twice.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, get_args

from ..collect import opened
from ..reference import DIGEST
from .checks import Sample, Verifier
from .report import Depth, Finding, Kind, Named, Verification

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine, MetaData

    from ..progress import OnProgress
    from ..store import ArtifactStore

__all__ = ["Depth", "Finding", "Kind", "Named", "Verification", "verify"]

SHOWN = 1_000
"""How many findings a :class:`Verification` keeps."""


def verify(
    store: ArtifactStore,
    engine: Engine,
    *,
    depth: Depth = "references",
    sample: float = 1,
    turn: int | None = None,
    after: str | None = None,
    stop_after: dt.timedelta | None = None,
    mark: bool = False,
    metadata: MetaData | None = None,
    schema: str | None = None,
    on_finding: Callable[[Finding], object] | None = None,
    progress: OnProgress | None = None,
) -> Verification:
    """Verify a store against its database.

    Args:
        store: The store, which has to belong to this database.
        engine: An engine of the database, not an asynchronous one.
        depth: How deep to look; see above.
        sample: The share of the blobs whose bytes are read, above 0 and up to 1.
        turn: Which share. Another turn reads other blobs, and ``1 / sample`` turns in a row read
            all of them. Left out, it is the number of today, so that a run a day does.
        after: A digest. The bytes of blobs up to it are not read, nor are the references and the
            listing looked at again: for a run that goes on where another was stopped.
        stop_after: Stop reading bytes then; :attr:`Verification.after` is where to go on.
        mark: Have what is missing or corrupt no longer count as stored.
        metadata: The models: their columns are looked into even if no writer has used them yet.
        schema: The ledger's schema, if the store is not attached to the engine.
        on_finding: Called with every finding; the report keeps the first 1,000 only.
        progress: Called as the run goes on.

    Raises what :func:`~sqla_artifacts.collect.collect` does, where it cannot look at everything.
    References cost a few scans of the columns, in the database; each 2,000 findings one more. A
    listing costs one of the store, and 40 MiB of memory for large ones.
    """
    if depth not in get_args(Depth) or not 0 < sample <= 1:
        msg = f"depth is one of {get_args(Depth)}, and sample a number above 0 and up to 1"
        raise ValueError(msg)
    if after is not None and (depth != "content" or not DIGEST.fullmatch(after)):
        msg = 'after is the digest that a run with depth="content" was stopped after'
        raise ValueError(msg)
    report = Verification(depth)

    def note(finding: Finding) -> None:
        report.counts[finding.kind] += 1
        if len(report.findings) < SHOWN:
            report.findings.append(finding)
        if on_finding is not None:
            on_finding(finding)

    with opened(store, engine, schema, metadata) as caretaker:
        run = Verifier(caretaker, report, is_marking=mark, on_finding=note, progress=progress)
        try:
            if after is None:
                run.references()
                if depth != "references":
                    run.listing()
            if depth == "content":
                day = dt.datetime.now(dt.UTC).toordinal()
                seconds = float("inf") if stop_after is None else stop_after.total_seconds()
                run.content(Sample(sample, day if turn is None else turn), after, seconds)
        finally:
            run.mark_trees()
    return report
