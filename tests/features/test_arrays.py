"""PostgreSQL's arrays of artifacts: dimensions, subscripts and SQL; the rest is in test_lists."""

import operator

import numpy as np
import pytest
from sqlalchemy import ARRAY, String, any_, func, literal, select, text, type_coerce, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sqla_artifacts import Artifact, FileDir, Lazy, LazyArtifact, StoredPath, unpack
from sqla_artifacts.errors import ComparisonError
from tests.models import counting, kind_of

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
array = pytest.mark.feature("ARRAY", group="Arrays and lists", only="postgresql")
GRID = [["a", "b"], [None, "c"]]


@pytest.fixture
def record():
    class Base(DeclarativeBase):
        pass

    class Record(Base):
        __tablename__ = "record"
        id: Mapped[int] = mapped_column(primary_key=True)
        notes: Mapped[list[Lazy[str]] | None] = mapped_column(
            postgresql.ARRAY(LazyArtifact("text"), dimensions=1)
        )
        grid: Mapped[list[list[Lazy[str]]] | None] = mapped_column(
            ARRAY(LazyArtifact("text"), dimensions=2)
        )
        images: Mapped[list[list[np.ndarray]] | None] = mapped_column(
            ARRAY(Artifact("numpy"), dimensions=2)
        )
        docs: Mapped[list[object] | None] = mapped_column(
            ARRAY(Artifact("json"), dimensions=1, as_tuple=True)
        )
        note: Mapped[Lazy[str] | None] = mapped_column(LazyArtifact("text"))
        files: Mapped[list[StoredPath] | None] = mapped_column(ARRAY(FileDir()))

    return Record


@pytest.fixture
def session(sessions, record):
    with sessions(record.metadata)() as session:
        yield session


@pytest.fixture
def row(session, record):
    images = [[np.arange(3), np.zeros(2)]]
    session.add(record(notes=["a", "b"], grid=GRID, images=images, docs=[[1, 2], [1]], note="b"))
    session.commit()
    return session.scalars(select(record)).one()


@array
def test_arrays_of_two_dimensions(session, record, row):
    assert unpack(row.grid) == GRID
    assert session.scalar(text("SELECT grid[2][1] IS NULL AND grid[2][2] LIKE '&:%' FROM record"))
    np.testing.assert_equal(row.images, [[np.arange(3), np.zeros(2)]])
    row.images = [[np.arange(3) + 1, np.zeros(2)]]
    row.grid = [[row.grid[0][0], "x"]]
    assert [kind_of(note) for note in row.grid[0]] == [Lazy, Lazy]
    session.commit()
    assert unpack(row.grid) == [["a", "x"]]
    assert row.images[0][0].tolist() == [1, 2, 3]


@array
def test_values_that_are_lists_themselves_need_dimensions(session, row):
    assert row.docs == ([1, 2], [1])
    row.docs = ([1, 2], [True])
    session.commit()
    assert row.docs[1][0] is True


@array
def test_arrays_without_dimensions_hold_what_is_no_list(session, record):
    session.add(record(files=[StoredPath(("a", b"a")), StoredPath(("b", b"b"))]))
    session.commit()
    assert [file.name for file in session.scalars(select(record.files)).one()] == ["a", "b"]


@array
def test_items_are_read_compared_and_written_by_subscript(session, record, row):
    end = literal("end", LazyArtifact("text"))
    with pytest.raises(ComparisonError):
        _ = record.notes[1] < "a"
    assert session.scalars(select(record.notes[1])).one().unpack() == "a"
    assert session.scalars(select(record.id).where(record.notes[2] == "b")).all() == [row.id]
    assert session.scalars(select(record.id).where(record.notes[2] == "a")).all() == []
    session.execute(update(record).values({record.notes[2]: "new"}))
    for longer in (func.array_append(record.notes, end), operator.add(record.notes, ["+"])):
        session.execute(update(record).values(notes=longer))
    session.commit()
    assert unpack(row.notes) == ["a", "new", "end", "+"]


@array
def test_comparing_arrays_stores_nothing(session, store, record, row):
    backend = counting(store)
    for where in (record.notes == ["a", "b"], record.notes.contains(["b"])):
        assert session.scalars(select(record.id).where(where)).all() == [row.id]
    assert session.scalars(select(record.id).where(record.notes == ["new"])).all() == []
    held = any_(type_coerce(record.notes, ARRAY(String)))
    assert session.scalars(select(record.id).where(record.note.reference == held)).all() == [row.id]
    with pytest.raises(ComparisonError, match=r"^record\.note: any_\(\) and all_\(\)"):
        _ = record.note == any_(record.notes)
    assert "put" not in backend.calls
