"""A small model with a column of each type, values for them, and what they read back as."""

from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sqla_artifacts import (
    Artifact,
    FileDir,
    LazyArtifact,
    LazyMapped,
    PathMapped,
    StoredPath,
    unpack,
)

COLUMNS = ["data", "note", "run"]
VALUES = {"data": b"bytes", "note": "a note", "run": ("run.txt", b"a run")}
OTHERS = {"data": b"other bytes", "note": "another note", "run": ("run.txt", b"another run")}

TYPES = {"data": lambda: Artifact("bytes"), "note": lambda: LazyArtifact("text"), "run": FileDir}


def make_base():
    """A fresh declarative base."""

    class Base(DeclarativeBase):
        pass

    return Base


def make_record(*constraints, **options):
    """A fresh model with a nullable `data`, `note` and `run`, of these options."""

    class Record(make_base()):
        __tablename__ = "record"
        __table_args__ = constraints
        id: Mapped[int] = mapped_column(primary_key=True)
        data: Mapped[bytes | None] = mapped_column(Artifact("bytes"), **options)
        note: LazyMapped[str | None] = mapped_column(LazyArtifact("text"), **options)
        run: PathMapped[StoredPath | None] = mapped_column(FileDir(), **options)

    return Record


def make_one(column_type, **options):
    """A fresh model with one column `value` of that type and these options."""

    class One(make_base()):
        __tablename__ = "one"
        id: Mapped[int] = mapped_column(primary_key=True)
        value = mapped_column(column_type, **options)

    return One


def add_in_savepoint(session, instance):
    """Add an instance in a savepoint of its own."""
    with session.begin_nested():
        session.add(instance)


def plain(value):
    """What a loaded value stands for, as it was assigned."""
    if isinstance(value, StoredPath):
        return value.name, value.open().read()
    return unpack(value)


def values_of(instance, columns=COLUMNS):
    """What the columns of an instance stand for."""
    return {column: plain(getattr(instance, column)) for column in columns}
