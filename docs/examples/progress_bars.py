"""Verifies and collects a store of some megabytes, with a bar for each step.

Makes ``bars.db`` and ``bars-artifacts/`` in the working directory. ``python progress_bars.py rich``
shows the bars of rich instead of tqdm's.
"""

from __future__ import annotations

import datetime as dt
import os
import sys

from sqlalchemy import create_engine, delete
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from sqla_artifacts import Artifact, ArtifactStore
from sqla_artifacts.collect import collect
from sqla_artifacts.ext.progress import rich_progress, tqdm_progress
from sqla_artifacts.verify import verify

COUNT = 500
SIZE = 20_000
# In earnest, grace and retention are left as they are: nothing is deleted on the day it is dropped.
AT_ONCE = {"grace": dt.timedelta(0), "retention": dt.timedelta(0), "limit_share": 1}


class Base(DeclarativeBase):
    pass


class Scan(Base):
    __tablename__ = "scan"
    id: Mapped[int] = mapped_column(primary_key=True)
    pixels: Mapped[bytes] = mapped_column(Artifact("bytes"))


def main() -> None:
    engine = create_engine("sqlite:///bars.db")
    store = ArtifactStore("./bars-artifacts")
    store.attach(engine, metadata=Base.metadata)
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all(Scan(pixels=os.urandom(SIZE)) for _ in range(COUNT))
        session.commit()

    bars = rich_progress if "rich" in sys.argv else tqdm_progress
    with bars() as show:
        verification = verify(store, engine, depth="content", progress=show)
        assert verification.is_sound
        with Session(engine) as session:
            session.execute(delete(Scan))
            session.commit()
        report = collect(store, engine, dry_run=False, progress=show, **AT_ONCE)

    print(f"{verification.hashed} were sound; {report.deleted} were deleted")
    assert report.deleted.blobs == COUNT
    engine.dispose()


if __name__ == "__main__":
    main()
