"""Transfers: the one place where I/O is made concurrent, or moved off an event loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")


def each(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Apply a function that does I/O to every item, and return the results in order."""
    return [function(item) for item in items]


async def off_loop(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a function that does I/O in a thread, while the event loop goes on."""
    return await asyncio.to_thread(function, *args, **kwargs)
