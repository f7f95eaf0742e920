"""Transfers: the one place where I/O is made concurrent, or moved off an event loop.

A store has one :class:`Pool`. At most ``concurrency`` of its transfers run at once, and at most
``LIMIT`` bytes are on their way, as far as their sizes are known beforehand; a single larger
one goes alone.

The thread that asks takes part in the work. So a batch that is asked for by a transfer can
always be done, by the asking thread alone if nobody else is free, and nothing ever waits for
itself. A pool of one thread does all in turn, in the thread that asks.

A task that is cancelled does not wait for the requests that run, and none is begun after them.

After ``fork`` a child makes threads of its own. Thread-safe.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")

CONCURRENCY = 32
"""How many requests at once go to a remote store, if nothing else is said."""

LIMIT = 256 << 20
"""The most bytes that are on their way at once."""

TASKS = 8
"""How many threads there are at least, for the tasks of an event loop."""

# Set as soon as nobody waits any more for what this thread does.
_ABANDONED: ContextVar[threading.Event | None] = ContextVar("artifact_abandoned", default=None)


class Pool:
    """Threads for transfers: at most ``concurrency`` at once, made when they are first needed."""

    def __init__(self, concurrency: int) -> None:
        if concurrency < 1:
            msg = f"concurrency must be 1 or more, not {concurrency}"
            raise ValueError(msg)
        self.concurrency = concurrency
        self._threads: ThreadPoolExecutor | None = None
        self._pid = 0
        self._lock = threading.Lock()

    def each(
        self,
        function: Callable[[T], R],
        items: Iterable[T],
        *,
        size: Callable[[T], int] | None = None,
    ) -> list[R]:
        """Apply a function that does I/O to every item, and return the results in order.

        ``size`` says how many bytes an item moves. After an error no further item is begun,
        those that run are waited for, and the first error, in the items' order, is raised.
        """
        batch = _Batch(function, list(items), size)
        others = min(len(batch.items), self.concurrency) - 1
        if others <= 0:
            return [function(item) for item in batch.items]
        running = [self.submit(batch.work) for _ in range(others)]
        try:
            batch.work()
        finally:
            batch.stop()
            wait([future for future in running if not future.cancel()])
        return batch.results()

    def submit(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Run a function in one of the threads, as soon as one is free."""
        with self._lock:
            if self._threads is None or self._pid != os.getpid():
                threads = max(self.concurrency, TASKS)
                self._threads = ThreadPoolExecutor(threads, "sqla_artifacts")
                self._pid = os.getpid()
            return self._threads.submit(function, *args, **kwargs)

    async def off_loop(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a function that does I/O in a thread, while the event loop goes on.

        It sees the task's context variables. If the task is cancelled, the function's batches begin
        no further item.
        """
        abandoned = threading.Event()

        def run() -> R:
            token = _ABANDONED.set(abandoned)
            try:
                return function(*args, **kwargs)
            finally:
                _ABANDONED.reset(token)

        try:
            return await asyncio.wrap_future(self.submit(copy_context().run, run))
        except asyncio.CancelledError:
            abandoned.set()
            raise

    def call(self, function: Callable[[], R], *, is_async: bool) -> R:
        """Call a function that does I/O: off the event loop, under an async dialect.

        SQLAlchemy runs what an async dialect calls in a greenlet, where it can be waited for.
        """
        if is_async:
            from sqlalchemy.util import await_only
            from sqlalchemy.util.concurrency import in_greenlet

            if in_greenlet():
                result: R = await_only(self.off_loop(function))
                return result
        return function()


class _Batch(Generic[T, R]):
    """Items that several threads take from, one after the other."""

    def __init__(
        self, function: Callable[[T], R], items: list[T], size: Callable[[T], int] | None
    ) -> None:
        self.items = items
        self._function = function
        self._sizes = [size(item) for item in items] if size else [0] * len(items)
        self._results: list[Any] = [None] * len(items)
        self._errors: dict[int, BaseException] = {}
        self._next = 0
        self._moving = 0
        self._abandoned = _ABANDONED.get() or threading.Event()
        self._changed = threading.Condition()

    def work(self) -> None:
        """Do items until there are none left; called by every thread that takes part."""
        while (index := self._take()) is not None:
            try:
                self._results[index] = self._function(self.items[index])
            except BaseException as error:  # noqa: BLE001 (raised by results())
                self._errors[index] = error
                self.stop()
            finally:
                self._give_back(index)

    def stop(self) -> None:
        """Have no further item begun."""
        with self._changed:
            self._next = len(self.items)
            self._changed.notify_all()

    def results(self) -> list[R]:
        """Return what came of all items, or raise the first error."""
        if self._errors:
            errors, self._errors = self._errors, {}  # an error that is kept keeps its callers
            raise errors.pop(min(errors))
        if self._abandoned.is_set():
            raise CancelledError
        return self._results

    def _take(self) -> int | None:
        with self._changed:
            while self._next < len(self.items) and not self._abandoned.is_set():
                size = self._sizes[self._next]
                if not self._moving or self._moving + size <= LIMIT:
                    index, self._next = self._next, self._next + 1
                    self._moving += size
                    return index
                self._changed.wait()
        return None

    def _give_back(self, index: int) -> None:
        with self._changed:
            self._moving -= self._sizes[index]
            self._changed.notify_all()


def ahead(
    function: Callable[[T], R], items: Iterable[T], count: int, size: Callable[[T], int]
) -> Iterator[R]:
    """Yield ``function(item)`` in order, with up to ``count`` of the next ones on their way.

    Fewer, if they are more than ``LIMIT`` bytes. The items are asked for in the calling thread.
    """
    pool, queue = Pool(count), _Queue[R]()
    try:
        for item in items:
            while queue.is_full(count, size(item)):
                yield queue.pop().result()
            queue.push(pool.submit(function, item), size(item))
        while queue:
            yield queue.pop().result()
    finally:
        queue.cancel()


async def aahead(
    function: Callable[[T], R], items: AsyncIterable[T], count: int, size: Callable[[T], int]
) -> AsyncIterator[R]:
    """Do what :func:`ahead` does, without holding up the event loop."""
    pool, queue = Pool(count), _Queue[R]()
    try:
        async for item in items:
            while queue.is_full(count, size(item)):
                yield await asyncio.wrap_future(queue.pop())
            queue.push(pool.submit(function, item), size(item))
        while queue:
            yield await asyncio.wrap_future(queue.pop())
    finally:
        queue.cancel()


class _Queue(Generic[R]):
    """Results that are on their way, in order, and how many bytes they are."""

    def __init__(self) -> None:
        self._futures: deque[tuple[Future[R], int]] = deque()
        self._moving = 0

    def __bool__(self) -> bool:
        return bool(self._futures)

    def is_full(self, count: int, size: int) -> bool:
        """Say whether something has to come out before another item goes in."""
        return bool(self._futures) and (len(self._futures) >= count or self._moving + size > LIMIT)

    def push(self, future: Future[R], size: int) -> None:
        """Take another one."""
        self._futures.append((future, size))
        self._moving += size

    def pop(self) -> Future[R]:
        """Return the next one."""
        future, size = self._futures.popleft()
        self._moving -= size
        return future

    def cancel(self) -> None:
        """Begin nothing more."""
        for future, _ in self._futures:
            future.cancel()
