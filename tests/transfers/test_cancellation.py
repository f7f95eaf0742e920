"""A task that is cancelled while its blobs are put: no row, no wait, and all works on.

The thread of a request cannot be cancelled: it goes on while the transaction ends.
"""

import asyncio
import threading

import anyio
import pytest
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncSession

from sqla_artifacts import pending
from tests.check import check
from tests.threads import DEADLINE, until

from .models import STORING, Entry
from .places import ASYNC, CONCURRENCY, only
from .writes import WRITES, expected_of, rows_of, without

# SQLAlchemy gives up the connection of a cancelled statement; aiosqlite wants it closed.
pytestmark = [
    only(ASYNC),
    pytest.mark.filterwarnings("ignore:.*was deleted before being closed:ResourceWarning"),
]


class Held:
    """The first puts, which are held; something is called, on the event loop, once they are."""

    def __init__(self, puts):
        self._released = threading.Event()
        self._puts = puts

    def __enter__(self):
        return self

    def begin(self, then, count=1):
        loop = asyncio.get_running_loop()
        meeting = threading.Barrier(count, lambda: loop.call_soon_threadsafe(then))

        def put():
            meeting.wait(DEADLINE)
            assert self._released.wait(DEADLINE)

        self._puts.expect()
        for number in range(count):
            self._puts.fail(number, put)

    def __exit__(self, *_):
        self._released.set()
        until(lambda: not self._puts.running)


async def by_cancel(write, held):
    """Cancel the task."""
    task = asyncio.ensure_future(write())
    held.begin(task.cancel)
    with pytest.raises(asyncio.CancelledError):
        await task


async def by_timeout(write, held):
    """Run out of time, in this very task and context."""
    timeout = asyncio.timeout(None)

    async def write_in_time():
        async with timeout:
            held.begin(lambda: timeout.reschedule(0))
            await write()

    with pytest.raises(TimeoutError):
        await write_in_time()


async def by_scope(write, held):
    """Leave a scope of anyio's, as a web framework does."""
    with anyio.CancelScope() as scope:
        held.begin(scope.cancel)
        await write()
    assert scope.cancelled_caught


SOME = ["flush", "executemany", "bulk INSERT RETURNING", "Core UPDATE"]


@pytest.mark.parametrize(
    ("cancel", "names"), [(by_cancel, WRITES), (by_timeout, SOME), (by_scope, SOME)]
)
def test_a_write_that_is_cancelled(check_write, subtests, cancel, names):
    for name in names:
        with subtests.test(name):
            check_write(name, cancel)


@pytest.fixture
def check_write(place, watch, staged, tmp_path):
    """`check_write(name, cancel)`: cancel a write, and then do it again on the same session."""

    async def main(session, path, rows, cancel):
        await session.run_sync(path.prepare, rows)
        with Held(place.backend.puts) as held:
            await cancel(lambda: session.run_sync(path.write, rows), held)
            assert not pending._PENDING.get()
            assert staged() == []
            await session.rollback()
            await session.run_sync(path.store, rows)  # while the put is still held

    def check_one(name, cancel):
        path, rows = WRITES[name], rows_of(name, tmp_path)
        place.awaited(AsyncSession, lambda session: main(session, path, rows, cancel))
        assert staged() == []
        assert watch.too_early == []
        assert place.engine.pool.checkedout() == 0
        found = place.session(lambda session: path.read(session, rows), place.observer)
        assert found == expected_of(rows)

    yield check_one
    check(place.observer, place.store, *STORING)


def test_no_further_put_is_begun_once_a_write_is_cancelled(place, tmp_path):
    rows = [without(row, "file") | {"note": row["name"]} for row in rows_of("rows", tmp_path)]

    async def main(session):
        with Held(place.backend.puts) as held:
            task = asyncio.ensure_future(session.execute(insert(Entry), rows))
            held.begin(task.cancel, CONCURRENCY)
            with pytest.raises(asyncio.CancelledError):
                await task
            await session.rollback()

    place.awaited(AsyncSession, main)
    assert place.backend.puts.count == CONCURRENCY  # of twelve
