"""What a run of the collector found, and what it did."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import datetime as dt


class Tally(NamedTuple):
    """A number of blobs, and of their bytes."""

    blobs: int = 0
    size: int = 0

    def __add__(self, other: object) -> Tally:
        """Return the sum of two tallies."""
        if not isinstance(other, Tally):
            return NotImplemented
        return Tally(self.blobs + other.blobs, self.size + other.size)

    def __str__(self) -> str:
        return f"{self.blobs:,} blobs, {self.size:,} bytes"


NOTHING = Tally()


class Due(NamedTuple):
    """What is deleted from a day on, unless a reference turns up before."""

    day: dt.date
    blobs: Tally


@dataclass
class Report:
    """What one run of :func:`~sqla_artifacts.collect.collect` found and did.

    ``str()`` of it is for people.
    """

    dry_run: bool
    total: Tally = NOTHING
    """The ledger's blobs, but for those that are taken."""
    garbage: Tally = NOTHING
    """Those of them that nothing refers to, as far as this run has looked."""
    marked: Tally = NOTHING
    """What this run has doomed."""
    waiting: Tally = NOTHING
    """What is doomed and not taken yet: for the time of grace, or for open transactions."""
    held_by: tuple[str, ...] = ()
    """The oldest open transactions that could be what is waited for."""
    spared: int = 0
    """How many doomed blobs turned out to be referenced."""
    taken: Tally = NOTHING
    """What this run has taken: deleted once the retention time is over."""
    strays: Tally = NOTHING
    """Keys in the store that belong to nothing in the ledger; taken, too, unless in a dry run."""
    rescued: list[str] = field(default_factory=list)
    """Digests that SQL had copied past the writer, saved at the last look."""
    lost: list[str] = field(default_factory=list)
    """Digests that are referenced, were taken, and cannot be read any more."""
    deleted: Tally = NOTHING
    """What this run has deleted from the store."""
    schedule: list[Due] = field(default_factory=list)
    """What is still to be deleted, by the day from which on it may be."""

    def __str__(self) -> str:
        lines = [f"{self.total} in the ledger", f"{self.garbage} that nothing refers to"]
        if not self.dry_run:
            lines += [f"{self.marked} marked", f"{self.taken} taken", f"{self.deleted} deleted"]
        if self.waiting.blobs:
            lines.append(f"{self.waiting} wait for the time of grace or for open transactions")
            lines += [f"  perhaps for the {holder}" for holder in self.held_by]
        if self.spared:
            lines.append(f"{self.spared:,} spared: they are referenced again")
        if self.strays.blobs:
            lines.append(f"{self.strays} in the store that the ledger does not need")
        lines += [f"rescued {digest}, which only SQL had referred to" for digest in self.rescued]
        lines += [f"LOST {digest}: referenced, and not readable" for digest in self.lost]
        lines += [f"{due.blobs} are deleted from {due.day} on" for due in self.schedule]
        return "\n".join([*lines, *(["dry run: nothing was changed"] if self.dry_run else [])])
