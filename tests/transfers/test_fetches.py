"""Thousands of random sequences of fetches, each compared with an engine whose read hook is off."""

import asyncio

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Row, RowMapping
from sqlalchemy.ext.asyncio import AsyncEngine

from .loads import core, images, table
from .models import Photo
from .places import ASYNC, only

SIZES = st.integers(1, 7)
CALLS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["fetchone", "next", "fetchmany"])),
        st.tuples(st.sampled_from(["fetchmany", "yield_per", "partition"]), SIZES),
        st.tuples(st.sampled_from(["all", "first", "one", "one_or_none", "freeze", "close"])),
    ),
    max_size=8,
)
VIEWS = st.sampled_from(["rows", "scalars", "mappings", "unique"])
STATEMENTS = st.sampled_from(
    [
        core,
        core.add_columns(table.c.late, table.c.id),
        core.where(table.c.id == 2),
        core.where(table.c.id == 0),
        images.add_columns(Photo.late),
    ]
)
OPTIONS = st.sampled_from([{}, {"stream_results": True}, {"yield_per": 3}])

many = settings(
    max_examples=settings().max_examples * 3,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
"""By default 300 for each driver, and 300 more where they are awaited: 2,400 in all."""


def viewed(result, view):
    """A result as one of its views."""
    return result if view == "rows" else getattr(result, view)()


def plain(found):
    """What was fetched, to be compared."""
    if isinstance(found, RowMapping):
        return dict(found)
    if isinstance(found, list | Row):
        return [plain(each) for each in found]
    return found


def called(result, name, *arguments):
    """What comes of one call, be it an error."""
    try:
        if name == "next":
            return plain(next(iter(result), None))
        if name == "partition":
            return plain(next(result.partitions(*arguments), None))
        if name == "freeze":
            return plain(result.freeze()().all())
        found = getattr(result, name)(*arguments)
    except Exception as error:  # noqa: BLE001 (compared)
        return type(error)
    return None if name in {"yield_per", "close"} else plain(found)


def outcomes(session, statement, options, view, calls):
    """What comes of each call of a sequence."""
    return taken(session.execute(statement.execution_options(**options)), view, calls)


def taken(result, view, calls):
    shown = viewed(result, view)
    found = [called(shown, *call) for call in calls]
    result.close()
    return found


@given(statement=STATEMENTS, options=OPTIONS, view=VIEWS, calls=CALLS)
@many
def test_any_sequence_of_fetches_is_that_of_an_engine_without_the_hook(
    filled, statement, options, view, calls
):
    def fetch(session):
        return outcomes(session, statement, options, view, calls)

    assert filled.session(fetch) == filled.session(fetch, filled.plain)


# -- results that are awaited ----------------------------------------------------------------------


async def acalled(result, name, *arguments):
    try:
        if name == "next":
            return plain(await anext(aiter(result), None))
        if name == "partition":
            return plain(await anext(result.partitions(*arguments), None))
        if name == "freeze":
            return plain((await result.freeze())().all())
        found = getattr(result, name)(*arguments)
        if asyncio.iscoroutine(found):
            found = await found
    except Exception as error:  # noqa: BLE001 (compared)
        return type(error)
    return None if name in {"yield_per", "close"} else plain(found)


async def aoutcomes(connection, statement, options, view, calls):
    result = await connection.stream(statement.execution_options(**options))
    try:
        shown = viewed(result, view)
        return [await acalled(shown, *call) for call in calls]
    finally:
        await result.close()


async def buffered(connection, statement, view, calls):
    """The calls are made outside of any greenlet, where nothing can be waited for."""
    result = await connection.execute(statement)
    return taken(result, view, calls)


@only(ASYNC)
@given(statement=STATEMENTS, options=st.none() | OPTIONS, view=VIEWS, calls=CALLS)
@many
def test_so_is_any_sequence_that_is_awaited(filled, statement, options, view, calls):
    def fetch(connection):
        if options is None:
            return buffered(connection, statement, view, calls)
        return aoutcomes(connection, statement, options, view, calls)

    found = filled.awaited(AsyncEngine.connect, fetch)
    assert found == filled.awaited(AsyncEngine.connect, fetch, filled.plain)
