"""What a trace is played on: a database, a store whose DELETEs are late, and the actors."""

from sqlalchemy import String, select, text, type_coerce

from sqla_artifacts.errors import BlobNotFoundError
from sqla_artifacts.reference import parse
from sqla_artifacts.tree import parse_manifest
from tests.threads import until

from .stepped_collector import CollectorActor, SteppedCollector
from .stepped_writer import SteppedWriter, WriterActor

BLOCKED = text("""
    SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database()
        AND application_name = :name AND wait_event_type = 'Lock' AND wait_event <> 'advisory'
    """)

ORPHAN = ("world", "orphan")


class Stage:
    """Plays a trace of the model on a real PostgreSQL.

    A trace is an order in which the actors move. Where it names a step that an actor is not at,
    the actor makes the steps before that one; where that step does not come any more, or waits,
    or does nothing, it is noted in `missed`. With the model's own code none is.
    """

    def __init__(self, scene, make_engine, row, *, writer=None, collector=None, isolation=None):
        self.scene = scene
        self.row = row
        self.column = next(iter(row))
        self.tree = self.column == "run"
        self.twophase = False
        self.missed = []
        self.actors = {}
        self._make_engine = make_engine
        self._writer = writer or SteppedWriter
        self._collector = collector or SteppedCollector
        self._isolation = isolation or "READ COMMITTED"
        self._admin = make_engine(scene.engine.url, isolation_level="AUTOCOMMIT").connect()
        self._copied = []
        self._sent = []
        self._delete = scene.store.backend.delete
        scene.store.backend.delete = self._sent.append

    def play(self, trace):
        """Make the steps of a trace; those that could not be made are in `missed`."""
        self.twophase = any(name == "prepare" for _, name, *_ in trace)
        self.scene.commit(b"registers the columns")
        if trace[0] == ORPHAN:
            self.scene.roll_back(*self.row.values(), column=self.column)
        if any(name == "note" for _, name, *_ in trace):
            self._admin.execute(text("DELETE FROM artifact_column"))
        for step in trace[trace[0] == ORPHAN :]:
            who, name, *arguments = step
            if who in {"world", "network"}:
                getattr(self, name)(*arguments)
            elif not self._actor(who).step(name, *arguments):
                self.missed.append(step)
            for actor in self.actors.values():
                actor.gates.settle()

    def finish(self):
        """Let everybody come to an end; then every DELETE lands, once more."""
        for _ in range(2):  # one may wait for the other
            for who in sorted(self.actors):
                self.actors[who].finish()
        self.land()

    def close(self):
        """End what a failed test has left open, too."""
        for actor in self.actors.values():
            actor.close()
        self._admin.close()

    def forget(self):
        self._admin.execute(text("DELETE FROM sample WHERE id > 1"))

    def copy_sql(self):
        query = text(f"SELECT {self.column} FROM sample WHERE id > 1")
        self._copied = self._admin.scalars(query).all()

    def paste(self):
        for reference in self._copied:
            self.insert(self._admin, reference)

    def insert(self, connection, reference):
        """Insert a reference as a text, past the writer."""
        statement = text(f"INSERT INTO sample ({self.column}) VALUES (:reference)")
        connection.execute(statement, {"reference": reference})

    def land(self, *_):
        """What was sent arrives, if for the second time."""
        for key in self._sent:
            self._delete(key)

    def is_blocked(self, name):
        """Whether one of an actor's statements waits for another's lock."""
        return self._admin.scalar(BLOCKED, {"name": name})

    def terminate(self, pid):
        """End a session as an administrator, or a timeout, would."""
        there = text("SELECT count(*) FROM pg_stat_activity WHERE pid = :pid")
        self._admin.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
        until(lambda: not self._admin.scalar(there, {"pid": pid}))

    def engine(self, name):
        return self._make_engine(
            self.scene.engine.url,
            isolation_level=self._isolation,
            connect_args={"application_name": name},
        )

    def lost(self):
        """The committed references whose bytes are not there."""
        column = self.scene.table.c[self.column]
        with self.scene.engine.connect() as connection:
            query = select(type_coerce(column, String)).where(column.is_not(None))
            return [each for each in connection.scalars(query) if not self._is_whole(each)]

    def _is_whole(self, reference):
        store = self.scene.store
        try:
            data = store.get(reference)
            if parse(reference).kind == "tree":
                for part in parse_manifest(data).parts:
                    store.open_blob(part.digest).close()
        except BlobNotFoundError:
            return False
        return True

    def _actor(self, name):
        if name not in self.actors:
            engine, store = self.engine(name), self.scene.store
            if name.startswith("W"):
                self.actors[name] = WriterActor(self, name, engine, self._writer)
            else:
                collector = self._collector(store, engine, None, [])
                self.actors[name] = CollectorActor(self, name, collector)
        return self.actors[name]
