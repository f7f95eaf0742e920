"""What stands for a value: an upload or file for bytes, and what is encoded already."""

import io
import pickle

import numpy as np
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.datastructures import UploadFile
from werkzeug.datastructures import FileStorage

from sqla_artifacts import EMPTY, Encoded
from sqla_artifacts.errors import InvalidValueError, SourceError

from ..models import set_up, staged

DATA = b"\x89PNG" + bytes(range(256)) * 40_000  # more than stays in memory


@pytest.fixture
def sample(engine, tmp_path):
    return set_up(engine, tmp_path)


def uploads(path):
    path.write_bytes(DATA)
    yield io.BytesIO(DATA)
    with path.open("rb") as file:
        yield file
    yield FileStorage(io.BytesIO(DATA), filename="cat.png", name="picture")
    yield UploadFile(io.BytesIO(DATA), filename="cat.png")


def npy(array):
    fp = io.BytesIO()
    np.save(fp, array)
    return fp.getvalue()


def test_an_upload_or_file_is_the_value_of_a_column_of_bytes(engine, sample, tmp_path):
    class_, store = sample
    for upload in uploads(tmp_path / "cat.png"):
        with Session(engine) as session:
            session.add(class_(data=upload))
            session.commit()
            row = session.scalars(select(class_)).one()
            assert row.data == DATA
            session.delete(row)
            session.commit()
    assert not staged(store)


def test_a_column_that_takes_something_else_takes_no_upload(engine, sample):
    class_, _ = sample
    with Session(engine) as session:
        session.add(class_(image=io.BytesIO(npy(np.ones(3)))))
        with pytest.raises(InvalidValueError, match=r"sample\.image: .*expected a numpy.ndarray"):
            session.flush()


@pytest.mark.parametrize("kind", ["bytes", "path", "stream"])
def test_what_is_encoded_already_is_stored_as_it_is(engine, sample, tmp_path, kind):
    class_, store = sample
    data = npy(np.arange(2_000_000.0))
    path = tmp_path / "array.npy"
    path.write_bytes(data)
    content = {"bytes": data, "path": path, "stream": io.BytesIO(data)}[kind]
    with Session(engine) as session:
        session.add(class_(image=Encoded(content)))
        session.commit()
        row = session.scalars(select(class_)).one()
        assert row.image[-1] == 1_999_999
        assert store.get(session.scalar(select(class_.image.reference))) == data


def test_a_proxy_lets_go_of_what_only_stood_for_its_value(engine, sample):
    class_, _ = sample
    with Session(engine) as session:
        row = class_(model=Encoded(pickle.dumps([1, 2])))
        session.add(row)
        session.flush()
        assert row.model.x is EMPTY
        assert row.model.unpack() == [1, 2]


def test_what_cannot_be_read_is_refused(engine, sample, tmp_path):
    class_, store = sample
    for content, error in (
        (tmp_path / "missing", SourceError),
        (io.StringIO("text"), InvalidValueError),
        (5, InvalidValueError),
    ):
        with Session(engine) as session:
            session.add(class_(image=Encoded(content)))
            with pytest.raises(error) as caught:
                session.flush()
            assert caught.value.column == "sample.image"
    assert not staged(store)
