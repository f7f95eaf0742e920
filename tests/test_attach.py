"""Attaching stores to engines: by hand, by plugin, by name, and to asynchronous ones."""

import asyncio
import tomllib
import types
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import create_engine, event, insert, make_url, select, text, update
from sqlalchemy.dialects import plugins
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from sqla_artifacts import Artifact, ArtifactStore, LazyArtifact, LazyMapped, aunpack, ledger
from sqla_artifacts.errors import LedgerError, NotAttachedError, StoreError

from .models import make_models, make_store, set_up

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def test_attaching_does_no_io(make_engine, database_url, tmp_path):
    engine = make_engine(database_url)
    connected = []
    event.listen(engine, "connect", lambda *args: connected.append(args))
    store = make_store(tmp_path)
    store.attach(engine, metadata=make_models()[0].metadata)
    assert connected == []
    assert not store.backend.root.exists()


def test_attaching_again_is_harmless_and_another_store_is_refused(engine, tmp_path):
    sample, store = set_up(engine, tmp_path)
    store.attach(engine, metadata=sample.metadata)
    with pytest.raises(StoreError, match="another store 'default', file://"):
        make_store(tmp_path, "another").attach(engine)
    with Session(engine) as session:
        session.add(sample(data=b"data"))
        session.commit()
        assert session.scalars(select(sample.data)).all() == [b"data"]
    assert not (tmp_path / "another").exists()


def test_copies_of_an_engine_have_its_stores(engine, tmp_path):
    before = engine.execution_options(logging_token="before")
    sample, _ = set_up(engine, tmp_path)
    after = engine.execution_options(logging_token="after")
    for copy in (before, after, engine):
        with Session(copy) as session:
            session.add(sample(data=b"data"))
            session.commit()
            assert set(session.scalars(select(sample.data))) == {b"data"}


def test_another_database_is_refused(tmp_path):
    driver = types.SimpleNamespace(paramstyle="format", version_info=(1, 0), __version__="1.0")
    engine = create_engine("mysql+mysqldb://", module=driver)
    with pytest.raises(LedgerError, match="SQLite and PostgreSQL, not yet with mysql"):
        make_store(tmp_path).attach(engine)


def test_without_a_store_the_error_names_the_column_and_the_remedy(engine, tmp_path, make_engine):
    sample, _ = set_up(engine, tmp_path)
    table = sample.__table__
    with engine.begin() as connection:
        connection.execute(insert(table).values(data=b"data", note="note", run=("a", b"run")))
    bare = make_engine(engine.url)
    statements = {
        "data": (insert(table).values(data=b"x"), update(table).values(data=b"x"),
                 select(table.c.data), select(table.c.id).where(table.c.data == b"x")),
        "note": (insert(table).values(note="x"), select(table.c.note)),
        "run": (insert(table).values(run=("a", b"x")), select(table.c.run)),
    }  # fmt: skip
    with bare.connect() as connection:
        for column, each in statements.items():
            for statement in each:
                with pytest.raises(NotAttachedError, match=r"\.attach\(engine\)") as caught:
                    connection.execute(statement).all()
                assert caught.value.column == f"sample.{column}"
                connection.rollback()
        # What has no artifacts needs no store.
        assert connection.execute(select(table.c.id, table.c.data.digest)).one().id == 1
        connection.execute(update(table).values(name="x", data=None))


@pytest.fixture
def videos():
    class Base(DeclarativeBase):
        pass

    class Clip(Base):
        __tablename__ = "clip"
        id: Mapped[int] = mapped_column(primary_key=True)
        title: LazyMapped[str] = mapped_column(LazyArtifact("text"))
        video: Mapped[bytes] = mapped_column(Artifact("bytes", store="videos"))

    return Clip


def blobs_of(store):
    return [entry.key for entry in store.backend.list("blobs/")]


def test_stores_by_name_hold_the_values_of_their_columns(engine, tmp_path, videos):
    stores = {name: make_store(tmp_path, name) for name in ("default", "videos", "unused")}
    for name, store in stores.items():
        store.attach(engine, metadata=videos.metadata, name=name)
    videos.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all([videos(title="a title", video=b"a video"),
                         videos(title="another", video=b"a video")])  # fmt: skip
        session.commit()
        clip = session.get(videos, 1)
        assert (clip.title.unpack(), clip.video) == ("a title", b"a video")
        assert clip.title.store is stores["default"]
        where = videos.video == b"a video", videos.title == "another"
        assert session.scalars(select(videos.id).where(*where)).all() == [2]
        named = session.execute(select(ledger.Store.name, ledger.Store.id)).all()
        assert dict(named) == {name: stores[name].id for name in ("default", "videos")}
    assert [len(blobs_of(store)) for store in stores.values()] == [2, 1, 0]


def test_a_name_that_is_not_attached_is_named(engine, tmp_path, videos):
    make_store(tmp_path).attach(engine, metadata=videos.metadata)
    videos.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(videos(title="a title", video=b"a video"))
        with pytest.raises(NotAttachedError) as caught:
            session.commit()
        assert "clip.video: no store 'videos'" in str(caught.value)
        assert "attached: 'default'" in str(caught.value)
        assert "name='videos'" in str(caught.value)
        session.rollback()
        assert session.scalars(select(videos.id)).all() == []


# -- the plugin ------------------------------------------------------------------------------------


@pytest.fixture
def plugin():
    """The plugin as pyproject.toml declares it, whether the package is installed or not."""
    declared = tomllib.loads(PYPROJECT.read_text())["project"]["entry-points"]["sqlalchemy.plugins"]
    for name, target in declared.items():
        plugins.register(name, *target.split(":"))
    return next(iter(declared))


def plugged(url, plugin, how, store):
    if how == "arguments":
        return create_engine(url, plugins=[plugin], artifact_store=store.url)
    if how == "store":
        return create_engine(url, plugins=[plugin], artifact_store=store)
    query = {"plugin": plugin, "artifact_store": store.url}
    shown = make_url(url).update_query_dict(query).render_as_string(hide_password=False)
    return create_engine(shown)


@pytest.mark.parametrize("how", ["arguments", "query", "store"])
def test_the_plugin_attaches_a_store(database_url, tmp_path, plugin, how):
    base, sample = make_models()
    ledger.install(base.metadata)
    store = make_store(tmp_path)
    engine = plugged(database_url, plugin, how, store)
    assert "artifact" not in str(engine.url)
    base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(sample(data=b"data", note="note"))
        session.commit()
        found = session.scalars(select(sample)).one()
        assert (found.data, found.note.unpack(), found.note.store.url) == (
            b"data",
            "note",
            store.url,
        )
    engine.dispose()
    assert len(blobs_of(store)) == 2


def test_the_plugin_needs_a_store(plugin):
    with pytest.raises(StoreError, match="artifact_store="):
        create_engine("sqlite://", plugins=[plugin])


def test_the_plugin_finds_a_ledger_in_a_schema(make_engine, postgres_url, tmp_path, plugin):
    base, sample = make_models()
    ledger.install(base.metadata, schema="ledger")
    store = make_store(tmp_path).url
    options = {"plugins": [plugin], "artifact_store": store, "artifact_schema": "ledger"}
    engine = make_engine(postgres_url, **options)
    with engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA ledger"))
    base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(sample(data=b"data"))
        session.commit()
        assert session.scalar(text("SELECT count(*) FROM ledger.artifact_blob")) == 1


# -- asynchronous engines --------------------------------------------------------------------------


@pytest.fixture(params=["aiosqlite", "asyncpg", "psycopg"])
def async_url(request):
    kind = "sqlite" if request.param == "aiosqlite" else "postgresql"
    url = make_url(request.getfixturevalue("sqlite_url" if kind == "sqlite" else "postgres_url"))
    return url.set(drivername=f"{kind}+{request.param}")


def test_an_asynchronous_session(async_url, tmp_path):
    base, sample = make_models()
    store = make_store(tmp_path)

    async def store_one(engine, number):
        async with AsyncSession(engine) as session:
            session.add(sample(name=str(number), note=f"note {number}"))
            await session.commit()

    async def main():
        engine = create_async_engine(async_url)
        store.attach(engine, metadata=base.metadata)
        async with engine.begin() as connection:
            await connection.run_sync(base.metadata.create_all)
        async with AsyncSession(engine, expire_on_commit=False) as session:
            new = sample(
                image=np.arange(4), model={"a": 1}, run=("a", b"run"), data=b"x" * 9_000_000
            )
            session.add(new)
            await session.commit()
            assert (new.model.stored, new.run.stored) == (True, True)
        async with AsyncSession(engine) as session:
            found = (await session.scalars(select(sample))).one()
            assert found.image.tolist() == [0, 1, 2, 3]
            assert found.data == b"x" * 9_000_000
            assert await found.model.aunpack() == {"a": 1}
            assert (await found.run.aunpack()).read_bytes() == b"run"
            rows = await session.execute(
                select(sample.model).where(sample.data == b"x" * 9_000_000)
            )
            assert await aunpack(rows.all()) == [({"a": 1},)]
            found.note = "rolled back"
            await session.flush()
            await session.rollback()
        await asyncio.gather(*(store_one(engine, number) for number in range(5)))
        async with engine.connect() as connection:
            rows = await connection.execute(select(sample.name, sample.note).order_by(sample.name))
            pairs = [(name, note) for name, note in rows if name is not None]
        assert await aunpack(pairs) == [(str(n), f"note {n}") for n in range(5)]
        await engine.dispose()

    asyncio.run(main())


def test_an_asynchronous_engine_without_a_store(async_url):
    base, sample = make_models()

    async def main():
        engine = create_async_engine(async_url)
        async with engine.begin() as connection:
            await connection.run_sync(base.metadata.create_all)
        async with AsyncSession(engine) as session:
            session.add(sample(note="note"))
            with pytest.raises(NotAttachedError, match=r"^sample\.note: "):
                await session.commit()
        await engine.dispose()

    asyncio.run(main())


def test_a_store_in_memory(make_engine):
    base, sample = make_models()
    engine = make_engine("sqlite://")
    ArtifactStore("memory://").attach(engine, metadata=base.metadata)
    base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(sample(data=b"data"))
        session.commit()
        assert session.scalars(select(sample.data)).all() == [b"data"]
