"""The steps of a collector, the same on both databases.

G1 :meth:`Collector.mark`
    What nothing refers to is doomed, and that is committed.
G2 :meth:`Collector.stamp`
    A later transaction stamps its id on it: the horizon.
G3 :meth:`Collector.take`
    Once every transaction from before the horizon is over, another look, in one snapshot. What
    nothing refers to even now is taken, if it still carries the doom that it had in that
    snapshot; what is referenced is spared.
G4 :meth:`Collector.delete`, :meth:`Collector.rescue`
    After the retention time a last look, for references that SQL has copied past the writer. The
    keys of what nothing refers to are deleted; the rest is stored again, under its next
    generation.

A look may take long, and holds no lock: it is one query in one snapshot, whose rows come in
batches. Each batch is then changed in a short transaction that checks again what can change.
That is enough for G3, because a writer that refers to a doomed blob lifts its doom first: if the
doom of the snapshot is still there, no reference came after it. (The doom is compared, not only
whether there is one: another collector may have doomed the blob again.)

Every step can be repeated, broken off at any point, and run by several machines at once.
"""

from __future__ import annotations

import datetime as dt
from abc import abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Any

from ..errors import BlobError, CollectError
from ..location import key_of
from ..payload import Payload
from .caretaker import Caretaker, batches
from .report import Due, Tally
from .sql import ASK, CHANGE, FIND

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from ..store import ArtifactStore
    from .caretaker import Found


class Collector(Caretaker):
    """A collector of one store on one database. What is abstract differs between databases."""

    @abstractmethod
    def stamp(self, token: int) -> None:
        """G2: stamp the horizon on what is doomed, in transactions that begin after G1's end."""

    @abstractmethod
    def held_by(self) -> tuple[str, ...]:
        """Say which open transactions may be waited for, the oldest first."""

    # -- the steps -------------------------------------------------------------------------------

    def token(self) -> int:
        """Return a number that no other run dooms with."""
        with self.changing() as connection:
            return int(connection.scalar(self.text(self.words["token"])) or 0)

    def mark(self, token: int) -> Tally:
        """G1: doom what nothing refers to; return how much, once it is committed."""
        marked = Tally()
        for rows in self.find("orphans"):
            with self.changing() as connection:
                mine = self.run(connection, CHANGE["lock_unmarked"], rows)
                marked += tally(self.run(connection, CHANGE["mark"], mine, token=token))
        return marked

    def take(self, grace: dt.timedelta) -> Tally:
        """G3: take what is doomed and still not referenced."""
        taken = self._taken(grace)
        if taken.blobs and self._has_edges():  # parts whose manifests are taken by now
            taken += self._taken(grace)
        return taken

    def spare(self) -> int:
        """G3: lift the doom of what is referenced; return of how many."""
        spared = 0
        for rows in self.find("wanted"):
            with self.changing() as connection:
                mine = self.run(connection, CHANGE["lock_doomed"], rows)
                spared += len(self.run(connection, CHANGE["spare"], mine))
        return spared

    def sweep(self, *, dry_run: bool = False) -> Tally:
        """Take the keys that the store has and the ledger does not need; return how many.

        They are left by a rollback on SQLite, and by writes that came after their writer's end.
        """
        strays = Tally()
        for keys in batches(self.listed()):
            with self.looking() as connection:
                found = self.run(connection, FIND["stray"], keys)
            if found and not dry_run:
                with self.changing() as connection:
                    self.run(connection, CHANGE["bury"], found)
                    found = self.run(connection, FIND["stray"], found)  # a writer may have come
                    self.run(connection, CHANGE["trash"], found)
            strays += tally(found)
        return strays

    def rescue(self, retention: dt.timedelta) -> tuple[list[str], list[str]]:
        """G4: store again what the last look has found to be referenced after all.

        Returns what was saved, and what could not be read.
        """
        rescued: list[str] = []
        lost: list[str] = []
        for rows in self.find("copied", seconds=retention.total_seconds()):
            for found in rows:
                (rescued if self._rescued(found) else lost).append(found.digest)
        return rescued, lost

    def delete(self, retention: dt.timedelta) -> Generator[Tally, None, None]:
        """G4: delete the keys that were taken long enough ago; yield how many, batch by batch."""
        for rows in self.find("due", seconds=retention.total_seconds()):
            self.discard(rows)
            yield tally(rows)
        with self.changing() as connection:
            day = {"store": self.store_id, "seconds": dt.timedelta(days=1).total_seconds()}
            connection.execute(self.text(CHANGE["forget"]), day)

    def discard(self, rows: list[Found]) -> None:
        """Delete the keys of generations that were taken, and then write that down."""
        keys = [key_of(digest, generation) for digest, generation, _ in rows]
        self.store.pool.each(self.store.backend.delete, keys)
        with self.changing() as connection:
            gone = self.run(connection, CHANGE["lock_gone"], rows)
            self.run(connection, CHANGE["unlink"], gone)
            self.run(connection, CHANGE["deleted"], rows)

    # -- what a report says ----------------------------------------------------------------------

    def garbage(self) -> Tally:
        """Count what nothing refers to."""
        return self._count("garbage")

    def due(self, retention: dt.timedelta) -> Tally:
        """Count what may be deleted by now."""
        return self._count("due", seconds=retention.total_seconds())

    def schedule(self, retention: dt.timedelta) -> list[Due]:
        """Say what is deleted when, by days."""
        with self.looking() as connection:
            rows = connection.execute(self.text(ASK["schedule"]), {"store": self.store_id}).all()
        return [
            Due(dt.date.fromisoformat(day) + retention, Tally(count, int(size)))
            for day, count, size in rows
        ]

    def _count(self, what: str, **asked: Any) -> Tally:
        with self.looking() as connection:
            query = self.query(connection, what, ASK[what])
            row = connection.execute(query, asked | {"store": self.store_id}).one()
        return Tally(row[0], int(row[1]))

    # -- columns ---------------------------------------------------------------------------------

    def forget_column(self, schema: str, table: str, column: str) -> None:
        """Delete what the ledger knows of a column."""
        asked = {"schema": schema or self.default_schema, "table": table, "column": column}
        with self.changing() as connection:
            known = connection.scalar(self.text(ASK["format"]))
            forgotten = connection.execute(self.text(CHANGE["forget_column"]), asked).rowcount
            if known > 1:
                sql = self.text(CHANGE["forget_declaration"])
                forgotten += connection.execute(sql, asked).rowcount
        if not forgotten:
            msg = f"the ledger knows of no column {table}.{column} in {asked['schema']}"
            raise CollectError(msg)

    # -- what the steps are made of --------------------------------------------------------------

    def _taken(self, grace: dt.timedelta) -> Tally:
        taken = Tally()
        for rows in self.find("doomed", seconds=grace.total_seconds()):
            with self.changing() as connection:
                mine = self.run(connection, CHANGE["lock_doomed"], rows)
                gone = self.run(connection, CHANGE["take"], mine)
                self.run(connection, CHANGE["trash"], gone)
            taken += tally(gone)
        return taken

    def _has_edges(self) -> bool:
        with self.looking() as connection:
            return bool(connection.scalar(self.text(ASK["edges"]), {"store": self.store_id}))

    def _rescued(self, found: Found) -> bool:
        """Store a blob again, and say whether it could be read."""
        with self.looking() as connection:
            asked = {"store": self.store_id, "digest": found.digest}
            parts = [tuple(row) for row in connection.execute(self.text(ASK["parts"]), asked)]
        content = partial(_read_back, self.store, found.digest, parts)
        try:
            self.write(Payload(found.digest, found.size, content, is_tree=bool(parts)))
        except BlobError:
            return False
        return True


def tally(rows: Iterable[Found]) -> Tally:
    """Return how many blobs there are, and how large they are together."""
    sizes = [size for _, _, size in rows]
    return Tally(len(sizes), sum(sizes))


def _read_back(store: ArtifactStore, digest: str, parts: list[tuple[str, int]]) -> Payload:
    payload = store.payload(digest)
    payload.parts = tuple(Payload(part, size, partial(store.payload, part)) for part, size in parts)
    return payload
