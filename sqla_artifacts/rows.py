"""Rows: unpacking all that is lazy in one row, in many, or in a stream of them.

::

    unpack(session.scalars(select(Sample)).all())       # all values at once
    for sample in unpack_stream(session.scalars(query.execution_options(yield_per=100))):
        train(sample.image.x)                           # the next ones are on their way
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import inspect
from sqlalchemy.orm import InstanceState

from . import transfer
from .proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator

T = TypeVar("T")


def unpack(value: Any) -> Any:
    """Unpack everything that is lazy in a row, an instance, a mapping or a list, all at once.

    A proxy gives its value, a mapping a ``dict``, a list or tuple one of its kind, a row a
    tuple. A mapped instance is returned itself, its loaded proxies unpacked (``.x``). What
    is not lazy stays as it is. As many values are fetched at once as their store takes.
    """
    proxies = {id(proxy): proxy for proxy in _proxies(value)}
    values: dict[int, Any] = {}
    for pool in dict.fromkeys(map(_pool_of, proxies.values())):
        mine = {key: proxy for key, proxy in proxies.items() if _pool_of(proxy) is pool}
        each = pool.each(_unpack, mine.values(), size=_size_of)
        values.update(zip(mine, each, strict=True))
    return _replaced(value, values)


async def aunpack(value: Any) -> Any:
    """Do what :func:`unpack` does without holding up the event loop."""
    pools = [_pool_of(proxy) for proxy in _proxies(value)]
    return await pools[0].off_loop(unpack, value) if pools else unpack(value)


def unpack_stream(rows: Iterable[T], *, prefetch: int = 64) -> Iterator[T]:
    """Yield rows as :func:`unpack` returns them, in order, the next ones already on their way.

    Up to ``prefetch`` of them, and fewer if they are large: see :mod:`.transfer`. Give it rows
    that come in portions themselves, and all of it needs bounded memory::

        query = select(Sample).execution_options(yield_per=100)
        for sample in unpack_stream(session.scalars(query)):
            train(sample.image.x)
    """
    return transfer.ahead(unpack, rows, prefetch, _sizes_in)


def aunpack_stream(rows: AsyncIterable[T], *, prefetch: int = 64) -> AsyncIterator[T]:
    """Do what :func:`unpack_stream` does for ``await session.stream_scalars(...)``."""
    return transfer.aahead(unpack, rows, prefetch, _sizes_in)


_HERE = transfer.Pool(1)  # what was assigned and not flushed is in no store


def _pool_of(proxy: Proxy) -> transfer.Pool:
    return proxy.store.pool if proxy.stored else _HERE


def _unpack(proxy: Proxy) -> Any:
    return proxy.unpack()


def _size_of(proxy: Proxy) -> int:
    return proxy.size if proxy.stored else 0


def _sizes_in(value: Any) -> int:
    return sum(map(_size_of, _proxies(value)))


def _proxies(value: Any) -> Iterator[Proxy]:
    if isinstance(value, Proxy):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _proxies(item)
    elif _is_sequence(value):
        for item in value:
            yield from _proxies(item)
    elif isinstance(state := inspect(value, raiseerr=False), InstanceState):
        for item in state.dict.values():
            items = item if isinstance(item, list) else [item]  # a list of artifacts
            yield from (each for each in items if isinstance(each, Proxy))


def _replaced(value: Any, values: dict[int, Any]) -> Any:
    if isinstance(value, Proxy):
        return values[id(value)]
    if isinstance(value, Mapping):
        return {key: _replaced(item, values) for key, item in value.items()}
    if _is_sequence(value):
        items = [_replaced(item, values) for item in value]
        if isinstance(value, list):
            return items
        return value._make(items) if hasattr(value, "_make") else tuple(items)
    return value


def _is_sequence(value: Any) -> bool:
    return isinstance(value, list | tuple) or hasattr(value, "_mapping")
