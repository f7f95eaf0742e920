"""What must not type check: every ignore here has to be needed, by both checkers."""

from __future__ import annotations

import io

from sqlalchemy import null
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    MappedAsDataclass,
    declared_attr,
    mapped_column,
)

from sqla_artifacts import (
    ArtifactList,
    FileDir,
    Lazy,
    LazyArtifact,
    LazyMapped,
    PathMapped,
    StoredPath,
)


class Base(DeclarativeBase): ...


class M(Base):
    __tablename__ = "m"
    id: Mapped[int] = mapped_column(primary_key=True)
    a: LazyMapped[int] = mapped_column(LazyArtifact("pickle"))
    b: LazyMapped[int | None] = mapped_column(LazyArtifact("pickle"))
    d: LazyMapped[int | str | None] = mapped_column(LazyArtifact("pickle"))
    p: PathMapped[StoredPath] = mapped_column(FileDir())
    q: PathMapped[StoredPath | None] = mapped_column(FileDir())
    plain: Mapped[Lazy[int]] = mapped_column(LazyArtifact("pickle"))


def check_sets(m: M, text: Lazy[str], maybe: Lazy[int] | None) -> None:
    m.plain = 5  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
    m.a = "x"  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
    m.a = None  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
    m.a = text  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
    m.a = maybe  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
    m.a = M.a  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
    m.b = null()  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
    m.b = "x"  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
    m.b = text  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
    m.d = 1.5  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
    m.p = None  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
    m.p = 5  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
    m.p = b"x"  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
    m.p = io.StringIO()  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
    m.p = ("n", "text")  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
    m.q = 5  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]


def check_reads(m: M) -> None:
    one: int = m.a  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    two: str = m.a.unpack()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    m.b.unpack()  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess]
    three: StoredPath = m.q  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    four: str = m.p  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    assert [one, two, three, four]


def check_forms() -> None:
    class Wrong:
        x: PathMapped[int]  # type: ignore[type-var]  # pyright: ignore[reportInvalidTypeArguments]
        y: LazyMapped[int] = 5  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]

        # a declared_attr is annotated Mapped[Lazy[int]] and takes anything
        @declared_attr  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        def w(cls) -> LazyMapped[int]:  # noqa: N805 (as SQLAlchemy documents it)
            return mapped_column(LazyArtifact("pickle"))

    Wrong()


class DBase(MappedAsDataclass, DeclarativeBase): ...


class D(DBase):
    __tablename__ = "d"
    id: Mapped[int] = mapped_column(primary_key=True, init=False)
    a: LazyMapped[int] = mapped_column(LazyArtifact("pickle"))
    p: PathMapped[StoredPath] = mapped_column(FileDir())
    b: LazyMapped[int | None] = mapped_column(LazyArtifact("pickle"), default=None)
    q: PathMapped[StoredPath | None] = mapped_column(FileDir(), default=None)


def check_dataclass(text: Lazy[str]) -> None:
    D("x", "x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    D(None, "x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    D(text, "x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    D(1, None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    D(1, 5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    D(1, "x", "x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    D(1, "x", q=5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    D(1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


class Lists(Base):
    __tablename__ = "lists"
    id: Mapped[int] = mapped_column(primary_key=True)
    notes: Mapped[list[Lazy[str]]] = mapped_column(ArtifactList(LazyArtifact("text")))


def check_lists(row: Lists) -> None:
    row.notes = ["a"]  # type: ignore[list-item]  # pyright: ignore[reportAttributeAccessIssue]
