"""What must type check: mypy and pyright, both strict, on SQLAlchemy 2.0 and 2.1."""

# ruff: noqa: UP007, UP045 (Optional and Union are read as | is)

from __future__ import annotations

import io
import pathlib
import tempfile
from typing import Annotated, Any, Generic, Optional, TypeVar, Union, assert_type

from sqlalchemy import ColumnElement, func, insert, or_, select, update
from sqlalchemy.orm import (
    DeclarativeBase,
    InstrumentedAttribute,
    Mapped,
    MappedAsDataclass,
    Session,
    aliased,
    declared_attr,
    defer,
    deferred,
    load_only,
    mapped_column,
    registry,
    undefer,
)

from sqla_artifacts import (
    Artifact,
    ArtifactList,
    Candidate,
    DataType,
    FileDir,
    Lazy,
    LazyArtifact,
    LazyMapped,
    PathMapped,
    StoredPath,
    unpack_stream,
)

Pickled = Annotated[int, mapped_column(LazyArtifact("pickle"))]
S = TypeVar("S")


class Custom: ...


class Base(DeclarativeBase):
    type_annotation_map = {Custom: LazyArtifact("pickle"), StoredPath: FileDir()}  # noqa: RUF012


class Mixin:
    mixed: LazyMapped[int] = mapped_column(LazyArtifact("pickle"))
    mixed_opt: LazyMapped[int | None] = mapped_column(LazyArtifact("pickle"))

    @declared_attr
    def declared(cls) -> Mapped[Lazy[int]]:  # noqa: N805 (as SQLAlchemy documents it)
        return mapped_column(LazyArtifact("pickle"))


class GenericMixin(Generic[S]):
    generic: LazyMapped[S] = mapped_column(LazyArtifact("pickle"))


class M(Mixin, Base):
    __tablename__ = "m"
    id: Mapped[int] = mapped_column(primary_key=True)
    a: LazyMapped[int] = mapped_column(LazyArtifact("pickle"))
    b: LazyMapped[Optional[int]] = mapped_column(LazyArtifact("pickle"))
    c: LazyMapped[dict[str, int] | None] = mapped_column(LazyArtifact("pickle"))
    u: LazyMapped[Union[int, str]] = mapped_column(LazyArtifact("pickle"))
    d: LazyMapped[int | str | None] = mapped_column(LazyArtifact("pickle"))
    any_: LazyMapped[Any] = mapped_column(LazyArtifact("pickle"))
    any_opt: LazyMapped[Any | None] = mapped_column(LazyArtifact("pickle"))
    obj: LazyMapped[object] = mapped_column(LazyArtifact("pickle"))
    ann: LazyMapped[Pickled]
    ann_opt: LazyMapped[Pickled | None]
    custom: LazyMapped[Custom]
    custom_opt: LazyMapped[Custom | None]
    later: LazyMapped[int] = deferred(mapped_column(LazyArtifact("pickle")))
    p: PathMapped[StoredPath] = mapped_column(FileDir())
    q: PathMapped[StoredPath | None] = mapped_column(FileDir())
    r: PathMapped[StoredPath]


class Sub(M):
    sub: LazyMapped[str | None] = mapped_column(LazyArtifact("pickle"))


class G(GenericMixin[int], Base):
    __tablename__ = "g"
    id: Mapped[int] = mapped_column(primary_key=True)


def check_reads(m: M, s: Sub, g: G) -> None:
    assert_type(m.a, Lazy[int])
    assert_type(m.a.unpack(), int)
    assert_type(m.b, Optional[Lazy[int]])
    assert_type(m.c, Optional[Lazy[dict[str, int]]])
    assert_type(m.u, Lazy[Union[int, str]])
    assert_type(m.any_, Lazy[Any])
    assert_type(m.any_opt, Optional[Lazy[Any]])
    assert_type(m.obj, Lazy[object])
    assert_type(m.ann, Lazy[int])
    assert_type(m.ann_opt, Optional[Lazy[int]])
    assert_type(m.custom, Lazy[Custom])
    assert_type(m.custom_opt, Optional[Lazy[Custom]])
    assert_type(m.later, Lazy[int])
    assert_type(m.mixed, Lazy[int])
    assert_type(m.mixed_opt, Optional[Lazy[int]])
    assert_type(m.declared, Lazy[int])
    assert_type(m.p, StoredPath)
    assert_type(m.q, Optional[StoredPath])
    assert_type(m.r, StoredPath)
    assert_type(s.sub, Optional[Lazy[str]])
    assert_type(s.mixed, Lazy[int])
    assert_type(g.generic, Lazy[int])
    if m.b is not None:
        assert_type(m.b.unpack(), int)
    # d, a union besides None: exact in pyright, Lazy[object] | None in mypy
    if m.d is not None:
        _: object = m.d.unpack()


def check_sets(m: M, s: Sub, g: G, lazy: Lazy[int], maybe: Lazy[int] | None) -> None:
    m.a = 5
    assert_type(m.a, Lazy[int])  # not narrowed to int
    m.a = lazy
    m.b = 5
    assert_type(m.b, Optional[Lazy[int]])
    m.b = lazy
    m.b = maybe
    m.b = None
    m.c = {"a": 1}
    m.d = 5
    m.d = "x"
    m.d = lazy
    m.d = None
    m.u = "x"
    m.any_ = object()
    m.obj = object()
    m.ann = 5
    m.ann_opt = None
    m.custom = Custom()
    m.mixed = 5
    m.mixed_opt = None
    m.declared = 5
    s.sub = "x"
    g.generic = 5
    del m.b
    m.a = m.a


def check_set_paths(m: M) -> None:
    m.p = "x"
    assert_type(m.p, StoredPath)
    m.p = pathlib.Path("x")
    m.p = m.p
    m.p = io.BytesIO()
    m.p = ("n", b"x")
    m.p = ("n", io.BytesIO())
    with open("x", "rb") as f, tempfile.NamedTemporaryFile() as t:
        m.p = f
        m.p = t  # IO[bytes], not BinaryIO
        m.p = ("n", t)
    m.q = "x"
    m.q = m.p
    m.q = None


def check_class(session: Session, lazy: Lazy[int]) -> None:
    assert_type(M.a, InstrumentedAttribute[Lazy[int]])
    assert_type(M.b, InstrumentedAttribute[Optional[Lazy[int]]])
    assert_type(M.c, InstrumentedAttribute[Optional[Lazy[dict[str, int]]]])
    assert_type(M.any_, InstrumentedAttribute[Lazy[Any]])
    assert_type(M.any_opt, InstrumentedAttribute[Optional[Lazy[Any]]])
    assert_type(M.obj, InstrumentedAttribute[Lazy[object]])
    assert_type(M.mixed_opt, InstrumentedAttribute[Optional[Lazy[int]]])
    assert_type(M.p, InstrumentedAttribute[StoredPath])
    assert_type(M.q, InstrumentedAttribute[Optional[StoredPath]])
    assert_type(session.scalars(select(M.a)).one(), Lazy[int])
    assert_type(session.scalars(select(M.b)).one(), Optional[Lazy[int]])
    assert_type(session.scalars(select(M.p)).one(), StoredPath)
    assert_type(session.execute(select(M.a)).scalar_one(), Lazy[int])
    assert_type(session.scalars(select(aliased(M).a)).one(), Lazy[int])
    assert_type(M.a == 5, ColumnElement[bool])
    select(M).where(
        M.a == 5, M.a != lazy, M.b.is_(None), M.a.in_([1, lazy]), or_(M.p == "x")
    ).order_by(M.a.desc())
    select(func.count(M.a), M.a.label("x"))
    select(M).options(load_only(M.a), defer(M.b), undefer(M.p))
    update(M).where(M.b.is_not(None)).values({M.a: 5, M.p: "x"})
    insert(M).values(a=5)


# -- dataclasses


class DBase(MappedAsDataclass, DeclarativeBase): ...


class D(DBase):
    __tablename__ = "d"
    id: Mapped[int] = mapped_column(primary_key=True, init=False)
    a: LazyMapped[int] = mapped_column(LazyArtifact("pickle"))
    p: PathMapped[StoredPath] = mapped_column(FileDir())
    b: LazyMapped[int | None] = mapped_column(LazyArtifact("pickle"), default=None)
    q: PathMapped[StoredPath | None] = mapped_column(FileDir(), default=None)
    steps: LazyMapped[list[int]] = mapped_column(
        LazyArtifact("pickle"), default_factory=list, kw_only=True
    )


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
    p: PathMapped[StoredPath | None] = mapped_column(FileDir(), default=None)


@reg.mapped_as_dataclass(kw_only=True)
class K:
    __tablename__ = "k"
    id: Mapped[int] = mapped_column(primary_key=True, init=False)
    a: LazyMapped[int] = mapped_column(LazyArtifact("pickle"))


def check_dataclasses(lazy: Lazy[int], maybe: Lazy[int] | None, path: StoredPath) -> None:
    D(1, "x")
    D(lazy, path, lazy, path)
    D(a=1, p=("n", b"x"), b=maybe, q=None, steps=[1])
    DM(a=1, c="x")
    DM(a=lazy, b=lazy, c="x")
    # mypy sees no constructor here, with plain Mapped either:
    # it does not support dataclass_transform on a method
    R(1)  # type: ignore[call-arg]
    R(lazy, None, io.BytesIO())  # type: ignore[call-arg]
    K(a=1)  # type: ignore[call-arg]
    assert_type(D(1, "x").a, Lazy[int])
    assert_type(R(1).b, Optional[Lazy[int]])  # type: ignore[call-arg]
    assert_type(R.b, InstrumentedAttribute[Optional[Lazy[int]]])
    assert_type(D.b, InstrumentedAttribute[Optional[Lazy[int]]])
    assert_type(DM.a, InstrumentedAttribute[Lazy[int]])


def is_small(candidate: Candidate) -> bool:
    return candidate.size < 10 and not candidate.members


doubles = DataType("doubles", lambda value, info: bytes(value), lambda data, info: list(data))


class Lists(Base):
    __tablename__ = "lists"
    id: Mapped[int] = mapped_column(primary_key=True)
    notes: Mapped[list[Lazy[str]]] = mapped_column(ArtifactList(LazyArtifact("text")))
    values: Mapped[list[bytes] | None] = mapped_column(ArtifactList(Artifact("bytes")))
    photo: PathMapped[StoredPath] = mapped_column(
        FileDir(max_size=10, media_types=["image/*"], validators=[is_small])
    )
    numbers: Mapped[list[int]] = mapped_column(Artifact(doubles, accepts=["pickle"]))


class Request:
    """An upload, as Werkzeug and Django have it."""

    filename = "cat.png"

    def read(self, size: int = -1, /) -> bytes:
        return b""


def check_lists(session: Session, row: Lists) -> None:
    row.notes = [Lazy("a")]
    assert_type(row.notes[0].unpack(), str)
    row.values = [b"a"]
    row.photo = Request()
    row.photo = ("cat.png", Request())
    row.photo = FileDir.from_archive("run.zip", max_size=10)
    row.photo = FileDir.from_archive(Request(), name="run", max_members=3)
    for each in unpack_stream(session.scalars(select(Lists)), prefetch=8):
        assert_type(each, Lists)
