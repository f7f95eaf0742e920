"""The ledger's tables and its identity, and which store belongs to which database."""

import itertools

import pytest
from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    StaticPool,
    Table,
    create_engine,
    insert,
    select,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from sqla_artifacts import Artifact, ledger
from sqla_artifacts.errors import ForeignStoreError, NoLedgerError, StoreError

from .scene import Scene, make_table, watched_store

NAMES = ("ledger", "store", "blob", "trash", "edge", "column", "declaration")
FOREIGN = "belongs to another database.*owner.json"


def identities(engine):
    with engine.connect() as connection:
        return connection.scalars(select(ledger.Ledger.id)).all()


def same_store(scene):
    """The store as another process opens it."""
    return watched_store(scene.store.url)


@pytest.fixture
def scene(make_scene, database_url, tmp_path):
    return make_scene(database_url, store=watched_store(f"{tmp_path}/store"))


def refuse(engine, store, table, error, match):
    """Check that storing fails and leaves no blob, and that the session is of use afterwards."""
    before = list(store.backend.list("blobs/"))
    with Session(engine) as session:
        with pytest.raises(error, match=match):
            session.execute(insert(table).values(data=b"refused"))
        session.rollback()
        session.execute(insert(table).values(id=99))
        assert session.scalar(select(table.c.data).where(table.c.id == 99)) is None
    assert list(store.backend.list("blobs/")) == before


@pytest.fixture
def make_database(engine, tmp_path, request):
    """Makes further databases of the engine's kind; `template` names one to clone."""
    numbers = itertools.count()
    if engine.dialect.name == "sqlite":
        yield lambda: f"sqlite:///{tmp_path}/further{next(numbers)}.db"
        return
    server, made = request.getfixturevalue("postgres_server"), []

    def make(template="template1"):
        made.append(f"{engine.url.database}_{next(numbers)}")
        with server.connect() as connection:
            connection.execute(f"CREATE DATABASE {made[-1]} TEMPLATE {template}")
        return server.url(made[-1])

    yield make
    with server.connect() as connection:
        for name in made:
            connection.execute(f"DROP DATABASE {name} (FORCE)")


def test_one_identity_is_made_with_the_tables(scene):
    (identity,) = identities(scene.engine)
    scene.commit(b"value")
    scene.metadata.create_all(scene.engine)
    ledger.metadata.create_all(scene.engine)
    assert identities(scene.engine) == [identity]


def test_a_writers_rollback_leaves_the_identity(scene):
    (identity,) = identities(scene.engine)
    scene.roll_back(b"value")
    assert identities(scene.engine) == [identity]
    scene.commit(b"value")
    assert scene.check() == set()


@pytest.mark.parametrize("known", [False, True], ids=["another process", "same process"])
def test_tables_made_anew_are_another_owner(scene, make_engine, known):
    scene.commit(b"value")
    (before,) = identities(scene.engine)
    scene.metadata.drop_all(scene.engine)
    scene.metadata.create_all(scene.engine)
    (after,) = identities(scene.engine)
    assert after != before
    later = scene if known else Scene(make_engine(scene.engine.url), same_store(scene))
    refuse(later.engine, later.store, later.table, ForeignStoreError, FOREIGN)


def test_a_second_database_with_one_store(scene, make_engine, make_database):
    scene.commit(b"value")
    second = Scene(make_engine(make_database()), same_store(scene))
    refuse(second.engine, second.store, second.table, ForeignStoreError, FOREIGN)
    scene.commit(b"more")
    assert scene.check() == set()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_clone_of_the_database(scene, make_engine, make_database):
    scene.commit(b"value")
    scene.engine.dispose()
    clone = Scene(make_engine(make_database(scene.engine.url.database)), same_store(scene))
    assert identities(clone.engine) == identities(scene.engine)
    refuse(clone.engine, clone.store, clone.table, ForeignStoreError, FOREIGN)
    scene.commit(b"more")
    assert scene.check() == set()


def test_one_store_under_two_names(scene):
    scene.commit(b"value")
    scene.store.attach(scene.engine, name="second")
    table = Table("second", MetaData(), Column("id", Integer, primary_key=True))
    table.append_column(Column("data", Artifact("bytes", store="second")))
    table.create(scene.engine)
    match = "is attached to this database as 'default', not 'second'"
    refuse(scene.engine, scene.store, table, StoreError, match)
    scene.commit(b"more")
    assert scene.check() == set()


def test_another_store_under_a_known_name(scene, make_engine):
    scene.commit(b"value")
    later = Scene(make_engine(scene.engine.url))
    match = "knows another store as 'default'"
    refuse(later.engine, later.store, later.table, StoreError, match)
    assert list(later.store.backend.list("owner.json")) == []  # another database may have it
    with pytest.raises(StoreError, match="has another store 'default'"):
        later.store.attach(scene.engine)


def test_two_stores_under_two_names(scene):
    videos = watched_store()
    videos.attach(scene.engine, name="videos")
    table = Table(
        "movie",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("data", Artifact("bytes")),
        Column("video", Artifact("bytes", store="videos")),
    )
    table.create(scene.engine)
    with scene.engine.begin() as connection:
        connection.execute(insert(table).values(data=b"value", video=b"value"))
        connection.execute(insert(table).values(data=b"cover", video=b"film"))
    assert (len(scene.puts), len(videos.backend.puts)) == (2, 2)
    with scene.engine.connect() as connection:
        assert connection.execute(select(table.c.video, table.c.data)).all() == [
            (b"value", b"value"),
            (b"film", b"cover"),
        ]
        query = select(ledger.Column.column_name, ledger.Store.name).join(
            ledger.Store, ledger.Store.id == ledger.Column.store
        )
        registered = connection.execute(query).all()
    assert sorted(registered) == [("data", "default"), ("video", "videos")]


def test_no_ledger(engine):
    store, table = watched_store(), make_table(MetaData())
    store.attach(engine)
    table.create(engine)
    line = r"call sqla_artifacts\.ledger\.install\(Base\.metadata\).*create_all"
    refuse(engine, store, table, NoLedgerError, line)
    ledger.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(insert(table).values(data=b"value"))


def test_no_ledger_in_its_schema(make_engine):
    engine = make_engine("postgresql")
    store, table = watched_store(), make_table(MetaData())
    store.attach(engine, schema="artifacts")
    table.create(engine)
    line = r"ledger\.install\(Base\.metadata, schema='artifacts'\)"
    refuse(engine, store, table, NoLedgerError, line)


@pytest.mark.parametrize("known", [False, True], ids=["another process", "same process"])
def test_a_ledger_without_identity(scene, make_engine, known):
    scene.commit(b"value")
    (identity,) = identities(scene.engine)
    with scene.engine.begin() as connection:
        connection.execute(text("DELETE FROM artifact_ledger"))
    later = scene if known else Scene(make_engine(scene.engine.url), same_store(scene))
    refuse(later.engine, later.store, later.table, NoLedgerError, r"ledger\.identity\(")
    with scene.engine.begin() as connection:
        connection.execute(ledger.identity())
    assert len(identities(scene.engine)) == 1
    assert identities(scene.engine) != [identity]


def test_an_identity_in_a_schema(make_engine):
    engine = make_engine("postgresql")
    with engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA artifacts"))
    scene = Scene(engine, ledger_schema="artifacts")
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM artifacts.artifact_ledger"))
    line = r"ledger\.identity\(schema='artifacts'\)"
    refuse(engine, scene.store, scene.table, NoLedgerError, line)
    with engine.begin() as connection:
        connection.execute(ledger.identity(schema="artifacts"))
    scene.commit(b"value")


def test_tables_that_are_not_committed_yet(make_engine):
    """On SQLite they are this connection's, as is all else; PostgreSQL's ledger has its own."""
    engine = make_engine("postgresql")
    metadata, store = MetaData(), watched_store()
    table = make_table(metadata)
    store.attach(engine, metadata=metadata)
    with engine.connect() as connection:
        metadata.create_all(connection)
        with pytest.raises(NoLedgerError, match="has to commit before"):
            connection.execute(insert(table).values(data=b"value"))
    assert store.backend.puts == []


@pytest.mark.parametrize("schema", [None, "artifacts"])
@pytest.mark.parametrize("home", [None, "app"])
def test_installed_twice(schema, home):
    metadata = MetaData(schema=home)
    ledger.install(metadata, schema=schema)
    tables = dict(metadata.tables)
    ledger.install(metadata, schema=schema)
    assert dict(metadata.tables) == tables
    assert {table.name for table in tables.values()} == {f"artifact_{name}" for name in NAMES}
    assert {table.schema for table in tables.values()} == {schema or home}


def test_a_database_in_memory():
    """It may own a fresh store for its life; who comes later is another owner."""
    store = watched_store()
    for first in (True, False):
        engine = create_engine("sqlite://", poolclass=StaticPool)
        scene = Scene(engine, store)
        if first:
            scene.commit(b"value", b"value", b"more")
            assert scene.values() == [b"more", b"value", b"value"]
            assert scene.check() == set()
        else:
            refuse(engine, store, scene.table, ForeignStoreError, FOREIGN)
        engine.dispose()


def test_the_ledger_is_queried_and_joined(scene):
    class Base(DeclarativeBase):
        pass

    class Sample(Base):
        __tablename__ = "sample"
        id: Mapped[int] = mapped_column(primary_key=True)
        data: Mapped[bytes] = mapped_column(Artifact("bytes"))

    scene.commit(b"value", b"longer value", b"value")
    query = (
        select(Sample.id, ledger.Blob.size, ledger.Blob.state, ledger.Store.name)
        .join(ledger.Blob, ledger.Blob.digest == Sample.data.digest)
        .join(ledger.Store, ledger.Store.id == ledger.Blob.store)
        .where(ledger.Blob.size > 5)
    )
    with Session(scene.engine) as session:
        assert session.execute(query).all() == [(2, 12, "live", "default")]
        blob = session.scalars(select(ledger.Blob).where(ledger.Blob.size == 5)).one()
        assert session.scalars(
            select(Sample.id).where(Sample.data.digest == blob.digest)
        ).all() == [
            1,
            3,
        ]
