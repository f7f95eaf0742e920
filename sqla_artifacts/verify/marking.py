"""Marking what is damaged, so that nothing is de-duplicated against it any more.

The row of a blob that is missing or corrupt becomes ``gone``, with a row in the trash: storing the
value again makes the next generation, which readers then find. The bytes stay where they are, and
no collector deletes them while anything names them.

A tree that needs such a blob becomes ``pending``, as if it had not been written to its end: then
storing the directory again looks at every part of it, and writes what is not live. Its manifest
keeps its key and can be read all the while.

Both touch only what is still of the generation that was looked at, and live. So a writer or a
collector that comes between is not disturbed. Of a writer that relies on the blob in a transaction
that is open, nothing is taken that it had. Only one thing can happen: a tree that is being
stored at that very moment becomes live without its part. The next run finds it incomplete.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..collect.sql import CHANGE
from .sql import CONDEMN, LOCK_LIVE, LOCK_TREES, SUSPEND

if TYPE_CHECKING:
    from ..collect.caretaker import Caretaker, Found


def condemn(caretaker: Caretaker, damaged: list[Found]) -> int:
    """Mark blobs, given by digest and generation; return how many. Their trees come next."""
    with caretaker.changing() as connection:
        mine = caretaker.run(connection, LOCK_LIVE, damaged)
        gone = caretaker.run(connection, CONDEMN, mine)
        caretaker.run(connection, CHANGE["trash"], gone)
    return len(gone)


def suspend(caretaker: Caretaker, blobs: list[Found]) -> int:
    """Mark the trees among some blobs, and those that need any, that are not complete."""
    with caretaker.changing() as connection:
        trees = caretaker.run(connection, LOCK_TREES, blobs)
        return len(caretaker.run(connection, SUSPEND, trees))
