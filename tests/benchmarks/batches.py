"""Many values at once, on a store with 20 ms a request; and what the hooks cost without it.

    python -m tests.benchmarks.batches [--rounds N] [--directory DIR]

"slow store" is memory behind a sleep. Its ideal is the sleeps alone, 32 at a time. "hooks" are
those of the read: the same rows from a store in memory with `max_concurrency=32`, which has them,
and with 1, as such a store has it by itself, which has none; and a statement without artifacts on
an engine with a store and on one without. "lazy" loads rows with a `LazyArtifact` column and rows
with a String of the same text. Both are processor time, since there is nothing to wait for, and
have more rounds, taken in turn. All on a SQLite file; medians; each part in a process of its own,
since what one leaves to the garbage collector is microseconds a statement to the next.
"""

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from pathlib import Path

from sqlalchemy import String, create_engine, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from sqla_artifacts import Artifact, ArtifactStore, LazyArtifact, LazyMapped
from tests.benchmarks.slow import DELAY, Slow

CONCURRENCY = 32


class Base(DeclarativeBase):
    pass


class Row(Base):
    __tablename__ = "benchmark_row"
    id: Mapped[int] = mapped_column(primary_key=True)
    data: Mapped[bytes] = mapped_column(Artifact("bytes"))


class LazyRow(Base):
    __tablename__ = "benchmark_lazy"
    id: Mapped[int] = mapped_column(primary_key=True)
    data: LazyMapped[bytes] = mapped_column(LazyArtifact("bytes"))


class StringRow(Base):
    __tablename__ = "benchmark_string"
    id: Mapped[int] = mapped_column(primary_key=True)
    data: Mapped[str] = mapped_column(String)


def timed(function, *arguments, clock=time.perf_counter):
    begun = clock()
    function(*arguments)
    return clock() - begun


def busy(function, *arguments):
    return timed(function, *arguments, clock=time.process_time)


def engine_of(directory, name, store):
    engine = create_engine(f"sqlite:///{directory}/{name}.db")
    store.attach(engine, metadata=Base.metadata)
    Base.metadata.create_all(engine)
    return engine


def show(what, took, ideal, limit, unit="s"):
    print(f"{what:38} {took:9.3f} {unit:3} {took / ideal:6.2f}x of {ideal:.3f}  (limit {limit}x)")


def slow_store(directory, rounds, rows=500, size=100 << 10):
    store = ArtifactStore("memory://", memory=0, max_concurrency=CONCURRENCY)
    store.backend = Slow(store.backend)
    engine = engine_of(directory, "slow", store)
    ideal = -(-rows // CONCURRENCY) * DELAY

    def put():
        with Session(engine) as session:
            session.add_all(Row(data=os.urandom(size)) for _ in range(rows))
            begun = time.perf_counter()
            session.flush()
            took = time.perf_counter() - begun
            session.commit()
        return took

    def get():
        with Session(engine) as session:
            return timed(session.scalars(select(Row).limit(rows)).all)

    put()
    puts, gets = zip(*((put(), get()) for _ in range(rounds)), strict=True)
    show(f"slow store: {rows} rows stored", statistics.median(puts), ideal, 1.6)
    show(f"slow store: {rows} rows loaded", statistics.median(gets), ideal, 1.4)


def hooks(directory, rounds, rows=5000):
    engines = []
    for concurrency in (CONCURRENCY, 1):
        store = ArtifactStore("memory://", max_concurrency=concurrency)
        engine = engine_of(directory, f"hooks-{concurrency}", store)
        with Session(engine) as session:
            session.add_all(Row(data=b"%d" % number) for number in range(rows))
            session.commit()
        engines.append(engine)

    def load(engine):
        with engine.connect() as connection:
            return busy(connection.execute(select(Row.__table__)).all)

    taken = [[load(engine) for engine in engines] for _ in range(10 * rounds)]
    per_row = statistics.median((with_ - without) / rows for with_, without in taken) * 1e6
    print(f"{'hooks: each row':38} {per_row:9.3f} us  more  (limit 1)")


def statements(directory, rounds, times=1000):
    engines = [create_engine(f"sqlite:///{directory}/statements.db") for _ in range(2)]
    ArtifactStore("memory://").attach(engines[0])
    statement = text("SELECT 1")

    def ask(connection):
        return busy(lambda: [connection.execute(statement) for _ in range(times)]) / times

    with engines[0].connect() as one, engines[1].connect() as other:
        taken = [[ask(connection) for connection in (one, other)] for _ in range(10 * rounds)]
    each = statistics.median(with_ - without for with_, without in taken) * 1e6
    print(f"{'hooks: each statement without artifacts':38} {each:8.3f} us  more  (limit 5)")


def lazy(directory, rounds, rows=100_000):
    store = ArtifactStore("memory://")
    engine = engine_of(directory, "lazy", store)
    with Session(engine) as session:
        session.add(LazyRow(data=b"value"))
        session.commit()
    with engine.begin() as connection:
        reference = connection.scalar(text("SELECT data FROM benchmark_lazy"))
        for table in ("benchmark_lazy", "benchmark_string"):
            values = [{"data": reference} for _ in range(rows)]
            connection.execute(text(f"INSERT INTO {table} (data) VALUES (:data)"), values)

    def orm(model):
        with Session(engine) as session:
            return busy(session.scalars(select(model)).all)

    def core(model):
        with engine.connect() as connection:
            return busy(connection.execute(select(model.__table__)).all)

    for load, limit, times in ((orm, 1.10, 3), (core, 1.7, 10)):
        taken = [[load(model) for model in (LazyRow, StringRow)] for _ in range(times * rounds)]
        ours, theirs = map(statistics.median, zip(*taken, strict=True))
        show(f"lazy: {rows} rows by {load.__name__}", ours, theirs, limit)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--directory", type=Path)
    options = parser.parse_args()
    spawning = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        for part in (slow_store, hooks, statements, lazy):
            process = spawning.Process(target=part, args=(directory, options.rounds))
            process.start()
            process.join()


if __name__ == "__main__":
    main()
