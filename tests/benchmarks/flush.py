"""Values stored through one ORM flush, against the same bytes hashed and written by hand.

    python -m tests.benchmarks.flush [--rows N] [--size KIB] [--rounds N] [--directory DIR]
        [--url URL]

"orm" is `session.add_all()` and `commit()` of rows with an `Artifact("bytes")` column, on a SQLite
file, or on the database of --url, whose tables of these names are dropped first. "by hand" hashes
with BLAKE3, writes temporary files, flushes the file system, renames, flushes it again, and
commits as many plain rows to a SQLite file: the same barriers, and nothing else.

The two take turns, each in a fresh directory. Tables, store and connections are made beforehand.
"""

import argparse
import gc
import os
import shutil
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path

from blake3 import blake3
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from sqla_artifacts import Artifact, ArtifactStore
from sqla_artifacts.durable import opened_for_syncfs, start_writeback

LIMIT = 1.1


class Base(DeclarativeBase):
    pass


class Row(Base):
    __tablename__ = "benchmark_row"
    id: Mapped[int] = mapped_column(primary_key=True)
    data: Mapped[bytes] = mapped_column(Artifact("bytes"))


class Orm:
    """A session's way."""

    def __init__(self, place, url):
        self._engine = create_engine(url or f"sqlite:///{place}/rows.db")
        ArtifactStore(str(place / "artifacts")).attach(self._engine, metadata=Base.metadata)
        Base.metadata.drop_all(self._engine)
        Base.metadata.create_all(self._engine)
        self.store([b"first"])

    def store(self, values):
        with Session(self._engine) as session:
            session.add_all([Row(data=value) for value in values])
            session.commit()

    def close(self):
        self._engine.dispose()


class ByHand:
    """The same system calls, nearly."""

    def __init__(self, place, url):
        self._place = place
        self._connection = sqlite3.connect(place / "rows.db")
        table = "CREATE TABLE benchmark_row (id INTEGER PRIMARY KEY, data TEXT NOT NULL)"
        self._connection.execute(table)
        (place / "tmp").mkdir()
        self.store([b"first"])

    def store(self, values):
        moves, rows = [], []
        with opened_for_syncfs(str(self._place)) as flush:
            if flush is None:
                raise SystemExit("syncfs is not to be trusted here: choose another --directory")
            for number, value in enumerate(values):
                digest = blake3(value).hexdigest()
                folder = f"{self._place}/blobs/{digest[:2]}/{digest[2:4]}"
                os.makedirs(folder, exist_ok=True)
                moves.append((f"{self._place}/tmp/{number}", f"{folder}/{digest}"))
                rows.append((f"&:blob:{digest}:{len(value)}:bytes",))
                write(moves[-1][0], value)
            flush()
            for move in moves:
                os.rename(*move)
            flush()
        self._connection.executemany("INSERT INTO benchmark_row (data) VALUES (?)", rows)
        self._connection.commit()

    def close(self):
        self._connection.close()


def write(path, value):
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444)
    os.write(descriptor, value)
    start_writeback(descriptor, 0, len(value))
    os.close(descriptor)


def timed(way, place, values, url):
    place.mkdir()
    subject = way(place, url)
    gc.collect()
    os.sync()
    start = time.perf_counter()
    subject.store(values)
    took = time.perf_counter() - start
    subject.close()
    return took


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--size", type=int, default=1024, help="of each value, in KiB")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--directory", type=Path, default=Path(), help="on the disk to measure")
    parser.add_argument("--url", help="the database for the rows of the ORM")
    arguments = parser.parse_args()

    directory = Path(tempfile.mkdtemp(prefix="benchmark-", dir=arguments.directory.absolute()))
    try:
        values = [os.urandom(arguments.size << 10) for _ in range(arguments.rows)]
        times = {Orm: [], ByHand: []}
        for number in range(arguments.rounds):
            for way in [Orm, ByHand] if number % 2 else [ByHand, Orm]:
                place = directory / f"{way.__name__}-{number}"
                times[way].append(timed(way, place, values, arguments.url))
        print(f"{arguments.rows} x {arguments.size} KiB, {arguments.rounds} rounds, in seconds")
        print("          median  fastest")
        for way, name in ((Orm, "orm"), (ByHand, "by hand")):
            print(f"{name:8}{statistics.median(times[way]):8.3f} {min(times[way]):8.3f}")
        ratios = [f(times[Orm]) / f(times[ByHand]) for f in (statistics.median, min)]
        print("ratio   {:8.3f} {:8.3f}  (limit {:.2f})".format(*ratios, LIMIT))
    finally:
        # Only now: a disk is slow for a while after large files are deleted.
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
