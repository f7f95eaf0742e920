"""Isolation levels, pools, and other ways in which connections and transactions differ."""

import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import NullPool, event, insert, select, text
from sqlalchemy.orm import DeclarativeBase, Session

from sqla_artifacts import ArtifactStore
from tests.check import check
from tests.threads import DEADLINE, barrier, together, until

from .scene import Scene

ISOLATIONS = [
    ("postgresql", "READ COMMITTED"),
    ("postgresql", "REPEATABLE READ"),
    ("postgresql", "SERIALIZABLE"),
    ("sqlite", "READ UNCOMMITTED"),
    ("sqlite", "SERIALIZABLE"),
]
BOTH = ["sqlite", "postgresql"]


@pytest.mark.parametrize(("database", "isolation"), ISOLATIONS)
def test_a_snapshot_older_than_the_blob(make_scene, database, isolation):
    scene = make_scene(database)
    engine = scene.engine.execution_options(isolation_level=isolation)
    with engine.connect() as connection:
        assert connection.scalars(select(scene.table.c.id)).all() == []  # takes a snapshot
        scene.commit(b"value")
        scene.put(connection, b"value")
        scene.put(connection, b"value", b"other")
        connection.commit()
    assert scene.values() == [b"other", *[b"value"] * 3]
    assert scene.check() == set()
    assert len(scene.puts) == 2  # the snapshot did not hide that the value was there


@pytest.mark.parametrize("taken", [False, True], ids=["doomed", "taken"])
@pytest.mark.parametrize(("database", "isolation"), ISOLATIONS)
def test_a_snapshot_older_than_the_doom(make_scene, make_collector, database, isolation, taken):
    scene = make_scene(database)
    collector = make_collector(scene)
    scene.commit(b"value")
    engine = scene.engine.execution_options(isolation_level=isolation)
    with engine.connect() as connection:
        assert connection.scalar(select(scene.table.c.id)) == 1
        with scene.engine.begin() as other:
            other.execute(scene.table.delete())
        (collector.collect if taken else collector.mark)()
        scene.put(connection, b"value")
        connection.commit()
    collector.collect()
    assert scene.values() == [b"value"]
    assert scene.check() == set()


@pytest.mark.parametrize("database", BOTH)
def test_a_pool_of_one_connection(make_scene, database):
    options = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 10}
    scene = make_scene(database, **options)
    with Session(scene.engine) as session:
        session.execute(insert(scene.table).values(data=b"first"))
        with session.begin_nested():
            session.execute(insert(scene.table).values(data=b"second", run=("a", b"file")))
        session.commit()
    assert scene.values() == [b"first", b"second"]
    assert scene.check() == set()


@pytest.mark.parametrize("database", BOTH)
def test_a_null_pool(make_scene, database):
    scene = make_scene(database, poolclass=NullPool)
    scene.commit(b"first", b"second")
    scene.commit(b"second")
    assert scene.values() == [b"first", b"second", b"second"]
    assert scene.check() == set()


@pytest.mark.parametrize(("database", "isolation"), [("sqlite", "SERIALIZABLE"), *ISOLATIONS[:3]])
def test_eight_threads_on_a_pool_of_four(make_scene, database, isolation):
    options = {"pool_size": 4, "max_overflow": 0, "pool_timeout": 30, "isolation_level": isolation}
    if database == "sqlite":
        options["connect_args"] = {"timeout": 30}
    scene = make_scene(database, **options)
    start = barrier(8)

    def run(number):
        start.wait()
        for turn in range(6):
            with scene.engine.connect() as connection:
                scene.put(connection, b"shared %d" % turn, b"own %d %d" % (number, turn))
                connection.rollback() if (number + turn) % 3 == 0 else connection.commit()

    together(*(lambda number=number: run(number) for number in range(8)))
    committed = [(n, turn) for n in range(8) for turn in range(6) if (n + turn) % 3]
    own = [b"own %d %d" % pair for pair in committed]
    assert scene.values() == sorted(own + [b"shared %d" % turn for _, turn in committed])
    scene.check()


def test_two_phases(make_scene):
    scene = make_scene("postgresql")

    class Base(DeclarativeBase):
        pass

    class Sample(Base):
        __table__ = scene.table.to_metadata(Base.metadata)

    with Session(scene.engine, twophase=True) as session:
        session.add(Sample(id=1, data=b"value"))
        session.prepare()
        session.commit()
    assert scene.values() == [b"value"]
    assert scene.check() == set()


def attach_databases(engine, directory, *names):
    """Give every connection to a SQLite file further files as its schemas."""

    @event.listens_for(engine, "connect")
    def attach(connection, record):
        for name in names:
            connection.execute(f"ATTACH '{directory / name}.db' AS {name}")


def make_schemas(engine, directory, *names):
    """Make schemas, which on SQLite are files."""
    if engine.dialect.name == "sqlite":
        attach_databases(engine, directory, *names)
    else:
        with engine.begin() as connection:
            for name in names:
                connection.execute(text(f"CREATE SCHEMA {name}"))


def test_a_schema_translate_map(engine, tmp_path):
    make_schemas(engine, tmp_path, "tenant")
    scene = Scene(engine)
    scene.commit(b"ours")
    tenant = engine.execution_options(schema_translate_map={None: "tenant"})
    scene.table.create(tenant)
    with tenant.begin() as connection:
        scene.put(connection, b"theirs")
        assert connection.scalars(select(scene.table.c.data)).all() == [b"theirs"]
    home = "main" if engine.dialect.name == "sqlite" else "public"
    assert scene.values() == [b"ours"]
    assert {("tenant", "sample", "data"), (home, "sample", "data")} <= scene.columns()
    assert len(scene.check() & check(tenant, scene.store, scene.table)) == 0


def test_a_ledger_in_a_schema_of_its_own(engine, tmp_path):
    make_schemas(engine, tmp_path, "artifacts")
    scene = Scene(engine, ledger_schema="artifacts")
    scene.commit(b"value")
    scene.commit(b"value")
    assert scene.values() == [b"value"] * 2
    assert scene.check() == set()
    with engine.connect() as connection:
        count = text("SELECT count(*) FROM artifacts.artifact_blob")
        assert connection.scalar(count) == 1


def test_a_search_path_that_changes_in_the_middle(make_scene):
    scene = make_scene("postgresql")
    with scene.engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA other"))
        connection.execute(text("CREATE TABLE other.sample (LIKE public.sample INCLUDING ALL)"))
    with scene.engine.begin() as connection:
        scene.put(connection, b"first")
        connection.execute(text("SET LOCAL search_path TO other"))
        connection.execute(insert(scene.table).values(id=1, data=b"second"))
    assert scene.values() == [b"first"]
    assert ("other", "sample", "data") in scene.columns()
    other = scene.engine.execution_options(schema_translate_map={None: "other"})
    with other.connect() as connection:
        assert connection.scalars(select(scene.table.c.data)).all() == [b"second"]
    check(other, scene.store, scene.table)


def test_dispose_renews_the_ledgers_connections(make_scene, postgres_server):
    scene = make_scene("postgresql")
    scene.commit(b"first")
    sessions = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND backend_type LIKE 'client%%'"
    )
    with postgres_server.connect() as watcher:

        def count():
            return watcher.execute(sessions, [scene.engine.url.database]).fetchone()[0]

        assert count() == 2  # the user's and the ledger's
        scene.engine.dispose()
        until(lambda: count() == 0)
    scene.commit(b"second")
    assert scene.values() == [b"first", b"second"]
    assert scene.check() == set()


@pytest.mark.parametrize("database", BOTH)
def test_a_fork(make_engine, tmp_path, database):
    scene = Scene(make_engine(database), ArtifactStore(str(tmp_path / "store")))
    url = scene.engine.url.render_as_string(hide_password=False)
    program = [sys.executable, "-m", "tests.ledger.forking"]
    command = [*program, url, scene.store.url]
    root = Path(__file__).parents[2]
    done = subprocess.run(
        command, cwd=root, check=False, capture_output=True, text=True, timeout=DEADLINE
    )
    # The child drops its copies of the parent's connections unclosed, as it must.
    assert done.returncode == 0, done.stderr
    assert scene.values() == sorted([b"before", b"both", b"both", b"child", b"parent"])
    assert scene.check() == set()
