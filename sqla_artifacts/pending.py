"""What the column types and the engine's listeners hand each other.

A type's processors are given the dialect and nothing else, so that is where they find the
engine's stores. What they bind waits in a context variable for the listener that stores it.
"""

from __future__ import annotations

import contextlib
from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from sqlalchemy import Insert, Update
from sqlalchemy.sql import visitors
from sqlalchemy.sql.dml import UpdateBase
from sqlalchemy.sql.elements import BindParameter, Null, TextClause
from sqlalchemy.sql.selectable import SelectBase, TextualSelect

from .errors import NotAttachedError
from .ledger.writer import has_parts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sqlalchemy import Dialect

    from .payload import Payload, Stage
    from .reference_type import ReferenceType
    from .store import ArtifactStore


class Pending(NamedTuple):
    """A payload that was bound to a statement, and has to be stored before it runs."""

    dialect: Dialect
    column_type: ReferenceType
    payload: Payload
    stage: Stage


# What is pending of a column type, by digest: of equal payloads one.
_Key: TypeAlias = "tuple[Dialect, ReferenceType]"
_Waiting: TypeAlias = "dict[_Key, dict[str, Pending]]"

# A context variable, not a thread-local: tasks of one event loop must not mix.
_PENDING: ContextVar[_Waiting | None] = ContextVar("artifact_pending", default=None)


def add_pending(item: Pending) -> None:
    """Note what has to be stored before the statement that is being bound."""
    waiting = _PENDING.get()
    if waiting is None:
        waiting = {}
        _PENDING.set(waiting)
    equals = waiting.setdefault((item.dialect, item.column_type), {})
    known = equals.setdefault(item.payload.digest, item)
    if not serves(known.payload, item.payload):
        equals[item.payload.digest] = item


def serves(payload: Payload, other: Payload) -> bool:
    """Say whether an equal payload may be dropped: this one has at hand what that one brings."""
    return _brings(payload) >= _brings(other)


def _brings(payload: Payload) -> tuple[bool, bool]:
    return has_parts(payload), not callable(payload.content)


def pending_of(dialect: Dialect, column_type: ReferenceType) -> Mapping[str, Pending]:
    """Return what is pending of a column type, by digest."""
    return (_PENDING.get() or {}).get((dialect, column_type), {})


@contextlib.contextmanager
def set_aside() -> Iterator[None]:
    """Keep what is pending from the statements that somebody else's code runs in here."""
    pending = _PENDING.get()
    _PENDING.set(None)
    try:
        yield
    finally:
        _PENDING.set(pending)


def take_pending(dialect: Dialect) -> list[Pending]:
    """Return, and forget, what was bound for an engine's next statement."""
    waiting = _PENDING.get()
    if not waiting:
        return []
    mine = [key for key in waiting if key[0] is dialect]
    _PENDING.set({key: waiting[key] for key in waiting if key not in mine} or None)
    return [item for key in mine for item in waiting[key].values()]


def may_write(statement: object) -> bool:
    """Say whether a statement can write; a SELECT without DML or text inside it cannot."""
    if not isinstance(statement, SelectBase):
        return True
    writing = (UpdateBase, TextClause, TextualSelect)
    return any(isinstance(element, writing) for element in visitors.iterate(statement))


def copies(statement: object) -> bool:
    """Say whether SQL gives an INSERT or UPDATE its values: references of other columns, say."""
    if not isinstance(statement, Insert | Update):
        return False
    values = (statement._values or {}).values()  # noqa: SLF001 (public in the SQL only)
    given = all(isinstance(value, BindParameter | Null) for value in values)
    return getattr(statement, "select", None) is not None or not given


def discard(pending: list[Pending]) -> None:
    """Remove what was staged for them: it is in the store by now, or never will be."""
    for item in pending:
        item.stage.discard()


def stores_of(dialect: Dialect) -> dict[str, ArtifactStore]:
    """Return the stores attached to a dialect's engine, by name.

    They are kept on the dialect, the one object that an engine shares with the copies that
    ``execution_options()`` makes of it, and that the processors of a type are given.
    """
    stores: dict[str, ArtifactStore] = dialect.__dict__.setdefault("_artifact_stores", {})
    return stores


def store_of(dialect: Dialect, name: str) -> ArtifactStore:
    """Return the store of that name. Raises :class:`NotAttachedError`."""
    stores = stores_of(dialect)
    if name not in stores:
        attached = ", ".join(map(repr, stores)) or "none"
        argument = "" if name == "default" else f", name={name!r}"
        msg = (
            f"no store {name!r} is attached to this engine (attached: {attached}): call "
            f"ArtifactStore(url).attach(engine{argument}) before the first statement"
        )
        raise NotAttachedError(msg)
    return stores[name]
