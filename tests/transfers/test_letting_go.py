"""An error is gone once it has been handled, and with it all that its traceback keeps alive.

Cursors and payloads must not have to wait until the garbage is collected.
"""

import gc
import weakref

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from sqla_artifacts.errors import ArtifactError

from .models import Photo
from .places import SYNC, only


@pytest.fixture(autouse=True)
def uncollected():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def fail(function, *arguments):
    """Call what has to fail; return a weak reference to its error."""
    try:
        function(*arguments)
    except ArtifactError as error:
        return weakref.ref(error)
    pytest.fail("nothing was raised")


def load_all(engine):
    with Session(engine) as session:
        session.scalars(select(Photo)).all()


def load_one(engine):
    with engine.connect() as connection:
        connection.execute(select(Photo.image)).fetchone()


def lose(backend):
    for entry in list(backend.list("blobs/")):
        backend.delete(entry.key)


def damage(backend):
    for entry in list(backend.list("blobs/")):
        backend.delete(entry.key)
        backend.create(entry.key, b"damaged")


@only(SYNC)
@pytest.mark.parametrize("harm", [lose, damage])
@pytest.mark.parametrize("load", [load_all, load_one])
def test_a_load_that_fails(filled, harm, load):
    harm(filled.backend)
    assert fail(load, filled.engine)() is None


def store_several(engine):
    with engine.begin() as connection:
        rows = [{"id": number, "image": b"%d" % number} for number in range(100, 104)]
        connection.execute(Photo.__table__.insert(), rows)


@only(SYNC)
def test_a_write_that_fails(filled):
    def put():
        raise OSError("no space left")

    filled.backend.puts.expect()
    filled.backend.puts.fail(1, put)
    assert fail(store_several, filled.engine)() is None
