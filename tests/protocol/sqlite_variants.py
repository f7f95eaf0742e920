"""What was shown to lose data on SQLite, each as a small change of its model."""

from .sqlite_model import NO_DRAFT, Model


class SelectInsteadOfLock(Model):
    """A plain SELECT before the write; the lock comes with the first row that is written."""

    def lock(self, state, i, writer):
        ledger = writer.draft or state.ledger
        if ledger.state == "live":
            yield (), state.writer(i, at="reference")
        else:
            yield (), state.writer(i, at="put", gen=self.next_generation(ledger))

    def row(self, state, i, writer):
        for after in self._locked(state, i, writer):
            yield from super().row(after, i, after.writers[i])

    def reference(self, state, i, writer):
        for after in self._locked(state, i, writer):
            yield from super().reference(after, i, after.writers[i])

    def _locked(self, state, i, writer):
        if writer.draft or not state.is_locked():
            yield state.writer(i, draft=writer.draft or state.ledger)


class Autocommit(SelectInsteadOfLock):
    """Every statement is a transaction, and the lock is gone at its end."""

    def row(self, state, i, writer):
        for arguments, after in super().row(state, i, writer):
            yield arguments, self._committed(after, i)

    def reference(self, state, i, writer):
        for arguments, after in super().reference(state, i, writer):
            yield arguments, self._committed(after, i)

    def _committed(self, state, i):
        return state._replace(ledger=state.writers[i].draft).writer(i, draft=NO_DRAFT)


class DoomNotLifted(Model):
    """A writer leaves the doom of what it finds live."""

    def lifted(self, ledger):
        return ledger


class NotBuried(Model):
    """What is taken without a row is in the trash alone, which is forgotten a day later."""

    def buried(self, ledger, orphans):
        return ledger


class NoLookIntoTrash(NotBuried):
    """It is remembered for ever there, but the writer looks at the row alone."""

    def collector_tidy(self, state, i, collector):
        return ()

    def next_generation(self, ledger):
        return ledger.gen + (ledger.state == "gone")


class ListedBeforeLookedUp(Model):
    """A key that had no row when the store was listed is taken, whatever has come since."""

    def collector_list(self, state, i, collector):
        listed = self.orphans(state.ledger, state.keys)
        yield (), state.collector(i, at="lock", listed=listed)

    def collector_take(self, state, i, collector):
        for arguments, after in super().collector_take(state, i, collector):
            ledger = after.collectors[i].draft
            draft = ledger._replace(trash=ledger.trash | collector.listed)
            yield arguments, after.collector(i, draft=draft)


class DeletedBeforeCommit(Model):
    """The DELETE is sent under the lock, before it is committed that anything was taken."""

    def collector_take(self, state, i, collector):
        for arguments, after in super().collector_take(state, i, collector):
            trash = after.collectors[i].draft.trash
            yield arguments, after._replace(sent=after.sent | trash)


LOSING = (
    SelectInsteadOfLock,
    Autocommit,
    DoomNotLifted,
    NotBuried,
    NoLookIntoTrash,
    ListedBeforeLookedUp,
    DeletedBeforeCommit,
)
