"""A guard beside the real collector: in every order of their steps nothing is lost or kept.

A writer of raw SQL knows a reference whose row is deleted. It takes its snapshot, inserts, and
commits or rolls back; the collector marks, stamps, takes and deletes, without any time of grace or
retention, and without the last look that would rescue what is referenced after all.
"""

import datetime as dt
import itertools

import pytest
from sqlalchemy import delete, insert, select, text
from sqlalchemy.exc import IntegrityError, OperationalError

from sqla_artifacts import ledger
from sqla_artifacts.collect import opened
from sqla_artifacts.collect.sql import CHANGE
from sqla_artifacts.errors import BlobNotFoundError
from sqla_artifacts.ledger.postgresql import PostgreSQLWriter
from tests.collect.conftest import Collected
from tests.threads import DEADLINE, start, until

ZERO = dt.timedelta(0)
INSERT = text("INSERT INTO sample (data) VALUES (:data)")
REFUSED = (IntegrityError, OperationalError)  # the latter: could not serialize access
COLLECTOR = ("mark", "stamp", "take", "delete")


class Writer:
    """A transaction of raw SQL that inserts one reference."""

    def __init__(self, engine, reference):
        self._connection = engine.connect()
        self._reference = reference
        self.wrote = False

    def begin(self):
        """Take the snapshot, where a transaction keeps one."""
        self._connection.execute(text("SELECT 1 FROM sample")).all()

    def insert(self):
        try:
            self._connection.execute(INSERT, {"data": self._reference})
        except REFUSED:
            self._connection.rollback()
        else:
            self.wrote = True

    def commit(self):
        self._connection.commit()
        self._connection.close()

    def rollback(self):
        self._connection.close()
        self.wrote = False

    def insert_and_commit(self):
        self.insert()
        self.commit()


class Steps:
    """The collector's steps, to be taken once."""

    def __init__(self, collector):
        self._collector = collector
        self._token = collector.token()

    def mark(self):
        self._collector.mark(self._token)

    def stamp(self):
        self._collector.stamp(self._token)

    def take(self):
        self._collector.take(ZERO)
        self._collector.spare()

    def delete(self):
        assert list(self._collector.delete(ZERO)) is not None


def go(steps, *names):
    for name in names:
        getattr(steps, name)()


def garbage(scene, value):
    """Store a value, delete its row, and return the reference."""
    scene.commit(value)
    (reference,) = scene.references()
    with scene.engine.begin() as connection:
        connection.execute(delete(scene.table))
    return reference


def is_there(scene, reference):
    try:
        return bool(scene.store.get(reference))
    except BlobNotFoundError:
        return False


def orders(writes):
    """Every order of a writer's and the collector's steps."""
    count = len(writes) + len(COLLECTOR)
    for places in itertools.combinations(range(count), len(writes)):
        writer, collector = iter(writes), iter(COLLECTOR)
        yield [("w", next(writer)) if n in places else ("c", next(collector)) for n in range(count)]


def wrong(scene, engine, writes):
    """Return the orders in which data is lost or garbage kept, and whether writers wrote."""
    found, wrote = [], set()
    garbage(scene, b"the first value makes the store known")
    with opened(scene.store, scene.engine, None, scene.metadata) as collector:
        for number, order in enumerate(orders(writes)):
            reference = garbage(scene, b"value %d" % number)
            sides = {"w": Writer(engine, reference), "c": Steps(collector)}
            for side, step in order:
                go(sides[side], step)
            go(Steps(collector), *COLLECTOR)  # the writer is over
            if sides["w"].wrote != is_there(scene, reference):
                found.append(order)
            wrote.add(sides["w"].wrote)
            with scene.engine.begin() as connection:
                connection.execute(delete(scene.table))
    return found, wrote


def guarded(engine):
    scene = Collected(engine)
    with engine.begin() as connection:
        connection.execute(ledger.guard(scene.table.c.data).create)
    return scene


@pytest.mark.parametrize(
    ("isolation", "end"),
    [
        ("READ COMMITTED", "commit"),
        ("REPEATABLE READ", "commit"),
        ("SERIALIZABLE", "commit"),
        ("READ COMMITTED", "rollback"),
    ],
)
def test_nothing_is_lost_or_kept_on_postgresql(make_engine, isolation, end):
    scene = guarded(make_engine("postgresql"))
    engine = scene.engine.execution_options(isolation_level=isolation)
    found, wrote = wrong(scene, engine, ("begin", "insert", end))
    assert found == []
    assert wrote == ({True, False} if end == "commit" else {False})


def test_nothing_is_lost_or_kept_on_sqlite(make_engine):
    scene = guarded(make_engine("sqlite"))
    assert wrong(scene, scene.engine, ("begin", "insert_and_commit")) == ([], {True, False})


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_without_a_guard_data_is_lost(make_engine, database):
    scene = Collected(make_engine(database))
    found, _ = wrong(scene, scene.engine, ("insert_and_commit",))
    assert [*(("c", step) for step in COLLECTOR), ("w", "insert_and_commit")] in found


def test_a_reference_that_comes_between_the_look_and_the_taking(engine, monkeypatch):
    scene = guarded(engine)
    reference = garbage(scene, b"x")
    with opened(scene.store, scene.engine, None, scene.metadata) as collector:
        steps, look = Steps(collector), collector.find
        go(steps, "mark", "stamp")

        def look_and_be_overtaken(*asked, **options):
            rows = list(look(*asked, **options))
            monkeypatch.undo()
            Writer(scene.engine, reference).insert_and_commit()
            return rows

        monkeypatch.setattr(collector, "find", look_and_be_overtaken)
        go(steps, "take", "delete")
    assert scene.values() == [b"x"]
    assert scene.check() == set()


@pytest.fixture
def scene(make_engine):
    return guarded(make_engine("postgresql"))


def test_a_writer_waits_for_a_collector_that_is_taking(scene):
    reference = garbage(scene, b"x")
    with opened(scene.store, scene.engine, None, scene.metadata) as collector:
        go(Steps(collector), "mark", "stamp")
        (rows,) = collector.find("doomed", seconds=0)
        with collector.changing() as taking:
            gone = collector.run(taking, CHANGE["take"], rows)
            collector.run(taking, CHANGE["trash"], gone)
            writer = Writer(scene.engine, reference)
            writing = start(writer.insert_and_commit)
            until(lambda: waiting(scene))
        writing.result(DEADLINE)
    assert not writer.wrote
    assert scene.references() == []


def waiting(scene):
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    with scene.engine.connect() as connection:
        return connection.scalar(text(query)) > 0


@pytest.mark.parametrize("isolation", ["READ COMMITTED", "REPEATABLE READ"])
def test_what_the_library_has_stored_may_be_doomed_before_its_row_is_written(
    scene, monkeypatch, isolation
):
    """The collector comes in between the writer's last step and the statement."""
    engine = scene.engine.execution_options(isolation_level=isolation)
    scene.roll_back(b"x")
    with opened(scene.store, scene.engine, None, scene.metadata) as collector:
        with engine.connect() as connection:
            connection.execute(select(scene.table.c.id)).all()
            overtake(monkeypatch, Steps(collector))
            connection.execute(insert(scene.table).values(data=b"x"))
            monkeypatch.undo()
            connection.commit()
        go(Steps(collector), *COLLECTOR)
    assert scene.values() == [b"x"]
    assert scene.check() == set()


def overtake(monkeypatch, steps):
    """Have a collector take its steps after each look of a writer, as far as they are new."""
    look, names = PostgreSQLWriter._look, iter(("mark", "stamp", "take"))

    def look_and_be_overtaken(writer, *asked):
        seen = look(writer, *asked)
        go(steps, *names)
        return seen

    monkeypatch.setattr(PostgreSQLWriter, "_look", look_and_be_overtaken)


@pytest.mark.parametrize("ended", ["RELEASE", "ROLLBACK TO"])
def test_savepoints(scene, ended):
    reference = garbage(scene, b"x")
    with opened(scene.store, scene.engine, None, scene.metadata) as collector:
        go(Steps(collector), "mark", "stamp")
        with scene.engine.connect() as connection:
            connection.execute(text("SAVEPOINT s"))
            connection.execute(INSERT, {"data": reference})
            connection.execute(text(f"{ended} SAVEPOINT s"))
            connection.commit()
        go(Steps(collector), "take", "delete")
    assert is_there(scene, reference) == (ended == "RELEASE")
    assert len(scene.references()) == (ended == "RELEASE")


def test_a_prepared_transaction_keeps_what_it_refers_to(scene):
    reference = garbage(scene, b"x")
    with opened(scene.store, scene.engine, None, scene.metadata) as collector:
        go(Steps(collector), "mark", "stamp")
        with scene.engine.connect() as connection:
            transaction = connection.begin_twophase()
            connection.execute(INSERT, {"data": reference})
            transaction.prepare()
            go(Steps(collector), *COLLECTOR)
            transaction.commit()
        go(Steps(collector), *COLLECTOR)
    assert scene.values() == [b"x"]
