"""Several engines, stores, bases and schemas in one process, and values that move between them."""

import pytest
from sqlalchemy import event, insert, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from sqla_artifacts import (
    Artifact,
    ArtifactList,
    FileDir,
    Lazy,
    LazyArtifact,
    LazyMapped,
    PathMapped,
    StoredPath,
)
from sqla_artifacts.ledger import Blob
from tests.check import check
from tests.models import make_store

from .record import VALUES, make_base, make_record, values_of


def feature(name, note=""):
    return pytest.mark.feature(name, group="Several of them", note=note)


def blobs(store):
    """How many blobs lie in a store."""
    return len(list(store.backend.list("blobs/")))


def start(engine, record, store):
    """Attach a store, and make the tables."""
    store.attach(engine, metadata=record.metadata)
    record.metadata.create_all(engine)


@pytest.fixture
def another(make_engine, tmp_path):
    """A second database, on SQLite."""
    return make_engine(f"sqlite:///{tmp_path / 'another.db'}")


@pytest.fixture(params=["blake3", "sha256"])
def second(request, tmp_path):
    """A second store, with the same digests or with others."""
    return make_store(tmp_path, "second", algorithm=request.param)


# -- engines and bases -----------------------------------------------------------------------------


@feature("One Base on two engines", "Each database has a store of its own.")
def test_a_model_on_two_engines(engine, another, store, second):
    record = make_record()
    for each, its in ((engine, store), (another, second)):
        start(each, record, its)
        with Session(each) as session:
            session.add(record(**VALUES))
            session.commit()
            assert values_of(session.get_one(record, 1)) == VALUES
        check(each, its, record.__table__)
    assert blobs(store) == blobs(second) == len(VALUES)
    query = select(record.id).where(record.data == VALUES["data"], record.run == VALUES["run"])
    for each in (engine, another):
        with Session(each) as session:
            assert session.scalars(query).all() == [1]


@feature("A session with `binds`")
def test_a_session_binds_its_classes_to_engines(engine, another, store, second):
    here, there = make_record(), make_record()
    start(engine, here, store)
    start(another, there, second)
    session_of = sessionmaker(binds={here: engine, there: another})
    with session_of.begin() as session:
        session.add_all([here(**VALUES), there(**VALUES)])
    with session_of() as session:
        one, two = session.get_one(here, 1), session.get_one(there, 1)
        assert values_of(one) == values_of(two) == VALUES
        assert (one.note.store, two.note.store) == (store, second)
        one.note = "here only"
        two.run, two.note = one.run, one.note
        session.commit()
        assert two.note.unpack() == "here only"
        assert (one.note.store, two.note.store, two.run.store) == (store, second, second)


@feature("Two Bases on one engine")
def test_two_bases_share_a_ledger(engine, store):
    class Other(make_base()):
        __tablename__ = "other"
        id: Mapped[int] = mapped_column(primary_key=True)
        note: LazyMapped[str] = mapped_column(LazyArtifact("text"))

    record = make_record()
    for model in (record, Other):
        start(engine, model, store)
    with Session(engine) as session:
        session.add_all([record(note="a note"), Other(note="a note")])
        session.commit()
        assert len(session.scalars(select(Blob)).all()) == blobs(store) == 1
        tables = text("SELECT DISTINCT table_name FROM artifact_column")
        assert set(session.scalars(tables)) == {"record", "other"}
    check(engine, store, record.__table__, Other.__table__)


@feature("Schemas", "`schema_translate_map` moves the tables; the ledger stays where it is.")
@pytest.mark.parametrize("of", ["engine", "connection", "execution"])
def test_a_schema_translate_map(engine, store, tmp_path, of):
    make_schema(engine, tmp_path, "tenant")
    record = make_record()
    start(engine, record, store)
    options = {"schema_translate_map": {None: "tenant"}}
    record.__table__.create(engine.execution_options(**options))
    bind = engine.execution_options(**options) if of == "engine" else engine
    query = select(record)
    with Session(bind) as session:
        if of == "connection":
            session.connection(execution_options=options)
        given = {"execution_options": options} if of == "execution" else {}
        session.execute(insert(record), [VALUES], **given)
        assert values_of(session.scalars(query, **given).one()) == VALUES
        session.commit()
    with Session(engine) as session:
        assert session.scalars(query).all() == []
        assert session.scalar(text("SELECT count(*) FROM tenant.record")) == 1
        places = text("SELECT DISTINCT table_schema FROM artifact_column")
        assert session.scalars(places).all() == ["tenant"]


def make_schema(engine, directory, name):
    """Make a schema, which on SQLite is another file."""
    if engine.dialect.name == "sqlite":

        @event.listens_for(engine, "connect")
        def attach(connection, _):
            connection.execute(f"ATTACH '{directory / name}.db' AS {name}")

    else:
        with engine.begin() as connection:
            connection.execute(text(f"CREATE SCHEMA {name}"))


# -- stores ----------------------------------------------------------------------------------------


@pytest.fixture
def clip(engine, store, second):
    """A model whose columns go to two stores."""

    class Base(DeclarativeBase):
        pass

    class Clip(Base):
        __tablename__ = "clip"
        id: Mapped[int] = mapped_column(primary_key=True)
        title: LazyMapped[str | None] = mapped_column(LazyArtifact("text"))
        poster: Mapped[bytes | None] = mapped_column(Artifact("bytes", store="videos"))
        copied: LazyMapped[str | None] = mapped_column(LazyArtifact("text", store="videos"))
        file: PathMapped[StoredPath | None] = mapped_column(FileDir())
        video: PathMapped[StoredPath | None] = mapped_column(FileDir(store="videos"))
        parts: Mapped[list[StoredPath] | None] = mapped_column(
            ArtifactList(FileDir(store="videos"))
        )

    store.attach(engine, metadata=Base.metadata)
    second.attach(engine, name="videos")
    Base.metadata.create_all(engine)
    return Clip


@feature("Two stores in one model", 'A column names its store, `store="videos"`.')
def test_the_columns_of_a_model_go_to_two_stores(engine, store, second, clip):
    with Session(engine) as session:
        session.add(clip(title="a", poster=b"b", video=("c", b"c"), parts=[("d", b"d"), None]))
        session.commit()
        found = session.scalars(select(clip).where(clip.title == "a", clip.poster == b"b")).one()
        assert (found.title.store, found.video.store) == (store, second)
        assert found.parts[0].open().read() == b"d"
        assert found.parts[0].store is second
    assert (blobs(store), blobs(second)) == (1, 3)


@feature("Values moved between stores", "The bytes are copied, unless the other store has them.")
def test_a_value_is_assigned_to_a_column_of_another_store(engine, tmp_path, store, second, clip):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a").write_bytes(b"a")
    with Session(engine) as session:
        one = clip(title="a title", file=folder)
        session.add(one)
        session.commit()
        one.copied, one.video, one.parts = one.title, one.file, [one.file]
        session.commit()
        for moved in (one.copied, one.video, one.parts[0]):
            assert moved.store is second
        assert one.copied.unpack() == "a title"
        assert one.video.open("a").read() == one.parts[0].open("a").read() == b"a"
        same = one.copied.digest == one.title.digest
        assert same == (second.algorithm == store.algorithm)
        one.title, one.file = one.copied, one.video
        session.commit()
        assert (one.title.store, one.title.unpack()) == (store, "a title")
    assert blobs(second) == blobs(store) == 3


@feature("Values moved between databases", "A proxy needs the store it came from, no session.")
def test_a_value_is_assigned_to_a_row_of_another_database(engine, another, store, second):
    record = make_record()
    start(engine, record, store)
    start(another, record, second)
    with Session(engine) as session, Session(another) as other:
        session.add(record(**VALUES))
        session.commit()
        row = session.get_one(record, 1)
        copied = record(id=5, data=row.data, note=row.note, run=row.run)
        other.add(copied)
        other.commit()
        assert values_of(copied) == VALUES
        other.merge(row)
        other.commit()
        assert values_of(other.get_one(record, 1)) == VALUES
        assert row.note.store is store
    check(another, second, record.__table__)


@feature("Values moved in savepoints")
def test_a_value_from_a_savepoint_that_was_rolled_back(engine, another, store, second):
    record = make_record()
    start(engine, record, store)
    start(another, record, second)
    with Session(engine) as session, Session(another) as other:
        other.add(record(id=1, **VALUES))
        other.commit()
        session.add(record(id=1))
        session.flush()
        savepoint = session.begin_nested()
        lost = record(id=2, note=other.get_one(record, 1).note, run=("new", b"new"))
        session.add(lost)
        session.flush()
        proxies = lost.note, lost.run
        savepoint.rollback()
        session.add(record(id=3, note=proxies[0], run=proxies[1]))
        session.commit()
        kept = session.get_one(record, 3)
        assert (kept.note.unpack(), kept.run.open().read()) == (VALUES["note"], b"new")
        assert session.get(record, 2) is None
    check(engine, store, record.__table__)


@feature("Values moved between sessions")
def test_an_unsaved_proxy_is_given_to_two_sessions(engine, store):
    record = make_record()
    start(engine, record, store)
    note, run = Lazy("a note"), StoredPath(("a", b"run"))
    for number in (1, 2):
        with Session(engine) as session:
            session.add(record(id=number, note=note, run=run))
            session.commit() if number == 2 else session.rollback()
    with Session(engine) as session:
        row = session.get_one(record, 2)
        assert (row.note.unpack(), row.run.open().read()) == ("a note", b"run")
    check(engine, store, record.__table__)
