"""Feeds a PyTorch ``DataLoader`` with stored arrays, by worker processes that read ahead.

Makes ``loader.db`` and ``loader-artifacts/`` in the working directory.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from sqlalchemy import create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from sqla_artifacts import ArtifactStore, LazyArtifact, LazyMapped, unpack_stream

DATABASE = "sqlite:///loader.db"
STORE = "filesystem://./loader-artifacts"
COUNT = 200
WORKERS = 2


class Base(DeclarativeBase):
    pass


class Sample(Base):
    __tablename__ = "sample"
    id: Mapped[int] = mapped_column(primary_key=True)
    label: Mapped[int]
    image: LazyMapped[np.ndarray] = mapped_column(LazyArtifact("numpy"))


class Samples(IterableDataset):
    """All samples in the order of their ids; each worker reads its share of them.

    It carries two URLs and nothing that is open, so it can be sent to a process or forked.
    """

    def __init__(self, database: str, store: str) -> None:
        super().__init__()
        self.database = database
        self.store = store

    def __iter__(self):
        worker = get_worker_info()
        number, count = (worker.id, worker.num_workers) if worker else (0, 1)
        query = select(Sample.id, Sample.image, Sample.label).where(Sample.id % count == number)
        # Connections and threads belong to one process: this is the worker's.
        engine = create_engine(self.database)
        ArtifactStore(self.store).attach(engine)
        with Session(engine) as session:
            rows = session.execute(query.order_by(Sample.id).execution_options(yield_per=100))
            # The next 32 images are fetched while this one is trained on.
            for key, image, label in unpack_stream(rows, prefetch=32):
                yield key, torch.tensor(image), label
        engine.dispose()


def main() -> None:
    fill()
    # "spawn", because a process that has used a bucket cannot be forked and use it again.
    loader = DataLoader(
        Samples(DATABASE, STORE),
        batch_size=16,
        num_workers=WORKERS,
        multiprocessing_context="spawn",
    )
    seen: list[int] = []
    total = torch.zeros(8, 8)
    for keys, images, labels in loader:
        assert torch.equal(images[:, 0, 0], labels.float())
        seen += keys.tolist()
        total += images.sum(0)
    assert sorted(seen) == list(range(1, COUNT + 1))
    for number in range(WORKERS):
        mine = [key for key in seen if key % WORKERS == number]
        assert mine == sorted(mine)
    print(f"{len(seen)} images, each once, in order within each of {WORKERS} workers")
    print(f"the mean of all pixels is {total.mean().item() / COUNT:.1f}")


def fill() -> None:
    """Store some images, the first time."""
    if Path("loader.db").exists():
        return
    engine = create_engine(DATABASE)
    ArtifactStore(STORE).attach(engine, metadata=Base.metadata)
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all(
            Sample(label=number, image=np.full((8, 8), number, "f4")) for number in range(COUNT)
        )
        session.commit()
    engine.dispose()


if __name__ == "__main__":
    main()
