"""Progress: what a long operation tells its caller on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias


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
