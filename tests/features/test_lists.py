"""Lists and arrays of artifacts, which hold and do the same."""

import copy
import json
import pickle
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pytest
from sqlalchemy import ARRAY, bindparam, event, insert, inspect, select, text, update
from sqlalchemy.exc import StatementError
from sqlalchemy.ext.mutable import MutableList
from sqlalchemy.orm import DeclarativeBase, Mapped, Mapper, mapped_column, sessionmaker
from sqlalchemy.orm.attributes import flag_modified

from sqla_artifacts import Artifact, ArtifactList, FileDir, Lazy, LazyArtifact, StoredPath, unpack
from sqla_artifacts.assignment import _configured
from sqla_artifacts.errors import InvalidValueError, SourceError
from sqla_artifacts.ledger import Blob, Column
from sqla_artifacts.reference import parse
from tests.models import Natural, counting, kind_of, staged, statements_of

COLUMNS = ("images", "notes", "files")
IMAGES = [np.arange(3), None, np.zeros((2, 2))]
NOTES = ["one", None, "two", "one"]
FILES = [("a b.txt", b"a"), None, ("%.bin", b"b")]


def lists(test):
    """Mark a test that shows the same of lists and of arrays."""
    mark = partial(pytest.mark.feature, group="Arrays and lists")
    note = "Compared by its items' digests; `contains()` looks for one."
    array = "Say `dimensions=`. Compare items: `==` of arrays compares whole references."
    both = mark("ArtifactList", note=note), mark("ARRAY", note=array, only="postgresql")
    return both[0](both[1](test))


class World(NamedTuple):
    """A model of lists whose table is there, and what opens sessions."""

    engine: Any
    store: Any
    record: Any
    session: Any


@pytest.fixture(params=["list-sqlite", "list-postgresql", "array-postgresql"])
def world(request, make_engine, store):
    kind, database = request.param.split("-")
    of = ArtifactList if kind == "list" else partial(ARRAY, dimensions=1)

    class Base(DeclarativeBase):
        pass

    class Record(Base):
        __tablename__ = "record"
        id: Mapped[int] = mapped_column(primary_key=True)
        count: Mapped[int | None] = mapped_column(Natural)
        images: Mapped[list[np.ndarray] | None] = mapped_column(of(Artifact("numpy")))
        notes: Mapped[list[Lazy[str]] | None] = mapped_column(
            MutableList.as_mutable(of(LazyArtifact("text")))
        )
        files: Mapped[list[StoredPath] | None] = mapped_column(of(FileDir()))
        short: Mapped[list[Lazy[str]] | None] = mapped_column(of(LazyArtifact("text", max_size=9)))
        made: Mapped[list[Lazy[str]] | None] = mapped_column(
            of(LazyArtifact("text")), default=lambda: ["made", None]
        )

    engine = make_engine(database)
    store.attach(engine, metadata=Base.metadata)
    Base.metadata.create_all(engine)
    return World(engine, store, Record, sessionmaker(engine))


@pytest.fixture
def session(world):
    with world.session() as session:
        yield session


@pytest.fixture
def row(session, world):
    """A row that was just loaded."""
    session.add(world.record(images=IMAGES, notes=NOTES, files=FILES, short=["a", "b"]))
    session.commit()
    return session.scalars(select(world.record)).one()


@pytest.fixture
def late(world):
    """A model to whose list `MutableList` listens before we do, as it may in a fresh process."""
    event.remove(Mapper, "mapper_configured", _configured)
    list_type = type(world.record.__table__.c.made.type)

    class Base(DeclarativeBase):
        pass

    class Late(Base):
        __tablename__ = "late"
        id: Mapped[int] = mapped_column(primary_key=True)
        notes: Mapped[list[Lazy[str]]] = mapped_column(
            MutableList.as_mutable(list_type(LazyArtifact("text")))
        )

    Base.metadata.create_all(world.engine)
    return Late


def plain(values):
    """A list as it was assigned."""
    return [(v.name, v.open().read()) if isinstance(v, StoredPath) else unpack(v) for v in values]


def held(session, column):
    """The references that SQL sees in the only row."""
    value = session.scalar(text(f"SELECT {column} FROM record"))
    return json.loads(value) if isinstance(value, str) else value


def changes(session):
    """Whether a flush updates the row."""
    seen = statements_of(session.get_bind())
    session.flush()
    return any(statement.startswith("UPDATE record") for statement in seen)


# -- values ----------------------------------------------------------------------------------------


@lists
def test_lists_go_in_and_come_back_in_their_order(session, world, row):
    np.testing.assert_equal(row.images, IMAGES)
    assert (plain(row.notes), plain(row.files), plain(row.made)) == (NOTES, FILES, ["made", None])
    session.refresh(row)
    assert [note and note.x for note in unpack(row).notes] == NOTES
    for nothing in ([], None):
        row.images, row.notes, row.files = nothing, nothing, nothing
        session.commit()
        assert [row.images, row.notes, row.files] == [nothing] * 3
    nulls = [getattr(world.record, column).is_(None) for column in COLUMNS]
    assert session.scalars(select(world.record.id).where(*nulls)).all() == [row.id]


@lists
def test_the_row_holds_references_which_the_ledger_knows(session, row):
    references = [each for column in COLUMNS for each in held(session, column)]
    assert references.count(None) == 3
    digests = {parse(each).digest for each in references if each is not None}
    assert len(digests) == 2 + 2 + 2
    assert digests <= set(session.scalars(select(Blob.digest).where(Blob.state == "live")))
    assert {*COLUMNS, "short", "made"} == set(session.scalars(select(Column.column_name)))
    assert [str(note and note.reference) for note in row.notes] == list(
        map(str, held(session, "notes"))
    )


@lists
def test_statements_of_every_kind_take_and_return_lists(session, world):
    record, table = world.record, world.record.__table__
    session.execute(insert(record), [{"notes": ["a", None]}, {"notes": None, "images": IMAGES}])
    assert [plain(n) for n in session.scalars(insert(record).returning(record.notes), [{"notes": ["b"]}])] == [["b"]]  # fmt: skip # noqa: E501
    session.execute(update(record), [{"id": 1, "files": FILES}])
    session.execute(update(table).where(table.c.id == 1).values(images=[IMAGES[0]]))
    typed = bindparam("p", type_=table.c.notes.type)
    session.execute(
        text("UPDATE record SET notes = :p WHERE id = 2").bindparams(typed), {"p": ["c"]}
    )
    session.bulk_save_objects([record(notes=["d"])])
    session.commit()
    rows = session.scalars(select(record).order_by(record.id)).all()
    assert [plain(row.notes) for row in rows] == [["a", None], ["c"], ["b"], ["d"]]
    assert plain(rows[0].files) == FILES
    np.testing.assert_equal([rows[0].images, rows[1].images], [IMAGES[:1], IMAGES])


# -- assignment ------------------------------------------------------------------------------------


@lists
def test_items_are_proxies_from_the_moment_of_assignment(session, world, row):
    names, old = ["a", None, Lazy("b")], row.notes[0]
    new = world.record(notes=names, short=names, files=[("f", b"f")])
    row.notes = [old, "c"]
    for values in (new.notes, new.short, new.files, row.notes):
        assert {kind_of(value) for value in values} <= {Lazy, StoredPath, type(None)}
    assert names[0] == "a"
    assert new.short[2] is names[2]
    assert row.notes[0] is old
    session.add(new)
    session.flush()
    for value in (new.notes[0], new.short[2], new.files[0], row.notes[1], new.made[0]):
        assert value.stored
    assert (plain(new.notes), plain(row.notes)) == (["a", None, "b"], ["one", "c"])


@lists
def test_a_mutable_list_tells_of_changes_whoever_listens_first(session, late):
    row = late(notes=["a"])
    session.add(row)
    session.flush()
    for note in ("b", "c"):
        row.notes.append(note)
        assert {kind_of(note) for note in row.notes} == {Lazy}
        session.commit()
    assert plain(row.notes) == ["a", "b", "c"]


IN_PLACE = {
    "append": lambda v: v.append("x"),
    "extend": lambda v: v.extend(["x", None]),
    "insert": lambda v: v.insert(0, "x"),
    "item": lambda v: v.__setitem__(1, "x"),
    "slice": lambda v: v.__setitem__(slice(1, 3), ["x", "y", "z"]),
    "+=": lambda v: v.__iadd__(["x"]),
    "*=": lambda v: v.__imul__(2),
    "del": lambda v: v.__delitem__(0),
    "pop": lambda v: v.pop(),
    "reverse": lambda v: v.reverse(),
    "clear": lambda v: v.clear(),
}


@lists
def test_changes_in_place_are_seen_in_a_mutable_list(session, row):
    for how, change in IN_PLACE.items():
        row.notes = model = list(NOTES)
        session.commit()
        held_list = row.notes
        change(model)
        change(row.notes)
        assert row.notes is held_list
        assert {kind_of(value) for value in row.notes} <= {Lazy, type(None)}, how
        assert plain(row.notes) == model
        session.flush()
        assert all(value is None or value.stored for value in row.notes), how
        session.commit()
        assert plain(row.notes) == model, how


@pytest.mark.feature(
    "In-place changes of a list",
    group="Arrays and lists",
    note="They are seen with `MutableList.as_mutable(...)` only, or after `flag_modified()`.",
)
def test_changes_in_place_of_a_plain_list_are_not_seen(session, row):
    row.short.append("c")
    assert not changes(session)
    flag_modified(row, "short")
    assert [kind_of(value) for value in row.short] == [Lazy] * 3
    assert changes(session)
    session.commit()
    assert plain(row.short) == ["a", "b", "c"]


@lists
def test_equal_lists_are_told_by_identity_and_references(session, row):
    for column in COLUMNS:
        setattr(row, column, list(getattr(row, column)))
        assert not inspect(row).attrs[column].history.has_changes()
    assert not changes(session)
    old = row.short
    row.short = old[::-1]
    assert inspect(row).attrs.short.history.deleted == [old]
    assert changes(session)
    for images in ([IMAGES[0] + 0, *row.images[1:]], row.images[:1], [], None, list(IMAGES)):
        row.images = images
        assert changes(session)
        session.refresh(row)


@lists
def test_copies_of_a_list_and_of_its_row(session, world, row):
    for copied in (copy.deepcopy(row.notes), pickle.loads(pickle.dumps(row.notes))):
        assert [note and note.stored for note in copied] == [True, None, True, True]
        assert plain(copied) == NOTES
    session.expunge(row)
    with world.session() as other:
        merged = other.merge(row)
        assert not inspect(merged).attrs.notes.history.has_changes()
        merged.notes.append("more")
        merged.notes[0] = row.short[0]
        other.commit()
        assert plain(merged.notes) == ["a", *NOTES[1:], "more"]


# -- what is refused -------------------------------------------------------------------------------


BAD = {
    "images": ([np.arange(3), "text"], InvalidValueError),
    "files": ([("a", b"a"), "/nowhere"], SourceError),
    "short": (["short", "longer than nine"], InvalidValueError),
}


@lists
def test_a_bad_item_is_refused_by_the_name_of_its_column(world, session):
    backend = counting(world.store)
    for column, (value, error) in BAD.items():
        session.add(world.record(**{column: value}))
        with pytest.raises(error, match=rf"^record\.{column}: "):
            session.flush()
        session.rollback()
    assert "put" not in backend.calls
    assert staged(world.store) == []


@lists
def test_logs_and_errors_show_no_payload(world, session, caplog):
    secret = "payload-marker"
    table = world.record.__table__
    world.engine.echo = True
    session.add(world.record(notes=[secret], files=[("f", secret.encode())]))
    session.commit()
    rendered = insert(table).values(notes=[secret, "other"], images=IMAGES[:1], files=FILES[2:])
    shown = str(rendered.compile(world.engine, compile_kwargs={"literal_binds": True}))
    assert [shown.count(each) for each in ("&:blob:", "&:file:", "%25.bin", "%%%")] == [3, 1, 1, 0]
    with pytest.raises(StatementError) as caught:
        session.execute(insert(table), {"notes": [secret], "count": -1})
    shown = f"{caught.value!r} {caught.value} {caught.value.params} {shown}"
    assert "negative" in shown
    assert "&:blob:" in caplog.text
    assert secret not in caplog.text + shown
