"""What a verification has found."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias

from ..collect.report import NOTHING, Tally

Depth: TypeAlias = Literal["references", "listing", "content"]

Kind: TypeAlias = Literal[
    "missing",
    "corrupt",
    "unreadable",
    "incomplete",
    "malformed",
    "unregistered",
    "orphan",
    "dangling",
]

HARMLESS: frozenset[Kind] = frozenset({"unregistered", "orphan", "dangling"})
"""The kinds that mean no loss."""


class Named(NamedTuple):
    """A column, and how many of its references name a blob, by themselves or through a tree."""

    column: str
    times: int


class Finding(NamedTuple):
    """One thing that is not as it should be."""

    kind: Kind
    digest: str = ""
    """The blob; of a corrupt one, the digest that its bytes should have."""
    key: str = ""
    """The key in the store, where the finding is about one."""
    detail: str = ""
    """What is known beyond the kind, for people."""
    places: tuple[Named, ...] = ()
    """Where the blob is named."""
    rows: tuple[dict[str, Any], ...] = ()
    """Of strings that are no references: the primary keys of the first rows."""

    def __str__(self) -> str:
        places = ", ".join(f"{column} ({times:,})" for column, times in self.places)
        said = [self.kind, self.key or self.digest, self.detail, f"in {places}" if places else ""]
        return " ".join(filter(None, said))


@dataclass
class Verification:
    """What one run of :func:`~sqla_artifacts.verify.verify` has found.

    ``str()`` of it is for people, :meth:`to_json` for programs.
    """

    depth: Depth
    counts: Counter[Kind] = field(default_factory=Counter)
    """How many findings there are of each kind."""
    findings: list[Finding] = field(default_factory=list)
    """The first of them; ``on_finding`` is given all."""
    keys: int = 0
    """How many keys of the store were listed."""
    hashed: Tally = NOTHING
    """What was read and hashed."""
    marked: int = 0
    """How many blobs are no longer live, so that storing the same value heals them."""
    after: str | None = None
    """The digest to go on after, if the run was stopped before all was hashed."""

    @property
    def is_sound(self) -> bool:
        """Whether nothing is lost or damaged, as far as this run has looked."""
        return self.counts.keys() <= HARMLESS

    def to_json(self) -> str:
        """Return all this as a JSON object; values of primary keys may be strings in it."""
        found = vars(self) | {
            "is_sound": self.is_sound,
            "hashed": self.hashed._asdict(),
            "findings": [
                finding._asdict() | {"places": [place._asdict() for place in finding.places]}
                for finding in self.findings
            ],
        }
        return json.dumps(found, default=str)

    def __str__(self) -> str:
        lines = [f"{count:,} {kind}" for kind, count in sorted(self.counts.items())]
        lines += map(str, self.findings)
        if (left := self.counts.total() - len(self.findings)) > 0:
            lines.append(f"and {left:,} more")
        if self.depth != "references":
            lines.append(f"{self.keys:,} keys listed")
        if self.hashed.blobs:
            lines.append(f"{self.hashed} hashed")
        if self.marked:
            lines.append(f"{self.marked:,} marked: a value that is stored again heals them")
        if self.after:
            lines.append(f"stopped after {self.after}")
        return "\n".join(["sound" if self.is_sound else "NOT SOUND", *lines])
