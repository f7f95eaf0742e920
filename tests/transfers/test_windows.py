"""What is fetched together with what: lists, arrays, and rows that are made in another order."""

import gc

import pytest
from sqlalchemy import event, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.engine.default import DefaultExecutionContext
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from sqla_artifacts import Artifact, ArtifactStore, window

from .loads import core, execute
from .models import IMAGES, Album, Book, Entry, Note, Photo
from .places import ASYNC, SYNC, only

PAGES = [[f"{book} {page}" for page in range(3)] for book in range(4)]
POSTGRESQL = [driver for driver in (*SYNC, *ASYNC) if "sqlite" not in driver]


class Base(DeclarativeBase):
    pass


class Grid(Base):
    """Lists of text in arrays of PostgreSQL's own."""

    __tablename__ = "grid"
    id: Mapped[int] = mapped_column(primary_key=True)
    pages: Mapped[list] = mapped_column(ARRAY(Artifact("text")))


def store_pages(place, model):
    """Store a row for each list of pages, and have their items come in two groups."""
    place.session(lambda s: s.add_all(model(pages=pages) for pages in PAGES) or s.commit())
    place.backend.gets.expect(8, 4)
    return select(model.__table__.c.pages).order_by(model.__table__.c.id)


def check_pages(place, query):
    """Check that the items of all rows have been fetched together."""
    assert place.session(lambda session: session.scalars(query).all()) == PAGES
    assert place.backend.gets.met == (8, 4)


def test_the_lists_of_all_rows_are_fetched_together(place):
    check_pages(place, store_pages(place, Book))


@only(POSTGRESQL)
def test_so_are_arrays(place):
    Base.metadata.create_all(place.observer)
    check_pages(place, store_pages(place, Grid))


@only(ASYNC)
def test_lists_are_decoded_before_a_result_is_handed_out(place):
    query = store_pages(place, Book)

    async def main(connection):
        result = await connection.execute(query)
        assert place.backend.gets.met == (8, 4)
        assert result.scalars().all() == PAGES

    place.awaited(AsyncEngine.connect, main)
    assert place.backend.gets.count == 12


@only(SYNC)
def test_columns_in_another_order_are_fetched_together(filled):
    filled.backend.gets.expect(6)
    query = select(Album.cover, Photo.image).join(Photo).where(Photo.id.in_([1, 2, 9, 10]))
    with Session(filled.engine) as session:
        found = session.connection().execute(query.order_by(Photo.id)).columns(1, 0).all()
    images = [IMAGES[0], IMAGES[1], IMAGES[8], IMAGES[9]]
    assert found == list(zip(images, [b"cover 0"] * 2 + [b"cover 2"] * 2, strict=True))
    assert filled.backend.gets.met == (6,)


@only(SYNC)
def test_results_that_are_read_in_turn_keep_their_windows(filled):
    filled.backend.gets.expect(1, 1, 4, 4, 7, 7)
    with filled.engine.connect() as one, filled.engine.connect() as other:
        pairs = zip(one.execute(core), other.execute(core), strict=True)
        assert [(a[0], b[0]) for a, b in pairs] == [(image, image) for image in IMAGES]
    assert filled.backend.gets.met == (1, 1, 4, 4, 7, 7)


@only(SYNC)
def test_a_value_that_comes_again_much_later_is_fetched_again_and_nothing_else(place):
    docs = [[number % 40] for number in range(80)]  # a window fetches 32 of them
    place.session(lambda s: s.add_all(Note(doc=doc) for doc in docs) or s.commit())
    place.backend.gets.expect()
    query = select(Note.doc).order_by(Note.id)
    assert place.session(lambda session: session.scalars(query).all()) == docs
    assert place.backend.gets.count == 80


@only(SYNC)
def test_what_was_fetched_is_let_go_of_with_the_rows(filled):
    result = filled.session(lambda session: execute(session, core).all())
    gc.collect()
    assert [row[0] for row in result] == IMAGES
    assert window._CURRENT.get()() is None


def test_a_sqlalchemy_without_the_place_for_the_hook_is_told_of(make_engine, monkeypatch):
    monkeypatch.delattr(DefaultExecutionContext, "_setup_result_proxy")
    with pytest.warns(RuntimeWarning, match="one by one.*_setup_result_proxy"):
        ArtifactStore("memory://").attach(make_engine("sqlite"))


# -- listeners -------------------------------------------------------------------------------------


def test_statements_do_not_look_for_listeners_that_nobody_has_added(place):
    assert not any(place.sync(engine)._has_events for engine in place.engines)


@only(SYNC)
def test_what_another_listener_stores_is_its_own(place):
    """A listener comes first that has been added last, and runs statements within another."""
    done = []

    def note(connection, cursor, statement, *rest):
        if statement.startswith("INSERT INTO note") and not done:
            done.append(statement)
            connection.execute(Entry.__table__.insert().values(name="seen", count=1, image=b"seen"))

    event.listen(place.engine, "before_cursor_execute", note, insert=True)
    with Session(place.engine) as session:
        session.add(Note(doc=["noted"]))
        session.commit()
        assert done
        assert session.scalars(select(Note.doc)).all() == [["noted"]]
        assert session.scalars(select(Entry.image)).all() == [b"seen"]
