"""What SQLAlchemy's declarative scan makes of LazyMapped and PathMapped at run time."""

# ruff: noqa: UP007, UP037, UP045 (every way to write an annotation is meant)

from __future__ import annotations

import io
import sys
import types
from typing import Annotated, Any, Generic, Optional, TypeVar, Union

import pytest
from sqlalchemy import Integer, select
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    MappedAsDataclass,
    Session,
    declared_attr,
    mapped_column,
    registry,
)
from sqlalchemy.orm.exc import MappedAnnotationError

from sqla_artifacts import FileDir, Lazy, LazyArtifact, LazyMapped, PathMapped, StoredPath

from .models import kind_of, make_store
from .typing import accepted, rejected

Pickled = Annotated[int, mapped_column(LazyArtifact("pickle"))]
S = TypeVar("S")


class Custom: ...


class Base(DeclarativeBase):
    type_annotation_map = {Custom: LazyArtifact("pickle"), StoredPath: FileDir()}  # noqa: RUF012


class Mixin:
    mixed: LazyMapped[int] = mapped_column(LazyArtifact("pickle"))
    mixed_opt: LazyMapped[int | None] = mapped_column(LazyArtifact("pickle"))

    @declared_attr
    def declared_opt(cls) -> Mapped[Lazy[int] | None]:  # noqa: N805
        return mapped_column(LazyArtifact("pickle"))


class GenericMixin(Generic[S]):
    generic: LazyMapped[S] = mapped_column(LazyArtifact("pickle"))


class M(Mixin, GenericMixin[int], Base):
    __tablename__ = "m"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    plain: LazyMapped[int] = mapped_column(LazyArtifact("pickle"))
    pipe_opt: LazyMapped[int | None] = mapped_column(LazyArtifact("pickle"))
    optional_opt: LazyMapped[Optional[dict[str, int]]] = mapped_column(LazyArtifact("pickle"))
    union: LazyMapped[Union[int, str]] = mapped_column(LazyArtifact("pickle"))
    union_opt: LazyMapped[int | str | None] = mapped_column(LazyArtifact("pickle"))
    any_: LazyMapped[Any] = mapped_column(LazyArtifact("pickle"))
    quoted_opt: LazyMapped["Custom | None"] = mapped_column(LazyArtifact("pickle"))
    nested: LazyMapped[dict[str, list[Custom]]] = mapped_column(LazyArtifact("pickle"))
    ann: LazyMapped[Pickled]
    ann_opt: LazyMapped[Pickled | None]
    custom: LazyMapped[Custom]
    custom_opt: LazyMapped[Custom | None]
    forced_opt: LazyMapped[int] = mapped_column(LazyArtifact("pickle"), nullable=True)
    path: PathMapped[StoredPath]
    path_opt: PathMapped[StoredPath | None]
    path2: PathMapped[StoredPath] = mapped_column(FileDir())
    path2_opt: PathMapped[StoredPath | None] = mapped_column(FileDir())
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "m"}  # noqa: RUF012


class Single(M):
    single_opt: LazyMapped[str | None] = mapped_column(LazyArtifact("pickle"))
    __mapper_args__ = {"polymorphic_identity": "single"}  # noqa: RUF012


class DBase(MappedAsDataclass, DeclarativeBase): ...


class D(DBase):
    __tablename__ = "d"
    id: Mapped[int] = mapped_column(primary_key=True, init=False)
    a: LazyMapped[int] = mapped_column(LazyArtifact("pickle"))
    p: PathMapped[StoredPath] = mapped_column(FileDir())
    b: LazyMapped[int | None] = mapped_column(LazyArtifact("pickle"), default=None)
    q: PathMapped[StoredPath | None] = mapped_column(FileDir(), default=None)


class DMixin(MappedAsDataclass):
    a: LazyMapped[int] = mapped_column(LazyArtifact("pickle"))
    b: LazyMapped[int | None] = mapped_column(LazyArtifact("pickle"), default=None)


class DM(DMixin, Base, kw_only=True):
    __tablename__ = "dm"
    id: Mapped[int] = mapped_column(primary_key=True, init=False)
    c: LazyMapped[str] = mapped_column(LazyArtifact("pickle"))


reg = registry()


@reg.mapped_as_dataclass
class R:
    __tablename__ = "r"
    id: Mapped[int] = mapped_column(primary_key=True, init=False)
    a: LazyMapped[int] = mapped_column(LazyArtifact("pickle"))
    b: LazyMapped[int | None] = mapped_column(LazyArtifact("pickle"), default=None)


@pytest.fixture
def session(engine, tmp_path):
    make_store(tmp_path).attach(engine, metadata=Base.metadata)
    for metadata in (Base.metadata, DBase.metadata, reg.metadata):
        metadata.create_all(engine)
    with Session(engine) as session:
        yield session


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (model, column.name)
        for model in (M, D, DM, R)
        for column in model.__table__.columns
        if column.name not in {"id", "kind"}
    ],
)
def test_nullability_and_type(model, name):
    column = model.__table__.c[name]
    assert column.nullable == (name.endswith("_opt") or name in {"b", "q"})
    path = name.startswith("path") or name in {"p", "q"}
    assert isinstance(column.type, FileDir if path else LazyArtifact)


def test_the_models_that_type_checkers_read_are_mapped():
    for base in (accepted.Base, accepted.DBase, accepted.reg, rejected.Base, rejected.DBase):
        mappers = list(getattr(base, "registry", base).mappers)
        assert mappers
        assert all(mapper.columns for mapper in mappers)


def test_values_come_back(session):
    m = Single(
        mixed=1,
        generic=1,
        plain=2,
        union="u",
        any_=[1],
        nested={},
        ann=3,
        custom=Custom(),
        forced_opt=None,
        path=("x", b"x"),
        path2=("n", b"n"),
        single_opt="s",
        path2_opt=io.BytesIO(b"stream"),
    )
    session.add(m)
    session.commit()
    assert {kind_of(value) for value in (m.mixed, m.generic, m.plain, m.ann, m.custom)} == {Lazy}
    assert (m.mixed.unpack(), m.union.unpack(), m.single_opt.unpack()) == (1, "u", "s")
    assert type(m.custom.unpack()) is Custom
    assert (m.pipe_opt, m.path_opt) == (None, None)
    assert {type(value) for value in (m.path, m.path2, m.path2_opt)} == {StoredPath}
    assert m.path2_opt.open().read() == b"stream"
    assert session.scalars(select(M.plain)).one().unpack() == 2
    assert session.scalars(select(M).where(M.plain == m.plain, M.path == ("y", b"x"))).one() is m
    m.pipe_opt = m.plain
    m.plain = 7
    session.commit()
    assert (m.pipe_opt.unpack(), m.plain.unpack()) == (2, 7)


def test_dataclass_constructors(session):
    rows = [D(1, ("x", b"x")), DM(a=1, c="c"), R(1)]
    full = D(a=1, p=("x", b"x"), b=2, q=("y", b"y"))
    session.add_all([*rows, full])
    session.commit()
    for row in rows:
        assert (row.a.unpack(), row.b) == (1, None)
    assert (full.b.unpack(), full.q.name) == (2, "y")
    with pytest.raises(TypeError):
        D(1)


@pytest.fixture
def load(monkeypatch):
    """Runs a user's module, in its own namespace, as import would."""

    def run(source, name="a_users_module"):
        module = types.ModuleType(name)
        monkeypatch.setitem(sys.modules, name, module)
        exec(compile(source, name, "exec", dont_inherit=True), module.__dict__)
        return module

    return run


HEAD = """
from typing import *
import sqla_artifacts
from sqlalchemy.orm import *
from sqla_artifacts import FileDir, Lazy, LazyArtifact, StoredPath
from sqla_artifacts import LazyMapped, PathMapped
from sqla_artifacts import LazyMapped as LM
if TYPE_CHECKING:
    from decimal import Decimal as Late
class Base(DeclarativeBase): ...
class M(Base):
    __tablename__ = "m"
    id: Mapped[int] = mapped_column(primary_key=True)
"""


@pytest.mark.parametrize("future", [True, False])
@pytest.mark.parametrize(
    ("annotation", "nullable"),
    [
        ("LazyMapped[int]", False),
        ("LazyMapped[Optional[int]]", True),
        ("LazyMapped[int | str | None]", True),
        ("LazyMapped[list[int]]", False),
        ("LazyMapped[dict[str, list[int]] | None]", True),
        ("sqla_artifacts.LazyMapped[int | None]", True),
        ("PathMapped[StoredPath | None]", True),
        ("LazyMapped['int | None']", True),
        ("LM[int | None]", True),
    ],
)
def test_user_modules(load, future, annotation, nullable):
    head = "from __future__ import annotations\n" if future else ""
    for container in (annotation, annotation.replace("LazyMapped", "Mapped")):
        if container.startswith("sqla_artifacts.Mapped"):
            continue
        module = load(f"{head}{HEAD}    x: {container} = mapped_column(LazyArtifact('pickle'))\n")
        assert module.M.__table__.c.x.nullable is nullable


@pytest.mark.parametrize("container", ["LazyMapped", "Mapped"])
@pytest.mark.parametrize("argument", ["Late", "Late | None", "list[Late]"])
def test_type_checking_only_names(load, container, argument):
    """SQLAlchemy resolves the argument even when the column has its type."""
    source = (
        f"from __future__ import annotations\n{HEAD}"
        f"    x: {container}[{argument}] = mapped_column(LazyArtifact('pickle'))\n"
    )
    with pytest.raises(MappedAnnotationError, match=r"Could not (resolve|interpret)"):
        load(source)
    # the way round it: any stand-in at run time
    source = source.replace("class Base", "else: Late = Any\nclass Base", 1)
    nullable = load(source).M.__table__.c.x.nullable
    assert nullable is (argument == "Late | None")


@pytest.mark.parametrize("container", ["LM", "sqla_artifacts.LazyMapped"])
def test_container_not_imported_by_its_name(load, container):
    """Under the future import SQLAlchemy evaluates the class's __name__ instead."""
    for future in ("", "from __future__ import annotations\n"):
        module = load(
            future
            + HEAD.replace("LazyMapped, ", "")
            + f"    x: {container}[int | None] = mapped_column(LazyArtifact('pickle'))\n"
        )
        assert module.M.__table__.c.x.nullable


def test_column_type_is_not_implied(load):
    """LazyMapped gives no column type: int, without one, is an Integer column."""
    module = load(f"{HEAD}    x: LazyMapped[int]\n")
    assert isinstance(module.M.__table__.c.x.type, Integer)
    with pytest.raises(ArgumentError, match="Could not locate SQLAlchemy Core type"):
        load(f"{HEAD}    x: LazyMapped[Lazy[int]]\n")


def test_type_without_mapped_column(load):
    """A slip mypy lets through (TypeDecorator.__getattr__): nothing is mapped."""
    module = load(f"{HEAD}    x: LazyMapped[int] = LazyArtifact('pickle')\n")
    assert "x" not in module.M.__mapper__.attrs
