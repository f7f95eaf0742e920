"""What was shown to lose data, each as a small change of the model; and what loses none.

Not all of it can be said in this design, which pins a blob by the id of a transaction, and never
by a lock:

- `FOR KEY SHARE` in a REPEATABLE READ transaction, and row locks with keys that are used again:
  no writer holds a lock on a blob while its transaction is open. That a key is used again loses
  data here as well, without any lock: :class:`ReusedKey`;
- references that are looked up before the row is locked: here they always are, G3's snapshot
  being older than its lock, and the right model shows that it does no harm. The row itself is
  asked again under the lock, and no reference that counts can come while the horizon is over;
- a result of W2 that is kept over ROLLBACK TO SAVEPOINT: a lock goes with the savepoint, the
  root transaction's id does not. :class:`KeptOverRollbackTo` is found to lose nothing.
"""

from .model import Model
from .state import BLOB, NO_ROW, Row
from .writer import DONE


class HorizonBeforeDoomIsCommitted(Model):
    """G1 stamps its own id as the horizon: a writer that begins before its commit is younger."""

    def marked(self, row, xid):
        return Row(row.gen, row.state, doom=xid, horizon=xid)


class DoomOfOthersStamped(Model):
    """G2 stamps whatever is doomed, even since its id was given out, and not G1's doom alone."""

    def is_to_stamp(self, row, collector):
        return row.doom and not row.horizon


class NoWaitForHorizon(Model):
    """G3 takes what is stamped, whatever transaction is still open."""

    def is_to_take(self, row, xmin):
        return row.state in {"pending", "live"} and row.horizon > 0


class PreparedNotWaitedFor(Model):
    """G3 waits for sessions only: a prepared transaction has none."""

    def snapshot(self, state, i, collector):
        writers = [w._replace(xid=0) if w.at == "commit_prepared" else w for w in state.writers]
        for (digest,), after in super().snapshot(
            state._replace(writers=tuple(writers)), i, collector
        ):
            yield (digest,), after._replace(writers=state.writers)


class NoLastLook(Model):
    """G4 deletes whatever is in the trash, even if SQL has copied a reference meanwhile."""

    def is_needed(self, state, digest, gen, collector):
        return False


class ReferencesNotLookedUpAgain(NoLastLook):
    """G3 relies upon what G1 saw; only G4's last look would find it out."""

    def snapshot(self, state, i, collector):
        without = state._replace(references=0)
        for arguments, after in super().snapshot(without, i, collector):
            yield arguments, after._replace(references=state.references)


class ColumnsNotConfirmed(NoLastLook):
    """G3 looks into the columns that were registered some time before, maybe before the doom."""

    def knows_columns(self, state, collector):
        return True


class LookBeforeBegin(Model):
    """W2 before W1."""

    between = ("look", "commit", "rollback", "rollback_to", "prepare")

    def look(self, state, i, writer):
        yield (), state.writer(i, at="begin", seen=1 if self.is_live(state, BLOB) else 2)

    def begin(self, state, i, writer):
        xid = writer.xid or state.clock
        writer = writer._replace(xid=xid)
        after = state._replace(clock=state.clock + 1).writer(i, xid=xid, seen=0)
        yield (), self.looked(after, i, writer, seen=writer.seen == 1)


class LookAndBeginInOneStatement(LookBeforeBegin):
    """W1 and W2 in one statement, whose snapshot is older than the id: `look` is the snapshot."""


class LookInKeptSnapshot(LookBeforeBegin):
    """W2 on the user's connection, at a level that keeps the snapshot from before the id."""


class AutocommitNotRefused(Model):
    """A connection that commits every statement, W1 included."""

    def is_refused(self, writer):
        return not writer.xid and not writer.auto

    def reference(self, state, i, writer):
        if writer.auto:
            yield (), state._replace(references=1).writer(i, **DONE)
        else:
            yield from super().reference(state, i, writer)


class Replayed(Model):
    """The user's statement is run again in a new transaction, without a new W1 and W2."""

    def kill(self, state, i, writer):
        for arguments, after in super().kill(state, i, writer):
            yield arguments, after.writer(i, at="replay") if writer.at == "reference" else after

    def replay(self, state, i, writer):
        after = state._replace(clock=state.clock + 1)
        yield (), after.writer(i, **DONE | {"xid": state.clock, "inserted": 1})


class ReusedKey(Model):
    """What was taken is written again under the same key."""

    def intended(self, row):
        return Row(row.gen, "live" if row.state == "live" else "pending")


class RowForgotten(Model):
    """G3 deletes the row, so that its generation is forgotten: the key is written again."""

    def commit_take(self, state, i, collector):
        for arguments, after in super().commit_take(state, i, collector):
            yield arguments, after.row(collector.digest, NO_ROW)


class DeletedBeforeTaken(Model):
    """The DELETE is sent before G3 is committed, with no row in the trash."""

    def take(self, state, i, collector):
        for arguments, after in super().take(state, i, collector):
            taking = after.collectors[i].at == "commit_take"
            sent = after.send(collector.digest, after.collectors[i].row.gen) if taking else after
            yield arguments, sent


class DeletedWhileRescued(Model):
    """G4 takes a row that is not `gone` any more for proof that the bytes are elsewhere."""

    def is_needed(self, state, digest, gen, collector):
        return (
            super().is_needed(state, digest, gen, collector) and state.rows[digest].state == "gone"
        )


class DeletedForLaterGeneration(Model):
    """G4 takes a later generation for proof, though that was taken, too, before it had bytes."""

    def is_needed(self, state, digest, gen, collector):
        row = state.rows[digest]
        last = row.state == "pending" or (row.state, row.gen) == ("gone", gen)
        return super().is_needed(state, digest, gen, collector) and last


class GraceAlone(NoWaitForHorizon):
    """Mark and sweep, and a time between them: writers know nothing of dooms."""

    def is_live(self, state, digest):
        return state.rows[digest].state == "live"


class TouchedOnReuse(NoWaitForHorizon):
    """Mark and sweep, where a writer touches what it finds, so that its time starts anew."""

    def is_live(self, state, digest):
        return False  # so that W3 is next, which takes the doom away


class DoomNotCleared(Model):
    """W3 makes live again what is doomed, and leaves the doom."""

    def intended(self, row):
        return super().intended(row)._replace(doom=row.doom, horizon=row.horizon)


class SettledWhateverTheGeneration(Model):
    """W4 makes the row live, whatever has become of it since W3."""

    def is_still(self, row, gen):
        return True


class PartNotConfirmed(Model):
    """W3 of a manifest relies upon what was seen of its part before.

    While the user's transaction runs it may. But the session may be gone, and the client not
    know, for it talks to the store, and to the ledger on other connections: it then makes live a
    manifest whose part was taken, which the next writer finds live.
    """

    def confirm(self, state, i, writer):
        yield (), state.writer(i, at="commit_intend")


class EdgesDroppedLate(Model):
    """G4 drops the edges of a manifest that was gone when it looked."""

    def drop(self, state, i, collector):
        if collector.at == "drop":
            yield (), self.idle(state._replace(edges=0), i)
        elif state.edges and state.rows[BLOB].state == "gone":
            yield (), state.collector(i, at="drop")


LOSING = {
    HorizonBeforeDoomIsCommitted: {},
    DoomOfOthersStamped: {"collectors": 2, "batches": True},
    NoWaitForHorizon: {},
    PreparedNotWaitedFor: {},
    ReferencesNotLookedUpAgain: {},
    ColumnsNotConfirmed: {"collectors": 2, "unregistered": True},
    LookBeforeBegin: {},
    LookAndBeginInOneStatement: {},
    LookInKeptSnapshot: {},
    AutocommitNotRefused: {},
    Replayed: {},
    ReusedKey: {},
    RowForgotten: {},
    DeletedBeforeTaken: {},
    NoLastLook: {"copies": True},
    DeletedWhileRescued: {"copies": True, "collectors": 2},
    DeletedForLaterGeneration: {"copies": True},
    GraceAlone: {},
    TouchedOnReuse: {},
    DoomNotCleared: {},
    SettledWhateverTheGeneration: {},
    PartNotConfirmed: {"tree": True},
    EdgesDroppedLate: {"tree": True},
}
"""Each variant, and the options of the smallest model in which it loses a blob."""


class KeptOverRollbackTo(Model):
    """What W2 has said is kept until the transaction ends, over ROLLBACK TO SAVEPOINT too."""

    between = (*Model.between, "again")

    def reference(self, state, i, writer):
        for arguments, after in super().reference(state, i, writer):
            yield arguments, after.writer(i, seen=int(writer.xid > 0))

    def again(self, state, i, writer):
        """The same statement, without W1 and W2."""
        if writer.xid and writer.seen:
            yield (), state.writer(i, inserted=1)


class DoomedThoughReferenced(Model):
    """G1 dooms whatever it likes: what it has seen of references may be long past."""

    def is_to_mark(self, state, row, collector):
        return super().is_to_mark(state._replace(references=0), row, collector)


HARMLESS = (KeptOverRollbackTo, DoomedThoughReferenced)
