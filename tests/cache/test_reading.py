"""What was read once is read from the cache."""

import contextlib
import os
import pickle
import threading

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from sqla_artifacts import ArtifactStore
from sqla_artifacts.checkout import unpack_to
from sqla_artifacts.digest import digest_of
from sqla_artifacts.errors import BlobNotFoundError
from sqla_artifacts.reference import Reference

from ..models import counting, make_models
from ..programs.cache import (
    DATA,
    DIGEST,
    EVERY_WAY,
    MIB,
    TEXT,
    WAYS,
    content,
    copies,
    only_copy,
    open_store,
    put,
)
from ..programs.checks import run
from ..threads import together


@pytest.mark.parametrize(
    ("given", "size"),
    [
        (5, 5),
        ("5B", 5),
        ("20GB", 20 * 10**9),
        ("512MiB", 512 << 20),
        ("1.5 kb", 1500),
        ("2TiB", 2 << 40),
    ],
)
def test_a_size(make_store, given, size):
    assert make_store(cache_size=given).cache.size == size


@pytest.mark.parametrize(
    "given", ["20", "GB", "20G", "-5GB", "5 iB", "0MB", "1e9B", "20GB ", 0, -5, True, 2.5, b"20GB"]
)
def test_what_is_no_size(make_store, given):
    with pytest.raises(ValueError, match="cache_size must be a number of bytes, or such as '20GB'"):
        make_store(cache_size=given)


def test_what_is_no_cache(make_store):
    with pytest.raises(ValueError, match="cache_size without a cache"):
        make_store(cache=None, cache_size=5)
    with pytest.raises(ValueError, match="cache='' cannot be a directory"):
        make_store(cache="")


def test_making_one_does_no_io(store):
    assert not store.cache.path.exists()


def test_a_pickled_store_keeps_its_cache(make_store):
    again = pickle.loads(pickle.dumps(make_store(cache_size="5MB")))
    assert (again.cache.path, again.cache.size) == (make_store().cache.path, 5_000_000)
    assert pickle.loads(pickle.dumps(make_store(cache=None))).cache is None


@pytest.mark.parametrize("read", WAYS.values(), ids=WAYS)
def test_what_was_read_once_costs_no_request(store, make_store, read):
    put(store, DATA)
    assert copies(store.cache.path) == {}
    backend = counting(store)
    assert read(store, TEXT) == DATA
    assert backend.calls
    again = make_store()
    backend = counting(again)
    for way in EVERY_WAY:
        assert way(again, TEXT) == DATA
    assert backend.calls == []


def test_rows_are_read_from_it(engine, store, tmp_path):
    base, sample = make_models()
    store.attach(engine, metadata=base.metadata)
    base.metadata.create_all(engine)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "file").write_bytes(DATA)
    with Session(engine) as session:
        session.add(sample(data=DATA, model=[DATA], run=tmp_path / "run"))
        session.commit()

    backend = counting(store)

    def load(target):
        backend.calls.clear()
        with Session(engine) as session:
            row = session.scalars(select(sample)).one()
            assert (row.data, row.model.unpack()) == (DATA, [DATA])
            assert (row.run.unpack(target) / "file").read_bytes() == DATA
            assert row.run.open("file").read() == DATA
        return backend.calls

    assert load(tmp_path / "once")
    assert load(tmp_path / "again") == []


def test_of_a_large_blob_only_the_ranges_are_fetched_that_are_read(store, tmp_path, monkeypatch):
    for module in ("cache", "reading"):
        monkeypatch.setattr(f"sqla_artifacts.{module}.SMALL", MIB)
    data = os.urandom(5 * MIB)
    text = put(store, data)
    fetched = []
    plain = store.backend.range

    def noted(key, start, length):
        part = plain(key, start, length)
        fetched.append(len(part[0]))
        return part

    monkeypatch.setattr(store.backend, "range", noted)
    with store.open(text) as stream:
        stream.seek(-8, os.SEEK_END)
        assert stream.read() == data[-8:]
    assert sum(fetched) < MIB
    assert copies(store.cache.path) == {}
    for read in [read for name, read in WAYS.items() if name != "open"]:
        assert read(store, text) == data
        assert list(copies(store.cache.path)) == [text[7:71]]
        store.cache.discard(text[7:71])
    unpack_to(store, Reference("file", text[7:71], len(data), "file"), tmp_path / "there")
    assert list(copies(store.cache.path)) == [text[7:71]]
    backend = counting(store)
    with store.open(text) as stream:
        assert stream.read() == data
    assert backend.calls == []


@pytest.mark.skipif(os.name == "nt", reason="no modes there")
def test_nobody_else_may_read_a_copy(store):
    put(store, DATA)
    store.get(TEXT)
    assert only_copy(store).stat().st_mode & 0o077 == 0


def test_what_is_put_does_not_enter_it(make_store):
    store = make_store()
    put(store, DATA)
    assert not store.cache.path.exists()


class Meeting:
    """A backend whose `get` waits a little for a second one to come."""

    def __init__(self, backend):
        self._backend = backend
        self._barrier = threading.Barrier(2)
        self.gets = 0

    def __getattr__(self, name):
        return getattr(self._backend, name)

    def get(self, key):
        self.gets += 1
        with contextlib.suppress(threading.BrokenBarrierError):
            self._barrier.wait(0.3)
        return self._backend.get(key)


def test_threads_that_want_the_same_fetch_it_once(store):
    put(store, DATA)
    store.backend = Meeting(store.backend)
    assert together(*[lambda: store.get(TEXT)] * 8) == [DATA] * 8
    assert store.backend.gets == 1


def test_a_child_forked_during_a_fill_does_not_wait_for_it(make_store, tmp_path):
    put(make_store(), content(3))
    run("cache", "fork", tmp_path / "artifacts", tmp_path / "cache")


def test_stores_of_two_algorithms_share_one(make_store, tmp_path):
    store = make_store()
    other = open_store(str(tmp_path / "other"), algorithm="sha256", cache=store.cache.path)
    put(store, DATA)
    other.prepare()
    other.put([(other.stage.data(DATA), 0)])
    text = f"&:blob:{digest_of(DATA, 'sha256')}:{len(DATA)}:bytes"
    for _ in range(2):
        for read in WAYS.values():
            assert (read(store, TEXT), read(other, text)) == (DATA, DATA)
    assert set(copies(store.cache.path)) == {DIGEST, text[7:71]}
    for read in WAYS.values():
        with pytest.raises(BlobNotFoundError):  # by BLAKE3, these would be its bytes
            read(other, TEXT)


def test_the_directory_of_a_store_loses_nothing(tmp_path):
    store = ArtifactStore(
        str(tmp_path / "artifacts"), memory=0, cache=tmp_path / "artifacts", cache_size=200_000
    )
    texts = [put(store, bytes([number]) * 90_000) for number in range(10)]
    assert [store.get(text)[0] for text in texts * 2] == list(range(10)) * 2
