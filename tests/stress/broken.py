"""Broken steps, each of which the stress or the kills have to find: by name, what to break.

Each changes this process, and is called before anything else. What takes a moment that chance does
not meet, such as W2 before W1, is left to the tests that go step by step.
"""

import time

from sqla_artifacts import leftovers
from sqla_artifacts.backends import scratch
from sqla_artifacts.collect import sql as collecting
from sqla_artifacts.ledger import sql as writing
from sqla_artifacts.ledger.postgresql import PostgreSQLWriter
from sqla_artifacts.ledger.sqlite import SQLiteWriter


def _replaced(statements, key, old, new):
    assert old in statements[key], f"{key!r} is written differently now"
    statements[key] = statements[key].replace(old, new)


def no_horizon():
    """The collector waits for no transaction."""
    _replaced(collecting.POSTGRESQL, "old", collecting.POSTGRESQL["old"], "blob.doom IS NOT NULL")


def no_last_look():
    """What was doomed is taken without another look for references."""
    _replaced(collecting.FIND, "doomed", " AND {unnamed}", "")


def doom_not_compared():
    """What was doomed when the collector looked is taken, whatever was said of it since."""
    _replaced(collecting.CHANGE, "lock_doomed", "{by_doom}", "{by_digest}")
    _replaced(collecting.CHANGE, "take", "{by_doom}", "{by_digest}")


def doom_not_lifted():
    """The writer takes a doomed blob for a live one."""
    _replaced(writing.POSTGRESQL, "look", "AND doom IS NULL", "")
    _replaced(writing.SQLITE, "look", "blob.doom IS NOT NULL AS doomed", "0 AS doomed")


def keys_used_again():
    """A value that comes back gets the key that was taken."""
    _replaced(writing.POSTGRESQL, "intend", "+ CAST(blob.state = 'gone' AS integer)", "")
    _replaced(writing.SQLITE, "look", "blob.generation + (blob.state = 'gone')", "blob.generation")
    _replaced(writing.SQLITE, "look", "max(trash.generation) + 1", "max(trash.generation)")


def look_remembered():
    """The writer does not look a second time for what it has seen live."""
    known = set()
    look = PostgreSQLWriter._look

    def remembered(self, connection, asked):
        seen = look(self, connection, asked)
        known.update(seen.live)
        return seen._replace(live=[digest for digest in asked["digests"] if digest in known])

    PostgreSQLWriter._look = remembered


def no_write_lock():
    """The writer on SQLite looks, and takes the write lock only afterwards."""
    store = SQLiteWriter._store

    def unlocked(self, connection):
        connection.exec_driver_sql("SELECT 1 FROM artifact_blob")

    def dawdling(self, connection, *arguments):
        time.sleep(0.02)
        store(self, connection, *arguments)

    SQLiteWriter.lock, SQLiteWriter._store = unlocked, dawdling


def never_swept():
    """Nobody removes what a killed process has left."""
    leftovers._sweep = scratch._sweep = lambda *arguments: None


BROKEN = {
    each.__name__: each
    for each in (
        no_horizon,
        no_last_look,
        doom_not_compared,
        doom_not_lifted,
        keys_used_again,
        look_remembered,
        no_write_lock,
        never_swept,
    )
}
