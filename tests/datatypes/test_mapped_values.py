"""`unpack(mmap=True)`: the value lies in the store's own file."""

import gc
import mmap
import os

import numpy as np
import pytest
from sqlalchemy import select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from sqla_artifacts import ArtifactStore, LazyArtifact, LazyMapped
from sqla_artifacts.errors import BlobCorruptedError, DecodeError
from sqla_artifacts.payload import Spool

from ..models import make_store, set_up

ARRAY = np.arange(3 * Spool.LIMIT // 8, dtype="f8")


class Base(DeclarativeBase):
    pass


class Series(Base):
    __tablename__ = "series"
    id: Mapped[int] = mapped_column(primary_key=True)
    values: LazyMapped[np.ndarray] = mapped_column(LazyArtifact("numpy"))


def saved(engine, store, array):
    """The proxy of a stored array."""
    store.attach(engine, metadata=Base.metadata)
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(Series(values=array))
        session.commit()
        return session.scalars(select(Series.values)).one()


def blob(store, proxy):
    return store.backend.root / store.stat(proxy.reference).key


def base(array):
    while isinstance(array, np.ndarray):
        array = array.base
    return array.obj if isinstance(array, memoryview) else array


def test_a_local_blob_is_mapped_and_cannot_be_written_to(engine, tmp_path):
    store = make_store(tmp_path)
    proxy = saved(engine, store, ARRAY)
    found = proxy.unpack(mmap=True)
    assert isinstance(base(found), mmap.mmap)
    assert np.array_equal(found, ARRAY)
    assert proxy.unpack() is found
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 5
    with pytest.raises(ValueError, match="WRITEABLE"):
        found.setflags(write=True)


def test_a_mapped_array_outlives_its_blob_and_its_proxy(engine, tmp_path):
    store = make_store(tmp_path)
    proxy = saved(engine, store, ARRAY)
    found = proxy.unpack(mmap=True)
    blob(store, proxy).unlink()
    del proxy
    gc.collect()
    assert np.array_equal(found, ARRAY)


def test_a_corrupt_blob_is_not_mapped(engine, tmp_path):
    store = make_store(tmp_path)
    proxy = saved(engine, store, ARRAY)
    path = blob(store, proxy)
    path.chmod(0o644)
    with path.open("r+b") as fp:
        fp.seek(-1, os.SEEK_END)
        fp.write(b"\x55")
    with pytest.raises(BlobCorruptedError, match=r"^series\.values: "):
        proxy.unpack(mmap=True)


@pytest.mark.parametrize("array", [ARRAY, np.arange(3), np.zeros((0, 3))], ids=len)
@pytest.mark.parametrize("where", ["memory", "generic"])
def test_of_other_stores_a_copy_is_mapped(engine, tmp_path, where, array):
    urls = {"memory": "memory://", "generic": f"local://{tmp_path}/store"}
    proxy = saved(engine, ArtifactStore(urls[where]), array)
    found = proxy.unpack(mmap=True)
    assert np.array_equal(found, array)
    assert not found.flags.writeable
    if array.nbytes > Spool.LIMIT:
        assert isinstance(base(found), mmap.mmap)
    gc.collect()
    assert np.array_equal(found, array)


def test_a_datatype_that_cannot_be_mapped_says_so(engine, tmp_path):
    sample, _ = set_up(engine, tmp_path)
    with Session(engine) as session:
        session.add(sample(model={"a": 1}))
        session.commit()
        model = session.scalars(select(sample.model)).one()
    message = r"^sample\.model: datatype 'pickle' cannot be mapped: unpack it without mmap=True"
    with pytest.raises(DecodeError, match=message):
        model.unpack(mmap=True)
    assert model.unpack() == {"a": 1}


def test_a_value_that_was_unpacked_already_stays(engine, tmp_path):
    proxy = saved(engine, make_store(tmp_path), ARRAY)
    found = proxy.unpack()
    assert proxy.unpack(mmap=True) is found
    proxy.forget()
    assert isinstance(base(proxy.unpack(mmap=True)), mmap.mmap)
