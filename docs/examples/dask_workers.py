"""Has Dask workers unpack stored arrays: what they are sent is a few hundred bytes each.

A worker needs the package and the store, and its own credentials if the store asks for any. It
needs no database and no model, and what it is sent holds no credentials.

Makes ``dask.db`` and ``dask-artifacts/`` in the working directory; ``dask_workers.py URL`` keeps
the arrays in another store, ``s3://bucket/prefix`` say.
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import numpy as np
from distributed import Client, LocalCluster
from sqlalchemy import create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from sqla_artifacts import ArtifactStore, Lazy, LazyArtifact, LazyMapped

STORE = "filesystem://./dask-artifacts"
COUNT = 20


class Base(DeclarativeBase):
    pass


class Signal(Base):
    __tablename__ = "signal"
    id: Mapped[int] = mapped_column(primary_key=True)
    values: LazyMapped[np.ndarray] = mapped_column(LazyArtifact("numpy"))


def energy(signal: Lazy[np.ndarray]) -> float:
    """Fetch, verify and decode an array, in the worker."""
    return float(np.square(signal.unpack()).sum())


def main(store: str = STORE) -> None:
    signals = load(store)
    moved = Path("dask.db").rename("moved.db")  # no worker needs it
    size = max(len(pickle.dumps(signal)) for signal in signals)
    print(f"{COUNT} arrays of {signals[0].size:,} bytes; each is sent as {size} bytes or less")
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        energies = client.gather(client.map(energy, signals))
    moved.rename("dask.db")
    assert energies == [100_000.0 * number**2 for number in range(COUNT)]
    print(f"the energies are {energies[0]:,.0f} to {energies[-1]:,.0f}")


def load(store: str) -> list[Lazy[np.ndarray]]:
    """Store some arrays, the first time, and load their proxies."""
    is_new = not Path("dask.db").exists()
    engine = create_engine("sqlite:///dask.db")
    ArtifactStore(store).attach(engine, metadata=Base.metadata)
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        if is_new:
            session.add_all(Signal(values=np.full(100_000, float(n))) for n in range(COUNT))
            session.commit()
        signals = session.scalars(select(Signal.values).order_by(Signal.id)).all()
    engine.dispose()
    return list(signals)


if __name__ == "__main__":
    main(*sys.argv[1:])
