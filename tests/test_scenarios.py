"""Twelve ways to begin, break off and end transactions, and what is there afterwards.

Each scenario runs on PostgreSQL and in each of SQLite's modes. `OUTCOMES` says which rows are
committed in the end, and which payloads lie in the store without a row that names them: a
collector's work, and the worst that may happen. Every committed row is checked.
"""

import errno
import os
from typing import Any, NamedTuple

import pytest
from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from sqla_artifacts.errors import StoreWriteError

from .check import check
from .engines import SQLITE_MODES
from .models import set_up
from .threads import barrier, together

A, B, C, D = b"a" * 20, b"b" * 20, b"c" * 20, b"d" * 20
ROUNDS = 4
ROUND = [b"%d" % number for number in range(ROUNDS)]


class Outcome(NamedTuple):
    """Committed rows by their keys, and the payloads that lie in the store for nobody."""

    rows: dict[int, Any]
    left: set[bytes] = frozenset()


def everywhere(outcome, **otherwise):
    """The outcome on PostgreSQL and with each way of SQLite's driver to handle transactions."""
    drivers = ("postgresql", "legacy", "begin", "autocommit_false")
    return dict.fromkeys(drivers, outcome) | otherwise


# In pysqlite's legacy mode neither SELECT nor SAVEPOINT begins a transaction, so the release of a
# savepoint that nothing was written before commits, and the outer rollback comes too late.
OUTCOMES = {
    "savepoint_rolled_back_after_a_flush": everywhere(Outcome({1: A}, {B})),
    "deleted_in_a_released_savepoint": everywhere(
        Outcome({1: A}),
        legacy=Outcome({}, {A}),
    ),
    "inserted_in_a_released_savepoint": everywhere(
        Outcome({}, {A}),
        legacy=Outcome({1: A}),
    ),
    "closed_after_a_flush": everywhere(Outcome({}, {A})),
    "store_fails_in_the_middle": everywhere(Outcome({3: C}, {A})),
    "failed_flush_repeated": everywhere(Outcome({1: A, 2: B})),
    "one_of_two_sharers_deleted": everywhere(Outcome({2: A})),
    "a_sharer_rolled_back": everywhere(Outcome({1: A})),
    "an_expired_attribute_set": everywhere(Outcome({1: None, 2: C}, {A, B})),
    "deleted_by_a_statement": everywhere(Outcome({2: B}, {A})),
    "bulk_and_core_inserts": everywhere(Outcome({1: A, 2: B, 3: A, 4: C, 5: C}, {D})),
    "replaced_by_the_same_name_and_size": everywhere(Outcome({1: C}, {A, B})),
    "stored_by_two_threads_at_once": everywhere(Outcome(dict(enumerate(ROUND)))),
}


class World(NamedTuple):
    """An engine and its store, and the class whose rows a scenario commits."""

    engine: Any
    store: Any
    sample: Any
    driver: str

    def session(self):
        return Session(self.engine)

    def commit(self, **rows):
        with self.session() as session, session.begin():
            session.add_all(self.row(int(key[1:]), value) for key, value in rows.items())

    def row(self, key, value):
        return self.sample(id=key, data=value)


def savepoint_rolled_back_after_a_flush(world):
    with world.session() as session:
        session.add(world.row(1, A))
        session.flush()
        savepoint = session.begin_nested()
        session.add(world.row(2, B))
        session.flush()
        savepoint.rollback()
        session.commit()


def deleted_in_a_released_savepoint(world):
    world.commit(_1=A)
    with world.session() as session:
        sample = session.get(world.sample, 1)
        with session.begin_nested():
            session.delete(sample)
        session.rollback()


def inserted_in_a_released_savepoint(world):
    with world.session() as session:
        with session.begin_nested():
            session.add(world.row(1, A))
        session.rollback()


def closed_after_a_flush(world):
    with world.session() as session:
        session.add(world.row(1, A))
        session.flush()


def store_fails_in_the_middle(world):
    with world.session() as session:
        fail_to_flush(world, session)
        session.add(world.row(3, C))
        session.commit()


def failed_flush_repeated(world):
    with world.session() as session:
        fail_to_flush(world, session)
        session.add_all([world.row(1, A), world.row(2, B)])
        session.commit()


def one_of_two_sharers_deleted(world):
    world.commit(_1=A, _2=A)
    with world.session() as session, session.begin():
        session.delete(session.get(world.sample, 1))


def a_sharer_rolled_back(world):
    world.commit(_1=A)
    with world.session() as session:
        session.add(world.row(2, A))
        session.flush()
        session.rollback()


def an_expired_attribute_set(world):
    world.commit(_1=A, _2=B)
    with world.session() as session:
        first, second = session.get(world.sample, 1), session.get(world.sample, 2)
        session.commit()
        first.data, second.data = None, C
        session.commit()


def deleted_by_a_statement(world):
    world.commit(_1=A, _2=B)
    with world.session() as session, session.begin():
        session.execute(delete(world.sample).where(world.sample.data == A))


def bulk_and_core_inserts(world):
    table = world.sample.__table__
    with world.session() as session, session.begin():
        session.execute(insert(world.sample), [{"id": 1, "data": A}, {"id": 2, "data": B}])
        session.bulk_insert_mappings(world.sample, [{"id": 3, "data": A}])
    with world.engine.begin() as connection:
        connection.execute(insert(table), [{"id": 4, "data": C}, {"id": 5, "data": C}])
    with world.engine.connect() as connection:
        connection.execute(insert(table), [{"id": 6, "data": D}, {"id": 7, "data": A}])
        connection.rollback()


def replaced_by_the_same_name_and_size(world):
    with world.session() as session:
        sample = world.sample(id=1, run=("x.bin", A))
        session.add(sample)
        session.commit()
        sample.run = ("x.bin", B)
        session.flush()
        session.rollback()
        assert sample.run.open().read() == A
        sample.run = ("x.bin", C)
        session.commit()


def stored_by_two_threads_at_once(world):
    start = barrier(2)
    # SQLite has one writer at a time. Elsewhere both have stored before either ends.
    stored = barrier(2 if world.driver == "postgresql" else 1)

    def store(number, *, commit):
        with world.session() as session:
            start.wait()
            session.add(world.row(number if commit else number + ROUNDS, ROUND[number]))
            session.flush()
            stored.wait()
            (session.commit if commit else session.rollback)()

    def rounds(parity):
        for number in range(ROUNDS):
            store(number, commit=number % 2 == parity)

    together(lambda: rounds(0), lambda: rounds(1))


class FailingBackend:
    """Stores A, and then has no more space."""

    def __init__(self, backend):
        self._backend = backend

    def __getattr__(self, name):
        return getattr(self._backend, name)

    def put(self, objects):
        first = [item for item in objects if item[1].content == A]
        assert first != list(objects)
        self._backend.put(first)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def fail_to_flush(world, session):
    backend = world.store.backend
    world.store.backend = FailingBackend(backend)
    session.add_all([world.row(1, A), world.row(2, B)])
    with pytest.raises(StoreWriteError, match="No space"):
        session.flush()
    session.rollback()
    world.store.backend = backend


@pytest.fixture(params=[None, *SQLITE_MODES], ids=lambda mode: str(mode or "postgresql"))
def world(request, make_engine, tmp_path):
    mode = request.param
    engine = make_engine("sqlite" if mode else "postgresql", sqlite_mode=mode)
    sample, store = set_up(engine, tmp_path)
    return World(engine, store, sample, mode.transactions if mode else "postgresql")


@pytest.mark.parametrize("scenario", OUTCOMES)
def test_outcome(world, scenario):
    globals()[scenario](world)
    with world.session() as session:
        samples = session.scalars(select(world.sample))
        rows = {s.id: s.run.open().read() if s.run else s.data for s in samples}
    left = check(world.engine, world.store, world.sample.__table__)
    left = {world.store.backend.get(key) for key in left}
    assert Outcome(rows, left) == OUTCOMES[scenario][world.driver]
