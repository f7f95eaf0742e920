"""Values read through the ORM, against the same files read and hashed by hand.

    python -m tests.benchmarks.eager_read [--rows N] [--size KIB] [--rounds N] [--directory DIR]
        [--url URL]

"orm" is `session.scalars(select(Row)).all()` of rows with an `Artifact("bytes")` column, in a fresh
session, on a SQLite file, or on the database of --url, whose tables of these names are dropped
first. "by hand" selects the references with sqlite3, or with psycopg, reads every file and checks
its BLAKE3 digest. Both keep all values until the end. They take turns; the files are in the page
cache.
"""

import argparse
import gc
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from blake3 import blake3
from sqlalchemy import create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from sqla_artifacts import Artifact, ArtifactStore

LIMIT = 1.30


class Base(DeclarativeBase):
    pass


class Row(Base):
    __tablename__ = "benchmark_row"
    id: Mapped[int] = mapped_column(primary_key=True)
    data: Mapped[bytes] = mapped_column(Artifact("bytes"))


def orm(engine, place):
    with Session(engine) as session:
        return [row.data for row in session.scalars(select(Row)).all()]


def by_hand(engine, place):
    connection = engine.raw_connection()
    cursor = connection.cursor()
    cursor.execute("SELECT data FROM benchmark_row")
    values = []
    for (reference,) in cursor.fetchall():
        digest = reference[7:71]
        path = f"{place}/artifacts/blobs/{digest[:2]}/{digest[2:4]}/{digest}"
        with open(path, "rb", buffering=0) as fp:
            data = fp.read()
        if blake3(data).hexdigest() != digest:
            raise SystemExit(f"{path} is corrupt")
        values.append(data)
    connection.close()
    return values


def timed(function, engine, place):
    gc.collect()
    start = time.perf_counter()
    values = function(engine, place)
    took = time.perf_counter() - start
    return took, sum(map(len, values))


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--size", type=int, default=1024, help="of each value, in KiB")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--directory", type=Path, default=Path(), help="for the files")
    parser.add_argument("--url", help="the database for the rows")
    arguments = parser.parse_args()

    place = Path(tempfile.mkdtemp(prefix="benchmark-", dir=arguments.directory.absolute()))
    try:
        engine = create_engine(arguments.url or f"sqlite:///{place}/rows.db")
        ArtifactStore(str(place / "artifacts"), memory=0).attach(engine, metadata=Base.metadata)
        Base.metadata.drop_all(engine)
        Base.metadata.create_all(engine)
        with Session(engine) as session:
            size = arguments.size << 10
            session.add_all([Row(data=os.urandom(size)) for _ in range(arguments.rows)])
            session.commit()
        times = {orm: [], by_hand: []}
        for number in range(arguments.rounds + 1):
            for function in [orm, by_hand] if number % 2 else [by_hand, orm]:
                took, size = timed(function, engine, place)
                if size != arguments.rows * arguments.size << 10:
                    raise SystemExit(f"{function.__name__} read {size} bytes")
                if number:  # the first one warms up
                    times[function].append(took)
        engine.dispose()
        print(f"{arguments.rows} x {arguments.size} KiB, {arguments.rounds} rounds, in seconds")
        print("          median  fastest")
        for function, name in ((orm, "orm"), (by_hand, "by hand")):
            print(f"{name:8}{statistics.median(times[function]):8.3f} {min(times[function]):8.3f}")
        ratios = [f(times[orm]) / f(times[by_hand]) for f in (statistics.median, min)]
        print("ratio   {:8.3f} {:8.3f}  (limit {:.2f})".format(*ratios, LIMIT))
    finally:
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
