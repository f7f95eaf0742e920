"""`ArtifactList` by itself: comparing, its column in SQL, and the type as an object."""

import copy
import operator
import pickle

import numpy as np
import pytest
from sqlalchemy import (
    ARRAY,
    Integer,
    MetaData,
    Table,
    bindparam,
    func,
    insert,
    literal,
    select,
    text,
    type_coerce,
    update,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, mapped_column
from sqlalchemy.schema import CreateTable

from sqla_artifacts import Artifact, ArtifactList, FileDir, Lazy, LazyArtifact, StoredPath
from sqla_artifacts.errors import ComparisonError, InvalidReferenceError, InvalidValueError
from tests.models import counting

feature = pytest.mark.feature("ArtifactList", group="Arrays and lists")
ROWS = [
    {"notes": ["a", "b"], "images": [np.arange(3)], "files": [("x", b"x")], "things": [{1}]},
    {"notes": ["b", "a"], "images": [np.arange(3), None], "files": [("y", b"x"), ("y", b"y")]},
    {"notes": [], "images": [], "files": []},
    {"notes": [None]},
    {},
]


@pytest.fixture
def record():
    class Base(DeclarativeBase):
        pass

    class Record(Base):
        __tablename__ = "record"
        id: Mapped[int] = mapped_column(primary_key=True)
        notes: Mapped[list[Lazy[str]] | None] = mapped_column(ArtifactList(LazyArtifact("text")))
        images: Mapped[list[np.ndarray] | None] = mapped_column(ArtifactList(Artifact("numpy")))
        files: Mapped[list[StoredPath] | None] = mapped_column(ArtifactList(FileDir))
        things: Mapped[list[Lazy[object]] | None] = mapped_column(
            ArtifactList(LazyArtifact("pickle"))
        )
        note: Mapped[Lazy[str] | None] = mapped_column(LazyArtifact("text"))

    return Record


@pytest.fixture
def session(sessions, record):
    with sessions(record.metadata)() as session:
        for number, row in enumerate(ROWS, start=1):
            session.add(record(id=number, note="b", **row))
        session.commit()
        yield session


@pytest.fixture
def found(session, record):
    """Runs a query for the ids of rows."""

    def find(*where, **parameters):
        query = select(record.id).where(*where).order_by(record.id)
        return session.scalars(query, parameters).all()

    return find


# -- comparing -------------------------------------------------------------------------------------


@feature
def test_lists_are_compared_by_the_digests_of_their_items(store, record, found):
    notes = record.notes
    backend = counting(store)
    assert found(notes == ["a", "b"]) == [1]
    assert found(notes == [Lazy("a"), "b"]) == [1]
    assert found(notes != ["a", "b"]) == [2, 3, 4]
    assert found(notes == []) == [3]
    assert found(notes == [None]) == [4]
    assert found(notes == None) == found(notes.is_(None)) == [5]  # noqa: E711
    assert found(notes.is_distinct_from([])) == [1, 2, 4, 5]
    assert found(notes.in_([["b", "a"], [], None])) == [2, 3]
    assert found(notes.not_in([["b", "a"], []])) == [1, 4]
    assert found(notes == bindparam("x"), x=["a", "b"]) == [1]
    assert found(notes == literal(["a", "b"], notes.type)) == [1]
    assert found(record.images == [np.arange(3), None]) == [2]
    assert found(record.files == [("another name", b"x"), ("y", b"y")]) == [2]
    assert not {"put", "create"} & set(backend.calls)


@feature
def test_lists_of_columns_are_compared(session, record, found):
    other = aliased(record)
    same = select(other.id).where(other.notes == record.notes, other.id != record.id).exists()
    assert found(same) == []
    session.execute(update(record).where(record.id == 5).values(notes=record.notes))
    session.execute(
        update(record)
        .where(record.id == 5)
        .values(notes=select(other.notes).where(other.id == 2).scalar_subquery())
    )
    assert found(same) == [2, 5]
    wanted = select(other.notes).where(other.id == 1).scalar_subquery()
    assert found(record.notes == wanted) == [1]


@feature
def test_contains_finds_one_item(session, record, found):
    assert found(record.notes.contains("b")) == [1, 2]
    assert found(record.notes.contains("c")) == []
    assert found(record.notes.contains(record.note)) == [1, 2]
    assert found(record.notes.contains(bindparam("x")), x="a") == [1, 2]
    assert found(record.images.contains(np.arange(3))) == [1, 2]
    assert found(record.files.contains(("any name", b"y"))) == [2]
    thing = session.get(record, 1).things[0]
    assert found(record.things.contains(thing)) == [1]
    assert found(record.things.contains(thing.reference), record.things == [thing]) == [1]


REFUSED = {
    "not a list": lambda r: r.notes == "a",
    "a tuple": lambda r: r.notes.in_([("a", "b")]),
    "not deterministic": lambda r: r.things == [{1}],
    "in a list": lambda r: r.things.in_([[{1}]]),
    "contained": lambda r: r.things.contains({1}),
    "contained None": lambda r: r.notes.contains(None),
    "<": lambda r: r.notes < ["a"],
    "[]": lambda r: r.notes[0],
    "+": lambda r: operator.add(r.notes, ["a"]),
    "like": lambda r: r.notes.like("a"),
    "any": lambda r: r.notes.any_(),
    "reference": lambda r: r.notes.reference,
    "kind": lambda r: r.notes.kind,
    "size": lambda r: r.notes.size,
    "label": lambda r: r.notes.label_,
}


@pytest.mark.parametrize("how", REFUSED)
def test_what_cannot_be_right_is_refused(record, how):
    with pytest.raises(ComparisonError, match=r"^record\.(notes|things): "):
        REFUSED[how](record)


# -- the column in SQL -----------------------------------------------------------------------------


@feature
def test_sql_sees_a_json_array(engine, session, record):
    length = "json_array_length" if engine.dialect.name == "sqlite" else "jsonb_array_length"
    lengths = select(getattr(func, length)(record.notes.json)).order_by(record.id)
    assert session.scalars(lengths).all() == [2, 2, 0, 1, None]
    assert session.scalar(select(record.notes.json[0]).where(record.id == 1)).startswith("&:blob:")
    digests = session.scalars(select(record.notes.digest).order_by(record.id)).all()
    assert [None if digest is None else len(digest) for digest in digests] == [130, 130, 0, 1, None]
    distinct = select(record.notes).distinct()
    assert len(session.scalars(distinct).all()) == len(ROWS)


@pytest.mark.feature(
    "JSONB containment",
    group="Arrays and lists",
    only="postgresql",
    note="Of whole references; a GIN index on the column serves it.",
)
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_an_index_on_jsonb_finds_a_reference(session, record, found):
    first = session.get(record, 1).notes[0]
    contained = type_coerce(record.notes, postgresql.JSONB).contains([str(first.reference)])
    assert found(contained) == [1, 2]


@feature
def test_every_reference_is_found_by_sql(engine, session, record):
    """As a collector will look for them."""
    items = {"sqlite": "json_each", "postgresql": "jsonb_array_elements_text"}[engine.dialect.name]
    look = (
        "SELECT DISTINCT substr(i.value, 8, 64) FROM record, {}({}) AS i WHERE i.value IS NOT NULL"
    )
    found = set()
    for column in ("notes", "images", "files", "things"):
        found.update(session.scalars(text(look.format(items, column))))
    assert found == set(session.scalars(text("SELECT digest FROM artifact_blob")))
    noted = set(session.scalars(text("SELECT column_name FROM artifact_column")))
    assert noted == {"notes", "images", "files", "things", "note"}


@feature
def test_json_that_is_no_list_of_references_is_refused(session, record):
    for held in ('"&:blob:x"', '{"a": 1}', "[1]", '["x"]', "[[]]", "7"):
        session.execute(text("UPDATE record SET notes = :x WHERE id = 1"), {"x": held})
        with pytest.raises(InvalidReferenceError, match=r"^record\.notes: "):
            session.get(record, 1, populate_existing=True)


@feature
def test_null_in_json_reads_as_none(session, record, found):
    session.execute(text("UPDATE record SET notes = 'null' WHERE id = 1"))
    assert session.get(record, 1, populate_existing=True).notes is None
    assert found(record.notes.is_(None)) == [5]
    assert found(record.notes == []) == [3]


@feature
def test_what_is_no_list_is_refused(store, session, record):
    backend = counting(store)
    for value in ("text", ("a", "b"), {"a": 1}, 5, np.arange(3), iter("a")):
        session.add(record(notes=value))
        with pytest.raises(InvalidValueError, match=r"^record\.notes: a list is needed, not a "):
            session.flush()
        session.rollback()
    assert "put" not in backend.calls


# -- the type --------------------------------------------------------------------------------------


def test_the_column_is_json():
    table = Table("t", MetaData(), mapped_column("x", ArtifactList(FileDir())).column)
    assert "x JSON" in str(CreateTable(table))
    assert "x JSONB" in str(CreateTable(table).compile(dialect=postgresql.dialect()))


def test_a_list_type_is_shown_pickled_and_copied():
    made = ArtifactList(Artifact("numpy", store="videos"))
    assert repr(made) == "ArtifactList(Artifact('numpy'))"
    for copied in (pickle.loads(pickle.dumps(made)), copy.deepcopy(made), made.copy()):
        assert repr(copied) == repr(made)
        assert copied.item_type is not made.item_type
        assert copied._static_cache_key == made._static_cache_key
    assert repr(ArtifactList(FileDir)) == "ArtifactList(FileDir())"
    keys = {
        ArtifactList(item)._static_cache_key
        for item in (Artifact("text"), LazyArtifact("text"), Artifact("json"), FileDir())
    }
    assert len(keys) == 4


@pytest.mark.parametrize("item", [Integer(), ARRAY(Artifact("text")), "numpy", None])
def test_a_list_is_of_artifacts(item):
    with pytest.raises(InvalidValueError, match="needs an Artifact, LazyArtifact or FileDir"):
        ArtifactList(item)


def test_copies_of_a_table_name_their_own_columns(engine, sessions):
    class Mixin:
        notes: Mapped[list[Lazy[str]]] = mapped_column(ArtifactList(LazyArtifact("text")))

    class Base(DeclarativeBase):
        pass

    for name in ("first", "second"):
        type(
            name,
            (Mixin, Base),
            {"__tablename__": name, "id": mapped_column(Integer, primary_key=True)},
        )
    session_of = sessions(Base.metadata)
    copied = Base.metadata.tables["first"].to_metadata(MetaData(), name="third")
    for table in (*(Base.metadata.tables[name] for name in ("first", "second")), copied):
        assert table.c.notes.type.column_name == f"{table.name}.notes"
        with (
            session_of() as session,
            pytest.raises(InvalidValueError, match=f"^{table.name}.notes"),
        ):
            session.execute(insert(table).values(notes=[5]))
