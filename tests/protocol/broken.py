"""The broken variants of the model made of the real code: a method or some SQL changed in each.

They show that the traces of :mod:`.variants` lose a blob on the real PostgreSQL, and so that
playing them against the right code says something.
"""

from sqlalchemy import text

from sqla_artifacts.collect.postgresql import Found
from sqla_artifacts.collect.sql import CHANGE, POSTGRESQL
from sqla_artifacts.ledger.postgresql import PostgreSQLWriter
from sqla_artifacts.location import key_of
from tests.threads import DEADLINE, start, until

from . import variants
from .stepped_collector import SteppedCollector
from .stepped_writer import SteppedWriter

XID = "CAST(CAST(pg_current_xact_id() AS text) AS bigint)"
SESSIONS = """
    blob.horizon < (SELECT coalesce(min(CAST(CAST(backend_xid AS text) AS bigint)), 1 << 62)
    FROM pg_stat_activity WHERE datname = current_database())
    """
TRASH = """
    SELECT digest, generation, 0 FROM artifact_trash WHERE store = :store AND deleted_at IS NULL
    """


class Rewritten(SteppedWriter):
    """A writer one of whose statements is another: its key, what it says, and what it should."""

    rewritten = ("", "", "")

    def _text(self, key):
        clause = super()._text(key)
        which, old, new = self.rewritten
        if key == which:
            assert old in clause.text
            clause = text(clause.text.replace(old, new))
        return clause


class LooksBeforeBegin(SteppedWriter):
    """W2, W1; then what W2 has said is taken for what was asked after W1."""

    early = None

    def write(self, connection, payloads, target):
        payloads = list(payloads)
        asked = {
            "store": self.store.id,
            "digests": [payload.digest for payload in payloads],
            "trees": [],
            "schema": "public",
            "table": target.table,
        }
        self.stop("look")
        self.look_early(connection, asked)
        super().write(connection, payloads, target)

    def look_early(self, connection, asked):
        self.early = PostgreSQLWriter._look(self, connection, asked)

    def _look(self, connection, asked):
        return self.early._replace(xid=self.begun.xid)


class LooksAndBeginsInOneStatement(LooksBeforeBegin):
    """The statement waits for an advisory lock between its snapshot and its id."""

    def look_early(self, connection, asked):
        sql = f"SELECT pg_advisory_xact_lock(1), {XID}, * FROM ({self._text('look').text}) AS seen"
        with self.stage.engine("lock").connect() as other:
            waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
            other.execute(text("SELECT pg_advisory_xact_lock(1)"))

            def begin():
                until(lambda: other.scalar(waiting))
                self.stop("begin")
                other.rollback()

            between = start(begin)
            row = connection.execute(text(sql), asked).one()
            between.result(DEADLINE)
        self.early = self._seen(row[2:])

    def _seen(self, row):
        from sqla_artifacts.ledger.postgresql import _Look

        return _Look(*row)

    def _begin(self, connection, target):
        self.begun = PostgreSQLWriter._begin(self, connection, target)
        return self.begun


class LooksInKeptSnapshot(LooksBeforeBegin):
    """W2 on the user's connection, which has had its snapshot since before W1."""

    def look_early(self, connection, asked):
        connection.execute(text("SELECT count(*) FROM artifact_blob"))

    def _begin(self, connection, target):
        begun = super()._begin(connection, target)
        return _Like(begun, isolation="read committed")

    def _look(self, connection, asked):
        return PostgreSQLWriter._look(self, connection, asked)


class _Like:
    """Another row, with some of its values changed."""

    def __init__(self, row, **changed):
        self.__dict__.update(dict(row._mapping) | changed)


class AcceptsAutocommit(SteppedWriter):
    """Whether W1's transaction still runs is not asked."""

    def _look(self, connection, asked):
        return super()._look(connection, asked)._replace(xid=self.begun.xid)


class Replays(SteppedWriter):
    """The statement is sent again as it was, without the writer."""

    def replay(self, connection, stage):
        value = stage.row["data"]
        stage.insert(connection, f"&:blob:{stage.scene.digest(value)}:{len(value)}:bytes")


class Touches(SteppedWriter):
    """Nothing is left as it is: W3 is always next."""

    def _look(self, connection, asked):
        return super()._look(connection, asked)._replace(live=[])


class ReusesKeys(Rewritten):
    rewritten = (
        "intend",
        "blob.generation + CAST(blob.state = 'gone' AS integer)",
        "blob.generation",
    )


class KeepsDooms(Rewritten):
    rewritten = ("intend", "doom = NULL, horizon = NULL, doomed_at = NULL,", "")


class IgnoresDooms(Rewritten):
    rewritten = ("look", "AND doom IS NULL", "")


class SettlesWhatever(Rewritten):
    rewritten = (
        "settle",
        """AND blob.generation = asked.generation
            WHERE blob.store = :store AND blob.state IN ('pending', 'live')""",
        "WHERE blob.store = :store",
    )


class ConfirmsNothing(SteppedWriter):
    """The parts of a tree are not asked for again."""

    def _confirm(self, *arguments):
        self.stop("confirm")
        self.stop("commit_intend")
        return True


class Blind(SteppedCollector):
    """A collector some of whose looks find no reference."""

    blind = frozenset({"due", "copied"})

    def query(self, connection, what, sql):
        if what in self.blind:
            sql = sql.replace("{unnamed}", "true").replace("{named}", "false")
        return super().query(connection, what, sql)


class BlindThroughout(Blind):
    blind = frozenset({"doomed", "due", "copied"})


class KeepsColumns(Blind):
    """G3 looks into the columns that there were some time before."""

    kept = None

    def columns(self):
        with self.looking() as connection:
            self.kept = super().inventory(connection)

    def inventory(self, connection):
        return self.kept if self.kept is not None else super().inventory(connection)


class WaitsForNobody(SteppedCollector):
    words = POSTGRESQL | {"old": "blob.horizon IS NOT NULL"}


class WaitsForSessions(SteppedCollector):
    words = POSTGRESQL | {"old": SESSIONS}


class StampsInG1(SteppedCollector):
    words = POSTGRESQL | {"stamped": ":token"}


class StampsOthers(SteppedCollector):
    """G2 with an id from before the doom that it stamps."""

    def begin_stamp(self, token):
        with self.changing() as connection:
            connection.execute(text(f"SELECT {XID}"))
            self.stop("stamp")
            connection.execute(text(f"UPDATE artifact_blob SET horizon = {XID} WHERE doom > 0"))
            self.stop("commit_stamp")


class DeletesByTrash(SteppedCollector):
    """G4 deletes what is in the trash, whatever has become of the row."""

    def find(self, what, **asked):
        if what != "due":
            yield from super().find(what, **asked)
            return
        with self.looking() as connection:
            found = connection.execute(text(TRASH), {"store": self.store_id}).all()
        yield [Found(*row) for row in found]


class ForgetsRows(DeletesByTrash):
    """G3 deletes the row."""

    def text(self, sql):
        if sql == CHANGE["take"]:
            before, _, after = sql.replace("UPDATE", "DELETE FROM").partition("SET state")
            sql = before + after[after.index("WHERE") :]
        return super().text(sql)


class DeletesBeforeCommit(SteppedCollector):
    """G3 sends the DELETEs before anybody else can know that anything was taken."""

    def run(self, connection, sql, rows, **asked):
        if sql == CHANGE["trash"]:
            for digest, generation, _ in rows:
                self.store.backend.delete(key_of(digest, generation))
        return super().run(connection, sql, rows, **asked)


CONTROLS = {
    variants.HorizonBeforeDoomIsCommitted: {"collector": StampsInG1},
    variants.DoomOfOthersStamped: {"collector": StampsOthers},
    variants.NoWaitForHorizon: {"collector": WaitsForNobody},
    variants.PreparedNotWaitedFor: {"collector": WaitsForSessions},
    variants.ReferencesNotLookedUpAgain: {"collector": BlindThroughout},
    variants.ColumnsNotConfirmed: {"collector": KeepsColumns},
    variants.LookBeforeBegin: {"writer": LooksBeforeBegin},
    variants.LookAndBeginInOneStatement: {"writer": LooksAndBeginsInOneStatement},
    variants.LookInKeptSnapshot: {
        "writer": LooksInKeptSnapshot,
        "isolation": "REPEATABLE READ",
    },
    variants.AutocommitNotRefused: {"writer": AcceptsAutocommit},
    variants.Replayed: {"writer": Replays},
    variants.ReusedKey: {"writer": ReusesKeys, "collector": DeletesByTrash},
    variants.RowForgotten: {"collector": ForgetsRows},
    variants.DeletedBeforeTaken: {"collector": DeletesBeforeCommit},
    variants.NoLastLook: {"collector": Blind},
    variants.DeletedWhileRescued: {"collector": DeletesByTrash},
    variants.DeletedForLaterGeneration: {"collector": DeletesByTrash},
    variants.GraceAlone: {"writer": IgnoresDooms, "collector": WaitsForNobody},
    variants.TouchedOnReuse: {"writer": Touches, "collector": WaitsForNobody},
    variants.DoomNotCleared: {"writer": KeepsDooms},
    variants.SettledWhateverTheGeneration: {"writer": SettlesWhatever, "collector": DeletesByTrash},
    variants.PartNotConfirmed: {"writer": ConfirmsNothing},
}
"""What a variant is made of on the real PostgreSQL."""
