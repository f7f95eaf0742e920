"""`Lazy`: a value that stays in the store until it is asked for."""

import asyncio
import pickle
import subprocess
import sys
import threading
from typing import NamedTuple

import pytest
from fsspec import register_implementation
from fsspec.implementations.local import LocalFileSystem
from sqlalchemy import select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from sqla_artifacts import (
    EMPTY,
    ArtifactStore,
    Lazy,
    LazyArtifact,
    LazyMapped,
    aunpack,
    unpack,
)
from sqla_artifacts.errors import BlobNotFoundError, NotStoredError

from .models import counting, make_store, set_up

VALUE = {"weights": [1.5, 2.5], "name": "net"}


class Base(DeclarativeBase):
    """Here, and not in a function, because instances of it are pickled."""


class Kept(Base):
    __tablename__ = "kept"
    id: Mapped[int] = mapped_column(primary_key=True)
    model: LazyMapped[dict | None] = mapped_column(LazyArtifact("pickle"))
    note: LazyMapped[str | None] = mapped_column(LazyArtifact("text"))


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


# -- in another process ------------------------------------------------------------------------


def run_elsewhere(program, data):
    """The output of a fresh process that is given some bytes, and has no database."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        input=data,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr.decode()
    return result.stdout.decode().strip()


UNPACK = "import pickle, sys; print(pickle.load(sys.stdin.buffer).unpack())"


def test_a_proxy_unpacks_in_another_process(engine, saved):
    sample, _ = saved
    with Session(engine) as session:
        row = session.execute(select(sample.model, sample.note)).one()
        row.model.unpack()
    engine.dispose()
    assert run_elsewhere(UNPACK, pickle.dumps(row.model)) == str(VALUE)
    assert run_elsewhere(UNPACK, pickle.dumps(row.note)) == "a note"


def test_a_pickled_proxy_is_small_and_never_holds_the_value(engine, saved):
    sample, _ = saved
    with Session(engine) as session:
        model = session.scalars(select(sample.model)).one()
    before = pickle.dumps(model)
    model.unpack()
    assert pickle.dumps(model) == before
    assert len(before) < 500


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickled_proxy_is_as_if_it_had_just_been_loaded(engine, saved, protocol):
    sample, _ = saved
    with Session(engine) as session:
        model = session.scalars(select(sample.model)).one()
    copy = pickle.loads(pickle.dumps(model, protocol))
    assert copy.x is EMPTY
    assert copy.reference == model.reference
    assert copy.unpack() == VALUE


class Vault(LocalFileSystem):
    """Files behind a user, a password and a token, which it only takes."""

    protocol = "vault"

    @classmethod
    def _strip_protocol(cls, path):
        return "/" + path.split("://")[-1].partition("/")[2].lstrip("/").partition("?")[0]

    @staticmethod
    def _get_kwargs_from_urls(path):
        return {"user": path.split("://")[-1].partition("@")[0]} if "@" in path else {}


def test_a_pickled_proxy_has_no_credentials(engine, tmp_path):
    register_implementation("vault", Vault, clobber=True)
    store = ArtifactStore(
        f"vault://someone:s3cret@host{tmp_path}/vault", auto_mkdir=True, token="t0ken"
    )
    store.attach(engine, metadata=Base.metadata)
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(Kept(model=VALUE))
        session.commit()
        kept = session.scalars(select(Kept)).one()
        data = pickle.dumps(kept.model) + pickle.dumps(kept)
        shown = repr((store, store.backend, kept.model, store.url))
    for secret in ("s3cret", "t0ken", "someone"):
        assert secret.encode() not in data
        assert secret not in shown
    assert pickle.loads(pickle.dumps(kept.model)).unpack() == VALUE


def test_a_mapped_instance_is_pickled_with_its_proxies(engine, tmp_path):
    store = make_store(tmp_path)
    store.attach(engine, metadata=Base.metadata)
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(Kept(model=VALUE, note="a note"))
        session.commit()
        kept = session.scalars(select(Kept)).one()
        kept.model.unpack()
        data = pickle.dumps(kept)
    copy = pickle.loads(data)
    assert len(data) < 3000
    assert copy.model.x is EMPTY
    assert copy.model.unpack() == VALUE
    assert copy.note.unpack() == "a note"
    with Session(engine) as session:
        session.add(copy)
        copy.note = "another"
        session.commit()
        assert session.scalars(select(Kept.note)).one().unpack() == "another"


def test_a_proxy_that_was_not_flushed_is_pickled_with_its_value():
    copy = pickle.loads(pickle.dumps(Kept(note="a note")))
    assert copy.note.unpack() == "a note"
    assert not copy.note.stored


def test_a_memory_store_is_refused_by_pickle(make_engine, tmp_path):
    engine = make_engine("sqlite")
    ArtifactStore("memory://").attach(engine, metadata=Base.metadata)
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(Kept(note="a note"))
        session.commit()
        kept = session.scalars(select(Kept)).one()
        with pytest.raises(TypeError, match="one process"):
            pickle.dumps(kept.note)
