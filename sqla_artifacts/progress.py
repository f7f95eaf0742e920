"""Progress: what a long operation tells its caller on the way.

``collect``, ``verify`` and ``unpack`` take ``progress=``. Storing is no call of its own: it is done
by whatever flushes, so its listener is said around that::

    with reporting(print):
        session.commit()

It is told of the steps ``"stage"`` (files and values are read, hashed, and copied to where they
wait) and ``"put"`` (blobs are written to the store). Each counts from the beginning of the block;
a flush stages and puts one statement after another. How much there is to stage is known for files
and values that say their size, not for directories and streams; ``bytes_total`` of ``"put"`` is
that of what was staged so far. What is in the store already is not put, and what a stat cache
knows is not staged.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator


class Progress(NamedTuple):
    """How far an operation is. Sizes are in bytes; None is what cannot be known yet."""

    step: str
    """What is being done: ``"delete"``, say. Each step counts from nothing."""

    objects: int
    """How many objects this step is done with."""

    bytes_done: int
    """How many bytes these objects have."""

    bytes_total: int | None = None
    """How many bytes the step is about in all."""


OnProgress: TypeAlias = Callable[[Progress], object]
"""What is called with each :class:`Progress`, in the thread that does the work."""


class Report:
    """The sums of an operation's steps, told to one listener, one call at a time."""

    def __init__(self, listener: OnProgress) -> None:
        self._listener = listener
        self._lock = threading.RLock()  # the listener may store something itself
        self._steps: dict[str, Progress] = {}

    def expect(self, step: str, size: int | None) -> None:
        """Say that a step is about so many bytes more, or that nobody knows how many."""
        with self._lock:
            now = self._step(step)
            total = None if size is None or now.bytes_total is None else now.bytes_total + size
            self._steps[step] = now._replace(bytes_total=total)

    def add(self, step: str, objects: int, size: int) -> None:
        """Tell the listener that so many objects and bytes more are done."""
        with self._lock:
            now = self._step(step)
            now = now._replace(objects=now.objects + objects, bytes_done=now.bytes_done + size)
            self._steps[step] = now
            self._listener(now)

    def _step(self, step: str) -> Progress:
        return self._steps.get(step) or Progress(step, 0, 0, 0)


# A context variable: tasks of one event loop must not mix.
_REPORT: ContextVar[Report | None] = ContextVar("artifact_report", default=None)


@contextlib.contextmanager
def reporting(progress: OnProgress) -> Iterator[None]:
    """Tell ``progress`` how far storing is, whatever is flushed or executed in this block.

    It is called with each :class:`Progress`, by the thread that does the work, under asyncio not
    the event loop's, and never twice at once. An error that it raises ends the storing, and leaves
    it as any other error does. Blocks nest: the innermost is told.
    """
    token = _REPORT.set(Report(progress))
    try:
        yield
    finally:
        _REPORT.reset(token)


def report_of_storing() -> Report | None:
    """Return what to tell how far storing is, or None if nobody listens."""
    return _REPORT.get()
