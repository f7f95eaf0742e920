"""The collector on a real PostgreSQL, one step at a time; the steps are those of :mod:`.model`."""

import contextlib
import datetime as dt

from sqla_artifacts.collect.postgresql import PostgreSQLCollector
from sqla_artifacts.collect.sql import CHANGE

from .gates import BLOCKED, OVER, Failure, Gates
from .stepped_writer import SteppedWriter

NO_TIME = dt.timedelta(0)
RESCUING = {"put": "copy", "settle": "settle_copy"}
"""The steps of a writer that are steps of the collector that rescues."""


class SteppedCollector(PostgreSQLCollector):
    """The collector, stopping between the look and the change, and before the commit."""

    stop = staticmethod(lambda name: None)
    doing = None
    _changed = False

    def claim(self):
        self.writer = SteppedWriter(self.store, self._engine, self.name, self.schema)
        self.writer.stop = lambda name: name in RESCUING and self.stop(RESCUING[name])
        self.writer.claim()

    def find(self, what, **asked):
        for rows in super().find(what, **asked):
            if self.doing == "take":
                self.stop("take")
            yield rows

    def run(self, connection, sql, rows, **asked):
        if rows and sql == CHANGE["stamp"]:
            self.stop("stamp")
        self._changed |= bool(rows) and sql in {CHANGE["mark"], CHANGE["stamp"], CHANGE["take"]}
        return super().run(connection, sql, rows, **asked)

    @contextlib.contextmanager
    def changing(self):
        with super().changing() as connection:
            yield connection
            if self._changed:
                self.stop(f"commit_{self.doing}")
            self._changed = False

    def begin_stamp(self, token):
        """G2; its id comes with the lock on the row."""
        self.stamp(token)

    def columns(self):
        """They are read in the snapshot in which their references are looked for."""


class CollectorActor:
    """A collector's process, and those that come after its crash."""

    def __init__(self, stage, name, collector):
        self.collector = collector
        self.gates = Gates(lambda: stage.is_blocked(name))
        collector.stop = self.gates.stop
        collector.check()
        self._token = None

    def step(self, name, *_):
        """Make a step of a trace, and say whether it is the one that was made."""
        if name == "drop":
            return True  # the end of `delete`, in one transaction
        if name in self.gates.made or self.gates.at == name or name.startswith("commit"):
            return self._go_on(name)
        return getattr(self, name)()

    def _go_on(self, name):
        there = self.gates.at == name
        self.gates.go()
        if name.startswith("commit"):
            self.finish()
        return there

    def finish(self):
        self.gates.finish()
        self.collector.doing = None
        error, self.gates.error = self.gates.error, None
        assert error is None or isinstance(error, Failure), error

    def close(self):
        self.collector.close()

    def crash(self):
        if self.gates.at not in {OVER, BLOCKED}:
            self.gates.go(Failure())
        self.finish()
        return True

    def mark(self):
        self._token = self.collector.token()
        return self._do("mark", lambda: self.collector.mark(self._token), "commit_mark")

    def begin_stamp(self):
        self._do("stamp", lambda: self.collector.begin_stamp(self._token), "stamp")
        return True

    def stamp(self):
        return False  # nothing was found that has the doom of G1

    def columns(self):
        self.collector.columns()
        return True

    def snapshot(self):
        return self._do("take", lambda: self.collector.take(NO_TIME), "take")

    def take(self):
        return False  # nothing was found to be taken

    def spare(self):
        self.collector.spare()
        return True

    def rescue(self):
        return self._do("rescue", lambda: self.collector.rescue(NO_TIME), "copy")

    def copy(self):
        return False

    settle_copy = copy

    def delete(self):
        return sum(tally.blobs for tally in self.collector.delete(NO_TIME)) > 0

    def _do(self, what, function, at):
        self.finish()
        self.collector.doing = what
        self.gates.start(function)
        return self.gates.at == at
