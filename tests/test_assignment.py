"""Assigning to the attributes of mapped instances, and what a flush makes of it."""

from copy import copy

import numpy as np
import pytest
from sqlalchemy import func, inspect, literal, null, select
from sqlalchemy.orm import Session, make_transient

from sqla_artifacts import EMPTY, Lazy, StoredPath
from sqla_artifacts.ledger import Blob

from .models import counting, set_up, statements_of

ARRAY = np.arange(4)


@pytest.fixture
def sample(engine, tmp_path):
    return set_up(engine, tmp_path)[0]


@pytest.fixture
def session(engine):
    with Session(engine) as session:
        yield session


@pytest.fixture
def row(session, sample):
    """A row that was just loaded."""
    session.add(sample(name="row", data=b"data", image=ARRAY, note="note", run=("a", b"run")))
    session.commit()
    return session.scalars(select(sample)).one()


def updates(session):
    """The UPDATEs of a flush."""
    seen = statements_of(session.get_bind())
    session.flush()
    return [statement for statement in seen if statement.startswith("UPDATE sample")]


def blobs(session):
    return session.scalar(select(func.count()).select_from(Blob))


# -- what an attribute holds -----------------------------------------------------------------------


def test_values_become_proxies_and_all_else_stays(sample):
    new = sample(note="note", run="a/b", data=b"data", image=ARRAY)
    assert (type(new.note), type(new.run)) == (Lazy, StoredPath)
    assert new.data == b"data"
    assert new.image is ARRAY
    proxy = new.note
    new.note = proxy
    assert new.note is proxy
    for nothing in (None, null(), literal("x"), sample.note, select(sample.note).scalar_subquery()):
        new.note = nothing
        new.run = nothing
        assert new.note is nothing
        assert new.run is nothing


def test_sql_expressions_are_left_to_sql(session, row, sample):
    row.note = sample.text.reference
    row.run = select(sample.run.reference).where(sample.id == row.id).scalar_subquery()
    row.text = null()
    session.commit()
    assert row.note is None
    assert row.run.name == "a"
    assert row.text is None


# -- what a flush does -----------------------------------------------------------------------------


def test_the_same_proxy_is_no_change(session, row):
    for key in ("note", "run", "data", "image"):
        setattr(row, key, getattr(row, key))
    row.note.unpack()
    row.run.unpack()
    assert not session.is_modified(row)
    assert updates(session) == []
    row.note = copy(row.note)
    assert updates(session) == []
    assert inspect(row).attrs.note.history.unchanged == [row.note]


def test_an_equal_value_is_an_update_and_no_new_blob(session, row):
    before = blobs(session)
    counter = counting(row.note.store)
    for key, value in {"data": b"data", "image": ARRAY.copy(), "note": "note"}.items():
        setattr(row, key, value)
        assert inspect(row).attrs[key].history.has_changes()
        assert len(updates(session)) == 1
    row.run = ("a", b"run")
    assert len(updates(session)) == 1
    assert blobs(session) == before
    assert {"put", "create"}.isdisjoint(counter.calls)
    session.commit()
    assert row.note.unpack() == "note"


def test_a_change_is_never_decided_by_the_values_own_equality(session, sample):
    class Difficult:
        def __eq__(self, other):
            pytest.fail("compared")

        __hash__ = None

        def __reduce__(self):
            return (dict, ())

    new = sample(thing=Difficult(), image=ARRAY, model=Difficult())
    session.add(new)
    session.flush()
    new.thing, new.image, new.model = Difficult(), ARRAY + 1, Difficult()
    session.commit()
    assert new.thing == new.model.unpack() == {}


def test_history_shows_proxies(session, row):
    old = row.note
    row.note = "new"
    history = inspect(row).attrs.note.history
    assert history.deleted == [old]
    assert [added.unpack() for added in history.added] == ["new"]
    session.rollback()
    assert row.note.unpack() == "note"


def test_a_rolled_back_value_can_be_stored_again(session, sample):
    new = sample(name="new", note="note", run=("a", b"run"), data=b"data")
    for _ in range(2):
        session.add(new)
        session.flush()
        session.rollback()
        assert session.scalars(select(sample)).all() == []
    session.add(new)
    session.commit()
    assert (new.note.unpack(), new.run.open().read(), new.data) == ("note", b"run", b"data")


def test_a_value_that_changed_since_a_rollback_is_stored_as_it_is_now(session, sample):
    value = {"a": 1}
    new = sample(model=value)
    for number in (1, 2):
        value["a"] = number
        session.add(new)
        session.flush()
        held = session.scalars(select(sample.model.reference)).one()
        assert held == str(new.model.reference)
        if number == 1:
            session.rollback()
    session.commit()
    assert new.model.unpack() == {"a": 2}


def test_refresh_and_expire_load_anew(engine, session, row, sample):
    row.note.unpack()
    with Session(engine) as other:
        found = other.get(sample, row.id)
        found.note, found.data = "other", b"other"
        other.commit()
    session.rollback()
    session.refresh(row)
    assert row.note.x is EMPTY
    assert (row.note.unpack(), row.data) == ("other", b"other")
    row.note = "unsaved"
    session.expire(row, ["note"])
    assert row.note.unpack() == "other"
    session.expire(row)
    row.note = None
    row.run = ("b", b"new")
    session.commit()
    assert row.note is None
    assert row.run.name == "b"


def test_merge_brings_values_and_proxies(engine, row, sample):
    with Session(engine) as other:
        copy = other.merge(row)
        assert copy is not row
        assert copy.note.reference == row.note.reference
        changes = inspect(copy).attrs
        assert not changes.note.history.has_changes()
        assert not changes.run.history.has_changes()
        detached = sample(id=row.id, note="merged", run=("b", b"merged"), data=b"merged")
        merged = other.merge(detached)
        other.commit()
        assert (merged.note.unpack(), merged.run.name, merged.data) == ("merged", "b", b"merged")


def test_a_detached_row_can_be_added_again(engine, session, row, sample):
    row.note.unpack()
    session.expunge(row)
    make_transient(row)
    row.id, row.name = None, "copy"
    with Session(engine) as other:
        other.add(row)
        other.commit()
        copy = other.scalars(select(sample).where(sample.name == "copy")).one()
        assert (copy.note.unpack(), copy.run.name, copy.data) == ("note", "a", b"data")


def test_bulk_methods_take_plain_values_and_proxies(session, row, sample):
    session.bulk_insert_mappings(sample, [{"note": "bulk", "run": row.run}, {"note": row.note}])
    session.bulk_save_objects([sample(note="object")])
    session.bulk_update_mappings(sample, [{"id": row.id, "note": "updated"}])
    session.commit()
    notes = session.scalars(select(sample.note).order_by(sample.id)).all()
    assert [note.unpack() for note in notes] == ["updated", "bulk", "note", "object"]
