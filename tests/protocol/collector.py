"""The collector's steps of the model."""

from .state import BLOB, PART, Collector, Row


class CollectorSteps:
    """Each step yields what it may lead to: its arguments, and the state after it."""

    def is_referenced(self, state, digest, collector):
        """What a statement of the collector's finds, by the columns that it knows of."""
        if digest == PART:
            return state.edges and state.rows[BLOB].state not in {"", "gone"}
        return state.references and collector.knows

    def mark(self, state, i, collector):
        """G1: the doom, not yet committed."""
        for digest, row in enumerate(state.rows):
            if self.is_to_mark(state, row, collector) and not state.locked(digest):
                xid = state.clock
                after = state._replace(clock=xid + 1)
                changes = {"row": self.marked(row, xid), "xid": xid, "doom": xid}
                yield (digest,), after.collector(i, at="commit_mark", digest=digest, **changes)

    def is_to_mark(self, state, row, collector):
        """Whether no row names the blob, or the tree whose part it is: its edges do not count."""
        named = state.references and collector.knows
        return row.state in {"pending", "live"} and not row.horizon and not named

    def marked(self, row, xid):
        return Row(row.gen, row.state, doom=xid)

    def commit_mark(self, state, i, collector):
        after = state.row(collector.digest, collector.row)
        yield (), after.collector(i, at="begin_stamp", xid=0, row=Row())

    def begin_stamp(self, state, i, collector):
        """G2: a new transaction has its id, from the lock on this row or on one before it."""
        xid = state.clock
        after = state._replace(clock=xid + 1).collector(i, at="stamp", xid=xid)
        yield (), after if self.batches else self.stamped(after, i, "stamp")

    def stamp(self, state, i, collector):
        """G2: the horizon, on what still has the doom of G1."""
        if collector.row.state:
            yield (), state.collector(i, at="commit_stamp")
        else:
            yield (), self.stamped(state, i, "commit_stamp")

    def stamped(self, state, i, at):
        collector = state.collectors[i]
        row = state.rows[collector.digest]
        if self.is_to_stamp(row, collector) and not state.locked(collector.digest):
            row = row._replace(horizon=collector.xid)
            return state.collector(i, at=at, row=row, doom=0)
        return self.idle(state, i)

    def is_to_stamp(self, row, collector):
        return row.doom and row.doom == collector.doom and not row.horizon

    def commit_stamp(self, state, i, collector):
        yield (), self.idle(state.row(collector.digest, collector.row), i)

    def columns(self, state, i, collector):
        """The columns are read; only while none is registered does it matter when."""
        if not state.registered:
            yield (), state.collector(i, at="snapshot", knows=0)

    def snapshot(self, state, i, collector):
        """G3 looks: at references, at the transactions that run, and at the dooms."""
        if not self.knows_columns(state, collector):
            yield (), self.idle(state, i)
            return
        xmin = state.xmin()
        for digest, row in enumerate(state.rows):
            if self.is_to_take(row, xmin) and not self.is_referenced(state, digest, collector):
                yield (digest,), state.collector(i, at="take", digest=digest, doom=row.doom)

    def knows_columns(self, state, collector):
        """Whether the columns are those that are registered in the snapshot."""
        return collector.knows or not state.registered

    def is_to_take(self, row, xmin):
        return row.state in {"pending", "live"} and 0 < row.horizon < xmin

    def take(self, state, i, collector):
        """G3 locks the row later, and takes it if it still has the doom that was seen."""
        row = state.rows[collector.digest]
        if self.is_still_doomed(row, collector) and not state.locked(collector.digest):
            xid, row = state.clock, Row(row.gen, "gone")
            after = state._replace(clock=xid + 1)
            yield (), after.collector(i, at="commit_take", xid=xid, row=row, doom=0, knows=1)
        else:
            yield (), self.idle(state, i)

    def is_still_doomed(self, row, collector):
        return row.doom and row.doom == collector.doom and row.state != "gone"

    def commit_take(self, state, i, collector):
        after = state.row(collector.digest, collector.row)
        yield (), self.idle(after.throw(collector.digest, collector.row.gen), i)

    def spare(self, state, i, collector):
        """G3, for what is doomed and referenced."""
        for digest, row in enumerate(state.rows):
            if (
                row.doom
                and not state.locked(digest)
                and self.is_referenced(state, digest, collector)
            ):
                yield (digest,), state.row(digest, Row(row.gen, row.state))

    def delete(self, state, i, collector):
        """G4: the last look, and the DELETE; what SQL has read is committed long before."""
        for digest, gen in self.trash(state):
            if not self.is_needed(state, digest, gen, collector) and not state.copying:
                yield (digest, gen), state.send(digest, gen)

    def trash(self, state):
        return [
            (digest, gen)
            for digest, bits in enumerate(state.trash)
            for gen in range(bits.bit_length())
            if bits >> gen & 1
        ]

    def is_needed(self, state, digest, gen, collector):
        """The last look; what is live again has its bytes under a later generation."""
        referenced = self.is_referenced(state, digest, collector)
        return referenced and state.rows[digest].state != "live"

    def rescue(self, state, i, collector):
        """G4, where the last look has found a reference: W3."""
        for digest, gen in self.trash(state):
            if self.is_needed(state, digest, gen, collector) and not state.locked(digest):
                row = self.intended(state.rows[digest])
                after = state.row(digest, row)
                yield (digest, gen), after.collector(i, at="copy", digest=digest, gen=row.gen)

    def copy(self, state, i, collector):
        """The bytes are copied to the next generation, from whichever there is."""
        if state.readable(collector.digest):
            after = state.put(collector.digest, collector.gen)
            yield (), after.collector(i, at="settle_copy")

    def settle_copy(self, state, i, collector):
        """W4 of what was copied."""
        digest = collector.digest
        if not state.locked(digest):
            row = state.rows[digest]
            if self.is_still(row, collector.gen):
                state = state.row(digest, Row(row.gen, "live"))
            yield (), self.idle(state, i)

    def drop(self, state, i, collector):
        """G4: the edges of a manifest that is gone, under its row's lock."""
        if state.edges and state.rows[BLOB].state == "gone" and not state.locked(BLOB):
            yield (), state._replace(edges=0)

    def crash(self, state, i, collector):
        yield (), self.idle(state, i)

    def idle(self, state, i):
        collectors = (*state.collectors[:i], Collector(), *state.collectors[i + 1 :])
        return state._replace(collectors=collectors)

    at_rest = ("mark", "columns", "snapshot", "spare", "delete", "rescue", "drop")

    def collector_steps(self, collector):
        """The names of the steps that a collector may make next."""
        return self.at_rest if collector.at == "idle" else (collector.at, "crash")
