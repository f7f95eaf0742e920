"""What the model's states are made of, and when two of them are the same."""

from typing import NamedTuple

BLOB, PART = 0, 1
"""The digests: the blob that a reference names, and the part of a tree whose manifest it is."""


class Row(NamedTuple):
    """A row of the ledger, 0 being NULL; state "" says that there is none."""

    gen: int = 0
    state: str = ""
    doom: int = 0
    horizon: int = 0


NO_ROW = Row()


class Writer(NamedTuple):
    at: str = "idle"  # the step that it is to make next, about
    xid: int = 0  # the user's transaction, 0 being none, or none that has an id
    inserted: int = 0  # whether that holds a reference
    digest: int = 0  # what W3, put and W4 are about
    gen: int = 0
    own: int = 0  # the ledger's own transaction, where it is more than one step
    row: Row = NO_ROW  # and its uncommitted version of the row
    seen: int = 0  # what was looked up in an earlier step: 1 for "live", 2 for "not"
    auto: int = 0  # every statement is a transaction


class Collector(NamedTuple):
    at: str = "idle"
    xid: int = 0
    digest: int = 0
    row: Row = NO_ROW  # the uncommitted version
    doom: int = 0  # G1's own, for G2; or the one that G3's snapshot has shown
    gen: int = 0
    knows: int = 1  # whether the column was among those that it read


class State(NamedTuple):
    rows: tuple  # by digest, as committed
    keys: tuple  # by digest, the generations that were put, as bits
    trash: tuple  # the rows of the trash whose DELETE was not sent, in the same form
    sent: tuple  # DELETEs that were sent: they land from now on at any time
    writers: tuple
    collectors: tuple
    edges: int = 0  # whether the manifest's edge is there
    registered: int = 1  # whether the column is registered
    references: int = 0  # whether there is a committed one
    copying: int = 0  # whether an SQL statement has read it, to insert it elsewhere
    clock: int = 2  # the next transaction's id

    def writer(self, i, **changes):
        """This state but for a writer."""
        return self._replace(writers=_changed(self.writers, i, self.writers[i]._replace(**changes)))

    def collector(self, i, **changes):
        """This state but for a collector."""
        changed = self.collectors[i]._replace(**changes)
        return self._replace(collectors=_changed(self.collectors, i, changed))

    def row(self, digest, row):
        """This state but for a committed row."""
        return self._replace(rows=_changed(self.rows, digest, row))

    def put(self, digest, gen):
        return self._replace(keys=_changed(self.keys, digest, self.keys[digest] | 1 << gen))

    def throw(self, digest, gen):
        """This state with a generation in the trash."""
        return self._replace(trash=_changed(self.trash, digest, self.trash[digest] | 1 << gen))

    def send(self, digest, gen):
        """This state with the DELETE of a generation, which is no more of the trash's business."""
        trash = _changed(self.trash, digest, self.trash[digest] & ~(1 << gen))
        sent = _changed(self.sent, digest, self.sent[digest] | 1 << gen)
        return self._replace(trash=trash, sent=sent)

    def locked(self, digest):
        """Whether some transaction has an uncommitted version of the row."""
        return any(w.own and w.digest == digest for w in self.writers) or any(
            c.row.state and c.digest == digest for c in self.collectors
        )

    def readable(self, digest):
        """Whether there are bytes, whichever DELETEs land."""
        return self.keys[digest] & ~self.sent[digest] != 0

    def xmin(self):
        """The oldest id that runs: `pg_snapshot_xmin(pg_current_snapshot())`."""
        running = [w.xid for w in self.writers if w.xid]
        running += [w.own for w in self.writers if w.own]
        running += [c.xid for c in self.collectors if c.xid]
        return min(running, default=self.clock)


_DOOMED = 1000  # above all ids: a doom that no collector compares
_WRITING = frozenset({"put", "settle", "copy", "settle_copy"})


def _changed(values, i, value):
    return (*values[:i], value, *values[i + 1 :])


def canonical(state):
    """The one state that stands for all those that differ in nothing that matters.

    Transaction ids are only compared: kept is the order of horizons, and of what may become one,
    and where among them the others lie. Of a doom it matters whether it is the one that a collector
    has set or seen. Generations are numbered anew, in their order, without those of
    which nothing is left. One writer is as good as another, and so is one collector.
    """
    xids, clock = _xids(state)
    dooms = _dooms(state)
    state = _generations(state)

    def row(old):
        return Row(old.gen, old.state, dooms.get(old.doom, _DOOMED), xids[old.horizon])

    def writer(old):
        if not (old.xid or old.own):
            return old
        new = row(old.row) if old.own else NO_ROW
        return old._replace(xid=xids[old.xid], own=xids[old.own], row=new)

    def collector(old):
        if old.at == "idle":
            return old
        return old._replace(
            xid=xids[old.xid],
            row=row(old.row) if old.row.state else NO_ROW,
            doom=dooms.get(old.doom, 0),
        )

    return state._replace(
        rows=tuple(row(old) if old.doom else old for old in state.rows),
        writers=tuple(sorted(map(writer, state.writers))),
        collectors=tuple(sorted(map(collector, state.collectors))),
        clock=clock,
    )


def _xids(state):
    """A new number for each transaction id, and the next one."""
    horizons = {row.horizon for row in state.rows}
    horizons.update(c.row.horizon for c in state.collectors)
    horizons.update(c.xid for c in state.collectors if c.at in {"stamp", "commit_stamp"})
    order = sorted(horizons - {0})
    xids = {0: 0} | {horizon: 2 * n + 2 for n, horizon in enumerate(order)}
    others = [xid for w in state.writers for xid in (w.xid, w.own)]
    others += [c.xid for c in state.collectors]
    for xid in others:
        if xid not in xids:
            xids[xid] = 2 * sum(horizon < xid for horizon in order) + 1
    return xids, 2 * len(order) + 2


def _dooms(state):
    """A new number for each doom that a collector compares with a row's."""
    compared = {c.doom for c in state.collectors}
    dooms = {0: 0}
    for digest, row in enumerate(state.rows):
        if row.doom in compared and row.doom:
            dooms[row.doom] = _DOOMED + 1 + digest
    for c in state.collectors:
        if c.at == "commit_mark":
            dooms[c.doom] = _DOOMED + 3 + c.digest
    return dooms


def _generations(state):
    """The state without the generations of which nothing is left, the others from 0 on."""
    for digest in range(len(state.rows)):
        used = _used(state, digest)
        sent = state.sent[digest] & (used | state.trash[digest])
        keys = state.keys[digest] & ~state.sent[digest]
        if sent != state.sent[digest] or keys != state.keys[digest]:
            state = state._replace(
                sent=_changed(state.sent, digest, sent), keys=_changed(state.keys, digest, keys)
            )
        used |= sent | keys | state.trash[digest]
        if used & (used + 1):
            state = _renumbered(
                state, digest, [g for g in range(used.bit_length()) if used >> g & 1]
            )
    return state


def _used(state, digest):
    """The generations that the row has, or that somebody is about to write."""
    row = state.rows[digest]
    used = 1 << row.gen if row.state else 0
    for w in state.writers:
        if w.digest == digest:
            used |= 1 << w.gen if w.at in _WRITING else 0
            used |= 1 << w.row.gen if w.own else 0
    for c in state.collectors:
        if c.digest == digest:
            used |= 1 << c.gen if c.at in _WRITING else 0
            used |= 1 << c.row.gen if c.row.state else 0
    return used


def _renumbered(state, digest, order):
    new = {old: n for n, old in enumerate(order)}

    def bits(old):
        return sum(1 << new[gen] for gen in order if old >> gen & 1)

    def actor(old):
        if old.digest != digest:
            return old
        if old.row.state:
            return old._replace(row=old.row._replace(gen=new[old.row.gen]))
        return old._replace(gen=new[old.gen]) if old.at in _WRITING else old

    row = state.rows[digest]
    return state._replace(
        rows=_changed(state.rows, digest, row._replace(gen=new[row.gen]) if row.state else row),
        keys=_changed(state.keys, digest, bits(state.keys[digest])),
        trash=_changed(state.trash, digest, bits(state.trash[digest])),
        sent=_changed(state.sent, digest, bits(state.sent[digest])),
        writers=tuple(map(actor, state.writers)),
        collectors=tuple(map(actor, state.collectors)),
    )
