"""An application with artifacts, whose database Alembic makes.

The ledger's tables join the application's ``MetaData`` here, where the models are, so that the
application, its tests and Alembic all see them.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sqla_artifacts import (
    Artifact,
    FileDir,
    LazyArtifact,
    LazyMapped,
    PathMapped,
    StoredPath,
    ledger,
)


class Base(DeclarativeBase):
    pass


ledger.install(Base.metadata)


class Recording(Base):
    __tablename__ = "recording"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    transcript: Mapped[str] = mapped_column(Artifact("text"))
    # Rows written before revision 0003 are pickles.
    analysis: LazyMapped[Any | None] = mapped_column(LazyArtifact("json", accepts=["pickle"]))
    audio: PathMapped[StoredPath] = mapped_column(FileDir())
    cover: Mapped[bytes | None] = mapped_column(Artifact("bytes"))
