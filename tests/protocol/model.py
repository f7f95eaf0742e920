"""The protocol on PostgreSQL as a model: its states, and the steps that lead from one to others.

A reference names a blob, digest 0. Where that is a tree's manifest, it needs one part, digest 1.
Writers and collectors move one step at a time, in any order and as often as they like. A step is
what nobody can come in between of: a statement, with its commit where nothing depends on when
that comes; otherwise a statement, and then its commit.

Of PostgreSQL there is: an id for each transaction, numbered upwards, from its first write on;
rows as committed, and in each open transaction its own version, which locks the row; statements
that see what was committed when they began, but lock the latest version; and
`pg_snapshot_xmin`, the oldest id that runs, in prepared transactions too. Sessions may end at any
moment, while their clients go on and do not know. A client that has crashed, or is slow, makes no
further step; what it has sent may arrive all the same.

The writer (:mod:`.writer`), in the order of its steps:

=================  =================================================================================
begin              W1: the transaction gets an id; under AUTOCOMMIT, one that has ended already
look               W2: is the blob live and not doomed? Is the transaction still that of W1?
check              the second question, later, where the first was asked on the ledger's connection
                   because the transaction keeps its snapshot
note               W0: the column is registered if W2 has not found it; then W2 again
look_part          W2 for the part, where the manifest is not live
intend             W3: pending, or spared, or the next generation of what was taken
confirm            for a manifest, in W3's transaction: is the part live and not doomed?
commit_intend      the end of that transaction; for all but manifests, W3 is one step
put                the bytes are durable
settle             W4: live, if it has that generation still; otherwise W2 again
reference          the user's INSERT, in a savepoint of its own
fail               the statement raises; the transaction may go on, after a ROLLBACK TO SAVEPOINT
kill               the server ends the session in the middle of a statement
commit, rollback, rollback_to, prepare, commit_prepared, rollback_prepared
=================  =================================================================================

The collector (:mod:`.collector`):

========================  ==========================================================================
mark, commit_mark         G1: the doom
begin_stamp, stamp,       G2: an id, the horizon on what has G1's doom still
commit_stamp
columns                   the registered columns are read, some time before G3
snapshot, take,           G3: what is seen of references and running transactions is older than
commit_take               the lock on the row
spare                     G3, for what is referenced after all
delete                    G4: the last look, and the DELETE is sent
rescue, copy,             G4, where the last look has found a reference: the next generation, by
settle_copy               W3 and W4
drop                      G4: the edges of a manifest that is gone
crash
========================  ==========================================================================

The world: ``forget`` deletes the rows that hold the reference, ``copy_sql`` is a statement that
reads it to insert it elsewhere, past the writer, and ``paste`` its commit. ``late_put`` is a PUT
that arrives late, after its writer has failed, or once more. A DELETE that was sent arrives at
any time, and any number of times: the worst is that the key is lost from then on, and so a trace
has its ``land`` at the end.

**A trace** is a list of tuples: the actor (``W1``, ``W2``, ``C1``, ``C2``, ``world``,
``network``), the step's name, and its arguments: the digest, for the steps of a collector that
choose one (``("C1", "mark", 0)``), and the generation beside it for ``delete``, ``rescue``,
``late_put`` and ``land``; ``("W1", "begin", "autocommit")``. It begins either with an empty ledger
or, if its first step is ``("world", "orphan")``, with a blob that was stored and rolled back.
"""

from .collector import CollectorSteps
from .state import BLOB, PART, Collector, Row, State, Writer, canonical
from .writer import WriterSteps


class Model(WriterSteps, CollectorSteps):
    """The protocol; a variant changes a method or two.

    `generations`     how many of a digest there may be, of which something is left, at a time
    `tree`            the blob is a manifest, which has a part
    `keeps_snapshot`  of the isolation levels, those that do; otherwise READ COMMITTED
    `unregistered`    the column is not known to the ledger at first
    `copies`          SQL copies references past the writer; not with trees, whose parts the
                      model's `rescue` does not know
    `batches`         G2's id may come from another row, before the lock on this one
    """

    canonical = staticmethod(canonical)

    def __init__(
        self,
        writers=2,
        collectors=2,
        *,
        generations=2,
        tree=False,
        keeps_snapshot=False,
        unregistered=False,
        copies=False,
        batches=True,
    ):
        self.writers = writers
        self.collectors = collectors
        self.generations = generations
        self.tree = tree
        self.keeps_snapshot = keeps_snapshot
        self.unregistered = unregistered
        self.copies = copies
        self.batches = batches

    def starts(self):
        """An empty ledger."""
        digests = 2 if self.tree else 1
        yield State(
            rows=(Row(),) * digests,
            keys=(0,) * digests,
            trash=(0,) * digests,
            sent=(0,) * digests,
            writers=(Writer(),) * self.writers,
            collectors=(Collector(),) * self.collectors,
            registered=int(not self.unregistered),
        )

    def steps(self, state):
        """Yield ((actor, name, *arguments), state) for all that may happen next."""
        yield from self._moves(state, "W", state.writers, self.writer_steps)
        yield from self._moves(state, "C", state.collectors, self.collector_steps)
        for name in ("orphan", "forget", "copy_sql", "paste", "late_put"):
            for arguments, after in getattr(self, name)(state):
                yield ("world", name, *arguments), after

    def _moves(self, state, kind, actors, names_for):
        for i, actor in enumerate(actors):
            if actor not in actors[:i]:  # for one is as good as another
                for name in names_for(actor):
                    for arguments, after in getattr(self, name)(state, i, actor):
                        yield (f"{kind}{i + 1}", name, *arguments), after

    def orphan(self, state):
        """At the very beginning: a blob that was stored before, and rolled back."""
        if state == next(self.starts()):
            digests = len(state.rows)
            rows = (Row(state="live"),) * digests
            yield (), state._replace(rows=rows, keys=(1,) * digests, edges=int(self.tree))

    def forget(self, state):
        """The rows that hold the reference are deleted, and that is committed."""
        if state.references:
            yield (), state._replace(references=0)

    def copy_sql(self, state):
        """A statement reads a reference, to insert it elsewhere, past the writer."""
        if self.copies and state.references and not state.copying:
            yield (), state._replace(copying=1)

    def paste(self, state):
        if state.copying:
            yield (), state._replace(copying=0, references=1)

    def late_put(self, state):
        """A PUT arrives of which nobody knows any more."""
        for digest, row in enumerate(state.rows):
            for gen in range(row.gen + 1 if row.state else 0):
                if not (state.keys[digest] | state.sent[digest]) >> gen & 1:
                    yield (digest, gen), state.put(digest, gen)

    def is_beyond(self, state):
        """Whether a canonical state is left out, so that there is an end."""
        return any(row.gen >= self.generations for row in state.rows)

    def is_dangling(self, state):
        """Whether a committed reference lacks bytes, if every DELETE lands that was sent."""
        return state.references and not all(map(state.readable, range(len(state.rows))))

    def is_unprotected(self, state):
        """Whether the ledger says less than that: that what is referenced is live.

        And that what is live is complete: nobody who finds it so looks any further.
        """
        live = [
            row.state == "live" and (state.keys[digest] & ~state.sent[digest]) >> row.gen & 1
            for digest, row in enumerate(state.rows)
        ]
        complete = not self.tree or not live[BLOB] or (live[PART] and state.edges)
        return not complete or (state.references and not all(live)) or self.is_dangling(state)

    def landing(self, state):
        """The steps by which the DELETEs arrive that were sent."""
        return [
            ("network", "land", digest, gen)
            for digest, bits in enumerate(state.sent)
            for gen in range(bits.bit_length())
            if bits >> gen & 1
        ]
