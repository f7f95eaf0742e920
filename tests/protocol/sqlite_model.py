"""The protocol on SQLite as a model: one write lock, and everything under it.

Who holds the lock has a draft of the database, which the others see only once it is committed. So
the steps of who holds it may come between those that need no lock: looking, listing the store,
and deleting. The trace is as in :mod:`.model`. The writer's steps:

==========  ========================================================================================
lock        the UPDATE that matches nothing, before everything else
look        is the blob live? Then its doom is lifted; if not, a generation that, by the ledger and
            the trash, was never taken
put         the bytes are durable
row         the blob's row is live
reference   the user's INSERT
rollback_to what the last statement did is undone, and the rows with it
commit, rollback, crash
==========  ========================================================================================

The collector's:

==========  ========================================================================================
mark        what is not referenced is doomed
find        what is doomed and not referenced, without the lock
list        the keys that the store has, without the lock
lock, take  what was found becomes `gone`, if its doom is still the same; and so do keys that were
            listed and that no row needs; both go into the trash
commit
delete      the DELETE of what is in the trash is sent: it lands from now on at any time
tidy        a day later, the row of the trash is forgotten
crash
==========  ========================================================================================
"""

from typing import NamedTuple

NO_DRAFT = ()


class Ledger(NamedTuple):
    """What a transaction sees and commits; generations are bits."""

    gen: int = 0
    state: str = ""  # "": there is no row
    trash: int = 0
    references: int = 0
    doom: int = 0  # a number that no other run dooms with


class Actor(NamedTuple):
    at: str = "idle"
    draft: tuple = NO_DRAFT  # a Ledger, while it holds the lock
    gen: int = 0  # what a writer writes
    listed: int = 0  # what a collector has listed
    doom: int = 0  # or the doom that it has found


class State(NamedTuple):
    ledger: Ledger = Ledger()
    keys: int = 0
    sent: int = 0  # DELETEs, which land from now on at any time
    writers: tuple = ()
    collectors: tuple = ()

    def writer(self, i, **changes):
        return self._replace(writers=_changed(self.writers, i, changes))

    def collector(self, i, **changes):
        return self._replace(collectors=_changed(self.collectors, i, changes))

    def is_locked(self):
        return any(actor.draft for actor in self.writers + self.collectors)


def _changed(actors, i, changes):
    return (*actors[:i], actors[i]._replace(**changes), *actors[i + 1 :])


class Model:
    """The protocol; a variant changes a method or two."""

    def __init__(self, writers=2, collectors=2, generations=3):
        self.writers = writers
        self.collectors = collectors
        self.generations = generations

    def starts(self):
        writers, collectors = (Actor(),) * self.writers, (Actor(),) * self.collectors
        yield State(writers=writers, collectors=collectors)

    def canonical(self, state):
        """One writer is as good as another, and so is one collector."""
        return state._replace(
            writers=tuple(sorted(state.writers)), collectors=tuple(sorted(state.collectors))
        )

    def steps(self, state):
        """Yield ((actor, name, *arguments), state) for all that may happen next."""
        for i, writer in enumerate(state.writers):
            for name in self.writer_steps(writer):
                for arguments, after in getattr(self, name)(state, i, writer):
                    yield (f"W{i + 1}", name, *arguments), after
        for i, collector in enumerate(state.collectors):
            for name in self.collector_steps(collector):
                for arguments, after in getattr(self, f"collector_{name}")(state, i, collector):
                    yield (f"C{i + 1}", name, *arguments), after
        for name in ("forget", "late_put"):
            for arguments, after in getattr(self, name)(state):
                yield ("world", name, *arguments), after

    # -- the writer ------------------------------------------------------------------------------

    def writer_steps(self, writer):
        if writer.at != "idle":
            return (writer.at, "crash")
        return ("lock", "commit", "rollback", "rollback_to") if writer.draft else ("lock",)

    def lock(self, state, i, writer):
        if writer.draft or not state.is_locked():
            yield (), state.writer(i, at="look", draft=writer.draft or state.ledger)

    def look(self, state, i, writer):
        ledger = writer.draft
        if ledger.state == "live":
            yield (), state.writer(i, at="reference", draft=self.lifted(ledger))
        else:
            yield (), state.writer(i, at="put", gen=self.next_generation(ledger))

    def lifted(self, ledger):
        return ledger._replace(doom=0)

    def next_generation(self, ledger):
        by_row = ledger.gen + (ledger.state == "gone")
        return max(by_row, ledger.trash.bit_length())

    def put(self, state, i, writer):
        yield (), state._replace(keys=state.keys | 1 << writer.gen).writer(i, at="row")

    def row(self, state, i, writer):
        draft = writer.draft._replace(gen=writer.gen, state="live")
        yield (), state.writer(i, at="reference", draft=draft, gen=0)

    def reference(self, state, i, writer):
        yield (), state.writer(i, at="idle", draft=writer.draft._replace(references=1))

    def rollback_to(self, state, i, writer):
        yield (), state.writer(i, draft=state.ledger)

    def commit(self, state, i, writer):
        yield (), state._replace(ledger=writer.draft).writer(i, draft=NO_DRAFT)

    def rollback(self, state, i, writer):
        yield (), state.writer(i, **Actor()._asdict())

    crash = rollback

    # -- the collector ---------------------------------------------------------------------------

    def collector_steps(self, collector):
        at_rest = ("mark", "find", "list", "delete", "tidy")
        return at_rest if collector.at == "idle" else (collector.at, "crash")

    def collector_mark(self, state, i, collector):
        ledger = state.ledger
        if ledger.state == "live" and not (ledger.references or ledger.doom or state.is_locked()):
            seen = {other.doom for other in state.collectors}
            doom = next(n for n in range(1, 9) if n not in seen)
            yield (), state._replace(ledger=ledger._replace(doom=doom))

    def collector_find(self, state, i, collector):
        ledger = state.ledger
        if ledger.doom and not ledger.references:
            yield (), state.collector(i, at="lock", doom=ledger.doom)

    def collector_list(self, state, i, collector):
        yield (), state.collector(i, at="lock", listed=state.keys)

    def collector_lock(self, state, i, collector):
        if not state.is_locked():
            yield (), state.collector(i, at="take", draft=state.ledger)

    def collector_take(self, state, i, collector):
        ledger = collector.draft
        if ledger.doom and ledger.doom == collector.doom:
            trash = ledger.trash | 1 << ledger.gen
            ledger = ledger._replace(state="gone", doom=0, trash=trash)
        orphans = self.orphans(ledger, collector.listed)
        ledger = self.buried(ledger._replace(trash=ledger.trash | orphans), orphans)
        yield (), state.collector(i, at="commit", draft=ledger, listed=0, doom=0)

    def orphans(self, ledger, listed):
        """What was listed, but what the row needs, or may need."""
        return listed & (1 << ledger.gen) - 1 if ledger.state == "live" else listed

    def buried(self, ledger, orphans):
        """The ledger with a row that knows the last of these generations to be taken."""
        last = orphans.bit_length() - 1
        if orphans and ledger.state != "live" and (not ledger.state or ledger.gen < last):
            return ledger._replace(gen=last, state="gone")
        return ledger

    def collector_commit(self, state, i, collector):
        yield (), state._replace(ledger=collector.draft).collector(i, **Actor()._asdict())

    def collector_delete(self, state, i, collector):
        for gen in range(self.generations + 1):
            if state.ledger.trash & ~state.sent & 1 << gen:
                yield (gen,), state._replace(sent=state.sent | 1 << gen)

    def collector_tidy(self, state, i, collector):
        ledger = state.ledger
        for gen in range(self.generations + 1):
            if ledger.trash & state.sent & 1 << gen and not state.is_locked():
                trash = ledger.trash & ~(1 << gen)
                yield (gen,), state._replace(ledger=ledger._replace(trash=trash))

    def collector_crash(self, state, i, collector):
        yield (), state.collector(i, **Actor()._asdict())

    # -- the world -------------------------------------------------------------------------------

    def forget(self, state):
        """The rows that hold the reference are deleted, and that is committed."""
        if state.ledger.references and not state.is_locked():
            yield (), state._replace(ledger=state.ledger._replace(references=0))

    def late_put(self, state):
        """A PUT arrives after its writer has crashed, or once more."""
        for gen in range(state.ledger.gen + 1):
            if not state.keys >> gen & 1:
                yield (gen,), state._replace(keys=state.keys | 1 << gen)

    # -- what is wrong ---------------------------------------------------------------------------

    def is_beyond(self, state):
        return (state.keys | state.ledger.trash) >> self.generations

    def is_dangling(self, state):
        """Whether a committed reference lacks bytes, if every DELETE lands that was sent."""
        return state.ledger.references and not state.keys & ~state.sent

    def is_unprotected(self, state):
        """Whether the ledger says less than that: what is referenced is live, and has its bytes."""
        gen = state.ledger.gen
        live = state.ledger.state == "live" and (state.keys & ~state.sent) >> gen & 1
        return state.ledger.references and not live

    def landing(self, state):
        return [("network", "land", 0, gen) for gen in range(9) if state.sent >> gen & 1]
