"""The three column types through an ordinary session, on both databases."""

from typing import Any

import numpy as np
import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from sqla_artifacts import (
    EMPTY,
    Artifact,
    ArtifactStore,
    FileDir,
    LazyArtifact,
    LazyMapped,
    PathMapped,
    StoredPath,
)


@pytest.mark.parametrize("store_url", ["directory", "memory://", "local"])
def test_values_go_in_and_come_back(engine, tmp_path, store_url):
    class Base(DeclarativeBase):
        pass

    class Sample(Base):
        __tablename__ = "sample"
        id: Mapped[int] = mapped_column(primary_key=True)
        image: Mapped[np.ndarray] = mapped_column(Artifact("numpy"))
        model: LazyMapped[Any] = mapped_column(LazyArtifact("pickle"))
        run: PathMapped[StoredPath] = mapped_column(FileDir())

    if store_url == "directory":
        store_url = str(tmp_path / "artifacts")
    elif store_url == "local":
        store_url = f"local://{tmp_path}/artifacts"
    store = ArtifactStore(store_url, checkouts=tmp_path / "checkouts", memory=0)
    store.attach(engine, metadata=Base.metadata)
    Base.metadata.create_all(engine)
    run = tmp_path / "runs" / "7"
    (run / "weights").mkdir(parents=True)
    (run / "metrics.json").write_text("{}")
    (run / "weights" / "layer0.bin").write_bytes(bytes(3 << 20))
    array = np.arange(12.0).reshape(3, 4)

    with Session(engine) as session:
        session.add(Sample(image=array, model={"a": 1}, run=run))
        session.commit()
    with engine.connect() as connection:
        row = connection.execute(text("SELECT image, model, run FROM sample")).one()
    assert [value[:7] for value in row] == ["&:blob:", "&:blob:", "&:tree:"]
    with Session(engine) as session:
        sample = session.scalars(select(Sample)).one()
        np.testing.assert_array_equal(sample.image, array)
        assert sample.model.x is EMPTY
        assert sample.model.unpack() == {"a": 1}
        assert (sample.run.unpack() / "weights" / "layer0.bin").read_bytes() == bytes(3 << 20)
        assert sample.run.open("metrics.json").read() == b"{}"
        assert session.scalars(select(Sample.id).where(Sample.image == array)).all() == [1]
