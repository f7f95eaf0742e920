"""Repair: blobs that are missing or corrupt get their bytes back, from wherever they still are.

::

    mirror = ArtifactStore("s3://mirror/artifacts")
    print(repair(store, engine, sources=[mirror, "/backup/originals"]))

Without any source that is what the store itself still has: another generation of the blob, a
copy in its cache or in memory. Other sources are

- another :class:`~sqla_artifacts.store.ArtifactStore`: a mirror, or a backup;
- a file or directory: the originals, an unpacked tree, ``store.checkouts``, another machine's
  cache; all of it is read, and a tree's parts are staged;
- a function that takes a digest and returns bytes, or None.

What is found is verified and stored by the writer's ordinary steps, under the next generation,
which readers find. The same happens where a program stores the value again, once
:func:`~sqla_artifacts.verify.verify` with ``mark=True`` has seen the damage.

While damaged bytes are all there is they stay where they are, for a part of them may be of use.
When the blob is sound again they are moved to ``quarantine/`` in the store, and no reader comes
upon them any more. Nobody deletes them there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from .collect import opened
from .collect.caretaker import Found
from .collect.sql import ASK, CHANGE
from .errors import ArtifactError, BlobNotFoundError, InvalidTreeError
from .location import key_of
from .payload import Payload
from .reference import DIGEST
from .salvage import finders
from .tree import HEADER, parse_manifest
from .verify.checks import examine
from .verify.marking import condemn, suspend
from .verify.report import Verification
from .verify.rows import named_in
from .verify.sql import KNOWN, OUTLIVED, TREES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Engine, MetaData

    from .collect.caretaker import Caretaker
    from .salvage import Finder, Source
    from .store import ArtifactStore


@dataclass
class Repair:
    """What one run of :func:`repair` did. ``str()`` of it is for people."""

    repaired: list[str] = field(default_factory=list)
    """Digests whose blobs are live and sound again."""
    failed: dict[str, str] = field(default_factory=dict)
    """Digests whose bytes were not found anywhere, and why."""
    quarantined: list[str] = field(default_factory=list)
    """Where damaged bytes are now."""

    def __str__(self) -> str:
        lines = [f"repaired {digest}" for digest in self.repaired]
        lines += [f"FAILED {digest}: {reason}" for digest, reason in self.failed.items()]
        return "\n".join([*lines, *(f"kept as {key}" for key in self.quarantined)])


def repair(
    store: ArtifactStore,
    engine: Engine,
    what: str | Iterable[str] | Verification | None = None,
    *,
    sources: Sequence[Source] = (),
    metadata: MetaData | None = None,
    schema: str | None = None,
) -> Repair:
    """Give blobs their bytes back.

    Args:
        store: The store, which has to belong to this database.
        engine: An engine of the database, not an asynchronous one.
        what: The digests, or a verification that has found them. Left out, it is whatever rows
            name and the ledger does not have as live: after a verification with ``mark=True``,
            all that it has found.
        sources: Where to look for the bytes, one after the other; see above.
        metadata: The models: their columns are looked into even if no writer has used them yet.
        schema: The ledger's schema, if the store is not attached to the engine.

    A tree's parts are repaired with it. What is given and turns out to be sound is left alone.
    Raises what :func:`~sqla_artifacts.verify.verify` does, and the writer's errors.
    """
    if isinstance(what, Verification):
        what = [f.digest for f in what.findings if f.kind in {"missing", "corrupt", "incomplete"}]
    asked = None if what is None else {what} if isinstance(what, str) else set(what)
    for digest in asked or ():
        if not DIGEST.fullmatch(digest):
            msg = f"{digest[:80]!r} is not a digest of 64 hexadecimal digits"
            raise ValueError(msg)
    with opened(store, engine, schema, metadata) as caretaker:
        run = _Repairer(caretaker, finders(store, sources))
        run.repair(run.unmet() if asked is None else asked)
        run.quarantine()
    return run.report


class _Repairer:
    """One run, which fills in a report."""

    def __init__(self, caretaker: Caretaker, finders: list[Finder]) -> None:
        self.report = Repair()
        self._caretaker = caretaker
        self._store = caretaker.store
        self._finders = finders

    def unmet(self) -> set[str]:
        """Return what rows name and the ledger does not have as live."""
        found = [row.digest for rows in self._caretaker.find("unmet") for row in rows]
        return {digest for digest in found if DIGEST.fullmatch(digest)}

    def repair(self, digests: Iterable[str]) -> None:
        """Repair blobs, what they need, and then the trees that need them."""
        given = set(digests)
        asked = given | {part for digest in given for part, _ in self._parts(digest)}
        live = [row for row in self._known(asked) if row.size >= 0]
        flaws = zip(live, self._store.pool.each(partial(examine, self._store), live), strict=True)
        damaged = [row for row, flaw in flaws if flaw is not None]
        condemn(self._caretaker, damaged)
        suspend(self._caretaker, damaged)
        sound = {row.digest for row in self._known(asked) if row.size >= 0}
        trees = {row.digest for row in self._run(TREES, asked)}
        wanted = trees & {*given, *named_in(self._caretaker, trees)}
        for digest in (*sorted(asked - sound - trees), *sorted(wanted)):
            try:
                self._store_again(digest)
            except (ArtifactError, OSError) as error:
                self.report.failed[digest] = str(error)
            else:
                self.report.repaired.append(digest)

    def quarantine(self) -> None:
        """Move away the damaged bytes of what is sound again, or readers would meet them first."""
        backend, store = self._store.backend, self._store
        with self._caretaker.looking() as connection:
            outlived = connection.execute(
                self._caretaker.text(OUTLIVED), {"store": self._caretaker.store_id}
            ).all()
        for digest, generation in outlived:
            taken = Found(digest, generation, 0)
            flaw = examine(store, taken)
            if flaw is None or flaw.kind != "corrupt":
                continue
            key = f"quarantine/{digest}~{generation}"
            with store.stage as stage, backend.open(key_of(digest, generation)) as stream:
                backend.put([(key, stage.stream(stream))])
            backend.delete(key_of(digest, generation))
            with self._caretaker.changing() as connection:
                self._caretaker.run(connection, CHANGE["deleted"], [taken])
            self.report.quarantined.append(key)

    def _store_again(self, digest: str) -> None:
        payload = self._fetch(digest)
        needed = self._parts(digest) or _parts_of(payload)
        payload.parts = tuple(Payload(d, size, partial(self._fetch, d)) for d, size in needed)
        payload.is_tree = bool(needed)
        self._caretaker.write(payload)

    def _fetch(self, digest: str) -> Payload:
        """Return a blob's bytes, from the first who has them."""
        for find in self._finders:
            try:
                payload = find(digest)
            except (ArtifactError, OSError):
                continue
            if payload is not None and payload.digest == digest:
                return payload
        msg = f"no source has the bytes of blob {digest}"
        raise BlobNotFoundError(msg)

    def _parts(self, digest: str) -> list[tuple[str, int]]:
        caretaker = self._caretaker
        asked = {"store": caretaker.store_id, "digest": digest}
        with caretaker.looking() as connection:
            rows = connection.execute(caretaker.text(ASK["parts"]), asked)
            return [(part, size) for part, size in rows]

    def _known(self, digests: Iterable[str]) -> list[Found]:
        """Return what the ledger knows; the size of what is not live is -1."""
        return self._run(KNOWN, digests)

    def _run(self, sql: str, digests: Iterable[str]) -> list[Found]:
        with self._caretaker.looking() as connection:
            asked = [Found(digest, 0, 0) for digest in sorted(digests)]
            return self._caretaker.run(connection, sql, asked)


def _parts_of(payload: Payload) -> list[tuple[str, int]]:
    """Return the parts of a tree that the ledger has never known."""
    with payload.open() as stream:
        start = stream.read(len(HEADER))
        data = start + stream.read() if start == HEADER.encode() else b""
    try:
        return [(part.digest, part.size) for part in parse_manifest(data).parts]
    except InvalidTreeError:
        return []
