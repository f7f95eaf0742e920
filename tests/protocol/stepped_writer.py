"""The writer on a real PostgreSQL, one step at a time; the steps are those of :mod:`.model`."""

import contextlib

from sqlalchemy import event, insert
from sqlalchemy.exc import DBAPIError

from sqla_artifacts.ledger.postgresql import PostgreSQLWriter

from .gates import BLOCKED, OVER, Failure, Gates


class SteppedWriter(PostgreSQLWriter):
    """The writer, stopping before each step."""

    stop = staticmethod(lambda name: None)
    stage = None

    def __init__(self, store, *arguments):
        super().__init__(store, *arguments)
        do = self._do

        def stopping(function):
            if getattr(function, "func", None) == store.put:
                self.stop("put")
            return do(function)

        self._do = stopping

    def _begin(self, connection, target):
        self.stop("begin")
        self.begun = super()._begin(connection, target)
        return self.begun

    def _look(self, connection, asked):
        is_part = self.stage is not None and self.stage.tree and not asked["trees"]
        self.stop("look_part" if is_part else "look")
        return super()._look(connection, asked)

    def _note(self, *arguments):
        self.stop("note")
        super()._note(*arguments)

    def _intend(self, *arguments):
        self.stop("intend")
        return super()._intend(*arguments)

    def _confirm(self, *arguments):
        self.stop("confirm")
        confirmed = super()._confirm(*arguments)
        if confirmed:
            self.stop("commit_intend")
        return confirmed

    def _settle(self, *arguments):
        self.stop("settle")
        return super()._settle(*arguments)

    def insert(self, connection, stage):
        """The user's statement."""
        connection.execute(insert(stage.scene.table), stage.row)

    def replay(self, connection, stage):
        """The same statement in a later transaction."""
        self.insert(connection, stage)


class WriterActor:
    """A client of the database that stores one value, again and again."""

    def __init__(self, stage, name, engine, kind):
        self._stage = stage
        self._engine = engine
        self.gates = Gates(lambda: stage.is_blocked(name))
        stage.scene.store.attach(engine)
        self._writer = kind(stage.scene.store, engine, "default", None)
        engine.dialect.__dict__["_artifact_hooks"].writers["default"] = self._writer
        self._writer.stop = self.gates.stop
        self._writer.stage = stage
        self._connection = self._transaction = self._savepoint = None
        self._inside = False  # a statement, as the trace has it
        self._killed = False
        self.refusals = []

        @event.listens_for(engine, "before_cursor_execute")
        def stop(connection, cursor, statement, *_):
            if statement.startswith("INSERT INTO sample"):
                self.gates.stop("reference")

    def step(self, name, *arguments):
        """Make a step of a trace, and say whether it is the one that was made."""
        if name in {"kill", "fail", "replay"}:
            return getattr(self, name)()
        if name in {"commit", "rollback", "rollback_to", "prepare"} or "prepared" in name:
            return self._finished() and self._end(name)
        if not self._inside:
            self._finished()
            self._start(autocommit="autocommit" in arguments)
        self._inside = name != "reference"
        if name not in self.gates.made or self.gates.at == name:
            self.gates.go_to(name, "reference")
        if self.gates.at != name:
            return False
        self.gates.go()
        if self.gates.at == OVER:
            return self._killed or self._finished()
        return self.gates.at != BLOCKED

    def fail(self):
        self._inside = False
        if self.gates.at not in {OVER, BLOCKED}:
            self.gates.go(Failure())
        return self._finished() or isinstance(self.gates.error, Failure)

    def kill(self):
        if self._connection is not None:
            driver = self._connection.connection.driver_connection
            self._stage.terminate(driver.info.backend_pid)
            self._killed = True
            if self.gates.at == OVER:
                self._drop()
        return True

    def replay(self):
        """The user's program begins a new transaction, and runs its statement again."""
        self.gates.finish()
        self._finished()
        self._start(self._writer.replay)
        self._inside = False
        return self._finished()

    def finish(self):
        """End what is not over when the trace is."""
        self._finished()
        if self._connection is not None:
            self._end("rollback")

    def close(self):
        self._writer.renew()

    def _start(self, insert_row=None, *, autocommit=False):
        def statement():
            if self._connection is None:
                self._killed = False
                self._connection = self._engine.connect()
                if autocommit:
                    self._connection.execution_options(isolation_level="AUTOCOMMIT")
                elif self._stage.twophase:
                    self._transaction = self._connection.begin_twophase()
            if not autocommit:
                self._savepoint = self._connection.begin_nested()
            (insert_row or self._writer.insert)(self._connection, self._stage)

        self.gates.start(statement)

    def _finished(self):
        """Have the statement come to its end, and say whether it was a good one."""
        self.gates.finish()
        error, self.gates.error = self.gates.error, None
        if error is None:
            return self.gates.at == OVER
        if not isinstance(error, Failure):
            self.refusals.append(error)
        if isinstance(error, DBAPIError) or self._savepoint is None:
            self._drop()
        else:
            self._savepoint.rollback()
        return False

    def _end(self, name):
        if self._connection is None:
            return False
        if name == "rollback_to":
            self._savepoint.rollback()
        elif name == "prepare":
            self._transaction.prepare()
        else:
            end = name.removesuffix("_prepared")
            getattr(self._transaction or self._connection, end)()
            self._connection.close()
            self._connection = self._transaction = self._savepoint = None
        return True

    def _drop(self):
        """Throw a connection away of which the server, or the test, has ended the session."""
        with contextlib.suppress(DBAPIError):
            self._connection.invalidate()
            self._connection.close()
        self._connection = self._transaction = self._savepoint = None
