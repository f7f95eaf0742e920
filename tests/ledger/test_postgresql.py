"""The writer's steps on PostgreSQL, against a collector that comes at the worst moments."""

import pytest
from sqlalchemy import event, text

from sqla_artifacts.errors import LedgerBusyError, StoreWriteError
from sqla_artifacts.ledger import connections
from sqla_artifacts.ledger.postgresql import ROUNDS
from sqla_artifacts.store import key_of
from tests.threads import DEADLINE, barrier, start, together, until

ISOLATIONS = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]


@pytest.fixture
def scene(make_scene):
    return make_scene("postgresql")


def at_each_statement(scene, action):
    """Call `action` before each of the writer's own statements on the user's connections."""

    @event.listens_for(scene.engine, "before_cursor_execute")
    def act(connection, cursor, statement, *_):
        if "pg_current_xact_id" in statement:
            action()


def test_a_doom_is_cleared_by_whoever_stores_the_value_again(scene, collector):
    scene.roll_back(b"value")
    collector.mark()
    collector.stamp()
    assert scene.blob(b"value").doom is not None
    scene.commit(b"value")
    blob = scene.blob(b"value")
    assert (blob.state, blob.doom, blob.horizon, blob.doomed_at) == ("live", None, None, None)
    assert collector.collect() == set()
    assert scene.check() == set()


def test_a_taken_blob_gets_its_next_generation(scene, collector):
    scene.roll_back(b"value")
    assert collector.collect() == {scene.digest(b"value")}
    for generation in (1, 2):
        scene.commit(b"value")
        assert scene.blob(b"value").generation == generation
        (reference,) = scene.references()
        assert scene.store.stat(reference).key == key_of(scene.digest(b"value"), generation)
        with scene.store.open(reference) as stream:
            assert stream.read() == scene.store.get(reference) == b"value"
        assert scene.check() == set()
        with scene.engine.begin() as connection:
            connection.execute(scene.table.delete())
        assert collector.collect() == {scene.digest(b"value")}
    digest = scene.digest(b"value")
    assert scene.puts == [key_of(digest), key_of(digest, 1), key_of(digest, 2)]


def test_readers_find_the_later_generation_while_the_earlier_is_there(scene, collector):
    scene.roll_back(b"value")
    collector.mark()
    collector.stamp()
    collector.take()
    scene.commit(b"value")
    assert len(list(scene.store.backend.list("blobs/"))) == 2
    assert scene.check() == {key_of(scene.digest(b"value"))}
    collector.delete()
    assert scene.check() == set()


def fail(keys):
    raise OSError


@pytest.mark.parametrize("intended", [False, True], ids=["gone", "pending for another"])
@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_taken_while_it_was_written(scene, collector, isolation, intended):
    """W4 finds its generation gone: back to W2, and the bytes are written anew."""
    backend = scene.store.backend

    def seize_once(keys):
        backend.after_put = lambda keys: None
        collector.seize(b"value")
        collector.delete()
        if intended:  # by a writer that means to write the next generation, and then crashes
            backend.before_put = fail
            with pytest.raises(StoreWriteError):
                scene.commit(b"value")
            backend.before_put = lambda keys: None

    backend.after_put = seize_once
    engine = scene.engine.execution_options(isolation_level=isolation)
    with engine.begin() as connection:
        scene.put(connection, b"value", b"other")
    digest = scene.digest(b"value")
    assert scene.blob(b"value").generation == 1
    assert sorted(scene.puts) == sorted(
        [key_of(digest), key_of(digest, 1), key_of(scene.digest(b"other"))]
    )
    assert scene.values() == [b"other", b"value"]
    assert scene.check() == set()


def test_taken_again_and_again(scene, collector):
    scene.store.backend.after_put = lambda keys: collector.seize(b"value")
    with scene.engine.connect() as connection:
        with pytest.raises(LedgerBusyError, match="collector"):
            scene.put(connection, b"value")
        assert len(scene.puts) == ROUNDS
        connection.rollback()
        scene.store.backend.after_put = lambda keys: None
        scene.put(connection, b"value")
        connection.commit()
    assert scene.values() == [b"value"]
    scene.check()


def hold(scene, connection, how):
    """Store a value that is live already, and leave the transaction open."""
    if how == "savepoint rolled back":
        savepoint = connection.begin_nested()
        scene.put(connection, b"value")
        savepoint.rollback()
        return
    scene.put(connection, b"value")
    if how == "another savepoint rolled back":
        savepoint = connection.begin_nested()
        scene.put(connection, b"value")
        savepoint.rollback()


@pytest.mark.parametrize(
    "how", ["at once", "savepoint rolled back", "another savepoint rolled back"]
)
@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_who_read_live_holds_the_horizon(scene, collector, isolation, how):
    scene.roll_back(b"value")
    engine = scene.engine.execution_options(isolation_level=isolation)
    with engine.connect() as connection:
        hold(scene, connection, how)
        assert len(scene.puts) == 1  # it was read to be live
        collector.mark()
        collector.stamp()
        assert collector.take() == set()
        connection.commit()
    referenced = how != "savepoint rolled back"
    assert collector.take() == (set() if referenced else {scene.digest(b"value")})
    collector.delete()
    assert scene.values() == ([b"value"] if referenced else [])
    assert scene.check() == set()


def test_stored_again_after_a_savepoint_was_rolled_back(scene, collector):
    """The doom that came meanwhile is seen, for nothing of the first look is kept."""
    scene.roll_back(b"value")
    with scene.engine.connect() as connection:
        hold(scene, connection, "savepoint rolled back")
        collector.mark()
        collector.stamp()
        scene.put(connection, b"value")
        assert scene.blob(b"value").doom is None
        connection.commit()
    assert collector.collect() == set()
    assert scene.check() == set()


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_a_prepared_transaction_holds_the_horizon(scene, collector, end):
    scene.roll_back(b"value")
    with scene.engine.connect() as connection:
        transaction = connection.begin_twophase()
        scene.put(connection, b"value")
        transaction.prepare()
        collector.mark()
        collector.stamp()
        assert collector.take() == set()
        getattr(transaction, end)()
    taken = collector.take()
    collector.delete()
    assert taken == (set() if end == "commit" else {scene.digest(b"value")})
    assert scene.check() == set()


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_a_collector_that_comes_before_each_step(scene, collector, isolation):
    """W2 comes after W1, in a statement of its own, with a snapshot of its own."""
    scene.commit(b"registers the column")
    scene.roll_back(b"value")
    at_each_statement(scene, collector.collect)
    event.listen(scene.engine.pool, "checkout", lambda *_: collector.collect())
    engine = scene.engine.execution_options(isolation_level=isolation)
    with engine.begin() as connection:
        scene.put(connection, b"value")
    collector.collect()
    assert scene.values() == [b"registers the column", b"value"]
    assert scene.check() == set()


def test_the_column_is_registered_before_the_look(scene, make_collector):
    """A collector has to read the columns before its last look, and may be slow in between.

    If the writer looked first and registered the column only then, a collector could doom
    the blob and read the columns between the two, wait for the writer's transaction to be over,
    and not know of the column that names the blob.
    """
    collector = make_collector(scene)
    scene.roll_back(b"value")
    with scene.engine.begin() as connection:
        connection.execute(text("DELETE FROM artifact_column"))
    scene.engine.dispose()
    read = []

    def come_between(*_):
        if not read:
            collector.mark()
            collector.stamp()
            read.append(collector.columns())

    with scene.engine.connect() as connection:
        event.listen(scene.engine.pool, "checkout", come_between)
        scene.put(connection, b"value")
        connection.commit()
    assert read == [[]]
    collector.take(columns=read[0])
    assert scene.values() == [b"value"]
    assert scene.check() == set()


def test_ddl_on_the_ledger_in_the_users_transaction(scene, monkeypatch):
    monkeypatch.setattr(connections, "LOCK_TIMEOUT", "200ms")
    scene.commit(b"first")
    with scene.engine.connect() as connection:
        connection.execute(text("ALTER TABLE artifact_blob ADD COLUMN more integer"))
        with pytest.raises(LedgerBusyError, match="locked"):
            scene.put(connection, b"second")
        connection.rollback()
        scene.put(connection, b"second")
        connection.commit()
    assert scene.values() == [b"first", b"second"]
    assert scene.check() == set()


def test_two_writers_with_opposite_orders(scene):
    ready = barrier(2)

    def store(reverse):
        for turn in range(8):
            values = [b"%d of %d" % (number, turn) for number in range(300)]
            ready.wait()
            scene.commit(*(reversed(values) if reverse else values))

    together(lambda: store(False), lambda: store(True))
    assert len(scene.values()) == 2 * 8 * 300
    assert scene.check() == set()


@pytest.mark.parametrize("step", ["W3", "W4"])
def test_rows_are_locked_in_the_order_of_digests(scene, collector, make_engine, step):
    values = sorted((b"%d" % number for number in range(9)), key=scene.digest, reverse=True)
    digests = sorted(map(scene.digest, values))
    lock = text("SELECT digest FROM artifact_blob WHERE digest = :digest FOR UPDATE")
    free = text("SELECT digest FROM artifact_blob ORDER BY digest FOR UPDATE SKIP LOCKED")
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    with make_engine(scene.engine.url).connect() as other, other.engine.connect() as watcher:

        def lock_the_middle(_):
            other.execute(lock, {"digest": digests[4]})

        if step == "W3":
            scene.roll_back(*values)
            collector.mark()
            lock_the_middle(None)
        else:
            scene.store.backend.before_put = lock_the_middle
        writer = start(lambda: scene.commit(*values))
        until(lambda: watcher.scalar(waiting))
        assert watcher.scalars(free).all() == digests[5:]
        watcher.rollback()
        other.rollback()
        writer.result(DEADLINE)
    assert scene.check() == set()
