"""The fields of a reference as SQL expressions, and indexes on them."""

import contextlib

import pytest
from sqlalchemy import Index, MetaData, event, func, select
from sqlalchemy.orm import Session
from sqlalchemy.schema import CreateIndex

from sqla_artifacts.errors import ComparisonError
from sqla_artifacts.reference import parse

from .models import make_models, make_store, set_up

FIELDS = ["digest", "size", "kind", "label_", "reference"]


@pytest.fixture
def sample(engine, tmp_path):
    """The model of three rows, of which the last holds nothing."""
    sample, _ = set_up(engine, tmp_path)
    with Session(engine) as session:
        session.add_all(
            [
                sample(
                    name="first", data=b"bytes", text="some text", note="a note", run=("a b", b"x")
                ),
                sample(name="second", data=b"bytes", text="a text", run=("run.txt", b"a run")),
                sample(name="third"),
            ]
        )
        session.commit()
    return sample


def test_the_fields_can_be_selected(engine, sample):
    with Session(engine) as session:
        first = session.get(sample, 1)
        reference = first.run.reference
        fields = [getattr(sample.run, field) for field in FIELDS]
        rows = session.execute(select(*fields).order_by(sample.id)).all()
    assert rows[0] == (reference.digest, 1, "file", "a%20b", str(reference))
    assert rows[1][1:4] == (5, "file", "run.txt")
    assert rows[2] == (None,) * 5


def test_the_fields_can_be_searched_and_ordered_by(engine, sample):
    with Session(engine) as session:
        digest = session.scalars(select(sample.note).where(sample.id == 1)).one().digest
        where = (
            sample.note.digest == digest,
            sample.note.size.between(6, 6),
            sample.note.label_.startswith("te"),
            sample.note.reference.like("&:blob:%"),
            sample.run.kind.in_(["file", "tree"]),
        )
        assert session.scalars(select(sample.name).where(*where)).all() == ["first"]
        by_size = select(sample.name).order_by(sample.text.size.desc().nulls_last())
        assert session.scalars(by_size).all() == ["first", "second", "third"]
        assert session.scalar(select(func.sum(sample.text.size))) == 15


def test_rows_are_grouped_by_a_field(engine, sample):
    with Session(engine) as session:
        for field in FIELDS:
            query = (
                select(getattr(sample.text, field), func.count())
                .where(sample.text.is_not(None))
                .group_by(getattr(sample.text, field))
            )
            same = field in {"kind", "label_"}
            assert [count for _, count in session.execute(query)] == ([2] if same else [1, 1])


@contextlib.contextmanager
def explaining(engine):
    """Collects how the database runs each query, where it may not just read the whole table."""
    plans = []
    explain = {"sqlite": "EXPLAIN QUERY PLAN", "postgresql": "EXPLAIN"}[engine.dialect.name]

    def note(connection, cursor, statement, parameters, *rest):
        if engine.dialect.name == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(f"{explain} {statement}", parameters)
        plans.append(str(cursor.fetchall()))

    event.listen(engine, "before_cursor_execute", note)
    yield plans
    event.remove(engine, "before_cursor_execute", note)


def test_an_index_on_a_field_serves_queries(engine, tmp_path):
    base, sample = make_models()
    for field in FIELDS:
        Index(f"ix_{field}", getattr(sample.data, field))
    store = make_store(tmp_path)
    store.attach(engine, metadata=base.metadata)
    base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all(sample(data=b"%d" % n, name=str(n)) for n in range(20))
        session.commit()
        first = session.scalars(select(sample.data.reference).where(sample.data == b"0")).one()
        queries = {
            sample.data == b"0": "ix_digest",
            sample.data.in_([b"0", b"x"]): "ix_digest",
            sample.data.digest == parse(first).digest: "ix_digest",
            (sample.data.size < 2) & (sample.data.digest == parse(first).digest): "ix_",
            sample.data.reference == first: "ix_reference",
        }
        for where, index in queries.items():
            with explaining(engine) as plans:
                assert session.scalars(select(sample.name).where(where)).all() == ["0"]
            assert index in plans[0]
        for field, value, count in (("size", 2, 10), ("kind", "blob", 20), ("label_", "bytes", 20)):
            with explaining(engine) as plans:
                where = getattr(sample.data, field) == value
                assert len(session.scalars(select(sample.name).where(where)).all()) == count
            assert f"ix_{field}" in plans[0]


def test_an_index_goes_with_its_table_to_another_metadata():
    _, sample = make_models()
    for field in FIELDS:
        Index(f"ix_{field}", getattr(sample.run, field))
    copied = sample.__table__.to_metadata(MetaData(), schema="other", name="moved")
    shown = [str(CreateIndex(index)) for index in copied.indexes]
    assert len(shown) == 5
    assert all("ON other.moved (" in line for line in shown)
    with pytest.raises(ComparisonError, match=r"^moved\.run: "):
        _ = copied.c.run < "x"
