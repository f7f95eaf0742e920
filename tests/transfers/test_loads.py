"""Every way of loading: together what can be together, and the result as without the read hook."""

from functools import partial

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from .async_loads import CONNECTION, SESSION
from .loads import LOADS
from .places import ASYNC, only


def check(place, name, path, load, matrix):
    """Load by `load(function, engine)`, with the read hook and without it."""
    gets = place.backend.gets
    together = path.buffered if place.is_async and path.buffered else path.gets
    gets.expect(*together)
    assert load(path.load, place.engine) == path.expected
    seen, top = gets.met, gets.top
    matrix.note(name, place.driver, seen)
    gets.expect()
    assert load(path.load, place.plain) == path.expected
    assert gets.top == 1
    assert (seen, top) == (together, max(together))


def test_every_way_of_loading_gives_what_it_gives_without_the_hook(filled, matrix, subtests):
    for name, path in LOADS.items():
        with subtests.test(name):
            check(filled, name, path, filled.session, matrix)


@only(ASYNC)
def test_so_does_every_way_that_is_awaited(filled, matrix, subtests):
    for open_, paths in {AsyncSession: SESSION, AsyncEngine.connect: CONNECTION}.items():
        for name, path in paths.items():
            with subtests.test(name):
                check(filled, name, path, partial(filled.awaited, open_), matrix)
