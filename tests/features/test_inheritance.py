"""Inheritance, mixins and abstract bases."""

import pytest
from sqlalchemy import ForeignKey, Integer, select
from sqlalchemy.ext.declarative import AbstractConcreteBase, ConcreteBase
from sqlalchemy.orm import (
    Mapped,
    declared_attr,
    mapped_column,
    selectin_polymorphic,
    with_polymorphic,
)

from sqla_artifacts import Artifact, FileDir, Lazy, LazyArtifact, LazyMapped, PathMapped, StoredPath
from tests.models import kind_of, statements_of

from .record import OTHERS, VALUES, make_base, values_of

feature = pytest.mark.feature
MIXED = {"mixed": "mixed", "declared": "declared"}


class Columns:
    """A mixin, as a class of columns is written most shortly."""

    data: Mapped[bytes | None] = mapped_column(Artifact("bytes"))
    note: LazyMapped[str | None] = mapped_column(LazyArtifact("text"))
    run: PathMapped[StoredPath | None] = mapped_column(FileDir())


def identity(name, **more):
    return {"polymorphic_identity": name, **more}


def single(base):
    class Parent(Columns, base):
        __tablename__ = "parent"
        id: Mapped[int] = mapped_column(primary_key=True)
        kind: Mapped[str]
        __mapper_args__ = identity("parent", polymorphic_on="kind")

    class Child(Parent):
        extra: LazyMapped[str | None] = mapped_column(LazyArtifact("text"))
        __mapper_args__ = identity("child")

    return Parent, Child


def joined(base):
    class Parent(Columns, base):
        __tablename__ = "parent"
        id: Mapped[int] = mapped_column(primary_key=True)
        kind: Mapped[str]
        __mapper_args__ = identity("parent", polymorphic_on="kind")

    class Child(Parent):
        __tablename__ = "child"
        id: Mapped[int] = mapped_column(ForeignKey("parent.id"), primary_key=True)
        extra: LazyMapped[str | None] = mapped_column(LazyArtifact("text"))
        __mapper_args__ = identity("child")

    return Parent, Child


def concrete(base):
    class Parent(ConcreteBase, Columns, base):
        __tablename__ = "parent"
        id: Mapped[int] = mapped_column(primary_key=True)
        __mapper_args__ = identity("parent", concrete=True)

    class Child(Parent):
        __tablename__ = "child"
        id: Mapped[int] = mapped_column(primary_key=True)
        data: Mapped[bytes | None] = mapped_column(Artifact("bytes"))
        note: LazyMapped[str | None] = mapped_column(LazyArtifact("text"))
        run: PathMapped[StoredPath | None] = mapped_column(FileDir())
        extra: LazyMapped[str | None] = mapped_column(LazyArtifact("text"))
        __mapper_args__ = identity("child", concrete=True)

    return Parent, Child


def shown(parents):
    """What is loaded, by class."""
    rows = sorted(parents, key=lambda row: type(row).__name__)
    return [(type(row).__name__, values_of(row)) for row in rows]


def round_trip(sessions, base, parent, child):
    """A parent and a child are stored, loaded as what they are, changed, found, and deleted."""
    new = sessions(base.metadata)
    with new.begin() as session:
        made = child(id=2, extra="extra", **OTHERS)
        assert (kind_of(made.note), kind_of(made.extra), kind_of(made.run)) == (
            Lazy,
            Lazy,
            StoredPath,
        )
        session.add_all([parent(id=1, **VALUES), made])
    everything = [("Child", OTHERS), ("Parent", VALUES)]
    with new() as session:
        assert shown(session.scalars(select(parent))) == everything
        found = session.scalars(select(child).where(child.extra == "extra")).one()
        assert kind_of(found.extra) is Lazy
        assert found.extra.unpack() == "extra"
        assert session.scalars(select(child).where(child.run == OTHERS["run"])).one() is found
        found.extra, found.data = "changed", b"changed"
        session.commit()
        assert (found.extra.unpack(), found.data) == ("changed", b"changed")
        found.data = OTHERS["data"]
        session.commit()
    return new, everything


@feature(
    "Single table inheritance",
    group="Inheritance",
    note="A column of a child is nullable in the table, as always.",
)
@feature("Joined table inheritance", group="Inheritance")
@pytest.mark.parametrize("how", [single, joined])
def test_children_share_their_parents_table(engine, sessions, how):
    base = make_base()
    parent, child = how(base)
    new, everything = round_trip(sessions, base, parent, child)
    with new() as session:
        both = with_polymorphic(parent, [child])
        statements = statements_of(engine)
        assert shown(session.scalars(select(both))) == everything
        assert len(statements) == 1
        where = both.Child.extra == "changed"
        assert type(session.scalars(select(both).where(where)).one()) is child
    with new() as session:
        statements = statements_of(engine)
        option = selectin_polymorphic(parent, [child])
        rows = session.scalars(select(parent).options(option)).all()
        assert [row.extra.unpack() for row in rows if type(row) is child] == ["changed"]
        assert len(statements) == 2
        session.delete(next(row for row in rows if type(row) is child))
        session.commit()
        assert shown(session.scalars(select(parent))) == everything[1:]


CONCRETE = (
    "Each class has a column of its own, in a table of its own. A query of the base reads their "
    "UNION, where an unloaded column is NULL."
)


@feature("Concrete table inheritance", group="Inheritance", note=CONCRETE)
def test_concrete_children_have_tables_of_their_own(engine, sessions):
    base = make_base()
    parent, child = concrete(base)
    new, everything = round_trip(sessions, base, parent, child)
    with new() as session:
        session.delete(session.scalars(select(child).where(child.extra == "changed")).one())
        session.commit()
        assert shown(session.scalars(select(parent))) == everything[1:]


@feature("Concrete table inheritance", group="Inheritance")
def test_an_abstract_concrete_base(sessions):
    base = make_base()

    class Parent(AbstractConcreteBase, base):
        strict_attrs = True
        id: Mapped[int] = mapped_column(primary_key=True)
        note: LazyMapped[str | None] = mapped_column(LazyArtifact("text"))

    class First(Parent):
        __tablename__ = "first"
        run: PathMapped[StoredPath | None] = mapped_column(FileDir())
        __mapper_args__ = identity("first", concrete=True)

    class Second(Parent):
        __tablename__ = "second"
        data: Mapped[bytes | None] = mapped_column(Artifact("bytes"))
        __mapper_args__ = identity("second", concrete=True)

    base.registry.configure()
    new = sessions(base.metadata)
    with new.begin() as session:
        first = First(id=1, note="a", run=VALUES["run"])
        assert kind_of(first.note) is Lazy
        session.add_all([first, Second(id=2, note="b", data=b"b")])
    with new() as session:
        rows = session.scalars(select(Parent).order_by(Parent.id)).all()
        assert [type(row) for row in rows] == [First, Second]
        assert [row.note.unpack() for row in rows] == ["a", "b"]
        assert rows[0].run.open().read() == b"a run"
        assert rows[1].data == b"b"


@feature(
    "Mixins and `declared_attr`",
    group="Inheritance",
    note="Write the attribute; a `declared_attr` is annotated `Mapped[Lazy[T]]`.",
)
@feature("Abstract bases", group="Inheritance")
def test_mixins_and_abstract_bases(sessions):
    base = make_base()

    class Mixin:
        mixed: LazyMapped[str | None] = mapped_column(LazyArtifact("text"))

        @declared_attr
        def declared(cls) -> Mapped[Lazy[str] | None]:  # noqa: N805
            return mapped_column(f"{cls.__tablename__}_declared", LazyArtifact("text"))

    class Abstract(Mixin, Columns, base):
        __abstract__ = True
        id: Mapped[int] = mapped_column(Integer, primary_key=True)

    class First(Abstract):
        __tablename__ = "first"

    class Second(Abstract):
        __tablename__ = "second"

    new = sessions(base.metadata)
    with new.begin() as session:
        for model, values in ((First, VALUES), (Second, OTHERS)):
            made = model(**values, **MIXED)
            assert {kind_of(getattr(made, name)) for name in MIXED} == {Lazy}
            session.add(made)
    with new() as session:
        for model, values in ((First, VALUES), (Second, OTHERS)):
            column = model.declared.property.columns[0]
            assert column.type.column_name == f"{model.__tablename__}.{column.name}"
            found = session.scalars(select(model).where(model.declared == "declared")).one()
            assert values_of(found) == values
            assert values_of(found, MIXED) == MIXED
