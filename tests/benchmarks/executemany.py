"""The memory that one executemany of many large values takes, each run in a process of its own.

    python -m tests.benchmarks.executemany [--count N] [--distinct N] [--url URL] [--directory DIR]

The parameters are numbers, of which the column's datatype makes the values while they are bound:
`--count` of 10 MiB, as many of 5 MiB, and 10,000 of 10 MiB of which `--distinct` differ; "bytes" by
an encoder, "stream" by a dump. All that differ are on the disk at the end of a run, 10 GB by
default; `--count 10000` needs 100 GB.

Printed is the peak beyond what the process had before the statement. `--url` is a store's, whose
options are in the environment; left out, it is a directory. The database is a SQLite file, or that
of `--database`. `--one COUNT DISTINCT MIB bytes|stream` measures one in this process.
"""

import argparse
import itertools
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sqlalchemy import create_engine, insert
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sqla_artifacts import Artifact, ArtifactStore, DataType

LIMIT = 500
MIB = 1 << 20
BLOCK = random.Random(0).randbytes(MIB)


def make(mib, how):
    """A datatype that makes so many MiB of a number."""

    def encoder(number, info):
        return number.to_bytes(8) + BLOCK * mib

    def dump(number, fp, info):
        fp.write(number.to_bytes(8))
        for _ in range(mib):
            fp.write(BLOCK)

    streams = {"dump": dump} if how == "stream" else {}
    return DataType("made", encoder, lambda data, info: len(data), **streams)


def measure(options):
    """Run one executemany, and print the MiB and the seconds that it took."""
    *numbers, how = options.one
    count, distinct, mib = map(int, numbers)
    directory = options.directory

    class Base(DeclarativeBase):
        pass

    class Made(Base):
        __tablename__ = "made"
        id: Mapped[int] = mapped_column(primary_key=True)
        data: Mapped[int] = mapped_column(Artifact(make(mib, how)))

    engine = create_engine(options.database or f"sqlite:///{directory}/made.db")
    store = ArtifactStore(options.url or f"{directory}/artifacts")
    store.attach(engine, metadata=Base.metadata)
    Base.metadata.create_all(engine)
    parameters = [{"data": number % distinct} for number in range(count)]
    with engine.begin() as connection:
        connection.execute(insert(Made), [{"data": distinct}, {"data": distinct + 1}])
        before, begun = peak(), time.perf_counter()
        connection.execute(insert(Made), parameters)
    print(peak() - before, time.perf_counter() - begun)


def peak():
    """The most memory so far, in MiB; getrusage(2) tells that of the process before the exec."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024


def run(options, count, distinct, mib, how):
    """Measure in a fresh process, whose files go with it; return MiB and seconds."""
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        here = ["--directory", directory]
        here += ["--database", options.database] if options.database else []
        here += ["--url", options.url] if options.url else []
        one = ["--one", *map(str, (count, distinct, mib, how))]
        command = [sys.executable, __file__, *here, *one]
        output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    memory, seconds = map(float, output.split())
    return memory, seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--distinct", type=int, default=500)
    parser.add_argument("--directory", type=Path)
    parser.add_argument("--database")
    parser.add_argument("--url")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        measure(options)
        return
    count, distinct = options.count, options.distinct
    sizes = [(count, count, 10), (count, count, 5), (10_000, distinct, 10)]
    for how, (values, different, mib) in itertools.product(("bytes", "stream"), sizes):
        memory, seconds = run(options, values, different, mib, how)
        what = f"{values} x {mib} MiB, {different} different, {how}"
        print(f"{what:40} {memory:7.0f} MiB (limit {LIMIT}) {seconds:8.1f} s", flush=True)


if __name__ == "__main__":
    main()
