"""The writer's steps on SQLite: the write lock first, and everything under it."""

import sqlite3
import sys

import pytest
from sqlalchemy import event, select, text
from sqlalchemy.exc import OperationalError

from sqla_artifacts.errors import UnsafeTransactionError
from sqla_artifacts.store import key_of


@pytest.fixture
def scene(make_scene, sqlite_mode):
    return make_scene("sqlite", sqlite_mode=sqlite_mode, connect_args={"timeout": 0})


class Other:
    """Another process's connection, which waits for nothing."""

    def __init__(self, scene):
        self.connection = sqlite3.connect(
            scene.engine.url.database, timeout=0, isolation_level=None, check_same_thread=False
        )

    def begin(self):
        self.connection.execute("BEGIN IMMEDIATE")

    def end(self):
        self.connection.execute("ROLLBACK")

    @property
    def locked_out(self):
        """Whether somebody else holds the write lock."""
        try:
            self.begin()
        except sqlite3.OperationalError as error:
            return "locked" in str(error)
        self.end()
        return False


@pytest.fixture
def other(scene):
    connection = Other(scene)
    yield connection
    connection.connection.close()


def test_the_lock_is_taken_before_the_look_and_held_to_the_end(scene, other):
    held = {}

    @event.listens_for(scene.engine, "before_cursor_execute")
    def look(connection, cursor, statement, *_):
        held.setdefault("look", other.locked_out) if "json_each" in statement else None

    scene.store.backend.before_put = lambda keys: held.setdefault("put", other.locked_out)
    with scene.engine.connect() as connection:
        assert not other.locked_out
        scene.put(connection, b"value")
        held["row"] = other.locked_out
        connection.commit()
    assert held == {"look": True, "put": True, "row": True}
    assert not other.locked_out
    assert scene.check() == set()


def test_a_doom_is_lifted_by_whoever_stores_the_value_again(scene, collector):
    scene.commit(b"value")
    delete_rows(scene)
    collector.mark()
    assert scene.blob(b"value").doom is not None
    scene.commit(b"value")
    blob = scene.blob(b"value")
    assert (blob.state, blob.generation, blob.doom, blob.horizon) == ("live", 0, None, None)
    assert collector.collect() == set()
    assert scene.check() == set()


@pytest.mark.parametrize("forget", [False, True], ids=["in trash", "forgotten"])
def test_a_taken_blob_gets_its_next_generation(scene, collector, forget):
    digest = scene.digest(b"value")
    for generation in range(3):
        scene.commit(b"value")
        assert scene.blob(b"value").generation == generation
        (reference,) = scene.references()
        assert scene.store.stat(reference).key == key_of(digest, generation)
        assert scene.check() == set()
        delete_rows(scene)
        assert collector.collect() == {digest}
        if forget:
            with scene.engine.begin() as connection:
                connection.execute(text("DELETE FROM artifact_trash"))
    assert scene.puts == [key_of(digest), key_of(digest, 1), key_of(digest, 2)]


def test_a_blob_that_was_rolled_back_and_taken_gets_its_next_generation(scene, collector):
    """Its row went with the transaction; that its key was taken is known from the trash."""
    scene.roll_back(b"value")
    assert scene.blob(b"value") is None
    collector.take()
    scene.commit(b"value")
    collector.delete()  # late
    assert scene.blob(b"value").generation == 1
    assert scene.check() == set()


def test_a_rollback_leaves_no_row_and_no_loss(scene):
    scene.roll_back(b"value")
    assert scene.blob(b"value") is None
    assert scene.columns() == set()
    assert scene.check() == {key_of(scene.digest(b"value"))}
    scene.commit(b"value")
    assert scene.check() == set()


def test_locked_by_another(scene, other):
    with scene.engine.connect() as connection:
        other.begin()
        with pytest.raises(OperationalError, match="locked"):
            scene.put(connection, b"value")
        connection.rollback()
        other.end()
        assert scene.puts == []
        scene.put(connection, b"value")
        connection.commit()
    assert scene.values() == [b"value"]
    assert scene.check() == set()


def test_a_snapshot_that_another_has_written_after(scene, sqlite_mode):
    """Where a read begins a transaction, WAL refuses to write from it; nothing is stored then."""
    with scene.engine.connect() as connection:
        assert connection.scalars(select(scene.table.c.id)).all() == []
        if sqlite_mode.journal == "delete" and sqlite_mode.transactions != "legacy":
            # The reader holds a lock that the other's commit has to wait for.
            with pytest.raises(OperationalError, match="locked"):
                scene.commit(b"value")
        else:
            scene.commit(b"value")
        stored = list(scene.puts)
        if sqlite_mode.journal == "wal" and sqlite_mode.transactions != "legacy":
            with pytest.raises(OperationalError, match="locked"):
                scene.put(connection, b"value", b"other")
            assert scene.puts == stored
            connection.rollback()
        scene.put(connection, b"value", b"other")
        connection.commit()
    assert set(scene.values()) == {b"other", b"value"}
    assert scene.check() == set()


def test_autocommit_of_the_driver(scene, sqlite_mode):
    with scene.engine.connect() as connection:
        driver = connection.connection.driver_connection
        if sys.version_info >= (3, 12):
            driver.autocommit = True
        else:
            driver.isolation_level = None
        if sqlite_mode.transactions == "begin":  # that is the recipe, with a BEGIN of its own
            scene.put(connection, b"value")
            connection.rollback()
        else:
            with pytest.raises(UnsafeTransactionError, match="AUTOCOMMIT"):
                scene.put(connection, b"value")
            assert scene.puts == []
        connection.invalidate()
    assert scene.columns() == set()
    assert scene.values() == []


def delete_rows(scene):
    with scene.engine.begin() as connection:
        connection.execute(scene.table.delete())
