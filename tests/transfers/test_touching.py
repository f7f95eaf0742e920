"""What a commit expires is read again from the database, and from memory rather than the store."""

import pytest
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from sqla_artifacts.recent import RECENT, Recent
from tests.models import statements_of

from .models import Shelf
from .places import ASYNC, only

COUNT = 100
COVERS = [b"%d" % number * 5_000 for number in range(COUNT)]
shelves = select(Shelf).order_by(Shelf.id)


@pytest.fixture
def place(make_place):
    """A place with a hundred rows, and a store that remembers none of them yet."""
    place = make_place(memory=RECENT)
    place.session(written)
    place.store._recent = Recent(RECENT)
    place.backend.gets.expect()
    return place


@pytest.fixture
def statements(place):
    """The statements from now on."""
    return statements_of(place.sync(place.engine))


def written(session):
    found = [Shelf(cover=cover) for cover in COVERS]
    session.add_all(found)
    session.commit()
    return found


def touched(found):
    """Touch all instances."""
    assert [shelf.cover for shelf in found] == COVERS


def loaded(session):
    return session.scalars(shelves).all()


def test_touching_instances_after_commit_costs_a_statement_each_and_no_get(place, statements):
    def touch(session):
        found = loaded(session)
        assert place.backend.gets.count == COUNT
        session.commit()
        statements.clear()
        touched(found)
        assert len(statements) == COUNT
        touched(found)  # no longer expired
        assert (len(statements), place.backend.gets.count) == (COUNT, COUNT)

    place.session(touch)


def test_or_one_statement_for_a_new_select(place, statements):
    def touch(session):
        found = loaded(session)
        session.commit()
        statements.clear()
        assert loaded(session) == found
        touched(found)
        assert (len(statements), place.backend.gets.count) == (1, COUNT)

    place.session(touch)


def test_what_was_just_written_costs_no_get_even_if_it_was_stored_before(place, statements):
    def touch(session):
        found = written(session)
        statements.clear()
        touched(found)
        assert (len(statements), place.backend.gets.count) == (COUNT, 0)

    place.session(touch)


def test_nor_does_an_insert_that_returns_what_it_wrote(place):
    def returned(session):
        new = insert(Shelf).returning(Shelf.cover)
        assert {*session.scalars(new, [{"cover": cover} for cover in COVERS])} == {*COVERS}

    place.session(returned)
    assert place.backend.gets.count == 0


@only(ASYNC)
def test_attributes_that_are_awaited_cost_no_get_either(place, statements):
    async def touch(session):
        found = (await session.scalars(shelves)).all()
        await session.commit()
        statements.clear()
        assert [await shelf.awaitable_attrs.cover for shelf in found] == COVERS
        assert (len(statements), place.backend.gets.count) == (COUNT, COUNT)

    place.awaited(AsyncSession, touch)
