"""Superduper's Schema, Table and Document, and each line of its guide to large data."""

import asyncio
import uuid
from datetime import date, datetime
from pathlib import Path

import pytest
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Double,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    String,
    insert,
    select,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Session

from sqla_artifacts import EMPTY, Artifact, DataType, FileDir, Lazy, LazyArtifact, StoredPath
from sqla_artifacts.ext.superduper import Document, Schema

from .target import make_files, my_artifact, set_up

VALUE = "This is a test"


@pytest.mark.parametrize("encodable", ["artifact", "lazy_artifact"])
def test_the_guide_to_artifacts(engine, tmp_path, encodable):
    dt = my_artifact(encodable)
    table, store = set_up(engine, tmp_path, x=dt)
    my_id = str(uuid.uuid4())
    with Session(engine) as session:
        session.execute(insert(table), [Document({"id": my_id, "x": VALUE})])
        session.commit()
    with Session(engine) as session:
        find = select(table).where(table.c.id == my_id)
        r = Document(session.execute(find).mappings().one())
        if encodable == "artifact":
            assert r["x"] == VALUE
        else:
            assert r["x"].x is EMPTY
            assert repr(r["x"].x) == "<EMPTY>"
            assert repr(r).startswith("Document({'id': ")
        assert r.unpack() == {"id": my_id, "x": VALUE, "f": None}
        assert type(r.unpack()) is dict
        native = session.execute(text("SELECT x FROM my_collection")).scalar_one()
    assert native.startswith("&:blob:")
    assert VALUE not in native
    assert dt.decoder(store.get(native), None) == VALUE


@pytest.mark.parametrize("which", [0, 1])
def test_the_guide_to_files_and_directories(engine, tmp_path, which):
    table, _ = set_up(engine, tmp_path)
    source = make_files(tmp_path)[which]
    with Session(engine) as session:
        session.execute(insert(table), [{"id": "1", "f": str(source)}])
        session.commit()
    with Session(engine) as session:
        r = Document(session.execute(select(table)).one())
        assert isinstance(r["f"], StoredPath)
        path = r.unpack()["f"]
        native = session.execute(text("SELECT f FROM my_collection")).scalar_one()
    assert isinstance(path, Path)
    assert path.name == source.name
    assert path != source
    shown = path / "sub" / "part" if path.is_dir() else path
    assert shown.read_bytes() in {b"part", b"weights"}
    assert native.startswith("&:tree:" if path.is_dir() else "&:file:")


def test_a_class_is_mapped_over_the_table(engine, tmp_path):
    table, _ = set_up(engine, tmp_path)

    class Base(DeclarativeBase):
        pass

    class Thing(Base):
        __table__ = table

    with Session(engine) as session:
        session.add(Thing(x=VALUE))
        session.commit()
        thing = session.scalars(select(Thing)).one()
        assert isinstance(thing.x, Lazy)
        assert uuid.UUID(thing.id)
        assert Document(thing).unpack() == {"id": thing.id, "x": VALUE, "f": None}
        thing.x.forget()
        assert asyncio.run(Document(thing).aunpack())["x"] == VALUE


def column(field, primary_id="id"):
    return Schema("s", {"x": field}).table("t", MetaData(), primary_id=primary_id).c.x


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("str", String),
        ("string", String),
        ("ID", String),
        ("int", BigInteger),
        ("float", Double),
        ("bool", Boolean),
        ("bytes", LargeBinary),
        ("datetime", DateTime),
        ("timestamp", DateTime),
        ("date", Date),
        ("json", JSON),
        ("dict", JSON),
        ("list", JSON),
        (str, String),
        (int, BigInteger),
        (float, Double),
        (bool, Boolean),
        (bytes, LargeBinary),
        (datetime, DateTime),
        (date, Date),
        (dict, JSON),
        (list, JSON),
        (Numeric(10, 2), Numeric),
        (Integer, Integer),
        (Artifact("numpy"), Artifact),
        (Column(Integer), Integer),
        (Column("x", Artifact("numpy")), Artifact),
        (my_artifact(), Artifact),
        (my_artifact("lazy_artifact"), LazyArtifact),
        (DataType("file", encodable="file"), FileDir),
    ],
    ids=repr,
)
def test_a_field_is_a_column(field, expected):
    made = column(field)
    assert type(made.type) is expected
    assert (made.name, made.nullable) == ("x", True)


def test_a_column_says_all_itself():
    made = column(Column(Integer, nullable=False, unique=True, index=True))
    assert (made.nullable, made.unique, made.index) == (False, True, True)


@pytest.mark.parametrize(
    "field", ["tensor", "", object, object(), None, {}, [], 7, complex, Schema]
)
def test_a_field_of_an_unknown_type_is_refused(field):
    with pytest.raises(TypeError, match="schema 'my-schema' has no column for field 'x'"):
        Schema("my-schema", {"n": int, "x": field})


def test_the_primary_key_is_a_field_or_a_string_that_is_made(engine, tmp_path):
    assert column("str", primary_id="x").primary_key
    assert not column("str", primary_id="y").primary_key
    table, _ = set_up(engine, tmp_path, primary_id="n", n=int)
    with engine.begin() as connection:
        connection.execute(insert(table), [{"x": 1}])
        connection.execute(insert(table), [{"x": 2}])
    with engine.connect() as connection:
        assert connection.scalars(select(table.c.n).order_by(table.c.n)).all() == [1, 2]


def test_every_plain_field_goes_through_the_database(engine, tmp_path):
    values = {
        "s": "text",
        "i": 1 << 40,
        "r": 0.1,
        "b": True,
        "y": b"\0",
        "t": datetime(2024, 4, 13, 20, 30),  # noqa: DTZ001 (as in BSON)
        "d": date(2024, 4, 13),
        "j": {"a": [1, None]},
        "l": [1, "b"],
    }
    table, _ = set_up(engine, tmp_path, **{name: type(value) for name, value in values.items()})
    with Session(engine) as session:
        session.execute(insert(table), [{"id": "1", **values}])
        row = Document(session.execute(select(table)).one()).unpack()
    assert {name: row[name] for name in values} == values
