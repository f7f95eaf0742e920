"""asyncio: nothing that waits for a store, hashes or encodes runs on the event loop's thread."""

import asyncio
import threading

import numpy as np
import pytest
from sqlalchemy import insert, make_url, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from sqla_artifacts import Artifact, DataType, FileDir, aunpack, aunpack_stream
from sqla_artifacts.errors import InvalidValueError

from .models import CountingBackend, make_models, make_store

THREADS = set()


def _encode(value, info):
    THREADS.add(threading.get_ident())
    return value


def _decode(data, info):
    THREADS.add(threading.get_ident())
    return data


watched = DataType("watched", _encode, _decode, deterministic=True)


@pytest.fixture(params=["aiosqlite", "asyncpg", "psycopg"])
def async_url(request):
    kind = "sqlite" if request.param == "aiosqlite" else "postgresql"
    url = make_url(request.getfixturevalue("sqlite_url" if kind == "sqlite" else "postgres_url"))
    return url.set(drivername=f"{kind}+{request.param}")


async def started(async_url, tmp_path):
    base, sample = make_models()
    sample.__table__.c.data.type = Artifact(watched)
    store = make_store(tmp_path)
    engine = create_async_engine(async_url)
    store.attach(engine, metadata=base.metadata)
    async with engine.begin() as connection:
        await connection.run_sync(base.metadata.create_all)
    store.backend = CountingBackend(store.backend)
    store._identity._backend = store.backend  # store.json, too, is read off the loop
    return engine, sample, store.backend


def test_a_file_whose_path_is_bound_is_read_off_the_loop(async_url, tmp_path):
    (tmp_path / "a").write_bytes(b"a")
    threads = []

    def note(candidate):
        threads.append(threading.get_ident())

    async def main():
        engine, sample, _ = await started(async_url, tmp_path)
        sample.__table__.c.run.type = FileDir(validators=[note])
        async with engine.begin() as connection:
            await connection.execute(insert(sample.__table__), [{"data": b"the store is known"}])
            await connection.execute(insert(sample.__table__), [{"run": str(tmp_path / "a")}])
        await engine.dispose()
        return threading.get_ident()

    loops = asyncio.run(main())
    assert threads
    assert loops not in threads


def test_the_loops_thread_waits_for_no_store(async_url, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "a").write_bytes(b"a")

    async def main():
        THREADS.clear()
        engine, sample, backend = await started(async_url, tmp_path)
        async with AsyncSession(engine) as session:
            session.add(
                sample(data=bytearray(9_000_000), image=np.zeros(9), note="n", run=tmp_path / "run")
            )
            session.add(sample(data=b"x" * 9_000_000, model=[1], run=("a.txt", b"a" * 100_000)))
            await session.commit()
        assert "put" in backend.calls
        async with AsyncSession(engine) as session:
            rows = (await session.scalars(select(sample).order_by(sample.id))).all()
            await aunpack(rows)
            assert await rows[1].model.aunpack() == [1]
            assert (await rows[1].run.aunpack()).read_bytes() == b"a" * 100_000
        async with AsyncSession(engine) as session:
            stream = await session.stream_scalars(select(sample).order_by(sample.id))
            assert [row.id async for row in aunpack_stream(stream)] == [1, 2]
        async with engine.connect() as connection:
            query = select(sample.__table__.c.data)
            assert len((await connection.execute(query)).all()) == 2
            assert len([row async for row in await connection.stream(query)]) == 2
        loop = threading.get_ident()
        assert {"get", "open"} <= set(backend.calls)
        assert loop not in backend.threads
        assert loop not in THREADS
        assert THREADS
        await engine.dispose()

    asyncio.run(main())


def test_nor_does_the_first_value_of_all_however_small(async_url, tmp_path):
    async def main():
        engine, sample, backend = await started(async_url, tmp_path)
        async with AsyncSession(engine) as session:
            session.add(sample(text="small"))
            await session.commit()
        assert {"create", "put"} <= set(backend.calls)
        assert threading.get_ident() not in backend.threads
        await engine.dispose()

    asyncio.run(main())


def test_nor_does_a_comparison(async_url, tmp_path):
    async def main():
        engine, sample, backend = await started(async_url, tmp_path)
        THREADS.clear()
        async with AsyncSession(engine) as session:
            found = await session.scalars(select(sample.id).where(sample.data == bytes(9_000_000)))
            assert found.all() == []
        assert THREADS
        assert threading.get_ident() not in THREADS | backend.threads
        await engine.dispose()

    asyncio.run(main())


def test_tasks_do_not_mix(async_url, tmp_path):
    async def main():
        engine, sample, _ = await started(async_url, tmp_path)
        new = async_sessionmaker(engine)

        async def store(number):
            async with new.begin() as session:
                session.add(sample(name=str(number), image=np.full(20_000, number)))
            async with new() as session:
                row = (
                    await session.scalars(select(sample).where(sample.name == str(number)))
                ).one()
                assert row.image[0] == number

        await asyncio.gather(*(store(number) for number in range(8)))
        await engine.dispose()

    asyncio.run(main())


# SQLAlchemy gives up the connection of a cancelled statement; aiosqlite wants it closed.
@pytest.mark.filterwarnings("ignore:.*was deleted before being closed:ResourceWarning")
def test_a_task_that_is_cancelled_leaves_engine_and_store_usable(async_url, tmp_path):
    held, entered = threading.Event(), threading.Event()

    def slow(value, info):
        entered.set()
        assert held.wait(10)
        return value

    async def main():
        engine, sample, _ = await started(async_url, tmp_path)
        sample.__table__.c.data.type = Artifact(DataType("slow", slow, _decode))

        async def store():
            async with AsyncSession(engine) as session:
                session.add(sample(data=bytearray(5)))
                await session.commit()

        task = asyncio.ensure_future(store())
        await asyncio.to_thread(entered.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        held.set()
        await store()
        async with AsyncSession(engine) as session:
            assert len((await session.scalars(select(sample.id))).all()) == 1
        await engine.dispose()

    asyncio.run(main())


def test_a_refused_value_arrives_as_itself(async_url, tmp_path):
    async def main():
        engine, sample, _ = await started(async_url, tmp_path)
        async with AsyncSession(engine) as session:
            session.add(sample(image="no array"))
            with pytest.raises(InvalidValueError, match=r"sample\.image"):
                await session.flush()
            await session.rollback()
            session.add(sample(image=np.zeros(3)))
            await session.commit()
        await engine.dispose()

    asyncio.run(main())
