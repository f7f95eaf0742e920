"""The model that the programs and their tests share: a column of each type."""

from pathlib import Path
from typing import Any

from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sqla_artifacts import (
    Artifact,
    ArtifactStore,
    FileDir,
    LazyArtifact,
    LazyMapped,
    PathMapped,
    StoredPath,
)


class Base(DeclarativeBase):
    pass


class Sample(Base):
    __tablename__ = "sample"
    id: Mapped[int] = mapped_column(primary_key=True)
    data: Mapped[bytes | None] = mapped_column(Artifact("bytes"))
    model: LazyMapped[Any | None] = mapped_column(LazyArtifact("pickle"))
    file: PathMapped[StoredPath | None] = mapped_column(FileDir())


def attach(engine, place, **options):
    """Attach a store in a directory to an engine, and make the tables."""
    options.setdefault("memory", 0)
    store = ArtifactStore(str(place), checkouts=Path(f"{place}-checkouts"), **options)
    store.attach(engine, metadata=Base.metadata)
    Base.metadata.create_all(engine)
    return store
