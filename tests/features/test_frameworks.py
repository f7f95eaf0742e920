"""SQLModel's and Flask-SQLAlchemy's models."""

from typing import Any

import flask
import numpy as np
import pydantic
import pytest
import sqlmodel
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Column, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, registry

from sqla_artifacts import Artifact, FileDir, Lazy, LazyArtifact, LazyMapped, PathMapped, StoredPath
from sqla_artifacts.errors import NotAttachedError
from tests.models import kind_of, make_store

feature = pytest.mark.feature

SQLMODEL = (
    "Name the type by `sa_type=` or `sa_column=`. The model needs "
    "`arbitrary_types_allowed=True` for arrays, `Lazy` and `StoredPath`; annotate a lazy field "
    "with `Any`, or with what it takes and gives, `str | Lazy[str]`. A field holds what was "
    "assigned until the row is loaded again, and proxies from then on."
)


def make_model():
    class Base(sqlmodel.SQLModel, registry=registry()):
        model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)

    class Record(Base, table=True):
        id: int | None = sqlmodel.Field(default=None, primary_key=True)
        name: str = "unnamed"
        image: np.ndarray = sqlmodel.Field(sa_type=Artifact("numpy"))
        note: str | Lazy[str] | None = sqlmodel.Field(default=None, sa_type=LazyArtifact("text"))
        model: Any = sqlmodel.Field(default=None, sa_column=Column(LazyArtifact("json")))
        run: Any = sqlmodel.Field(default=None, sa_column=Column("files", FileDir()))

    return Record


IMAGE = np.arange(3.0)


@feature("SQLModel", group="Frameworks", note=SQLMODEL)
def test_a_sqlmodel_round_trip(engine, sessions):
    record = make_model()
    sessions(record.metadata)
    assert not record.__table__.c.image.nullable
    with sqlmodel.Session(engine) as session:
        made = record(image=IMAGE, note="a note", model={"a": 1}, run=("run.txt", b"a run"))
        assert made.note == "a note"
        session.add_all([made, record(image=IMAGE + 1)])
        session.commit()
        assert (kind_of(made.note), kind_of(made.run)) == (Lazy, StoredPath)
    with sqlmodel.Session(engine) as session:
        found = session.exec(sqlmodel.select(record).where(record.image == IMAGE)).one()
        np.testing.assert_array_equal(found.image, IMAGE)
        assert (found.note.unpack(), found.model.unpack()) == ("a note", {"a": 1})
        assert (found.run.name, found.run.open().read()) == ("run.txt", b"a run")
        found.note, found.model = "changed", found.note
        found.run = None
        session.commit()
        assert (found.note.unpack(), found.run) == ("changed", None)
        assert found.model.unpack() == "a note"
        other = session.exec(sqlmodel.select(record).where(record.note.is_(None))).one()
        assert (other.model, other.run) == (None, None)
        session.delete(other)
        session.commit()
        assert session.exec(sqlmodel.select(record)).all() == [found]


@feature("SQLModel", group="Frameworks")
def test_sqlmodel_validates_fields_and_reads_rows_into_other_models(engine, sessions):
    record = make_model()
    sessions(record.metadata)

    class Public(sqlmodel.SQLModel):
        model_config = pydantic.ConfigDict(from_attributes=True)
        name: str
        note: str | None

        @pydantic.field_validator("note", mode="before")
        @classmethod
        def unpack(cls, value):
            return value.unpack() if isinstance(value, Lazy) else value

    with pytest.raises(pydantic.ValidationError, match="image"):
        record.model_validate({"image": "no array"})
    with pytest.raises(pydantic.ValidationError, match="note"):
        record.model_validate({"image": IMAGE, "note": 5})
    with sqlmodel.Session(engine) as session:
        session.add(record.model_validate({"image": IMAGE, "note": "a note", "name": "one"}))
        session.commit()
        found = session.exec(sqlmodel.select(record)).one()
        assert Public.model_validate(found).model_dump() == {"name": "one", "note": "a note"}
        again = record.model_validate(found.model_dump(exclude={"id"}))
        assert kind_of(again.note) is Lazy
        session.add(again)
        session.commit()
        assert again.note.unpack() == "a note"
        assert again.id != found.id


FLASK = (
    "Inside the app context, before `db.create_all()`: "
    "`store.attach(db.engine, metadata=db.metadata)`. Each bind is an engine and a database of "
    "its own, so it needs a store of its own: "
    '`store.attach(db.engines["other"], metadata=db.metadatas["other"])`.'
)


@pytest.fixture
def make_app(database_url, tmp_path):
    """Makes an app for a `db`, whose engines are disposed after the test."""
    made = []

    def make(db):
        app = flask.Flask("app", instance_path=str(tmp_path))
        app.config["SQLALCHEMY_DATABASE_URI"] = database_url
        app.config["SQLALCHEMY_BINDS"] = {"other": f"sqlite:///{tmp_path / 'other.db'}"}
        db.init_app(app)
        made.append((app, db))
        return app

    yield make
    for app, db in made:
        with app.app_context():
            for engine in db.engines.values():
                engine.dispose()


def make_db():
    class Base(DeclarativeBase):
        pass

    db = SQLAlchemy(model_class=Base)

    class Record(db.Model):
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str | None] = mapped_column(unique=True)
        data: Mapped[bytes] = mapped_column(Artifact("bytes"))
        note: LazyMapped[str | None] = mapped_column(LazyArtifact("text"))
        run: PathMapped[StoredPath | None] = mapped_column(FileDir())

    return db, Record


@feature("Flask-SQLAlchemy", group="Frameworks", note=FLASK)
def test_a_request_stores_and_another_reads(make_app, store):
    db, record = make_db()
    app = make_app(db)

    @app.post("/<name>")
    def write(name):
        data = flask.request.get_data()
        db.session.add(record(name=name, data=data, note=name, run=("run", data)))
        db.session.commit()
        return ""

    @app.errorhandler(IntegrityError)
    def conflict(error):
        db.session.rollback()
        return "", 409

    @app.get("/<name>")
    def read(name):
        found = db.first_or_404(select(record).where(record.note == name))
        return found.data + found.note.unpack().encode() + found.run.open().read()

    with app.app_context():
        store.attach(db.engine, metadata=db.metadata)
        db.create_all()
    client = app.test_client()
    assert client.post("/one", data=b"payload").status_code == 200
    assert client.get("/one").data == b"payloadonepayload"
    assert client.get("/two").status_code == 404
    assert client.post("/one", data=b"again").status_code == 409
    assert client.get("/one").data == b"payloadonepayload"
    with app.app_context():
        assert db.paginate(select(record)).items[0].name == "one"


@feature("Flask-SQLAlchemy", group="Frameworks")
def test_each_bind_has_a_store_of_its_own(make_app, store, tmp_path):
    db, record = make_db()

    class Other(db.Model):
        __bind_key__ = "other"
        id: Mapped[int] = mapped_column(primary_key=True)
        note: LazyMapped[str] = mapped_column(LazyArtifact("text"))

    app = make_app(db)
    second = make_store(tmp_path, "second")
    with app.app_context():
        store.attach(db.engine, metadata=db.metadata)
        db.create_all("__all__")
        db.session.add(Other(note="too early"))
        with pytest.raises(NotAttachedError, match="attach"):
            db.session.commit()
        db.session.rollback()
        second.attach(db.engines["other"], metadata=db.metadatas["other"])
        db.create_all()
        db.session.add_all([record(data=b"data", note="here"), Other(note="there")])
        db.session.commit()
        here, there = (
            db.session.scalars(select(record)).one(),
            db.session.scalars(select(Other)).one(),
        )
        assert (here.note.unpack(), there.note.unpack()) == ("here", "there")
        assert (here.note.store, there.note.store) == (store, second)
        there.note = here.note
        db.session.commit()
        assert there.note.store is second
        assert there.note.unpack() == "here"
