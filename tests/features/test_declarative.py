"""Declarative forms: annotations, type maps and dataclasses."""

import dataclasses
from typing import Annotated, Any, Optional

import numpy as np
import pytest
from sqlalchemy import select
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    MappedAsDataclass,
    declared_attr,
    mapped_column,
    registry,
)

from sqla_artifacts import Artifact, FileDir, Lazy, LazyArtifact, LazyMapped, PathMapped, StoredPath

feature = pytest.mark.feature

IMAGE = np.arange(6.0).reshape(2, 3)
Image = Annotated[np.ndarray, mapped_column(Artifact("numpy"))]
Model = Annotated[dict[str, Any], mapped_column(LazyArtifact("json"))]
Run = Annotated[StoredPath, mapped_column(FileDir())]
Key = Annotated[int, mapped_column(primary_key=True)]


def round_trip(sessions, record):
    """Values for `image`, `model` and `run` come back, and None where there is a `maybe_…`."""
    new = sessions(record.metadata)
    with new() as session:
        made = record(image=IMAGE, model={"a": 1}, run=("run.txt", b"a run"))
        assert (type(made.model), type(made.run)) == (Lazy, StoredPath)
        session.add(made)
        session.commit()
        number = made.id
    with new() as session:
        found = session.scalars(select(record).where(record.image == IMAGE)).one()
        assert found is session.get(record, number)
        np.testing.assert_array_equal(found.image, IMAGE)
        assert found.model.unpack() == {"a": 1}
        assert found.run.open().read() == b"a run"
        assert (found.maybe_image, found.maybe_model, found.maybe_run) == (None,) * 3
        found.maybe_image, found.maybe_model, found.maybe_run = IMAGE + 1, {}, found.run
        session.commit()
        np.testing.assert_array_equal(found.maybe_image, IMAGE + 1)
        assert (found.maybe_model.unpack(), found.maybe_run.name) == ({}, "run.txt")


def columns_of(record):
    """The type of each artifact column, and whether it is nullable."""
    return {
        column.name: (type(column.type), column.nullable)
        for column in record.__table__.columns
        if column.name != "id"
    }


EXPECTED = {
    "image": (Artifact, False),
    "model": (LazyArtifact, False),
    "run": (FileDir, False),
    "maybe_image": (Artifact, True),
    "maybe_model": (LazyArtifact, True),
    "maybe_run": (FileDir, True),
}


@feature(
    "`Annotated` types",
    group="Declarative",
    note="`LazyMapped[Annotated[T, mapped_column(LazyArtifact(...))]]` works as `Mapped` does.",
)
def test_annotated_types_carry_their_column(sessions):
    class Base(DeclarativeBase):
        pass

    class Record(Base):
        __tablename__ = "record"
        id: Mapped[Key]
        image: Mapped[Image]
        model: LazyMapped[Model]
        run: PathMapped[Run]
        maybe_image: Mapped[Image | None]
        maybe_model: LazyMapped[Optional[Model]]  # noqa: UP045 (the other way to say it)
        maybe_run: PathMapped[Run | None]

    assert columns_of(Record) == EXPECTED
    assert Record.image.type is not Record.maybe_image.type
    assert Record.maybe_image.type.column_name == "record.maybe_image"
    round_trip(sessions, Record)


TYPE_MAP = "The map decides for each Python type: a plain `Mapped[dict]` gets the same column type."


@feature("`type_annotation_map`", group="Declarative", note=TYPE_MAP)
@pytest.mark.parametrize("shared", [True, False], ids=["object", "class"])
def test_a_type_annotation_map_names_the_column_type(sessions, shared):
    class Base(DeclarativeBase):
        type_annotation_map = {  # noqa: RUF012 (SQLAlchemy's way)
            np.ndarray: Artifact("numpy"),
            dict[str, Any]: LazyArtifact("json"),
            StoredPath: FileDir() if shared else FileDir,
        }

    class Record(Base):
        __tablename__ = "record"
        id: Mapped[int] = mapped_column(primary_key=True)
        image: Mapped[np.ndarray]
        model: LazyMapped[dict[str, Any]]
        run: PathMapped[StoredPath]
        maybe_image: Mapped[np.ndarray | None]
        maybe_model: LazyMapped[dict[str, Any] | None]
        maybe_run: PathMapped[Optional[StoredPath]]  # noqa: UP045 (as above)

    assert columns_of(Record) == EXPECTED
    round_trip(sessions, Record)


@feature("Annotated and plain columns", group="Declarative")
@pytest.mark.parametrize("form", ["annotated", "plain", "future"])
def test_columns_with_and_without_annotations(sessions, form):
    class Base(DeclarativeBase):
        pass

    types = (Artifact("numpy"), LazyArtifact("json"), FileDir()) * 2
    namespace = {"__tablename__": "record", "id": mapped_column(primary_key=True)}
    namespace["__annotations__"] = {"id": Mapped[int]}
    annotations = {
        "annotated": [Mapped[np.ndarray], LazyMapped[dict], PathMapped[StoredPath]],
        "future": ["Mapped[np.ndarray]", "LazyMapped[dict]", "PathMapped[StoredPath]"],
    }
    optional = {
        "annotated": [
            Mapped[np.ndarray | None],
            LazyMapped[dict | None],
            PathMapped[StoredPath | None],
        ],
        "future": [
            "Mapped[np.ndarray | None]",
            "LazyMapped[dict | None]",
            "PathMapped[StoredPath | None]",
        ],
    }
    for number, (name, column_type) in enumerate(zip(EXPECTED, types, strict=True)):
        if form == "plain":
            namespace[name] = mapped_column(column_type, nullable=name.startswith("maybe_"))
        else:
            namespace[name] = mapped_column(column_type)
            namespace["__annotations__"][name] = (annotations[form] + optional[form])[number]
    namespace["__module__"] = __name__
    record = type("Record", (Base,), namespace)
    assert columns_of(record) == EXPECTED
    round_trip(sessions, record)


def make_dataclass():
    class Base(MappedAsDataclass, DeclarativeBase):
        pass

    class Record(Base, kw_only=True):
        __tablename__ = "record"
        id: Mapped[int] = mapped_column(primary_key=True, init=False)
        image: Mapped[np.ndarray] = mapped_column(Artifact("numpy"), repr=False)
        model: LazyMapped[dict[str, Any]] = mapped_column(LazyArtifact("json"))
        run: PathMapped[StoredPath] = mapped_column(FileDir())
        steps: LazyMapped[list[int]] = mapped_column(LazyArtifact("json"), default_factory=list)
        tag: LazyMapped[str] = mapped_column(LazyArtifact("text"), default="a tag")
        maybe_image: Mapped[np.ndarray | None] = mapped_column(
            Artifact("numpy"), default=None, repr=False
        )
        maybe_model: LazyMapped[dict[str, Any] | None] = mapped_column(
            LazyArtifact("json"), default=None
        )
        maybe_run: PathMapped[StoredPath | None] = mapped_column(FileDir(), default=None)

    return Record


DATACLASS = (
    "`repr()` shows proxies without their content, but an eager value in full: give it "
    "`repr=False`. With `eq=True`, the default, arrays are compared with `==`: give the class "
    "`eq=False`, or the column `compare=False`."
)


@feature("`MappedAsDataclass`", group="Declarative", note=DATACLASS)
def test_a_dataclass_stores_its_arguments_and_defaults(sessions):
    record = make_dataclass()
    round_trip(sessions, record)
    new = sessions(record.metadata)
    with new() as session:
        found = session.scalars(select(record)).one()
        assert (found.steps.unpack(), found.tag.unpack()) == ([], "a tag")
        assert [f.name for f in dataclasses.fields(found)][:3] == ["id", "image", "model"]
        with pytest.raises(TypeError, match="positional"):
            record(IMAGE)
        with pytest.raises(TypeError, match="run"):
            record(image=IMAGE, model={})


@feature("`MappedAsDataclass`", group="Declarative")
def test_the_repr_of_a_dataclass_shows_no_payload(sessions):
    record = make_dataclass()
    new = sessions(record.metadata)
    with new() as session:
        made = record(image=IMAGE, model={"secret": 1}, run=("run.txt", b"secret"), tag="secret")
        for _ in range(2):
            assert "secret" not in repr(made)
            assert "run.txt" in repr(made)
            session.add(made)
            session.commit()
        assert made.model.unpack() == {"secret": 1}
        assert "secret" not in repr(made)


@feature("`MappedAsDataclass`", group="Declarative")
def test_a_dataclass_is_replaced(sessions):
    record = make_dataclass()
    new = sessions(record.metadata)
    with new() as session:
        first = record(image=IMAGE, model={"a": 1}, run=("run.txt", b"a run"))
        session.add(first)
        session.commit()
        second = dataclasses.replace(first, model={"b": 2})
        assert second.run is first.run
        session.add(second)
        session.commit()
        assert second.id != first.id
        assert (second.model.unpack(), second.run.open().read()) == ({"b": 2}, b"a run")
        assert first.model.unpack() == {"a": 1}


@feature("`MappedAsDataclass`", group="Declarative")
def test_a_registry_maps_dataclasses_and_their_mixins(sessions):
    mapper_registry = registry()

    class Tagged(MappedAsDataclass, kw_only=True):
        tag: LazyMapped[str | None] = mapped_column(LazyArtifact("text"), default=None)

        @declared_attr
        @classmethod
        def extra(cls) -> Mapped[Lazy[str] | None]:
            return mapped_column(LazyArtifact("text"), default=None)

    @mapper_registry.mapped_as_dataclass
    class Plain:
        __tablename__ = "plain"
        id: Mapped[int] = mapped_column(primary_key=True, init=False)
        run: PathMapped[StoredPath] = mapped_column(FileDir())

    class Base(DeclarativeBase):
        registry = mapper_registry

    class Record(Tagged, Base, kw_only=True):
        __tablename__ = "record"
        id: Mapped[int] = mapped_column(primary_key=True, init=False)
        run: PathMapped[StoredPath] = mapped_column(FileDir())

    new = sessions(mapper_registry.metadata)
    with new() as session:
        plain, record = Plain(("a", b"a")), Record(run=("b", b"b"), tag="tag")
        record.extra = "extra"
        session.add_all([plain, record])
        session.commit()
        assert (plain.run.name, record.run.name, record.tag.unpack()) == ("a", "b", "tag")
        assert record.extra.unpack() == "extra"
