"""Values that are encoded already are stored as they are."""

import io
import os

import numpy as np
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from sqla_artifacts.datatypes import BUILTIN, Encoded
from sqla_artifacts.errors import DecodeError, InvalidValueError, SourceError

from ..models import set_up, staged

ARRAY = np.arange(5.0)
DATA = BUILTIN["numpy"].encoder(ARRAY, None)


def forms(directory):
    path = directory / "array.npy"
    path.write_bytes(DATA)
    yield DATA
    yield bytearray(DATA)
    yield path
    yield os.fspath(path)
    with path.open("rb") as stream:
        yield stream
    stream = io.BytesIO(DATA)
    stream.read()
    yield stream  # from its start, wherever it stands


def test_bytes_paths_and_streams_are_stored_as_they_are(engine, tmp_path):
    sample, store = set_up(engine, tmp_path)
    with Session(engine) as session:
        for form in forms(tmp_path):
            session.add(sample(image=Encoded(form)))
            session.commit()
            found = session.scalars(select(sample.image).order_by(sample.id.desc()).limit(1)).one()
            np.testing.assert_array_equal(found, ARRAY)
        assert len(set(session.scalars(select(sample.image.reference)))) == 1
    assert len(list(store.backend.list("blobs/"))) == 1


def test_a_row_can_be_found_by_it(engine, tmp_path):
    sample, _ = set_up(engine, tmp_path)
    with Session(engine) as session:
        session.add(sample(image=ARRAY, note=Encoded(b"a note")))
        session.commit()
        assert session.scalars(select(sample.id).where(sample.image == Encoded(DATA))).one() == 1
        assert session.scalars(select(sample)).one().note.unpack() == "a note"


def test_nobody_checks_that_it_can_be_decoded(engine, tmp_path):
    sample, _ = set_up(engine, tmp_path)
    with Session(engine) as session:
        session.add(sample(image=Encoded(b"garbage")))
        session.commit()
        with pytest.raises(DecodeError, match=r"^sample\.image: datatype 'numpy' cannot decode 7"):
            session.scalars(select(sample.image)).all()


def test_what_cannot_be_read_is_refused_and_nothing_is_stored(engine, tmp_path):
    sample, store = set_up(engine, tmp_path)
    cases = [
        (tmp_path / "missing", SourceError, r"^sample\.image: cannot read .*missing"),
        (tmp_path, SourceError, r"^sample\.image: cannot read "),
        (io.StringIO("text"), InvalidValueError, r"^sample\.image: .*open it in binary mode"),
        (5, InvalidValueError, r"^sample\.image: expected bytes, a path or a binary stream, not"),
    ]
    for content, error, message in cases:
        with Session(engine) as session:
            session.add(sample(image=Encoded(content)))
            with pytest.raises(error, match=message):
                session.flush()
    assert list(store.backend.list("blobs/")) == []
    assert staged(store) == []


def test_it_shows_nothing_of_its_content():
    assert repr(Encoded(b"secret")) == "<Encoded bytes>"
