"""Transfers: many at once, never too many, in order, and never waiting for themselves."""

import asyncio
import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqla_artifacts import transfer
from sqla_artifacts.transfer import Pool, aahead, ahead


class Gauge:
    """Counts how many calls run at once, and holds them until ``expected`` have come together."""

    def __init__(self, expected=1):
        self.top = 0
        self.running = 0
        self.moving = 0
        self.most = 0
        self._together = threading.Barrier(expected)
        self._left = expected
        self._lock = threading.Lock()

    def __call__(self, item):
        with self._lock:
            self.running += 1
            self.top = max(self.top, self.running)
            self.moving += item
            self.most = max(self.most, self.moving)
            waits, self._left = self._left > 0, self._left - 1
        if waits:
            self._together.wait(10)
        with self._lock:
            self.running -= 1
            self.moving -= item
        return item


@given(st.lists(st.integers(0, 9)), st.integers(1, 5))
def test_results_come_in_the_order_of_the_items(items, concurrency):
    assert Pool(concurrency).each(lambda item: item * 2, items) == [item * 2 for item in items]


def test_as_many_run_at_once_as_the_pool_takes():
    gauge = Gauge(expected=4)
    assert Pool(4).each(gauge, range(20)) == list(range(20))
    assert gauge.top == 4


def test_a_pool_of_one_works_in_the_thread_that_asks():
    threads = Pool(1).each(lambda _: threading.get_ident(), range(3))
    assert set(threads) == {threading.get_ident()}


def test_nothing_is_begun_after_an_error_and_the_first_one_is_raised():
    done = []
    entered = threading.Barrier(2)

    def fail(item):
        if item < 2:
            entered.wait(10)
            raise ValueError(item)
        done.append(item)

    pool = Pool(2)
    with pytest.raises(ValueError, match="0"):
        pool.each(fail, range(100))
    assert len(done) < 98
    assert pool.each(str, range(2)) == ["0", "1"]


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_batch_within_a_batch_never_waits_for_itself(depth):
    pool = Pool(2)

    def nested(level):
        return pool.each(nested, [level - 1] * 3) if level else 1

    result = pool.each(nested, [depth] * 5)
    assert len(result) == 5


def test_no_more_bytes_move_at_once_than_the_limit(monkeypatch):
    monkeypatch.setattr(transfer, "LIMIT", 10)
    gauge = Gauge()
    sizes = [4, 4, 4, 25, 1, 9, 10]
    assert Pool(8).each(gauge, sizes, size=int) == sizes
    assert gauge.most == 25  # alone


def test_a_forked_child_makes_threads_of_its_own():
    pool = Pool(4)
    pool.each(str, range(8))
    child = os.fork()
    if not child:
        os._exit(0 if pool.each(str, range(8)) == [str(n) for n in range(8)] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_the_next_ones_are_on_their_way_and_no_more_than_asked_for():
    asked = []

    def items():
        for item in range(100):
            asked.append(item)
            yield item

    stream = ahead(int, items(), 5, lambda _: 0)
    assert next(stream) == 0
    assert len(asked) <= 6
    assert list(stream) == list(range(1, 100))


def test_a_stream_is_bounded_in_bytes_too(monkeypatch):
    monkeypatch.setattr(transfer, "LIMIT", 10)
    asked = []

    def items():
        for item in (6, 6, 30, 1):
            asked.append(item)
            yield item

    stream = ahead(int, items(), 64, int)
    assert next(stream) == 6
    assert asked == [6, 6]
    assert list(stream) == [6, 30, 1]


def test_a_stream_that_is_left_begins_nothing_more():
    stream = ahead(int, range(10), 2, lambda _: 0)
    assert next(stream) == 0
    stream.close()


def test_an_error_in_a_stream_arrives_at_its_place():
    stream = ahead(lambda item: 1 // item, [1, 1, 0, 1], 4, lambda _: 0)
    assert [next(stream), next(stream)] == [1, 1]
    with pytest.raises(ZeroDivisionError):
        next(stream)


def test_an_asynchronous_stream_leaves_the_loop_free():
    held = threading.Event()

    def wait(item):
        assert held.wait(10)
        return item

    async def items():
        for item in range(6):
            yield item

    async def main():
        asyncio.get_running_loop().call_later(0.01, held.set)  # only a free loop does this
        return [item async for item in aahead(wait, items(), 3, lambda _: 0)]

    assert asyncio.run(main()) == list(range(6))


def test_a_task_that_is_cancelled_leaves_the_pool_usable():
    held = threading.Event()
    pool = Pool(1)

    async def main():
        loop, entered = asyncio.get_running_loop(), asyncio.Event()

        def wait():
            loop.call_soon_threadsafe(entered.set)
            return held.wait(10)

        task = asyncio.ensure_future(pool.off_loop(wait))
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        held.set()
        return await pool.off_loop(str, 5)

    assert asyncio.run(main()) == "5"


def test_a_pool_needs_a_thread():
    with pytest.raises(ValueError, match="concurrency"):
        Pool(0)
