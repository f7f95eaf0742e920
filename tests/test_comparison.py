"""Comparing a column of references: by digest, and without storing anything."""

import operator

import numpy as np
import pytest
from sqlalchemy import (
    bindparam,
    delete,
    func,
    literal,
    null,
    select,
    update,
)
from sqlalchemy.orm import Session, aliased

from sqla_artifacts import Lazy, StoredPath
from sqla_artifacts.errors import ComparisonError, InvalidValueError
from sqla_artifacts.ledger import Blob
from sqla_artifacts.payload import Spool

from .models import counting, make_models, set_up, staged

ARRAY = np.arange(6.0).reshape(2, 3)
VALUES = {
    "data": b"some bytes",
    "text": "some text",
    "doc": {"b": [1, None], "a": 2.5},
    "image": ARRAY,
    "note": "a note",
    "run": ("run.txt", b"a run"),
}
OTHERS = {
    "data": b"other",
    "text": "other",
    "doc": {"b": [1, None]},
    "image": ARRAY[:1],
    "note": "other",
    "run": ("run.txt", b"another"),
}


@pytest.fixture
def world(engine, tmp_path):
    """(Sample, store): row 1 has VALUES and a pickled model, row 2 OTHERS, row 3 nothing."""
    sample, store = set_up(engine, tmp_path)
    with Session(engine) as session:
        session.add(sample(name="first", model={"a": 1}, **VALUES))
        session.flush()
        session.add(sample(name="second", **OTHERS))
        session.flush()
        session.add(sample(name="third"))
        session.commit()
    return sample, store


@pytest.fixture
def nothing_stored(engine, world):
    """Nothing is stored during the test, and nothing is left of what was hashed."""
    _, store = world
    blobs = select(func.count()).select_from(Blob)
    with Session(engine) as session:
        before = session.scalar(blobs)
    backend = counting(store)
    yield
    assert not {"put", "create", "delete"} & set(backend.calls)
    assert staged(store) == []
    with Session(engine) as session:
        assert session.scalar(blobs) == before


@pytest.fixture
def found(engine, world, nothing_stored):
    """Runs a query for names, with the parameters that it is given."""
    sample, _ = world

    def find(*where, **parameters):
        with Session(engine) as session:
            query = select(sample.name).where(*where).order_by(sample.id)
            return session.scalars(query, parameters).all()

    return find


@pytest.mark.parametrize("column", VALUES)
def test_a_value_finds_its_row_and_is_not_stored(world, found, column):
    attribute = getattr(world[0], column)
    value, other = VALUES[column], OTHERS[column]
    assert found(attribute == value) == ["first"]
    assert found(attribute != value) == ["second"]
    assert found(attribute.in_([value])) == ["first"]
    assert found(attribute.in_([value, other, None])) == ["first", "second"]
    assert found(attribute.in_([])) == []
    assert found(attribute.not_in([value])) == ["second"]
    assert found(attribute.is_distinct_from(value)) == ["second", "third"]
    assert found(attribute.is_not_distinct_from(value)) == ["first"]
    assert found(attribute == bindparam("x"), x=other) == ["second"]
    assert found(attribute == bindparam("x", other)) == ["second"]
    assert found(attribute == bindparam("x", type_=attribute.type), x=other) == ["second"]
    assert found(attribute == literal(other, attribute.type)) == ["second"]
    assert found(attribute.in_(bindparam("x", expanding=True)), x=[other]) == ["second"]
    typed = bindparam("x", expanding=True, type_=attribute.type)
    assert found(attribute.in_(typed), x=[value, other]) == ["first", "second"]


def test_none_is_null(world, found):
    sample, _ = world
    for attribute in (sample.data, sample.model, sample.run):
        assert found(attribute == None)[-1] == "third"  # noqa: E711
        assert found(attribute.is_(None))[-1] == "third"
        assert found(attribute.is_(null()))[-1] == "third"
        assert found(attribute != None)[0] == "first"  # noqa: E711
        assert found(attribute.is_not(None))[0] == "first"


def test_a_proxy_and_a_reference_find_their_row(engine, world, found):
    sample, store = world
    columns = ("model", "note", "run")
    with Session(engine) as session:
        attributes = [getattr(sample, column) for column in columns]
        proxies = session.execute(select(*attributes).where(sample.id == 1)).one()
    for column, attribute, proxy in zip(columns, attributes, proxies, strict=True):
        assert found(attribute == proxy) == ["first"]
        assert found(attribute == proxy.reference) == ["first"]
        assert found(attribute.in_([proxy, proxy.reference])) == ["first"]
        assert found(attribute.digest == proxy.digest) == ["first"]
        assert found(attribute.reference == str(proxy.reference)) == ["first"]
        assert found(attribute != proxy) == ([] if column == "model" else ["second"])
    assert store.backend.calls == []
    assert found(sample.note == Lazy("a note")) == ["first"]
    assert found(sample.run == StoredPath(("another name", b"a run"))) == ["first"]


def test_a_file_is_found_by_its_content_wherever_it_lies(world, found, tmp_path):
    path = tmp_path / "elsewhere" / "another name"
    path.parent.mkdir()
    path.write_bytes(b"a run")
    with path.open("rb") as stream:
        for value in (path, str(path), stream):
            assert found(world[0].run == value) == ["first"]
    assert found(world[0].run == path.parent) == []


def test_a_large_value_is_hashed_and_not_kept(world, found, monkeypatch):
    monkeypatch.setattr(Spool, "LIMIT", 10)
    assert found(world[0].image == ARRAY) == ["first"]
    assert found(world[0].image.in_([ARRAY, ARRAY + 1])) == ["first"]


def test_columns_are_compared_by_digest(world, found):
    sample, _ = world
    other = aliased(sample)
    assert found(sample.data == sample.data) == ["first", "second"]
    assert found(sample.text == sample.note) == ["second"]
    assert found(sample.text != sample.note) == ["first"]
    assert found(sample.data == sample.text.digest) == ["second"]
    assert found(sample.text.in_([sample.note, "some text"])) == ["first", "second"]
    scalar = select(other.note).where(other.id == 1).scalar_subquery()
    assert found(sample.note == scalar) == ["first"]
    assert found(sample.note.digest.in_(select(other.text.digest))) == ["second"]
    assert found(select(other.id).where(other.text == sample.note).exists()) == ["second"]


def test_a_value_that_cannot_be_encoded_names_the_column(world, found):
    sample, _ = world
    for where in (sample.data == "text", sample.image.in_([b"bytes"]), sample.run == 5):
        with pytest.raises(InvalidValueError, match=r"^sample\.(data|image|run): "):
            found(where)


def test_a_datatype_that_is_not_deterministic_is_not_compared_by_value(engine, world, found):
    sample, _ = world
    for attribute in (sample.thing, sample.model):
        for compare in (
            lambda a: a == {"a": 1},
            lambda a: a != {"a": 1},
            lambda a: a.in_([{"a": 1}]),
            lambda a: a.is_distinct_from({"a": 1}),
            lambda a: found(a == bindparam("x"), x={"a": 1}),
            lambda a: found(a.in_(bindparam("x", expanding=True)), x=[{"a": 1}]),
            lambda a: found(a == Lazy({"a": 1})),
        ):
            with pytest.raises(ComparisonError, match="'pickle'") as caught:
                compare(attribute)
            assert str(caught.value).startswith(f"sample.{attribute.key}: ")
    with Session(engine) as session:
        proxy = session.scalars(select(sample.model).where(sample.id == 1)).one()
    assert found(sample.model == bindparam("x"), x=proxy) == ["first"]


def test_a_proxy_that_was_flushed_finds_its_row_whatever_became_of_its_value(engine, world):
    sample, _ = world
    value = {"a": 1}
    with Session(engine) as session:
        row = sample(name="fourth", model=value)
        session.add(row)
        session.flush()
        value["b"] = 2
        where = sample.model == row.model
        assert session.scalars(select(sample.name).where(where)).all() == ["first", "fourth"]


NO_MEANING = {
    "<": lambda c: c < b"x",
    "<=": lambda c: c <= b"x",
    ">": lambda c: c > b"x",
    ">=": lambda c: c >= b"x",
    "reflected <": lambda c: operator.lt(b"x", c),
    "between": lambda c: c.between(b"a", b"b"),
    "like": lambda c: c.like("x%"),
    "not_like": lambda c: c.not_like("x%"),
    "ilike": lambda c: c.ilike("x%"),
    "startswith": lambda c: c.startswith("x"),
    "contains": lambda c: c.contains("x"),
    "match": lambda c: c.match("x"),
    "regexp_match": lambda c: c.regexp_match("x"),
    "concat": lambda c: c + "x",
    "reflected concat": lambda c: "x" + c,
    "[]": lambda c: c[0],
    "collate": lambda c: c.collate("C"),
    "op": lambda c: c.op("||")("x"),
    "desc": lambda c: c.desc(),
    "asc": lambda c: c.asc(),
    "neg": lambda c: -c,
    "invert": lambda c: ~c,
    "in a select": lambda c: c.in_(select(c)),
}


@pytest.mark.parametrize("how", NO_MEANING)
def test_any_other_operator_is_refused(how):
    _, sample = make_models()
    for column in (sample.data, sample.model, sample.run, sample.__table__.c.run):
        with pytest.raises(ComparisonError) as caught:
            NO_MEANING[how](column)
        assert caught.value.column == f"sample.{column.key}"
        assert str(caught.value).startswith(f"sample.{column.key}: ")


# -- statements that compare ---------------------------------------------------------------------


@pytest.mark.parametrize("synchronize", ["auto", "fetch"])
def test_an_orm_update_finds_rows_by_value_and_instances_do_not_go_stale(
    engine, world, synchronize
):
    sample, _ = world
    with Session(engine) as session:
        first, second = session.scalars(select(sample).where(sample.id < 3).order_by(sample.id))
        session.execute(
            update(sample)
            .where(sample.image == ARRAY)
            .values(name="new", data=b"new", image=ARRAY + 1, note="new", run=("new", b"new")),
            execution_options={"synchronize_session": synchronize},
        )
        for _ in range(2):
            assert (first.name, first.data) == ("new", b"new")
            np.testing.assert_array_equal(first.image, ARRAY + 1)
            assert (first.note.unpack(), first.note.stored) == ("new", True)
            assert (first.run.name, first.run.open().read()) == ("new", b"new")
            assert first.text == "some text"
            assert (second.name, second.data) == ("second", b"other")
            session.commit()


def test_an_orm_update_is_evaluated_by_other_columns(engine, world):
    sample, _ = world
    with Session(engine) as session:
        first = session.get(sample, 1)
        options = {"synchronize_session": "evaluate"}
        session.execute(
            update(sample).where(sample.name == "first").values(data=b"new", note="new"),
            execution_options=options,
        )
        assert first.data == b"new"
        assert first.note.unpack() == "new"
        session.execute(update(sample).values(note=None), execution_options=options)
        assert first.note is None


def test_an_orm_update_by_primary_key_refreshes_nothing_and_stores(engine, world):
    sample, _ = world
    with Session(engine) as session:
        session.execute(update(sample), [{"id": 1, "note": "x"}, {"id": 2, "note": "y"}])
        session.commit()
        notes = session.scalars(select(sample.note).order_by(sample.id).limit(2)).all()
        assert [note.unpack() for note in notes] == ["x", "y"]


@pytest.mark.parametrize("synchronize", ["auto", "fetch", False])
def test_an_orm_delete_finds_rows_by_value(engine, world, synchronize):
    sample, _ = world
    with Session(engine) as session:
        first = session.get(sample, 1)
        session.execute(
            delete(sample).where(sample.run == VALUES["run"]),
            execution_options={"synchronize_session": synchronize},
        )
        assert (first in session) == (not synchronize)
        assert session.scalars(select(sample.name).order_by(sample.id)).all() == [
            "second",
            "third",
        ]


def test_a_mapper_knows_its_columns_by_their_annotated_copies():
    _, sample = make_models()
    for column in sample.__table__.columns:
        copied = sample.__mapper__.attrs[column.key].class_attribute.__clause_element__()
        assert {column: 1}[copied] == 1
        assert bool(column == copied)
        assert not bool(column != copied)
