"""The life of artifacts as a state machine: whatever happens in whatever order, the rows are right.

The model is a dict. After each commit and each collection all committed rows read as it says, and
at the end a last collection leaves exactly what they refer to.
"""

import contextlib
import datetime as dt
import itertools
import tempfile

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import create_engine, delete, insert, select, text, update
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from sqla_artifacts import Artifact, ArtifactStore, LazyArtifact, LazyMapped
from sqla_artifacts.collect import collect

from ..check import check
from ..engines import SqliteMode, sqlite_engine
from .place import MEMORY

HOUR = dt.timedelta(hours=1)
# Few, so that they meet again and again.
VALUES = st.sampled_from([b"", b"a", b"b", b"c", b"d" * 2000])
CHOICE = st.integers(0, 1 << 16)
TIMES = st.sampled_from([0 * HOUR, 0 * HOUR, HOUR])


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "item"
    id: Mapped[int] = mapped_column(primary_key=True)
    data: Mapped[bytes | None] = mapped_column(Artifact("bytes"))
    other: LazyMapped[bytes | None] = mapped_column(LazyArtifact("bytes"))


class BrokenOffError(Exception):
    """Ends a collection on the way."""


class World:
    """A database and a store that one machine after the other begins with, empty each time."""

    def __init__(self, make_engine, directory):
        self._make_engine = make_engine
        self._directory = directory
        self.open()
        Base.metadata.create_all(self.engine)

    def open(self):
        self.engine = self._make_engine()
        self.store = ArtifactStore(f"{self._directory}/artifacts", memory=0)
        self.store.attach(self.engine, metadata=Base.metadata)

    def restart(self):
        self.engine.dispose()
        self.open()

    def empty(self):
        with self.engine.begin() as connection:
            for table in ("item", "artifact_blob", "artifact_trash", "artifact_column"):
                connection.execute(text(f"DELETE FROM {table}"))
        for entry in self.store.backend.list("blobs/"):
            self.store.backend.delete(entry.key)


class Lifecycle(RuleBasedStateMachine):
    """One session with savepoints, and a collector, in a `world`."""

    world = None

    def __init__(self):
        super().__init__()
        self.world.empty()
        self.session = Session(self.engine)
        self.ids = itertools.count(1)
        self.committed = {}
        self.rows = {}
        self.savepoints = []

    @property
    def engine(self):
        return self.world.engine

    @property
    def may_collect(self):
        """On SQLite a collector would wait for the session's write lock."""
        return self.engine.dialect.name != "sqlite" or not self.session.in_transaction()

    # -- what a session does -----------------------------------------------------------------

    @rule(data=VALUES, other=VALUES)
    def insert(self, data, other):
        row = Item(id=next(self.ids), data=data, other=other)
        self.rows[row.id] = data, other
        self.session.add(row)
        self.session.flush()

    @rule(values=st.lists(VALUES, min_size=1, max_size=4))
    def insert_many(self, values):
        rows = [{"id": next(self.ids), "data": value} for value in values]
        self.rows.update({row["id"]: (row["data"], None) for row in rows})
        self.session.execute(insert(Item), rows)

    @precondition(lambda self: self.rows)
    @rule(choice=CHOICE, data=VALUES)
    def update(self, choice, data):
        row = self.chosen(choice)
        row.data = data
        self.rows[row.id] = data, self.rows[row.id][1]
        self.session.flush()

    @rule(before=VALUES, after=VALUES)
    def update_many(self, before, after):
        self.session.execute(update(Item).where(Item.data == before).values(data=after))
        for number, (data, other) in self.rows.items():
            if data == before:
                self.rows[number] = after, other

    @precondition(lambda self: self.rows)
    @rule(one=CHOICE, another=CHOICE)
    def share(self, one, another):
        """Assign what another row has: a proxy, which is stored by its reference."""
        one, another = self.chosen(one), self.chosen(another)
        one.other = another.other
        self.rows[one.id] = self.rows[one.id][0], self.rows[another.id][1]
        self.session.flush()

    @precondition(lambda self: self.rows)
    @rule(choice=CHOICE)
    def copy_by_sql(self, choice):
        row, number = self.chosen(choice), next(self.ids)
        source = select(text(str(number)), Item.data, Item.other).where(Item.id == row.id)
        self.session.execute(insert(Item).from_select(["id", "data", "other"], source))
        self.rows[number] = self.rows[row.id]

    @precondition(lambda self: self.rows)
    @rule(choice=CHOICE, data=VALUES, other=VALUES)
    def merge(self, choice, data, other):
        number = sorted(self.rows)[choice % len(self.rows)]
        self.session.merge(Item(id=number, data=data, other=other))
        self.rows[number] = data, other
        self.session.flush()

    @precondition(lambda self: self.rows)
    @rule(choice=CHOICE)
    def delete(self, choice):
        row = self.chosen(choice)
        del self.rows[row.id]
        self.session.delete(row)
        self.session.flush()

    @rule(data=VALUES)
    def delete_many(self, data):
        self.session.execute(delete(Item).where(Item.data == data))
        self.rows = {number: row for number, row in self.rows.items() if row[0] != data}

    @rule()
    def savepoint(self):
        self.session.begin_nested()
        self.savepoints.append(dict(self.rows))

    @precondition(lambda self: self.savepoints)
    @rule()
    def release(self):
        self.session.get_nested_transaction().commit()
        self.savepoints.pop()

    @precondition(lambda self: self.savepoints)
    @rule()
    def roll_back_to_savepoint(self):
        self.session.get_nested_transaction().rollback()
        self.rows = self.savepoints.pop()

    @rule()
    def roll_back(self):
        self.session.rollback()
        self.rows, self.savepoints = dict(self.committed), []

    @rule()
    def commit(self):
        self.session.commit()
        self.committed, self.savepoints = dict(self.rows), []
        self.check_committed()

    # -- what others do ----------------------------------------------------------------------

    @precondition(lambda self: self.may_collect)
    @rule(grace=TIMES, retention=TIMES)
    def collect(self, grace, retention):
        report = self.collected(grace=grace, retention=retention)
        assert (report.lost, report.rescued) == ([], [])
        self.check_committed()

    @precondition(lambda self: self.may_collect)
    @rule(steps=st.integers(1, 4))
    def break_a_collection_off(self, steps):
        remaining = iter(range(steps))

        def progress(_):
            if next(remaining, None) is None:
                raise BrokenOffError

        with contextlib.suppress(BrokenOffError):
            self.collected(progress=progress)
        self.check_committed()

    @precondition(lambda self: self.may_collect)
    @rule()
    def wait(self):
        """Let two hours pass, by putting back what the ledger says of the time."""
        if self.engine.dialect.name == "sqlite":
            ago = "strftime('%Y-%m-%d %H:%M:%f000', {column}, '-2 hours')"
        else:
            ago = "{column} - interval '2 hours'"
        with self.engine.begin() as connection:
            for table, column in (("blob", "doomed_at"), ("trash", "gone_at")):
                shifted = ago.format(column=column)
                connection.execute(text(f"UPDATE artifact_{table} SET {column} = {shifted}"))

    @rule()
    def restart(self):
        self.session.close()
        self.world.restart()
        self.session = Session(self.engine)
        self.rows, self.savepoints = dict(self.committed), []

    def teardown(self):
        self.session.close()
        self.check_committed()
        self.collected()
        self.check_committed()
        assert check(self.engine, self.world.store, Item.__table__) == set()

    def chosen(self, choice):
        return self.session.get(Item, sorted(self.rows)[choice % len(self.rows)])

    def collected(self, *, grace=0 * HOUR, retention=0 * HOUR, progress=None):
        return collect(
            self.world.store,
            self.engine,
            dry_run=False,
            grace=grace,
            retention=retention,
            limit_share=1,
            progress=progress,
        )

    def check_committed(self):
        with Session(self.engine) as session:
            rows = session.scalars(select(Item)).all()
            read = {row.id: (row.data, row.other and row.other.unpack()) for row in rows}
        assert read == self.committed


@pytest.fixture
def live(database_url):
    """Runs that many machines on a database, with a store in memory."""
    is_sqlite = database_url.startswith("sqlite")

    def make_engine():
        if is_sqlite:
            url = f"sqlite:///{directory}/test.db"
            return sqlite_engine(url, SqliteMode("begin", "wal"))
        return create_engine(database_url)

    def run(examples):
        machine = type("Machine", (Lifecycle,), {"world": World(make_engine, directory)})
        with Session(machine.world.engine) as session:  # the database gets to know its store
            session.add(Item(data=b""))
            session.commit()
        checked = settings(
            max_examples=examples,
            deadline=None,
            stateful_step_count=20,
            suppress_health_check=list(HealthCheck),
        )
        try:
            run_state_machine_as_test(machine, settings=checked)
        finally:
            machine.world.engine.dispose()

    with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
        yield run


def test_the_rows_are_what_the_model_says(live, database_url):
    live(200 if database_url.startswith("sqlite") else 50)


@pytest.mark.slow
def test_the_rows_are_what_the_model_says_for_long(live):
    live(2500)
