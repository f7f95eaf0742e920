"""The collector and PostgreSQL's own ways: standbys, transactions, poolers, partitions."""

import shutil
import subprocess

import pytest
from sqlalchemy import Column, MetaData, NullPool, Table, event, insert, text

from sqla_artifacts import Artifact, ArtifactStore
from sqla_artifacts.errors import CollectError, ForeignStoreError
from tests.threads import until

from .conftest import Collected
from .page import identify, run
from .test_collect import DAY, drop, make_tree
from .test_recovery import on


@pytest.fixture
def scene(make_engine):
    return Collected(make_engine("postgresql"))


# -- failover -----------------------------------------------------------------------------------


@pytest.fixture
def servers(make_postgres):
    """(primary, standby): the second server is a copy of the first one's files, and follows it."""
    fast = {"fsync": "off", "autovacuum": "off"}
    primary = make_postgres(**fast)
    standby = make_postgres(**fast, primary_conninfo=f"host={primary.host} user=postgres")
    primary.stop()
    standby.stop()
    shutil.rmtree(standby.directory / "data")
    subprocess.run(["cp", "-a", primary.directory / "data", standby.directory], check=True)
    (standby.directory / "data" / "standby.signal").touch()
    primary.start()
    standby.start()
    return primary, standby


def follow(primary, standby):
    """Wait until a standby has all that its primary has."""
    with primary.connect() as one, standby.connect() as other:
        (end,) = one.execute("SELECT pg_current_wal_insert_lsn()").fetchone()
        replayed = "SELECT pg_last_wal_replay_lsn() >= %s"
        until(lambda: other.execute(replayed, [end]).fetchone()[0])


def test_failover(make_engine, servers, tmp_path):
    primary, standby = servers
    store = ArtifactStore(str(tmp_path / "store"), memory=0)
    scene = Collected(make_engine(primary.url(), poolclass=NullPool), store)
    scene.commit(b"kept", b"deleted")
    scene.roll_back(b"never")
    drop(scene, b"deleted")
    follow(primary, standby)
    follower = on(scene, make_engine(standby.url(), poolclass=NullPool))
    assert follower.values() == [b"kept"]
    with pytest.raises(CollectError, match="standby"):
        follower.collect()
    primary.stop()
    with standby.connect() as connection:
        assert connection.execute("SELECT pg_promote()").fetchone()[0]
    follower.commit(b"later")
    assert follower.collect().deleted.blobs == 2
    assert follower.values() == [b"kept", b"later"]
    assert follower.check() == set()
    identify(follower.engine)  # of a copy of files that is no failover, but a clone
    with pytest.raises(ForeignStoreError):
        follower.collect()


# -- transactions -------------------------------------------------------------------------------


def test_a_prepared_transaction_keeps_its_blobs_and_is_named(scene):
    scene.roll_back(b"x", b"garbage")
    with scene.engine.connect() as connection:
        transaction = connection.begin_twophase()
        scene.put(connection, b"x")
        transaction.prepare()
        report = scene.collect()
        assert (report.waiting.blobs, report.taken.blobs) == (2, 0)
        (holder,) = report.held_by
        assert holder.startswith(f"prepared transaction '{transaction.xid}', since ")
        transaction.commit()
    assert scene.collect().deleted.blobs == 1
    assert scene.values() == [b"x"]
    assert scene.check() == set()


def test_a_transaction_that_has_only_read_delays_nothing(scene):
    scene.roll_back(b"garbage")
    engine = scene.engine.execution_options(isolation_level="REPEATABLE READ")
    with engine.connect() as connection:
        connection.execute(text("SELECT count(*) FROM sample"))
        report = scene.collect()
        assert (report.deleted.blobs, report.held_by) == (1, ())


def test_a_transaction_of_another_database_delays_it_too(scene, postgres_server):
    scene.roll_back(b"garbage")
    with postgres_server.connect() as connection:
        connection.execute("SET application_name TO 'elsewhere'")
        connection.execute("BEGIN; SELECT pg_current_xact_id()")
        report = scene.collect()
        assert report.taken.blobs == 0
        assert "elsewhere" in str(report)
        connection.execute("ROLLBACK")
    assert scene.collect().deleted.blobs == 1


# -- poolers ------------------------------------------------------------------------------------


def test_nothing_rests_on_a_session_that_outlives_its_transaction(make_engine, tmp_path):
    """As behind a pooler of transactions, which gives each of them to any session."""
    engine = make_engine("postgresql", connect_args={"prepare_threshold": None})

    @event.listens_for(engine, "checkin")
    def forget(connection, record):
        connection.autocommit = True
        connection.execute("DISCARD ALL")
        connection.autocommit = False

    scene = Collected(engine)
    for isolation in ("READ COMMITTED", "REPEATABLE READ"):
        with engine.execution_options(isolation_level=isolation).begin() as connection:
            scene.put(connection, b"kept " + isolation.encode(), b"deleted")
            tree = make_tree(tmp_path, isolation, large=b"l" * 1_500_000)
            scene.put(connection, tree, column="run")
    drop(scene, b"deleted")
    assert scene.collect().deleted.blobs == 1
    assert scene.check() == set()


# -- partitions ---------------------------------------------------------------------------------


def test_a_detached_partition_counts_if_the_models_have_it(scene):
    run(
        scene.engine,
        "CREATE TABLE parted (part int, data text) PARTITION BY LIST (part);"
        "CREATE TABLE first PARTITION OF parted FOR VALUES IN (1)",
    )
    columns = (Column("part"), Column("data", Artifact("bytes")))
    parted = Table("parted", MetaData(), *columns)
    with scene.engine.begin() as connection:
        connection.execute(insert(parted).values(part=1, data=b"x"))
    assert scene.collect().marked.blobs == 0
    run(scene.engine, "ALTER TABLE parted DETACH PARTITION first")
    assert scene.collect(dry_run=True).garbage.blobs == 1
    first = Table("first", scene.metadata, Column("data", Artifact("bytes")))
    assert scene.collect(dry_run=True).garbage.blobs == 0
    scene.metadata.remove(first)
    assert scene.collect(retention=DAY).taken.blobs == 1
    run(scene.engine, "ALTER TABLE parted ATTACH PARTITION first FOR VALUES IN (1)")
    assert len(scene.collect().rescued) == 1  # within the retention it is not too late
