"""`Lazy`: a value that stays in the store until it is asked for."""

import asyncio
import gc
import pickle
import threading
import weakref
from copy import copy
from typing import NamedTuple

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from sqla_artifacts import EMPTY, Lazy, aunpack, unpack
from sqla_artifacts.errors import BlobNotFoundError, InvalidReferenceError, NotStoredError

from .models import counting, set_up

VALUE = {"weights": [1.5, 2.5], "name": "net"}


@pytest.fixture
def saved(engine, tmp_path):
    """(Sample, store) with one row."""
    sample, store = set_up(engine, tmp_path)
    with Session(engine) as session:
        session.add(sample(model=VALUE, note="a note", run=("run.txt", b"a run")))
        session.commit()
    return sample, store


def test_a_select_does_no_io(engine, saved):
    sample, store = saved
    backend = counting(store)
    with Session(engine) as session:
        row = session.scalars(select(sample)).one()
        shown = repr((row.model, row.note, row.run))
        assert session.execute(select(sample.model, sample.run)).one().run.name == "run.txt"
        assert (row.model.size, row.note.size) == (len(pickle.dumps(VALUE, 5)), 6)
        assert row.model.reference.label == "pickle"
        assert row.note.media_type == "text/plain; charset=utf-8"
    assert shown.count("<EMPTY>") == 2
    assert "a note" not in shown
    assert backend.calls == []


def test_unpack_fetches_once(engine, saved):
    sample, store = saved
    backend = counting(store)
    with Session(engine) as session:
        model = session.scalars(select(sample.model)).one()
        assert model.x is EMPTY
        assert not EMPTY
        assert model.unpack() == VALUE
        assert backend.calls == ["get"]
        assert model.x == VALUE
        assert model.unpack() is model.x
        assert backend.calls == ["get"]
        assert "<EMPTY>" not in repr(model)


def test_forget_lets_go_of_the_value(engine, saved):
    sample, store = saved
    with Session(engine) as session:
        model = session.scalars(select(sample.model)).one()
        first = model.unpack()
        model.forget()
        assert model.x is EMPTY
        backend = counting(store)
        assert model.unpack() == first
        assert model.unpack() is not first
        assert backend.calls == ["get"]


def test_the_encoded_bytes_are_at_hand(engine, saved):
    sample, store = saved
    with Session(engine) as session:
        note = session.scalars(select(sample.note)).one()
    assert note.read_bytes() == b"a note"
    with note.open() as stream:
        stream.seek(2)
        assert stream.read() == b"note"
    assert note.store is store
    assert note.digest == note.reference.digest


def test_an_attribute_is_a_proxy_from_its_assignment_on(engine, saved):
    sample, _ = saved
    new = sample(model=VALUE)
    assert isinstance(new.model, Lazy)
    assert new.model.unpack() is VALUE
    new.note = "later"
    assert isinstance(new.note, Lazy)
    with Session(engine) as session:
        session.add(new)
        session.flush()
        for proxy, value in ((new.model, VALUE), (new.note, "later")):
            assert isinstance(proxy, Lazy)
            assert proxy.x == proxy.unpack() == value
            assert proxy.stored
            proxy.forget()
            assert proxy.unpack() == value
        session.commit()
        assert new.model.x is EMPTY
        new.note = None
        assert new.note is None
        session.commit()
        assert new.note is None


def test_what_is_not_flushed_has_no_reference():
    proxy = Lazy("value")
    assert not proxy.stored
    assert proxy.unpack() == "value"
    assert "not flushed" in repr(proxy)
    assert "value" not in repr(proxy)
    for ask in (
        lambda: proxy.reference,
        lambda: proxy.size,
        lambda: proxy.store,
        lambda: proxy.media_type,
        proxy.open,
        proxy.read_bytes,
        proxy.forget,
    ):
        with pytest.raises(NotStoredError, match="flush"):
            ask()
    assert proxy.unpack() == "value"


def test_what_is_no_reference_is_found_by_whoever_uses_it(engine, saved):
    sample, store = saved
    backend = counting(store)
    with Session(engine) as session:
        session.execute(text("UPDATE sample SET model = '&:blob:elsewhere:1:pickle'"))
        model = session.scalars(select(sample.model)).one()
    assert "of no reference" in repr(model)
    for use in (model.unpack, model.open, lambda: model.size):
        with pytest.raises(InvalidReferenceError, match=r"^sample\.model: "):
            use()
    assert model.x is EMPTY
    assert backend.calls == []


def test_a_copy_is_as_if_it_had_just_been_loaded(engine, saved):
    sample, _ = saved
    with Session(engine) as session:
        model = session.scalars(select(sample.model)).one()
    model.unpack()
    assert copy(model) == model
    assert copy(model).x is EMPTY
    assert not copy(model).given
    assert copy(Lazy([1])).given


class Model:
    """What may refer to the row that holds it."""


def test_the_garbage_collector_sees_what_was_assigned_and_not_what_was_loaded(engine, saved):
    sample, _ = saved
    with Session(engine) as session:
        row = session.execute(select(sample.id, sample.model)).one()
        gc.collect()
        assert not gc.is_tracked(row.model)
    model = Model()
    model.row, gone = sample(model=model), weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


def test_a_blob_that_is_gone_names_the_column(engine, saved):
    sample, store = saved
    with Session(engine) as session:
        model = session.scalars(select(sample.model)).one()
    store.backend.delete(store.stat(model.reference).key)
    with pytest.raises(BlobNotFoundError, match=r"^sample\.model: ") as caught:
        model.unpack()
    assert caught.value.column == "sample.model"
    assert model.x is EMPTY


def test_aunpack_leaves_the_event_loop_free(engine, saved):
    sample, store = saved
    with Session(engine) as session:
        row = session.scalars(select(sample)).one()
        backend = counting(store)

        async def main():
            assert await row.model.aunpack() == VALUE
            assert await row.model.aunpack() is row.model.x
            assert (await row.run.aunpack()).read_bytes() == b"a run"
            return await aunpack({"note": row.note})

        assert asyncio.run(main()) == {"note": "a note"}
    assert backend.calls.count("get") == 2
    assert threading.get_ident() not in backend.threads


class Pair(NamedTuple):
    left: object
    right: object


def test_unpack_takes_everything_that_holds_proxies(engine, saved):
    sample, store = saved
    with Session(engine) as session:
        row = session.execute(select(sample.id, sample.model, sample.note)).one()
        assert unpack(row) == (1, VALUE, "a note")
        assert unpack(row._mapping) == {"id": 1, "model": VALUE, "note": "a note"}
        assert unpack(session.scalars(select(sample.note)).all()) == ["a note"]
        assert unpack(session.execute(select(sample.note, sample.id)).all()) == [("a note", 1)]
        nested = {"a": [row.note, ("b", {"c": row.model})], "d": None, "e": 1}
        assert unpack(nested) == {"a": ["a note", ("b", {"c": VALUE})], "d": None, "e": 1}
        assert unpack(row.note) == "a note"
        assert unpack("as it is") == "as it is"
        assert unpack(Pair(row.note, 1)) == Pair("a note", 1)
        assert isinstance(unpack(Pair(row.note, 1)), Pair)

        instance = session.get(sample, 1)
        backend = counting(store)
        assert unpack(instance) is instance
        assert backend.calls.count("get") == 2
        assert (instance.model.x, instance.note.x) == (VALUE, "a note")
        assert unpack([instance, instance.note]) == [instance, "a note"]
        assert backend.calls.count("get") == 2
        assert instance.run.unpack().read_bytes() == b"a run"


def test_unpack_fetches_a_shared_proxy_once(engine, saved):
    sample, store = saved
    with Session(engine) as session:
        note = session.scalars(select(sample.note)).one()
        backend = counting(store)
        assert unpack([note, {"again": note}]) == ["a note", {"again": "a note"}]
    assert backend.calls == ["get"]


def test_aunpack_takes_what_unpack_takes(engine, saved):
    sample, _ = saved
    with Session(engine) as session:
        instance = session.get(sample, 1)
        row = session.execute(select(sample.note)).one()
        unpacked = asyncio.run(aunpack([instance, row]))
    assert unpacked == [instance, ("a note",)]
    assert instance.model.x == VALUE
