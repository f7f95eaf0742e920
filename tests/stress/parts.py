"""What the processes of the stress do: write, collect, and read, until they are told to stop."""

import contextlib
import os
import random
import threading
import time
import uuid

from sqlalchemy import delete, func, insert, select, text, update
from sqlalchemy.exc import DBAPIError

from sqla_artifacts.collect.collector import Collector
from sqla_artifacts.errors import CollectError, LedgerBusyError

from .place import DIGESTS, check_rows, table

EXPECTED = {
    None,  # a lost connection; on SQLite, a lock that could not be had
    "57P01",  # the session was ended
    "40001",  # a serialization failure
    "42704",  # a prepared transaction that somebody else has ended
    "55000",  # or is about to end
}
"""The states of the errors that may happen. A deadlock may not: all lock in one order."""


class Shaky:
    """A backend whose writes take their time, and whose deletes arrive late, or twice, or both."""

    def __init__(self, backend, chance):
        self._backend = backend
        self._chance = chance
        self._late = []
        self._lock = threading.Lock()

    def __getattr__(self, name):
        return getattr(self._backend, name)

    def put(self, objects):
        pause(self._chance, 0.005)
        self._backend.put(objects)
        pause(self._chance, 0.005)

    def delete(self, key):
        now, again = self._chance.random() < 0.7, self._chance.random() < 0.4
        if now:
            self._backend.delete(key)
        with self._lock:
            if again or not now:
                self._late.append(key)
            arriving = [each for each in self._late if self._chance.random() < 0.1]
            self._late = [each for each in self._late if each not in arriving]
        for each in arriving:
            self._backend.delete(each)

    def flush(self):
        """Let all deletes arrive that are on their way."""
        for key in self._late:
            self._backend.delete(key)
        self._late = []


def state_of(error):
    """What the database says of the kind of an error."""
    if not isinstance(error, DBAPIError):
        return "not the database's"
    return getattr(error.orig, "sqlstate", None)


def pause(chance, most):
    """Take some time, so that others get in between."""
    time.sleep(chance.uniform(0, most))


class Part:
    """A process's part: `run` it until the board says to stop, or the parent is gone."""

    def __init__(self, place, board, seed):
        self.place = place
        self.board = board
        self.chance = random.Random(seed)
        self.engine = place.engine()
        self.store = place.store(self.engine)
        self.store.backend = Shaky(self.store.backend, self.chance)
        self._parent = os.getppid()

    @property
    def is_on(self):
        return not self.board["stop"] and os.getppid() == self._parent

    def run(self):
        while self.is_on:
            self.turn()
        self.store.backend.flush()
        self.engine.dispose()

    @contextlib.contextmanager
    def expecting(self, *others):
        """Count the errors that may happen, and let all others be found."""
        try:
            yield
        except (DBAPIError, CollectError, *others) as error:
            said_by = error.__cause__ if isinstance(error, CollectError) else error
            if not (isinstance(said_by, others) or state_of(said_by) in EXPECTED):
                raise
            self.board.count("errors")
            self.board.note(said_by)


class Writer(Part):
    """Transactions of all kinds, with all ends."""

    name = "writer"

    def turn(self):
        with self.expecting(LedgerBusyError):
            self.transaction()
        pause(self.chance, 0.03)

    def transaction(self):
        with self.engine.connect() as connection:
            kind = self.chance.random()
            if not self.place.is_sqlite and kind < 0.2:
                self.two_phases(connection)
                return
            with connection.begin() as transaction:
                self.work(connection)
                if kind < 0.8:
                    transaction.commit()
                    self.board.count("commits")
                else:
                    transaction.rollback()
                    self.board.count("rollbacks")

    def two_phases(self, connection):
        """Prepare a transaction, and end it, or leave it; and end one that somebody has left."""
        transaction = connection.begin_twophase(f"stress-{uuid.uuid4().hex}")
        self.work(connection)
        transaction.prepare()
        self.board.count("prepared")
        end = self.chance.random()
        if end < 0.4:
            transaction.commit()
        elif end < 0.6:
            transaction.rollback()
        else:
            connection.invalidate()
        end_prepared(self.engine, self.chance, 1)

    def work(self, connection, depth=0):
        for _ in range(self.chance.randint(1, 3)):
            actions = [self.insert, self.insert, self.update, self.delete]
            if depth < 2:
                actions.append(lambda connection: self.savepoint(connection, depth + 1))
            self.chance.choice(actions)(connection)
        # Now and then one that is open for long; on SQLite that would only keep the others out.
        is_long = not self.place.is_sqlite and self.chance.random() < 0.3
        pause(self.chance, 0.4 if is_long else 0.02)

    def savepoint(self, connection, depth):
        with connection.begin_nested() as savepoint:
            self.work(connection, depth)
            if self.chance.random() < 0.5:
                savepoint.rollback()
                self.board.count("savepoints")

    def insert(self, connection):
        count = self.chance.randint(1, 4)
        rows = [self.place.values(self.chance.randrange(DIGESTS)) for _ in range(count)]
        connection.execute(insert(table), rows)

    def update(self, connection):
        values = self.place.values(self.chance.randrange(DIGESTS))
        values["version"] = table.c.version + 1
        some = self.some(connection, 0.1)
        connection.execute(update(table).where(table.c.id.in_(some)).values(values))

    def delete(self, connection):
        """Leave few rows, so that most digests have none: what is stored next is often garbage."""
        connection.execute(delete(table).where(table.c.id.in_(self.some(connection, 0.4))))

    def some(self, connection, share):
        """Some rows that nobody else has locked."""
        ids = connection.scalars(select(table.c.id)).all()
        chosen = [number for number in ids if self.chance.random() < share]
        query = select(table.c.id).where(table.c.id.in_(chosen)).order_by(table.c.id)
        return connection.scalars(query.with_for_update(skip_locked=True)).all()


class Collecting(Part):
    """Collectors without any waiting, that dawdle between a look and what they do about it."""

    name = "collector"

    def __init__(self, *arguments):
        super().__init__(*arguments)
        for kind in Collector.__subclasses__():
            kind.find = self.dawdling(kind.find)

    def dawdling(self, find):
        def found(*arguments, **asked):
            for rows in find(*arguments, **asked):
                pause(self.chance, 0.01)
                yield rows

        return found

    def turn(self):
        with self.expecting(LedgerBusyError):
            report = self.place.collect(self.store, self.engine)
            for what in ("taken", "deleted", "strays"):
                self.board.count(what, getattr(report, what).blobs)
            self.board.count("spared", report.spared)


class Reader(Part):
    """Reads what is there."""

    name = "reader"

    def turn(self):
        pause(self.chance, 0.05)
        with self.expecting():
            self.board.count("reads", check_rows(self.engine))


def end_prepared(engine, chance, most=None):
    """Commit or roll back prepared transactions, of whoever they are."""
    if engine.dialect.name != "postgresql":
        return
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        query = "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"
        found = connection.scalars(text(query)).all()
        for gid in chance.sample(found, min(len(found), most or len(found))):
            end = chance.choice(["COMMIT", "ROLLBACK"])
            with contextlib.suppress(DBAPIError):  # somebody else was faster
                connection.exec_driver_sql(f"{end} PREPARED '{gid}'")


def terminate_one(engine, chance):
    """End one of the database's sessions, a writer's or a collector's."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        found = connection.scalars(
            text(
                "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
                "AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )
        ).all()
        if found:
            connection.execute(select(func.pg_terminate_backend(chance.choice(found))))
