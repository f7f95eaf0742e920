"""Where the stress happens: a database, a store, one table, and what its rows have to hold."""

import datetime as dt
import random
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Column, Integer, MetaData, Table, create_engine, event, select

from sqla_artifacts import Artifact, ArtifactStore, FileDir
from sqla_artifacts.collect import collect
from sqla_artifacts.errors import BlobNotFoundError

from ..check import check
from ..engines import SqliteMode, sqlite_engine

DIGESTS = 50
TREES = 10
NOTHING = dt.timedelta(0)
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where files cost little; None for where temporary files are."""

metadata = MetaData()
# `number` says what the row holds, and each change of a row gives it another `version`.
table = Table(
    "item",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("number", Integer, nullable=False),
    Column("version", Integer, nullable=False, default=0),
    Column("data", Artifact("bytes")),
    Column("run", FileDir()),
    sqlite_autoincrement=True,  # or the id of a row that was deleted would be used again
)


class DanglingError(Exception):
    """A committed row whose reference does not resolve."""


def payload(number):
    """One of the values; those that come twice make two columns share their blob."""
    return random.Random(number).randbytes(100 + 300 * number)


def files(number):
    """The files of a tree, whose pack is the same bytes as a value, and for some a large part."""
    large = {"large": random.Random(number % 2).randbytes(1 << 20)} if number % 3 == 0 else {}
    return {"small": payload(number - DIGESTS + TREES)} | large


def is_tree(number):
    return number >= DIGESTS - TREES


class Place(NamedTuple):
    """What a process has to know to take part; each opens engines and stores of its own."""

    url: str
    directory: Path
    isolation: str | None = None
    mode: SqliteMode | None = None
    store_url: str = ""
    options: dict = {}  # noqa: RUF012 (of a tuple, which never changes)

    @property
    def is_sqlite(self):
        return self.url.startswith("sqlite")

    def engine(self, **options):
        """An engine as the mode says; nothing here ends the machine, so nothing is flushed."""
        if not self.is_sqlite:
            if self.isolation:
                options["isolation_level"] = self.isolation
            return create_engine(self.url, **options)
        mode = self.mode or SqliteMode("legacy", "wal")
        engine = sqlite_engine(self.url, mode, connect_args={"timeout": 60}, **options)
        event.listen(engine, "connect", _never_flush)
        return engine

    def store(self, engine, **options):
        """The store, attached to an engine; it remembers nothing."""
        options = {"memory": 0, "checkouts": self.directory / "checkouts"} | options
        url = self.store_url or str(self.directory / "artifacts")
        store = ArtifactStore(url, **options, **self.options)
        store.attach(engine, metadata=metadata)
        return store

    def set_up(self):
        """Make the tables, and the directories that rows are made of."""
        for number in filter(is_tree, range(DIGESTS)):
            self.source(number).mkdir(parents=True)
            for name, content in files(number).items():
                (self.source(number) / name).write_bytes(content)
        engine = self.engine()
        store = self.store(engine)
        metadata.create_all(engine)
        store.prepare()
        with engine.begin() as connection:
            connection.execute(table.insert().values(self.values(0)))
        engine.dispose()

    def source(self, number):
        return self.directory / "sources" / str(number)

    def values(self, number):
        """What to write into a row."""
        tree = is_tree(number)
        return {
            "number": number,
            "data": None if tree else payload(number),
            "run": self.source(number) if tree else None,
        }

    def collect(self, store, engine):
        """Collect without waiting; what is referenced must never have been taken."""
        report = collect(
            store,
            engine,
            metadata=metadata,
            dry_run=False,
            grace=NOTHING,
            retention=NOTHING,
            limit_share=1,
        )
        if report.lost or report.rescued:
            raise DanglingError(f"taken though referenced: {report.lost or report.rescued}")
        return report

    def finish(self):
        """Check that all rows read right, and that a last collect leaves exactly what they need."""
        engine = self.engine()
        store = self.store(engine)
        check_rows(engine)
        self.collect(store, engine)
        check_rows(engine)
        unneeded = check(engine, store, table)
        assert unneeded == set(), f"not collected: {unneeded}"
        engine.dispose()


def check_row(row):
    """Check the bytes of a row."""
    if is_tree(row.number):
        expected = files(row.number)
        assert set(row.run.members) == {*expected}
        for name, content in expected.items():
            with row.run.open(name) as stream:
                assert stream.read() == content, f"wrong bytes in row {row.id}"
    else:
        assert row.data == payload(row.number), f"wrong bytes in row {row.id}"


def check_rows(engine, ids=None):
    """Check rows, all of them if not told which; return how many have been read.

    A reader that is slower than the retention time, which is nothing here, may miss what it
    looks for. But a row that is there before and after it has failed has to resolve.
    """
    read = 0
    for number in _ids(engine) if ids is None else ids:
        before = _version(engine, number)
        try:
            with engine.connect() as connection:
                row = connection.execute(select(table).where(table.c.id == number)).one_or_none()
                if row is not None:
                    check_row(row)
                    read += 1
        except BlobNotFoundError as error:
            if before is not None and _version(engine, number) == before:
                raise DanglingError(f"row {number} does not resolve: {error}") from error
    return read


def _ids(engine):
    with engine.connect() as connection:
        return connection.scalars(select(table.c.id).order_by(table.c.id)).all()


def _version(engine, number):
    with engine.connect() as connection:
        return connection.scalar(select(table.c.version).where(table.c.id == number))


def _never_flush(connection, record):
    mode = getattr(connection, "autocommit", None)
    if mode is False:  # of Python 3.12, in which a transaction is always open
        connection.autocommit = True
    connection.execute("PRAGMA synchronous = OFF")
    if mode is False:
        connection.autocommit = mode
