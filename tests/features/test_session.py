"""What a session does with instances: merge, expire, pickle, copy, and tell what has changed."""

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import event, inspect, select
from sqlalchemy.ext.mutable import MutableList
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    make_transient,
    make_transient_to_detached,
    mapped_column,
)
from sqlalchemy.orm.exc import DetachedInstanceError

from sqla_artifacts import (
    EMPTY,
    Artifact,
    ArtifactList,
    FileDir,
    Lazy,
    LazyArtifact,
    LazyMapped,
    PathMapped,
    StoredPath,
)
from tests.models import counting, kind_of, statements_of

ROOT = Path(__file__).parents[2]
IMAGE = np.arange(4)


def feature(name, note=""):
    return pytest.mark.feature(name, group="Sessions", note=note)


class Base(DeclarativeBase):
    """Here, and not in a function, because instances of it are pickled."""


class Record(Base):
    __tablename__ = "record"
    id: Mapped[int] = mapped_column(primary_key=True)
    image: Mapped[np.ndarray | None] = mapped_column(Artifact("numpy"))
    count: Mapped[int | None]
    note: LazyMapped[str | None] = mapped_column(LazyArtifact("text"))
    model: LazyMapped[Any | None] = mapped_column(LazyArtifact("pickle"))
    run: PathMapped[StoredPath | None] = mapped_column(FileDir())
    late: LazyMapped[str | None] = mapped_column(LazyArtifact("text"), deferred=True)
    active: LazyMapped[str | None] = mapped_column(LazyArtifact("text"), active_history=True)
    notes: Mapped[list[Lazy[str]] | None] = mapped_column(
        MutableList.as_mutable(ArtifactList(LazyArtifact("text")))
    )


@pytest.fixture
def start(sessions):
    """Opens sessions."""
    return sessions(Base.metadata)


@pytest.fixture
def session(start):
    with start() as session:
        yield session


@pytest.fixture
def row(session):
    """A row that was just loaded."""
    values = {"note": "a note", "late": "late", "active": "active", "notes": ["a", "b"]}
    session.add(Record(image=IMAGE, model={"a": 1}, run=("a", b"run"), **values))
    session.commit()
    return session.scalars(select(Record)).one()


@pytest.fixture
def detached(start):
    """The same row, loaded by a session that is gone."""
    with start() as session:
        session.add(Record(id=1, image=IMAGE, note="a note", run=("a", b"run"), notes=["a"]))
        session.commit()
        return session.scalars(select(Record)).one()


# -- merge -----------------------------------------------------------------------------------------

MERGED = "An eager value counts as changed; its reference is written again, its bytes are not."


@feature("`session.merge`", MERGED)
def test_merging_a_detached_row_uploads_nothing(start, store, detached):
    backend = counting(store)
    with start() as session:
        merged = session.merge(detached)
        assert merged is not detached
        changed = {a.key for a in inspect(merged).attrs if a.history.has_changes()}
        assert changed == {"image"}
        session.commit()
        assert (merged.note.unpack(), merged.run.name) == ("a note", "a")
        np.testing.assert_array_equal(merged.image, IMAGE)
    assert not {"put", "create"} & set(backend.calls)


@feature("`session.merge`")
def test_merging_a_new_object_with_the_same_key(start, detached):
    with start() as session:
        merged = session.merge(Record(id=1, note="new", run=("b", b"b"), notes=["x", "y"]))
        assert (kind_of(merged.note), kind_of(merged.run)) == (Lazy, StoredPath)
        session.commit()
        assert (merged.note.unpack(), merged.run.name) == ("new", "b")
        assert [note.unpack() for note in merged.notes] == ["x", "y"]
        np.testing.assert_array_equal(merged.image, IMAGE)
        other = session.merge(Record(id=2, note=detached.note))
        session.commit()
        assert other.note.unpack() == "a note"


@feature("`session.merge`")
def test_merging_without_loading(engine, start, detached):
    with start() as session:
        seen = statements_of(engine)
        merged = session.merge(detached, load=False)
        assert (merged.note.unpack(), merged.image.tolist()) == ("a note", IMAGE.tolist())
        merged.notes.append("b")
        assert seen == []
        session.commit()
        assert [note.unpack() for note in merged.notes] == ["a", "b"]


CHANGE_IT = """
import pickle, sys
row = pickle.load(sys.stdin.buffer)
row.note = row.note.unpack() + "!"
row.image = row.image + 1
row.notes.append(row.notes[0].unpack() + "!")
sys.stdout.buffer.write(pickle.dumps(row))
"""


@feature("Pickled instances", "Proxies are pickled without their values, eager values with them.")
def test_a_row_is_changed_in_another_process_and_merged(start, detached):
    command = [sys.executable, "-W", "error", "-c", CHANGE_IT]
    data = pickle.dumps(detached)
    run = subprocess.run(command, cwd=ROOT, input=data, capture_output=True, check=False)
    assert run.returncode == 0, run.stderr.decode()
    with start() as session:
        merged = session.merge(pickle.loads(run.stdout))
        session.commit()
        assert (merged.note.unpack(), merged.image.tolist()) == ("a note!", [1, 2, 3, 4])
        assert [note.unpack() for note in merged.notes] == ["a", "a!"]
        assert merged.run.open().read() == b"run"


# -- pickled instances, expiring -------------------------------------------------------------------


@feature("Pickled instances")
def test_a_pickled_row_knows_what_was_not_loaded(start, session, row):
    row.note.unpack()
    loaded = pickle.dumps(row)
    session.commit()
    expired = pickle.dumps(row)
    session.close()
    assert b"a note" not in loaded
    copy = pickle.loads(loaded)
    assert (copy.note.x, copy.note.unpack(), copy.image.tolist()) == (EMPTY, "a note", [0, 1, 2, 3])
    with pytest.raises(DetachedInstanceError):
        _ = copy.late
    for data in (loaded, expired):
        with start() as other:
            copy = pickle.loads(data)
            other.add(copy)
            assert not other.is_modified(copy)
            assert (copy.late.unpack(), copy.note.unpack()) == ("late", "a note")
            copy.notes.append("c")
            other.flush()
            assert copy.notes[-1].stored
            other.rollback()


@feature(
    "`expire_on_commit`",
    "With the default every eager artifact is decoded anew after a commit; with False the "
    "attribute keeps the very object that was assigned.",
)
@pytest.mark.parametrize("expire", [True, False])
def test_what_a_commit_leaves(start, expire):
    with start(expire_on_commit=expire) as session:
        row = Record(image=IMAGE, note="a note", run=("a", b"run"), notes=["a"])
        session.add(row)
        session.commit()
        seen = statements_of(session.get_bind())
        assert (row.image is IMAGE) is (not expire)
        assert (row.note.x is EMPTY) is expire
        assert len(seen) == expire
        assert all(proxy.stored for proxy in (row.note, row.run, *row.notes))
        np.testing.assert_array_equal(row.image, IMAGE)
        assert (row.note.unpack(), row.run.open().read()) == ("a note", b"run")


@feature("`expire` and `refresh`")
def test_expire_and_refresh_take_what_the_database_holds(start, session, row):
    with start.begin() as other:
        found = other.get(Record, row.id)
        found.note, found.image, found.late, found.notes = "new", IMAGE + 1, "new", ["new"]
    session.rollback()
    row.note, row.image = "unsaved", None
    with session.no_autoflush:
        session.refresh(row, ["note"])
        assert (row.note.unpack(), row.image) == ("new", None)
        session.expire(row, ["image"])
        assert row.image.tolist() == [1, 2, 3, 4]
        row.notes.append("unsaved")
        session.refresh(row)
    assert [note.unpack() for note in row.notes] == ["new"]
    assert row.late.unpack() == "new"
    assert not session.is_modified(row)


# -- changes ---------------------------------------------------------------------------------------


@feature("History", "It holds proxies. An equal value that is assigned anew counts as a change.")
def test_history(session, row):
    def history(key):
        found = inspect(row).attrs[key].history
        return tuple(len(part) for part in (found.added, found.unchanged, found.deleted))

    for key, equal in {"note": "a note", "image": IMAGE.copy(), "run": ("a", b"run")}.items():
        old = getattr(row, key)
        assert history(key) == (0, 1, 0)
        setattr(row, key, old)
        assert history(key) == (0, 1, 0)
        for value in (equal, None):
            setattr(row, key, value)
            assert history(key) == (1, 0, 1)
            assert inspect(row).attrs[key].history.deleted[0] is old
        session.flush()
        assert history(key) == (0, 1, 0)
        assert getattr(row, key) is None
    session.rollback()
    assert history("note") == (0, 0, 0)
    assert row.note.unpack() == "a note"


@feature("History")
def test_active_history_loads_the_old_proxy(session, row):
    session.expire(row)
    row.note, row.active = "new", "new"
    assert inspect(row).attrs.note.history.deleted == ()
    (old,) = inspect(row).attrs.active.history.deleted
    assert (kind_of(old), old.unpack()) == (Lazy, "active")


@feature("`make_transient` and `expunge`")
def test_an_object_becomes_another_row(start, session, row):
    session.expunge(row)
    make_transient(row)
    row.id = None
    with start() as other:
        other.add(row)
        other.commit()
        assert row.id == 2
        assert (row.note.unpack(), row.run.name, row.late) == ("a note", "a", None)
        assert [note.unpack() for note in row.notes] == ["a", "b"]
        known = Record(id=2)
        make_transient_to_detached(known)
        other.expunge(row)
        other.add(known)
        assert (known.note.unpack(), known.image.tolist()) == ("a note", IMAGE.tolist())


@feature("Copies of an object")
def test_the_attributes_of_a_row_in_a_new_one(session, store, row):
    backend = counting(store)
    keys = [attribute.key for attribute in inspect(Record).column_attrs if attribute.key != "id"]
    copied = Record(**{key: getattr(row, key) for key in keys})
    session.add(copied)
    session.commit()
    assert not {"put", "create"} & set(backend.calls)
    assert copied.note.reference == row.note.reference
    copied.notes.append("c")
    session.commit()
    assert (len(copied.notes), len(row.notes)) == (3, 2)


# -- events ----------------------------------------------------------------------------------------


@feature("Session and mapper events", "A listener may assign artifacts; they are stored as well.")
def test_listeners_assign_artifacts(start):
    def before_flush(session, context, instances):
        for row in session.new:
            row.note, row.notes = f"{row.count} note", ["first"]
            session.add(Record(id=99, note="made"))

    def before_insert(mapper, connection, row):
        row.run = ("run", str(row.count).encode())

    def before_update(mapper, connection, row):
        row.late = row.note
        row.notes.append(row.note)

    with start() as session:
        event.listen(session, "before_flush", before_flush, once=True)
        event.listen(Record, "before_insert", before_insert)
        event.listen(Record, "before_update", before_update)
        try:
            row = Record(count=5)
            session.add(row)
            session.commit()
            row.note = "new note"
            session.commit()
        finally:
            event.remove(Record, "before_insert", before_insert)
            event.remove(Record, "before_update", before_update)
        assert session.get_one(Record, 99).note.unpack() == "made"
        assert (row.run.open().read(), row.late.unpack()) == (b"5", "new note")
        assert [note.unpack() for note in row.notes] == ["first", "new note"]
