"""Assignments: what an attribute holds once a value was assigned to it.

An attribute that reads as a proxy is one from the moment that a value is assigned to it, in
the constructor too. Column types that want this have a method ``assigned``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import event, inspect
from sqlalchemy.orm import Mapper
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
            attribute = getattr(class_, prop.key)
            event.listen(attribute, "set", _wrapping(assigned), retval=True)
            event.listen(
                attribute, "init_scalar", _wrapping_default(prop.key, assigned), retval=True
            )
            wrapped[prop.key] = assigned
    if wrapped:
        event.listen(class_, "refresh", _expiring(wrapped))
        event.listen(class_, "refresh_flush", _expiring(wrapped))


def _wrapping(assigned: Callable[[Any], Any]) -> Callable[..., Any]:
    def wrap(target: object, value: Any, old: object, initiator: object) -> Any:
        sql = isinstance(value, ClauseElement) or hasattr(value, "__clause_element__")
        return value if value is None or sql else assigned(value)

    return wrap


def _wrapping_default(key: str, assigned: Callable[[Any], Any]) -> Callable[..., Any]:
    def wrap(target: object, value: Any, held: dict[str, Any]) -> Any:
        # The default of a dataclass, where it stays on the class until the flush.
        if value is None or isinstance(value, ClauseElement):
            return value
        held[key] = assigned(value)
        return held[key]

    return wrap


def _expiring(wrapped: dict[str, Callable[[Any], Any]]) -> Callable[..., None]:
    def expire(target: object, context: object, attributes: object) -> None:
        # A column's default, or an ORM UPDATE that synchronizes the session, has put bare
        # values there. They are in the database now: the next access loads their proxies.
        state: Any = inspect(target)
        bare = [
            key
            for key, assigned in wrapped.items()
            if (value := state.dict.get(key)) is not None and assigned(value) is not value
        ]
        if bare:
            # Session.expire() does this, but not for what is being inserted.
            state._expire_attributes(state.dict, bare)  # noqa: SLF001

    return expire
