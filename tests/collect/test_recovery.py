"""What docs/how-to/recovery.md claims, with real copies, restores and transactions."""

import shutil
from copy import copy
from pathlib import Path

import pytest
from psycopg.sql import SQL, Identifier
from sqlalchemy import NullPool, delete, inspect

from sqla_artifacts import ArtifactStore
from sqla_artifacts.collect import Tally, adopt
from sqla_artifacts.digest import digest_of
from sqla_artifacts.errors import BlobNotFoundError, CollectError, ForeignStoreError
from sqla_artifacts.location import key_of

from .conftest import Collected
from .page import identify, run
from .test_collect import DAY, drop, make_tree


def local(engine, tmp_path):
    """A scene with a local store."""
    return Collected(engine, ArtifactStore(str(tmp_path / "store"), memory=0))


@pytest.fixture
def scene(engine, tmp_path):
    return local(engine, tmp_path)


@pytest.fixture
def copied(make_engine, postgres_server, tmp_path):
    """Copies a scene's database: as a file, or by SQL. Returns an engine on the copy."""
    names = []

    def make(engine, name="copy"):
        engine.dispose()
        if engine.dialect.name == "sqlite":
            shutil.copy(engine.url.database, tmp_path / f"{name}.db")
            return make_engine(f"sqlite:///{tmp_path / name}.db")
        names.append(f"{engine.url.database}_{name}")
        statement(postgres_server, "CREATE DATABASE {} TEMPLATE {}", names[-1], engine.url.database)
        return make_engine(engine.url.set(database=names[-1]), poolclass=NullPool)

    yield make
    for name in names:
        statement(postgres_server, "DROP DATABASE {} WITH (FORCE)", name)


def statement(server, sql, *names):
    with server.connect() as connection:
        connection.execute(SQL(sql).format(*map(Identifier, names)))


def on(scene, engine, store=None):
    """A scene's tables on a copy of its database, with its store or another."""
    other = copy(scene)
    other.engine, other.store = engine, store or scene.store
    other.store.attach(engine)
    return other


def copy_store(scene, tmp_path, name="store-copy"):
    shutil.copytree(scene.store.backend.root, tmp_path / name)
    return ArtifactStore(str(tmp_path / name), memory=0)


def assert_cannot_write(scene):
    with pytest.raises(ForeignStoreError):
        scene.commit(b"new")


def assert_foreign(scene, values):
    """It can read, and neither write nor collect."""
    assert scene.values() == values
    before = scene.stored()
    assert_cannot_write(scene)
    for dry_run in (True, False):
        with pytest.raises(ForeignStoreError):
            scene.collect(dry_run=dry_run)
    assert scene.stored() == before


# -- in place ---------------------------------------------------------------------------------


def save(engine):
    """A backup of a database."""
    if engine.dialect.name == "sqlite":
        engine.dispose()
        return Path(engine.url.database).read_bytes()
    with engine.connect() as connection:
        cursor = connection.connection.driver_connection.cursor()
        saved = {}
        for table in inspect(connection).get_table_names():
            with cursor.copy(SQL("COPY {} TO STDOUT").format(Identifier(table))) as copy:
                saved[table] = b"".join(copy)
    return saved


def restore(engine, saved):
    """Put a backup into the very database that it is of."""
    if engine.dialect.name == "sqlite":
        engine.dispose()
        Path(engine.url.database).write_bytes(saved)
        return
    with engine.begin() as connection:
        cursor = connection.connection.driver_connection.cursor()
        for table, rows in saved.items():
            cursor.execute(SQL("TRUNCATE {}").format(Identifier(table)))
            with cursor.copy(SQL("COPY {} FROM STDIN").format(Identifier(table))) as copy:
                copy.write(rows)


def test_going_back_in_time_within_the_retention(scene):
    scene.commit(b"old")
    saved = save(scene.engine)
    drop(scene, b"old")
    scene.commit(b"new")
    assert scene.collect(retention=DAY).taken.blobs == 1
    restore(scene.engine, saved)
    assert scene.values() == [b"old"]
    assert scene.collect(retention=DAY).strays == Tally(1, 3)  # b"new"
    scene.commit(b"new")
    assert scene.collect().deleted == Tally(1, 3)
    assert scene.values() == [b"new", b"old"]
    assert scene.check() == set()


def test_going_back_further_than_the_retention(scene):
    scene.commit(b"old")
    saved = save(scene.engine)
    drop(scene, b"old")
    scene.collect()
    restore(scene.engine, saved)
    with pytest.raises(BlobNotFoundError):
        scene.values()


# -- elsewhere --------------------------------------------------------------------------------


def test_a_clone_made_by_sql_can_only_read(make_engine, copied, tmp_path):
    scene = local(make_engine("postgresql"), tmp_path)
    scene.commit(b"x")
    clone = on(scene, copied(scene.engine))
    drop(scene, b"x")
    scene.commit(b"y")
    assert_foreign(clone, [b"x"])
    assert scene.values() == [b"y"]


def test_a_file_that_was_copied_is_told_apart_by_an_identity_of_its_own(
    make_engine, copied, tmp_path
):
    scene = local(make_engine("sqlite"), tmp_path)
    scene.commit(b"x")
    clone = on(scene, copied(scene.engine))
    assert clone.collect(dry_run=True).garbage.blobs == 0  # nothing tells it apart yet
    identify(clone.engine)
    assert_foreign(clone, [b"x"])
    scene.commit(b"y")
    assert scene.collect(dry_run=True).total.blobs == 2


def test_an_old_copy_does_not_take_most_of_the_store_for_strays(make_engine, copied, tmp_path):
    scene = local(make_engine("sqlite"), tmp_path)
    scene.commit(b"1")
    clone = on(scene, copied(scene.engine))
    scene.commit(b"2", b"3")
    with pytest.raises(CollectError, match=r"2 of 3 blobs .*an old copy of the database"):
        clone.collect(limit_share=0.5)
    assert scene.values() == [b"1", b"2", b"3"]


def test_a_clone_that_writes_has_a_copy_of_the_store(scene, copied, tmp_path):
    scene.commit(b"x", b"deleted there")
    clone = on(scene, copied(scene.engine), copy_store(scene, tmp_path))
    identify(clone.engine)
    assert_foreign(clone, [b"deleted there", b"x"])
    adopt(clone.store, clone.engine)
    clone.commit(b"written there")
    drop(clone, b"deleted there")
    clone.collect()
    assert clone.values() == [b"written there", b"x"]
    assert clone.check() == set()
    assert scene.values() == [b"deleted there", b"x"]
    assert scene.collect().deleted.blobs == 0


def test_the_database_is_backed_up_first_and_then_the_store(scene, copied, tmp_path):
    scene.commit(b"x", b"deleted meanwhile")
    scene.commit(make_tree(tmp_path, large=b"l" * 1_500_000), column="run")
    backup = copied(scene.engine)
    with scene.engine.begin() as connection:
        connection.execute(delete(scene.table).where(scene.table.c.id > 1))
    scene.commit(b"written meanwhile")
    scene.collect(retention=DAY)
    restored = on(scene, backup, copy_store(scene, tmp_path))
    if scene.engine.dialect.name == "postgresql":
        assert_cannot_write(restored)
        adopt(restored.store, restored.engine)
    restored.collect()
    assert restored.check() == set()
    assert key_of(digest_of(b"deleted meanwhile", "blake3")) in restored.stored()
    assert key_of(digest_of(b"written meanwhile", "blake3")) not in restored.stored()


def test_adopting_lifts_marks_that_another_server_has_made(make_engine, copied, tmp_path):
    scene = local(make_engine("postgresql"), tmp_path)
    scene.roll_back(b"x")
    run(scene.engine, "UPDATE artifact_blob SET doom = 3, horizon = 3, doomed_at = '2000-01-01'")
    restored = on(scene, copied(scene.engine))
    adopt(restored.store, restored.engine)
    assert restored.blob(b"x").doom is None
    assert restored.collect(grace=DAY).taken.blobs == 0
    with pytest.raises(ForeignStoreError):
        scene.collect()
