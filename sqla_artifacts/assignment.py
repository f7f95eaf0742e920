"""Assignments: what an attribute holds once a value was assigned to it.

An attribute that reads as a proxy is one from the moment that a value is assigned to it, in
the constructor too. Column types that want this have a method ``assigned``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import event, inspect
from sqlalchemy.orm import Mapper, object_session
from sqlalchemy.sql.elements import ClauseElement

if TYPE_CHECKING:
    from collections.abc import Callable


def listen_to_assignments() -> None:
    """Have every class that is mapped from now on wrap what it is assigned; again is harmless."""
    if not event.contains(Mapper, "mapper_configured", _configured):
        event.listen(Mapper, "mapper_configured", _configured)


def _configured(mapper: Mapper[Any], class_: type[Any]) -> None:
    wrapped = {}
    for prop in mapper.column_attrs:
        assigned = getattr(getattr(prop.columns[0], "type", None), "assigned", None)
        if assigned is not None:
            event.listen(getattr(class_, prop.key), "set", _wrapping(assigned), retval=True)
            wrapped[prop.key] = assigned
    if wrapped:
        event.listen(class_, "refresh", _expiring(wrapped))


def _wrapping(assigned: Callable[[Any], Any]) -> Callable[..., Any]:
    def wrap(target: object, value: Any, old: object, initiator: object) -> Any:
        sql = isinstance(value, ClauseElement) or hasattr(value, "__clause_element__")
        return value if value is None or sql else assigned(value)

    return wrap


def _expiring(wrapped: dict[str, Callable[[Any], Any]]) -> Callable[..., None]:
    def expire(target: object, context: object, attributes: object) -> None:
        # An ORM UPDATE that synchronizes the session has put the bare values there.
        held = inspect(target).dict
        bare = [
            key
            for key, assigned in wrapped.items()
            if held.get(key) is not None and assigned(held[key]) is not held[key]
        ]
        session = object_session(target)
        if bare and session is not None:
            session.expire(target, bare)

    return expire
