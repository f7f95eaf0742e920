"""Progress of storing: `reporting` tells of what is staged and put, to one listener at a time."""

import asyncio
import io
import itertools
import threading

import pytest
from sqlalchemy import insert, make_url
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from sqla_artifacts.digest import digest_of
from sqla_artifacts.progress import Progress, report_of_storing, reporting

from ..models import make_models, make_store, set_up, staged
from .sources import MIB, add, blobs, make, references

SMALL, LARGE = 20, 2
BLOCK = bytes(MIB)
TOTAL = sum(2000 + n for n in range(SMALL)) + sum(MIB + n for n in range(LARGE))


@pytest.fixture
def source(tmp_path):
    return make(tmp_path / "source", small=SMALL, large=LARGE)


class Listener:
    """Keeps what it is told, and notices if it is told twice at once."""

    def __init__(self):
        self.told = []
        self.threads = set()
        self.lock = threading.Lock()

    def __call__(self, now):
        assert self.lock.acquire(blocking=False)
        self.told.append(now)
        self.threads.add(threading.get_ident())
        digest_of(BLOCK, "blake3")  # others can run meanwhile
        self.lock.release()

    def of(self, step):
        return [now for now in self.told if now.step == step]


def check_told(told):
    """Each step only ever grows."""
    for now, then in itertools.pairwise(told):
        assert then.objects >= now.objects
        assert then.bytes_done >= now.bytes_done


def check_directory(listener, store):
    stage, put = listener.of("stage"), listener.of("put")
    check_told(stage)
    check_told(put)
    assert stage[-1] == Progress("stage", SMALL + LARGE, TOTAL, None)
    sizes = blobs(store).values()
    assert put[-1] == Progress("put", len(sizes), sum(sizes), sum(sizes))
    assert {now.step for now in listener.told} == {"stage", "put"}


def test_a_directory(engine, tmp_path, source):
    sample, store = set_up(engine, tmp_path)
    listener = Listener()
    with reporting(listener):
        add(engine, sample, source)
    check_directory(listener, store)
    assert listener.threads == {threading.get_ident()}


@pytest.mark.parametrize("driver", ["sqlite+aiosqlite", "postgresql+asyncpg"])
def test_an_async_session(request, tmp_path, source, driver):
    url = request.getfixturevalue("sqlite_url" if "sqlite" in driver else "postgres_url")
    base, sample = make_models()
    store, listener = make_store(tmp_path), Listener()

    async def main():
        engine = create_async_engine(make_url(url).set(drivername=driver))
        store.attach(engine, metadata=base.metadata)
        async with engine.begin() as connection:
            await connection.run_sync(base.metadata.create_all)
        async with AsyncSession(engine) as session:
            session.add(sample(run=source))
            with reporting(listener):
                await session.commit()
        await engine.dispose()

    asyncio.run(main())
    check_directory(listener, store)
    assert threading.get_ident() not in listener.threads


def test_many_requests_at_once_are_told_one_at_a_time(engine, tmp_path):
    base, sample = make_models()
    store = make_store(tmp_path, max_concurrency=8)
    store.backend.is_remote = True  # each object is then a request of its own
    store.attach(engine, metadata=base.metadata)
    base.metadata.create_all(engine)
    listener = Listener()
    with Session(engine) as session:
        session.add_all(sample(data=b"%d" % number * 100) for number in range(200))
        with reporting(listener):
            session.commit()
    put = listener.of("put")
    check_told(put)
    assert [now.objects for now in put] == list(range(1, 201))
    assert put[-1].bytes_done == put[-1].bytes_total == listener.of("stage")[-1].bytes_total
    assert len(listener.threads) > 1


def test_a_file_says_how_large_it_is_before_it_is_copied(engine, tmp_path):
    sample, _ = set_up(engine, tmp_path)
    path = tmp_path / "large"
    path.write_bytes(bytes(20 * MIB))
    listener = Listener()
    with reporting(listener):
        add(engine, sample, path)
    stage = listener.of("stage")
    check_told(stage)
    assert len(stage) > 2
    assert {now.bytes_total for now in stage} == {20 * MIB}
    assert [now.objects for now in stage][-2:] == [0, 1]
    assert stage[-1].bytes_done == 20 * MIB


def test_values_and_streams_count_too(engine, tmp_path):
    sample, _ = set_up(engine, tmp_path)
    listener = Listener()
    with reporting(listener), engine.begin() as connection:
        connection.execute(insert(sample), {"data": b"12345"})
        assert listener.told[-2:] == [Progress("stage", 1, 5, 5), Progress("put", 1, 5, 5)]
        connection.execute(insert(sample), {"run": ("name", io.BytesIO(b"678"))})
    assert listener.of("stage")[-1] == Progress("stage", 2, 8, None)
    assert listener.of("put")[-1] == Progress("put", 2, 8, 8)


def test_what_is_there_already_is_not_put(engine, tmp_path, source):
    sample, _ = set_up(engine, tmp_path)
    add(engine, sample, source)
    listener = Listener()
    with reporting(listener):
        add(engine, sample, source)
    assert listener.of("stage")[-1].objects == SMALL + LARGE
    assert listener.of("put") == []


def test_blocks_nest_and_end(engine, tmp_path, source):
    sample, _ = set_up(engine, tmp_path)
    outer, inner = Listener(), Listener()
    with reporting(outer), reporting(inner):
        add(engine, sample, source)
    assert report_of_storing() is None
    assert inner.told
    assert outer.told == []


@pytest.mark.parametrize("step", ["stage", "put"])
def test_a_listener_that_raises_ends_the_storing(engine, tmp_path, source, step):
    sample, store = set_up(engine, tmp_path)

    def stop(now):
        if now.step == step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), reporting(stop):
        add(engine, sample, source)
    assert references(engine) == []
    assert staged(store) == []
    add(engine, sample, source)
