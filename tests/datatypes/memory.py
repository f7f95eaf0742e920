"""Store or load a large value in a process of its own, and print the most memory that took.

    python -m tests.datatypes.memory URL DIRECTORY store|load|map DATATYPE SIZE

The memory is in MiB, beyond what the process had when its libraries were imported.
"""

import re
import sys
from pathlib import Path

from sqlalchemy import create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from sqla_artifacts import LazyArtifact, LazyMapped
from tests.models import make_store

MIB = 1 << 20


class Base(DeclarativeBase):
    pass


class Large(Base):
    __tablename__ = "large"
    id: Mapped[int] = mapped_column(primary_key=True)
    pickle: LazyMapped[object | None] = mapped_column(LazyArtifact("pickle"))
    torch: LazyMapped[object | None] = mapped_column(LazyArtifact("torch"))
    numpy: LazyMapped[object | None] = mapped_column(LazyArtifact("numpy"))


def make(datatype, size):
    """A value of so many MiB whose every page has been touched."""
    if datatype == "torch":
        import torch

        return {f"{part}": torch.full((size * MIB // 32,), 1.5) for part in range(8)}
    import numpy as np

    array = np.arange(size * MIB // 8, dtype="f8")
    return {"array": array} if datatype == "pickle" else array


def peak():
    """The most so far; that of getrusage(2) would be that of the process which started this."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024 / MIB


def main(url, directory, step, datatype, size):
    make(datatype, 1)
    engine = create_engine(url)
    make_store(Path(directory)).attach(engine, metadata=Base.metadata)
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        if step == "store":
            session.add(Large(id=2, **{datatype: make(datatype, 1)}))  # what is imported late
            session.commit()
            before = peak()
            session.add(Large(id=1, **{datatype: make(datatype, size)}))
            session.commit()
        else:
            proxy = session.scalars(select(getattr(Large, datatype)).where(Large.id == 1)).one()
            small = session.scalars(select(getattr(Large, datatype)).where(Large.id == 2)).one()
            small.unpack()
            before = peak()
            value = proxy.unpack(mmap=step == "map")
            if step == "map":
                assert not value.flags.writeable
                assert value[-1] == size * MIB // 8 - 1
                assert len(value) == size * MIB // 8
    sys.stdout.write(f"{peak() - before}\n")


if __name__ == "__main__":
    main(*sys.argv[1:5], int(sys.argv[5]))
