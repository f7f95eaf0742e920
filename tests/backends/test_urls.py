"""Signed URLs of what is stored."""

import urllib.request
import uuid
from datetime import timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from sqla_artifacts import ArtifactStore
from sqla_artifacts.errors import BlobNotFoundError, NotStoredError, StoreError
from sqla_artifacts.location import key_of

from ..models import make_models, set_up

SOON = timedelta(minutes=5)


def test_the_url_of_a_file_and_of_a_value(s3, engine):
    base, sample = make_models()
    store = ArtifactStore(f"{s3.url}/{uuid.uuid4().hex}", **s3.options)
    store.attach(engine, metadata=base.metadata)
    base.metadata.create_all(engine)
    with Session(engine) as session:
        new = sample(run=("cat.png", b"a picture"), note="a note")
        with pytest.raises(NotStoredError):
            new.run.url(expires=SOON)
        session.add(new)
        session.commit()
        row = session.scalars(select(sample)).one()
        for proxy, content in ((row.run, b"a picture"), (row.note, b"a note")):
            with urllib.request.urlopen(proxy.url(expires=SOON)) as answer:
                assert answer.read() == content
        store.backend.delete(key_of(row.run.digest))
        with pytest.raises(BlobNotFoundError, match=r"sample\.run"):
            row.run.url(expires=SOON)


def test_where_there_are_no_urls(engine, tmp_path):
    sample, _ = set_up(engine, tmp_path)
    (tmp_path / "run").mkdir()
    with Session(engine) as session:
        session.add(sample(run=tmp_path / "run", note="a note"))
        session.commit()
        row = session.scalars(select(sample)).one()
        with pytest.raises(StoreError, match=r"sample\.note: .*file://.* has no URLs"):
            row.note.url(expires=SOON)
        with pytest.raises(StoreError, match=r"sample\.run: .*has no URLs"):
            row.run.url(expires=SOON)
