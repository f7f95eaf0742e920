"""Progress bars: what ``progress=`` is told, shown by tqdm or by rich.

::

    with tqdm_progress() as show:
        collect(store, engine, dry_run=False, progress=show)

    with rich_progress() as show:
        verify(store, engine, depth="content", progress=show)

A bar is one step's: its bytes, the bytes in all where they are known, and its objects. A step that
counts from nothing again is another bar. What is yielded may be called by any thread, and given
to one operation after another; operations that run at the same time need one each. tqdm and rich
are installed with the extras ``tqdm`` and ``rich``.
"""

from __future__ import annotations

import contextlib
from threading import Lock
from typing import TYPE_CHECKING, Any

from ..datatypes.datatype import extra

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..progress import OnProgress, Progress


@contextlib.contextmanager
def tqdm_progress(**options: Any) -> Iterator[OnProgress]:
    """Show each step as a bar of tqdm: in a terminal, a log or a notebook.

    Args:
        options: Those of ``tqdm.tqdm``: ``file``, ``leave``, ``disable``, ``mininterval``, say.

    The bars are closed at the end, after an error, too. Raises ``ModuleNotFoundError`` without
    tqdm. Costs a few microseconds a call; tqdm draws ten times a second at the most.
    """
    with extra("tqdm"):
        from tqdm.auto import tqdm

    options = {"unit": "B", "unit_scale": True, "unit_divisor": 1024, **options}
    bars: dict[str, Any] = {}

    def show(now: Progress, *, is_new: bool) -> None:
        if is_new:
            if now.step in bars:
                bars.pop(now.step).close()
            bars[now.step] = tqdm(desc=now.step, total=now.bytes_total, **options)
        bar = bars[now.step]
        bar.total = now.bytes_total
        bar.set_postfix_str(_objects(now), refresh=False)
        bar.update(now.bytes_done - bar.n)

    try:
        yield _by_step(show)
    finally:
        for bar in bars.values():
            bar.close()


@contextlib.contextmanager
def rich_progress(**options: Any) -> Iterator[OnProgress]:
    """Show each step as a task of rich.

    Args:
        options: Those of ``rich.progress.Progress``: ``console``, ``transient``, ``disable``, say.

    The display is stopped at the end, after an error, too. Raises ``ModuleNotFoundError`` without
    rich. Costs a few microseconds a call; rich draws ten times a second, in a thread of its own.
    """
    with extra("rich"):
        from rich import progress as rich

    columns = (
        rich.TextColumn("{task.description}", markup=False),
        rich.BarColumn(),
        rich.DownloadColumn(binary_units=True),
        rich.TransferSpeedColumn(),
        rich.TimeRemainingColumn(elapsed_when_finished=True),
        rich.TextColumn("{task.fields[objects]}", markup=False),
    )
    with rich.Progress(*columns, **options) as bars:
        tasks: dict[str, rich.Task] = {}

        def show(now: Progress, *, is_new: bool) -> None:
            if is_new:
                bars.add_task(now.step, total=now.bytes_total, objects="")
                tasks[now.step] = bars.tasks[-1]
            task = tasks[now.step]
            task.total = now.bytes_total  # update() takes None for no news
            bars.update(task.id, completed=now.bytes_done, objects=_objects(now))

        yield _by_step(show)
        for task in bars.tasks:
            if task.total is None:  # it would seem to go on
                bars.update(task.id, total=task.completed)


def _by_step(show: Callable[..., None]) -> OnProgress:
    """Return what says of each progress whether a step begins with it, one call at a time."""
    seen: dict[str, Progress] = {}
    lock = Lock()

    def on_progress(now: Progress) -> None:
        with lock:
            last = seen.get(now.step)
            show(now, is_new=last is None or _is_less(now, last))
            seen[now.step] = now

    return on_progress


def _is_less(now: Progress, last: Progress) -> bool:
    return now.objects < last.objects or now.bytes_done < last.bytes_done


def _objects(now: Progress) -> str:
    return f"{now.objects:,} object{'' if now.objects == 1 else 's'}"
