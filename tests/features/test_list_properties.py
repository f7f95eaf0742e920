"""Lists of any values, and any changes of them, against a plain list."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.ext.mutable import MutableList
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sqla_artifacts import Artifact, ArtifactList, Lazy, LazyArtifact, unpack
from tests.models import kind_of

values = st.lists(st.none() | st.text() | st.sampled_from(["a", "b"]), max_size=8)
indices = st.integers(-4, 4)
slices = st.builds(slice, *[st.none() | indices] * 2)

OPERATIONS = {
    "append": (lambda v, x: v.append(x), st.text()),
    "extend": (lambda v, x: v.extend(x), values),
    "insert": (lambda v, i, x: v.insert(i, x), indices, st.text()),
    "set": (lambda v, i, x: v.__setitem__(i, x), indices, st.text()),
    "set slice": (lambda v, i, x: v.__setitem__(i, x), slices, values),
    "delete": (lambda v, i: v.__delitem__(i), indices | slices),
    "pop": (lambda v, i: v.pop(i), indices),
    "repeat": (lambda v, n: v.__imul__(n), st.integers(0, 2)),
    "move": (lambda v, i, j: v.insert(i, v[j]), indices, indices),
    "reverse": (lambda v: v.reverse(),),
    "clear": (lambda v: v.clear(),),
}
operations = st.sampled_from(sorted(OPERATIONS)).flatmap(
    lambda name: st.tuples(st.just(name), st.tuples(*OPERATIONS[name][1:]))
)
END = ("flush", "commit", "rollback")
steps = st.lists(operations | st.sampled_from(END), max_size=12)
per_database = settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
feature = pytest.mark.feature("ArtifactList", group="Arrays and lists")


@pytest.fixture
def record():
    class Base(DeclarativeBase):
        pass

    class Record(Base):
        __tablename__ = "record"
        id: Mapped[int] = mapped_column(primary_key=True)
        eager: Mapped[list[str] | None] = mapped_column(ArtifactList(Artifact("text")))
        notes: Mapped[list[Lazy[str]] | None] = mapped_column(
            MutableList.as_mutable(ArtifactList(LazyArtifact("text")))
        )

    return Record


@pytest.fixture
def session(sessions, record):
    with sessions(record.metadata)() as session:
        yield session


@feature
@per_database
@given(st.none() | values, values)
def test_any_list_comes_back_and_is_found(session, record, first, second):
    row = record(eager=first, notes=second)
    session.add(row)
    session.commit()
    assert (row.eager, unpack(row.notes)) == (first, second)
    where = record.notes == second, record.eager == first
    assert row.id in session.scalars(select(record.id).where(*where)).all()
    assert all(
        row.id in session.scalars(select(record.id).where(record.notes.contains(note))).all()
        for note in second
        if note is not None
    )


@feature
@per_database
@given(values, steps)
def test_any_changes_in_place_are_those_of_a_plain_list(session, record, value, steps):
    model, row = list(value), record(notes=value)
    session.add(row)
    session.commit()
    committed = list(model)
    for step in steps:
        if step in END:
            getattr(session, step)()
            model = list(committed) if step == "rollback" else model
            committed = list(model) if step == "commit" else committed
        else:
            name, arguments = step
            assert outcome(name, row.notes, arguments) == outcome(name, model, arguments)
        assert unpack(row.notes) == model
        assert {kind_of(note) for note in row.notes} <= {Lazy, type(None)}
    session.commit()
    assert unpack(row.notes) == model


def outcome(name, target, arguments):
    """What an operation raises."""
    try:
        OPERATIONS[name][0](target, *arguments)
    except IndexError as error:
        return str(error)
    return None
