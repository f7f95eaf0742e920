"""The writer's steps of the model."""

from .state import BLOB, NO_ROW, PART, Row

DONE = {"at": "idle", "digest": 0, "gen": 0, "own": 0, "row": NO_ROW, "seen": 0, "auto": 0}
"""Changes of a writer that leave its statement; its transaction goes on."""

OVER = {"xid": 0, "inserted": 0, "seen": 0}
"""Changes of a writer that end its transaction."""


class WriterSteps:
    """Each step yields what it may lead to: its arguments, and the state after it."""

    def begin(self, state, i, writer):
        """W1."""
        if writer.xid:
            yield (), state.writer(i, at="look")
            return
        yield (), state._replace(clock=state.clock + 1).writer(i, at="look", xid=state.clock)
        yield ("autocommit",), state.writer(i, at="look", auto=1)

    def look(self, state, i, writer):
        """W2, and whether the transaction is still W1's."""
        seen = self.is_live(state, BLOB)
        if self.keeps_snapshot:
            yield (), state.writer(i, at="check", seen=1 if seen else 2)
        else:
            yield (), self.looked(state, i, writer, seen=seen)

    def check(self, state, i, writer):
        """The end of W2 where it asked on a connection of the ledger's."""
        yield (), self.looked(state.writer(i, seen=0), i, writer, seen=writer.seen == 1)

    def looked(self, state, i, writer, *, seen):
        if self.is_refused(writer):
            return state.writer(i, **DONE)
        if not state.registered:
            return state.writer(i, at="note")
        if seen:
            return state.writer(i, at="reference")
        return state.writer(i, at="look_part" if self.tree else "intend")

    def is_refused(self, writer):
        return not writer.xid

    def note(self, state, i, writer):
        """W0."""
        yield (), state._replace(registered=1).writer(i, at="look")

    def look_part(self, state, i, writer):
        """W2 for the part; where it is refused, the session has ended since the first look."""
        if self.is_refused(writer):
            yield (), state.writer(i, **DONE)
        else:
            digest = BLOB if self.is_live(state, PART) else PART
            yield (), state.writer(i, at="intend", digest=digest)

    def is_live(self, state, digest):
        """What W2 asks: whether nothing has to be done for a digest."""
        row = state.rows[digest]
        has_parts = digest == PART or not self.tree or state.edges
        return row.state == "live" and not row.doom and has_parts

    def intend(self, state, i, writer):
        """W3; for a manifest it is the beginning of a transaction, otherwise all of it."""
        digest = writer.digest
        if state.locked(digest):
            return
        row = self.intended(state.rows[digest])
        if self.tree and digest == BLOB:
            state = state._replace(clock=state.clock + 1)
            yield (), state.writer(i, at="confirm", own=state.clock - 1, row=row)
        else:
            yield (), self.wrote(state.row(digest, row), i, digest, row)

    def intended(self, row):
        if row.state == "live":
            return Row(row.gen, "live")
        return Row(row.gen + (row.state == "gone"), "pending")

    def wrote(self, state, i, digest, row):
        """Where W3 leads to: what is live needs no bytes."""
        if row.state == "live":
            return self.stored(state, i, digest)
        return state.writer(i, at="put", digest=digest, gen=row.gen)

    def stored(self, state, i, digest):
        """Where it goes on from a digest that is live."""
        state = state.writer(i, digest=BLOB, gen=0)
        return state.writer(i, at="intend" if digest == PART else "reference")

    def confirm(self, state, i, writer):
        """W2 again for the part, in the transaction that has written the edge: after its id."""
        if self.is_live(state, PART):
            yield (), state.writer(i, at="commit_intend")
        else:
            yield (), state.writer(i, at="look_part", own=0, row=NO_ROW)

    def commit_intend(self, state, i, writer):
        after = state.row(BLOB, writer.row)._replace(edges=1)
        after = after.writer(i, own=0, row=NO_ROW)
        yield (), self.wrote(after, i, BLOB, writer.row)

    def put(self, state, i, writer):
        yield (), state.put(writer.digest, writer.gen).writer(i, at="settle")

    def settle(self, state, i, writer):
        """W4."""
        digest = writer.digest
        if state.locked(digest):
            return
        row = state.rows[digest]
        if self.is_still(row, writer.gen):
            after = state.row(digest, Row(row.gen, "live"))
            yield (), self.stored(after, i, digest)
        else:
            at = "look" if digest == BLOB else "look_part"
            yield (), state.writer(i, at=at, digest=BLOB, gen=0)

    def is_still(self, row, gen):
        """Whether W4 makes live what was written as a generation."""
        return row.gen == gen and row.state in {"pending", "live"}

    def reference(self, state, i, writer):
        """The user's INSERT."""
        yield (), state.writer(i, **DONE | {"inserted": int(writer.xid > 0)})

    def fail(self, state, i, writer):
        """The statement raises; if its session was killed, it is now that one knows."""
        yield (), state.writer(i, **DONE)

    def kill(self, state, i, writer):
        """The server ends the session in the middle of the statement."""
        if writer.xid:
            yield (), state.writer(i, **OVER)

    def commit(self, state, i, writer):
        if writer.inserted:
            yield (), state._replace(references=1).writer(i, **OVER)

    def rollback(self, state, i, writer):
        """Asked for, or because the session was killed between two statements."""
        if writer.xid:
            yield (), state.writer(i, **OVER)

    def rollback_to(self, state, i, writer):
        if writer.inserted:
            yield (), state.writer(i, inserted=0)

    def prepare(self, state, i, writer):
        if writer.inserted:
            yield (), state.writer(i, at="commit_prepared")

    def commit_prepared(self, state, i, writer):
        yield (), state._replace(references=1).writer(i, at="idle", **OVER)

    def rollback_prepared(self, state, i, writer):
        yield (), state.writer(i, at="idle", **OVER)

    between = ("begin", "commit", "rollback", "rollback_to", "prepare")

    def writer_steps(self, writer):
        """The names of the steps that a writer may make next."""
        if writer.at == "idle":
            return self.between
        if writer.at == "commit_prepared":
            return ("commit_prepared", "rollback_prepared")
        return (writer.at, "fail", "kill")
