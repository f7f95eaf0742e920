"""Pickled proxies: small, without credentials, and unpacked where there is no database."""

import pickle
import subprocess
import sys

import pytest
from fsspec import register_implementation
from fsspec.implementations.local import LocalFileSystem
from sqlalchemy import select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from sqla_artifacts import EMPTY, ArtifactStore, LazyArtifact, LazyMapped

from .models import make_store, set_up

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
    """The model of one row."""
    sample, _ = set_up(engine, tmp_path)
    with Session(engine) as session:
        session.add(sample(model=VALUE, note="a note"))
        session.commit()
    return sample


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
    with Session(engine) as session:
        row = session.execute(select(saved.model, saved.note)).one()
        row.model.unpack()
    engine.dispose()
    assert run_elsewhere(UNPACK, pickle.dumps(row.model)) == str(VALUE)
    assert run_elsewhere(UNPACK, pickle.dumps(row.note)) == "a note"


def test_a_pickled_proxy_is_small_and_never_holds_the_value(engine, saved):
    with Session(engine) as session:
        model = session.scalars(select(saved.model)).one()
    before = pickle.dumps(model)
    model.unpack()
    assert pickle.dumps(model) == before
    assert len(before) < 500


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickled_proxy_is_as_if_it_had_just_been_loaded(engine, saved, protocol):
    with Session(engine) as session:
        model = session.scalars(select(saved.model)).one()
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
