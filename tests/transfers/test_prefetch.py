"""The read hook: each row's own error, no fetch in vain, and no object that two rows share."""

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import Session

from sqla_artifacts import unpack, unpack_stream
from sqla_artifacts.errors import BlobNotFoundError
from sqla_artifacts.location import key_of
from sqla_artifacts.reference import parse

from .loads import core, execute, images, photos
from .models import IMAGES, Book, Note, Photo
from .places import ASYNC, SYNC, only


@only(SYNC)
def test_one_row_is_fetched_where_one_is_asked_for(filled):
    gets = filled.backend.gets
    with filled.engine.connect() as connection:
        for ask in (
            lambda: connection.scalars(core).first(),
            lambda: connection.execute(core).fetchone()[0],
            lambda: connection.scalar(core),
            lambda: connection.scalars(core.limit(1)).one(),
            lambda: next(iter(connection.scalars(core))),
        ):
            gets.expect()
            assert ask() == IMAGES[0]
            assert gets.count == 1


@only(SYNC)
def test_rows_that_are_not_looked_at_cost_nothing(filled):
    filled.backend.gets.expect()
    filled.session(lambda session: execute(session, core).close())
    assert filled.backend.gets.count == 0


def test_fetchmany_without_a_size_gives_as_many_as_without_the_hook(filled):
    def sizes(session):
        result = execute(session, core)
        result.fetchone(), result.fetchone()  # the second one reads ahead
        return [len(result.fetchmany()) for _ in range(3)]

    assert filled.session(sizes) == filled.session(sizes, filled.plain) == [1, 1, 1]


def test_a_result_that_was_fetched_whole_is_closed_as_without_the_hook(filled):
    def ends(session):
        result = execute(session, core)
        return len(result.all()), result.first(), result.fetchone(), result.closed

    assert filled.session(ends) == filled.session(ends, filled.plain) == (12, None, None, False)


# -- a blob that is missing ------------------------------------------------------------------------


@pytest.fixture
def broken(filled):
    """A place where the third image is missing."""
    reference = filled.session(
        lambda session: session.scalar(select(Photo.image.reference).where(Photo.id == 3))
    )
    filled.backend.delete(key_of(parse(reference).digest))
    return filled


def check_broken(result):
    """Check that the error is that of its own row."""
    assert [result.fetchone()[0] for _ in range(2)] == IMAGES[:2]
    with pytest.raises(BlobNotFoundError, match=r"photo\.image"):
        result.fetchone()
    assert [row[0] for row in result.fetchall()] == IMAGES[3:]


def test_a_missing_blob_is_the_error_of_its_own_row(broken):
    broken.session(lambda session: check_broken(execute(session, core)))


def test_it_is_no_matter_to_a_statement_without_that_row(broken):
    rest = photos.where(Photo.id != 3)
    found = broken.session(lambda s: [photo.image for photo in s.scalars(rest)])
    assert found == IMAGES[:2] + IMAGES[3:]


@only(ASYNC)
def test_it_is_its_rows_error_where_nothing_can_be_waited_for(broken):
    async def main(connection):
        check_broken(await connection.execute(core))

    broken.awaited(AsyncEngine.connect, main)


@only(ASYNC)
def test_it_is_its_rows_error_in_a_stream(broken):
    async def main(connection):
        result = await connection.stream(core)
        assert [(await result.fetchone())[0] for _ in range(2)] == IMAGES[:2]
        with pytest.raises(BlobNotFoundError, match=r"photo\.image"):
            await result.fetchone()
        assert [row[0] async for row in result] == IMAGES[3:]

    broken.awaited(AsyncEngine.connect, main)


# -- what is fetched together ----------------------------------------------------------------------


def added(place, *instances):
    """Store instances."""
    place.session(lambda session: session.add_all(instances) or session.commit())


def test_equal_values_share_a_fetch_and_never_an_object(place):
    added(place, *(Note(doc=[1]) for _ in range(5)))
    place.backend.gets.expect()
    docs = place.session(lambda session: session.scalars(select(Note.doc)).all())
    assert place.backend.gets.count == 1
    assert docs == [[1]] * 5
    assert len(set(map(id, docs))) == 5


def test_the_items_of_a_list_are_fetched_together(place):
    pages = [f"page {number}" for number in range(12)]
    added(place, Book(pages=[*pages, None, pages[0]]))
    place.backend.gets.expect(8, 4)
    found = place.session(lambda session: session.scalars(select(Book.pages)).one())
    assert found == [*pages, None, pages[0]]
    assert place.backend.gets.met == (8, 4)


@only(SYNC)
def test_unpack_and_its_stream_fetch_together(filled):
    numbered = [f"lazy {number}" for number in range(12)]
    with Session(filled.engine) as session:
        for photo, text in zip(session.scalars(photos), numbered, strict=True):
            photo.lazy = text
        session.commit()
        found = session.scalars(photos).all()
        filled.backend.gets.expect(8, 4)
        assert [photo.lazy.x for photo in unpack(found)] == numbered
        assert filled.backend.gets.met == (8, 4)
    with Session(filled.engine) as session:
        rows = session.scalars(photos.execution_options(yield_per=5))
        assert [photo.lazy.x for photo in unpack_stream(rows, prefetch=6)] == numbered


# -- another SQLAlchemy ----------------------------------------------------------------------------


class Different:
    """A result of some other SQLAlchemy."""

    returns_rows = True


def test_a_sqlalchemy_that_differs_is_left_alone_with_one_warning(filled):
    hook = filled.hooks(filled.engine).prefetch
    with pytest.warns(RuntimeWarning, match="one by one"):
        hook.after_execute(None, Different())
    hook.after_execute(None, Different())
    filled.backend.gets.expect()
    assert filled.session(lambda session: session.scalars(images).all()) == IMAGES
    assert filled.backend.gets.top == 1
