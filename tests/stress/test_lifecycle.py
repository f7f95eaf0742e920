"""The life of artifacts as a state machine: whatever happens in whatever order, the rows are right.

The model is a dict. After each commit and each collection all committed rows read as it says, and
at the end a last collection leaves exactly what they refer to.
"""

import contextlib
import datetime as dt
import itertools
import tempfile

import hypothesis
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
from sqlalchemy.orm import Session

from sqla_artifacts.collect import collect

from ..check import check
from ..engines import SqliteMode, sqlite_engine
from .place import MEMORY
from .world import TREES, Item, World

HOUR = dt.timedelta(hours=1)
# Few, so that they meet again and again.
BYTES = st.sampled_from([b"", b"a", b"b", b"c", b"d" * 2000])
RUNS = st.sampled_from([None, None, *TREES])
VALUES = st.fixed_dictionaries({"data": BYTES, "other": BYTES, "run": RUNS})
CHANGES = VALUES.flatmap(lambda row: st.sampled_from([{name: row[name]} for name in row]))
CHOICE = st.integers(0, 1 << 16)
TIMES = st.sampled_from([0 * HOUR, 0 * HOUR, HOUR])


class BrokenOffError(Exception):
    """Ends a collection on the way."""


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

    @rule(values=VALUES)
    def insert(self, values):
        row = Item(id=next(self.ids), **self.world.given(values))
        self.rows[row.id] = values
        self.session.add(row)
        self.session.flush()

    @rule(many=st.lists(VALUES, min_size=1, max_size=4))
    def insert_many(self, many):
        rows = {next(self.ids): values for values in many}
        self.rows |= rows
        given = [{"id": number} | self.world.given(rows[number]) for number in rows]
        self.session.execute(insert(Item), given)

    @precondition(lambda self: self.rows)
    @rule(choice=CHOICE, change=CHANGES)
    def update(self, choice, change):
        row = self.chosen(choice)
        for name, value in self.world.given(change).items():
            setattr(row, name, value)
        self.rows[row.id] = self.rows[row.id] | change
        self.session.flush()

    @rule(before=BYTES, change=CHANGES)
    def update_many(self, before, change):
        changing = update(Item).where(Item.data == before).values(self.world.given(change))
        self.session.execute(changing)
        for number, row in self.rows.items():
            if row["data"] == before:
                self.rows[number] = row | change

    @precondition(lambda self: self.rows)
    @rule(one=CHOICE, another=CHOICE)
    def share(self, one, another):
        """Assign what another row has: proxies, which are stored by their references."""
        one, another = self.chosen(one), self.chosen(another)
        one.other, one.run = another.other, another.run
        shared = {name: self.rows[another.id][name] for name in ("other", "run")}
        self.rows[one.id] = self.rows[one.id] | shared
        self.session.flush()

    @precondition(lambda self: self.rows)
    @rule(choice=CHOICE)
    def copy_by_sql(self, choice):
        row, number = self.chosen(choice), next(self.ids)
        columns = ["data", "other", "run"]
        copied = [getattr(Item, name) for name in columns]
        source = select(text(str(number)), *copied).where(Item.id == row.id)
        self.session.execute(insert(Item).from_select(["id", *columns], source))
        self.rows[number] = self.rows[row.id]

    @precondition(lambda self: self.rows)
    @rule(choice=CHOICE, values=VALUES)
    def merge(self, choice, values):
        number = sorted(self.rows)[choice % len(self.rows)]
        self.session.merge(Item(id=number, **self.world.given(values)))
        self.rows[number] = values
        self.session.flush()

    @precondition(lambda self: self.rows)
    @rule(choice=CHOICE)
    def delete(self, choice):
        row = self.chosen(choice)
        del self.rows[row.id]
        self.session.delete(row)
        self.session.flush()

    @rule(data=BYTES)
    def delete_many(self, data):
        self.session.execute(delete(Item).where(Item.data == data))
        self.rows = {number: row for number, row in self.rows.items() if row["data"] != data}

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
    @rule(hours=st.sampled_from([2, 50, -2, -50]))
    def set_the_clock(self, hours):
        """Let it jump, ahead or back."""
        self.world.set_the_clock(hours)

    @rule()
    def restart(self):
        self.session.close()
        self.world.restart()
        self.session = Session(self.engine)
        self.rows, self.savepoints = dict(self.committed), []

    def teardown(self):
        self.session.close()
        self.world.set_the_clock(50 * 50)  # past everything, wherever it has jumped
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
            assert {row.id: row.values() for row in session.scalars(select(Item))} == self.committed


@pytest.fixture
def live(database_url):
    """Runs that many machines on a database, with a store in memory; others with another seed."""
    is_sqlite = database_url.startswith("sqlite")

    def make_engine():
        if is_sqlite:
            url = f"sqlite:///{directory}/test.db"
            return sqlite_engine(url, SqliteMode("begin", "wal"))
        return create_engine(database_url)

    def run(examples, seed=None):
        machine = hypothesis.seed(seed)(
            type("Machine", (Lifecycle,), {"world": World(make_engine, directory)})
        )
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
    live(100 if database_url.startswith("sqlite") else 30)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 9))
def test_the_rows_are_what_the_model_says_for_long(live, database_url, seed):
    live(250 if database_url.startswith("sqlite") else 125, seed)
