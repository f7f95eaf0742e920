"""A caretaker: what all have in common who look after one store on one database.

It can look at the ledger and at all references in one snapshot, change the ledger in short
transactions, and carry batches of rows from the one to the other. The collector is one.
"""

from __future__ import annotations

import itertools
import re
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar

from sqlalchemy import text

from ..errors import CollectError
from ..inventory import take_inventory
from ..ledger import FORMAT
from ..ledger.writer import Target
from ..location import key_of
from .report import Tally
from .sql import ASK, CHANGE, EDGES, ROOTED_EDGES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager

    from sqlalchemy import Connection, Engine, MetaData, TextClause

    from ..backends import Entry
    from ..inventory import Inventory
    from ..ledger.writer import Writer
    from ..payload import Payload
    from ..store import ArtifactStore

T = TypeVar("T")

BATCH = 2_000
"""How many blobs are changed in one transaction, or deleted before that is written down."""

_KEY = re.compile(r"blobs/../../([0-9a-f]{64})(?:~([1-9][0-9]{0,8}))?")


class Found(NamedTuple):
    """A blob that a look has found: its generation or its doom, and its size."""

    digest: str
    number: int
    size: int


class Caretaker(ABC):
    """Looks after one store on one database. What is abstract differs between databases."""

    words: ClassVar[dict[str, str]]
    """How the database says what the statements leave open."""

    default_schema: str
    """Where a table is whose schema is not named."""

    writer: Writer
    """What stores blobs again; there is one once :meth:`check` has passed."""

    def __init__(
        self,
        store: ArtifactStore,
        engine: Engine,
        schema: str | None,
        metadata: Iterable[MetaData],
    ) -> None:
        self.store = store
        self.schema = schema
        self.store_id = store.id or ""
        self.name = ""
        self._engine = engine
        self._metadata = tuple(metadata)
        quote = engine.dialect.identifier_preparer.quote_identifier
        quoted = quote(schema or self.default_schema)
        self.ledger = quoted.replace(":", r"\:")

    @abstractmethod
    def looking(self) -> AbstractContextManager[Connection]:
        """Open a transaction whose statements all see one snapshot, and which changes nothing."""

    @abstractmethod
    def changing(self) -> AbstractContextManager[Connection]:
        """Open a short transaction that is committed at the end."""

    @abstractmethod
    def find(self, what: str, **asked: Any) -> Iterator[list[Found]]:
        """Look once, in one snapshot, and yield what is found in batches.

        The ledger may be changed between two batches.
        """

    @abstractmethod
    def parameters(self, rows: list[Found]) -> dict[str, Any]:
        """Return a batch as the parameters of a statement."""

    @abstractmethod
    def claim(self) -> None:
        """Make sure that the store belongs to this database, and make the writer."""

    @abstractmethod
    def close(self) -> None:
        """Give the connections back."""

    def check(self, *, adopting: bool = False) -> None:
        """Refuse a store that is not this database's, and a ledger of a later version.

        When ``adopting``, make the store this database's, and lift every doom.
        """
        with self.looking() as connection:
            known = connection.scalar(self.text(ASK["format"]))
            name = connection.scalar(self.text(ASK["store"]), {"store": self.store_id})
        if name is None:
            msg = (
                f"this database has never stored anything in {self.store.url}, so it cannot know "
                "what belongs there: use the database that has"
            )
            raise CollectError(msg)
        if known > FORMAT:
            msg = f"the ledger is of format {known}, which a later version of this package made"
            raise CollectError(msg)
        self.name = name
        if adopting:
            self.store.backend.delete("owner.json")
            with self.changing() as connection:
                connection.execute(self.text(CHANGE["unmark_all"]), {"store": self.store_id})
        self.claim()

    def totals(self) -> tuple[Tally, Tally]:
        """Count the ledger's blobs that are not taken, and those of them that are doomed."""
        with self.looking() as connection:
            row = connection.execute(self.text(ASK["totals"]), {"store": self.store_id}).one()
        return Tally(row[0], int(row[1])), Tally(row[2], int(row[3]))

    # -- what the steps are made of --------------------------------------------------------------

    def text(self, sql: str) -> TextClause:
        """Return a statement as this database says it."""
        for word, said in self.words.items():
            sql = sql.replace(f"{{{word}}}", said)
        return text(sql.replace("{ledger}", self.ledger))

    def query(self, connection: Connection, what: str, sql: str) -> TextClause:
        """Return a query with the SELECT of all references in it, as one snapshot shows them."""
        inventory = self.inventory(connection)
        edges = []
        if connection.scalar(self.text(ASK["edges"]), {"store": self.store_id}):
            if what not in {"orphans", "garbage", "unmet"}:
                edges.append(EDGES)
            if what not in {"doomed", "wanted"}:
                edges.append(ROOTED_EDGES.replace("{rows}", inventory.digests()))
        references = inventory.digests(*edges)
        for word in ("unnamed", "named"):
            sql = sql.replace(f"{{{word}}}", self.words[word])
        return self.text(sql.replace("{references}", references))

    def is_idle(self, connection: Connection, sql: str, asked: dict[str, Any]) -> bool:
        """Say whether there is nothing that a query would have to look for references to."""
        if "{references}" in sql:
            return False
        bare = sql.replace("AND {unnamed}", "").replace("AND {named}", "")
        any_at_all = self.text(f"SELECT 1 FROM ({bare}) AS candidate LIMIT 1")  # noqa: S608 (ours)
        return connection.scalar(any_at_all, asked) is None

    def run(self, connection: Connection, sql: str, rows: list[Found], **asked: Any) -> list[Found]:
        """Run a statement for a batch, and return its rows."""
        if not rows:
            return []
        asked |= {"store": self.store_id, **self.parameters(rows)}
        result = connection.execute(self.text(sql), asked)
        return [Found(*row) for row in result] if result.returns_rows else []

    def listed(self) -> Iterator[Found]:
        """Yield the blobs that the store has, by its keys: each generation, and its size."""
        return filter(None, map(blob_of, self.store.backend.list("blobs/")))

    def write(self, payload: Payload) -> None:
        """Store a blob by the writer's steps, as if for a row that names it."""
        with self.looking() as connection:
            schema, table, column = self.inventory(connection).sources[0].place
        with self.changing() as connection:
            self.writer.write(connection, [payload], Target(schema, table, frozenset([column])))

    def inventory(self, connection: Connection) -> Inventory:
        """Return where references may be."""
        place = (self.store_id, self.name)
        return take_inventory(connection, self.ledger, place, self._metadata)


def blob_of(entry: Entry) -> Found | None:
    """Return the blob and the generation that a key is of, or None if it is no blob's key."""
    match = _KEY.fullmatch(entry.key)
    if match is None or entry.key != key_of(match[1], int(match[2] or 0)):
        return None
    return Found(match[1], int(match[2] or 0), entry.size)


def batches(rows: Iterable[T]) -> Iterator[list[T]]:
    """Yield what there is in batches."""
    remaining = iter(rows)
    while batch := list(itertools.islice(remaining, BATCH)):
        yield batch
