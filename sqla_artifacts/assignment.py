"""Assignments: what an attribute holds once a value was assigned to it.

An attribute that reads as a proxy is one from the moment that a value is assigned to it, in
the constructor too. Column types that want this have a method ``assigned``.

An attribute that reads as a list of proxies holds them as well: a list that is assigned is
copied into one, and what is put into a ``MutableList`` later becomes a proxy there.
"""

from __future__ import annotations

from functools import partial
from operator import is_
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import event, inspect
from sqlalchemy.ext.mutable import Mutable
from sqlalchemy.orm import Mapper
from sqlalchemy.sql.elements import ClauseElement

from .comparison import ReferenceComparator

if TYPE_CHECKING:
    from collections.abc import Callable


def listen_to_assignments() -> None:
    """Have every class that is mapped from now on wrap what it is assigned; again is harmless."""
    if not event.contains(Mapper, "mapper_configured", _configured):
        event.listen(Mapper, "mapper_configured", _configured)


def _configured(mapper: Mapper[Any], class_: type[Any]) -> None:
    wrapped = {}
    for prop in mapper.column_attrs:
        column_type = getattr(prop.columns[0], "type", None)
        attribute: Any = getattr(class_, prop.key, None)  # none for a ConcreteBase's "type"
        assigned = _assigned(column_type)
        if _is_list(column_type):
            # An ARRAY would compare lists by ==, of arrays, say, which is no bool.
            attribute.impl.is_equal = _comparing(column_type)
            if assigned is not None:
                event.listen(attribute, "modified", _wrapping_items(prop.key, assigned))
        if assigned is not None:
            event.listen(attribute, "set", _wrapping(assigned), retval=True)
            event.listen(
                attribute, "init_scalar", _wrapping_default(prop.key, assigned), retval=True
            )
            wrapped[prop.key] = assigned
    if wrapped:
        event.listen(class_, "refresh", _expiring(wrapped))
        event.listen(class_, "refresh_flush", _expiring(wrapped))


def _is_list(column_type: Any) -> bool:
    """Say whether this is the type of a list of references."""
    item_type = getattr(column_type, "item_type", None)
    factory = getattr(item_type, "comparator_factory", None)
    return isinstance(factory, type) and issubclass(factory, ReferenceComparator)


def _assigned(column_type: Any) -> Callable[[Any], Any] | None:
    """Return what a column type makes of an assigned value; that of a list, of each item."""
    if not _is_list(column_type):
        return getattr(column_type, "assigned", None)
    assigned = _assigned(column_type.item_type)
    return assigned and partial(_each, assigned, depth=column_type.dimensions)


def _each(assigned: Callable[[Any], Any], value: Any, *, depth: int | None) -> Any:
    """Return the list with its items in proxies: the same list if they are already."""
    if not isinstance(value, list):
        return value
    deeper = None if depth is None else depth - 1

    def wrapped(item: Any) -> Any:
        if deeper or (depth is None and isinstance(item, list)):
            return _each(assigned, item, depth=deeper)
        return item if item is None else assigned(item)

    items = [wrapped(item) for item in value]
    return value if all(map(is_, items, value)) else items


def _comparing(column_type: Any) -> Callable[[Any, Any], bool]:
    same = column_type.item_type.compare_values

    def compare(x: Any, y: Any, depth: int | None = column_type.dimensions) -> bool:
        lists = isinstance(x, list | tuple) and isinstance(y, list | tuple)
        if x is y or depth == 0 or not lists:
            return x is y or same(x, y) is True
        deeper = None if depth is None else depth - 1
        return len(x) == len(y) and all(map(partial(compare, depth=deeper), x, y))

    return compare


def _wrapping(assigned: Callable[[Any], Any]) -> Callable[..., Any]:
    def wrap(target: object, value: Any, old: object, initiator: object) -> Any:
        sql = isinstance(value, ClauseElement) or hasattr(value, "__clause_element__")
        if value is None or sql:
            return value
        return _kept(value, assigned(value))

    return wrap


def _kept(value: Any, wrapped: Any) -> Any:
    """Return what was wrapped, in the assigned list itself where that tells of its changes."""
    if wrapped is value or not isinstance(value, Mutable):
        return wrapped
    list.__setitem__(cast("Any", value), slice(None), wrapped)  # not a change to be told
    return value


def _wrapping_items(key: str, assigned: Callable[[Any], Any]) -> Callable[..., Any]:
    def wrap(target: object, initiator: object) -> None:
        state: Any = inspect(target)
        value = state.dict.get(key)
        if isinstance(value, list):
            list.__setitem__(value, slice(None), assigned(value))

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
