"""Every way to map a class: its attributes hold proxies, and its rows come back."""

from typing import Any

import pytest
from sqlalchemy import Column, ForeignKey, Integer, Table, select
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    MappedAsDataclass,
    Session,
    composite,
    declared_attr,
    deferred,
    mapped_column,
    registry,
    synonym,
    undefer,
)

from sqla_artifacts import (
    Artifact,
    FileDir,
    Lazy,
    LazyArtifact,
    LazyMapped,
    PathMapped,
    StoredPath,
)

from .models import kind_of, make_store


def mapped(base, engine, directory):
    """Make the tables of a base, and attach a store."""
    make_store(directory).attach(engine, metadata=base.metadata)
    base.metadata.create_all(engine)


@pytest.fixture
def session(engine):
    with Session(engine) as session:
        yield session


def test_dataclasses(engine, session, tmp_path):
    class Base(MappedAsDataclass, DeclarativeBase):
        pass

    class Record(Base):
        __tablename__ = "record"
        id: Mapped[int] = mapped_column(primary_key=True, init=False)
        model: LazyMapped[Any] = mapped_column(LazyArtifact("pickle"))
        note: LazyMapped[str | None] = mapped_column(LazyArtifact("text"), default=None)
        tag: LazyMapped[str] = mapped_column(LazyArtifact("text"), default="a tag")
        steps: LazyMapped[list[int]] = mapped_column(LazyArtifact("json"), default_factory=list)
        run: PathMapped[StoredPath | None] = mapped_column(FileDir(), default=None)

    mapped(Base, engine, tmp_path)
    record = Record({"a": 1}, run=("a", b"run"))
    assert (kind_of(record.model), kind_of(record.steps), kind_of(record.run)) == (
        Lazy,
        Lazy,
        StoredPath,
    )
    assert record.note is None
    assert kind_of(record.tag) is Lazy
    assert "<EMPTY>" not in repr(record)
    session.add(record)
    session.flush()
    assert kind_of(record.tag) is Lazy
    assert record.tag.unpack() == "a tag"
    session.commit()
    assert (record.model.unpack(), record.steps.unpack()) == ({"a": 1}, [])
    assert record.tag.unpack() == "a tag"
    untouched = Record({})
    session.add(untouched)
    session.flush()
    assert kind_of(untouched.tag) is Lazy
    assert untouched.tag.stored


def test_columns_with_defaults_are_proxies_after_the_flush(engine, session, tmp_path):
    class Base(DeclarativeBase):
        pass

    class Record(Base):
        __tablename__ = "record"
        id: Mapped[int] = mapped_column(primary_key=True)
        note: LazyMapped[str] = mapped_column(LazyArtifact("text"), default="default")
        made: LazyMapped[str] = mapped_column(
            LazyArtifact("text"), default=lambda: "made", onupdate=lambda: "updated"
        )
        run: PathMapped[StoredPath] = mapped_column(FileDir(), default=("a", b"run"))
        data: Mapped[bytes] = mapped_column(Artifact("bytes"), default=b"data")

    mapped(Base, engine, tmp_path)
    record = Record()
    session.add(record)
    session.flush()
    for _ in range(2):
        assert (kind_of(record.note), kind_of(record.run)) == (Lazy, StoredPath)
        assert (record.note.unpack(), record.made.unpack()) == ("default", "made")
        assert (record.note.stored, record.run.stored) == (True, True)
        assert record.run.open().read() == b"run"
        assert record.data == b"data"
        session.commit()
    record.note = "changed"
    session.flush()
    assert record.made.unpack() == "updated"
    session.commit()
    assert record.made.unpack() == "updated"


@pytest.mark.parametrize("kind", ["single", "joined"])
def test_inheritance(engine, session, tmp_path, kind):
    class Base(DeclarativeBase):
        pass

    class Mixin:
        mixed: LazyMapped[str | None] = mapped_column(LazyArtifact("text"))

        @declared_attr
        def declared(cls) -> Mapped[Lazy[str] | None]:  # noqa: N805
            return mapped_column(LazyArtifact("text"))

    class Parent(Mixin, Base):
        __tablename__ = "parent"
        id: Mapped[int] = mapped_column(primary_key=True)
        kind: Mapped[str]
        note: LazyMapped[str | None] = mapped_column(LazyArtifact("text"))
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "parent"}  # noqa: RUF012

    own = {"__mapper_args__": {"polymorphic_identity": "child"}}
    if kind == "joined":
        own |= {
            "__tablename__": "child",
            "id": mapped_column(ForeignKey("parent.id"), primary_key=True),
        }
    own["extra"] = mapped_column(LazyArtifact("text"), nullable=True)
    Child = type("Child", (Parent,), own)  # noqa: N806

    mapped(Base, engine, tmp_path)
    child = Child(kind="child", note="note", extra="extra")
    values = {"mixed": "mixed", "declared": "declared"}
    for key, value in values.items():
        setattr(child, key, value)
    for key in ("note", "extra", *values):
        assert kind_of(getattr(child, key)) is Lazy, key
    session.add(child)
    session.commit()
    session.expunge_all()
    found = session.scalars(select(Parent)).one()
    assert type(found) is Child
    assert (found.note.unpack(), found.extra.unpack()) == ("note", "extra")
    assert (found.mixed.unpack(), found.declared.unpack()) == ("mixed", "declared")
    assert session.scalars(select(Child).where(Child.extra == "extra")).one() is found


def test_other_attributes_of_a_class(engine, session, tmp_path):
    class Base(DeclarativeBase):
        pass

    class Point:
        def __init__(self, x, y):
            self.x, self.y = x, y

        def __composite_values__(self):
            return self.x, self.y

    class Record(Base):
        __tablename__ = "record"
        id: Mapped[int] = mapped_column(primary_key=True)
        renamed: LazyMapped[str | None] = mapped_column("other_name", LazyArtifact("text"))
        late: LazyMapped[str | None] = deferred(mapped_column(LazyArtifact("text")))
        x: LazyMapped[str | None] = mapped_column(LazyArtifact("text"))
        y: LazyMapped[str | None] = mapped_column(LazyArtifact("text"))
        point = composite(Point, "x", "y")
        alias = synonym("renamed")

    mapped(Base, engine, tmp_path)
    record = Record(alias="renamed", late="late", point=Point("x", "y"))
    assert {kind_of(value) for value in (record.renamed, record.late, record.x)} == {Lazy}
    session.add(record)
    session.commit()
    found = session.scalars(select(Record).where(Record.alias == "renamed")).one()
    assert (found.alias.unpack(), found.late.unpack(), found.point.y.unpack()) == (
        "renamed",
        "late",
        "y",
    )
    assert session.scalars(select(Record).options(undefer(Record.late))).one() is found


def test_imperative_mappings(engine, session, tmp_path):
    mapper_registry = registry()
    table = Table(
        "record",
        mapper_registry.metadata,
        Column("id", Integer, primary_key=True),
        Column("note", LazyArtifact("text")),
    )

    class Record:
        pass

    mapper_registry.map_imperatively(Record, table)
    mapped(mapper_registry, engine, tmp_path)
    record = Record()
    record.note = "note"
    assert kind_of(record.note) is Lazy
    session.add(record)
    session.commit()
    assert record.note.unpack() == "note"
