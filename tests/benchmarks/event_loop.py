"""How long the event loop is held up while tasks store and load large values.

    python -m tests.benchmarks.event_loop [--tasks N] [--size MIB] [--directory DIR]

Each task has its own transaction on a SQLite file and a local store, and stores and loads one value
of `bytes`, and one file. A heartbeat asks for 1 ms of sleep again and again; how much later it
comes is the delay. "idle" is the same heartbeat with nothing to do. The delay of `pickle` is beside
it: the codec holds the interpreter's lock for as long as it likes.
"""

import argparse
import asyncio
import os
import tempfile
import time
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sqla_artifacts import Artifact, ArtifactStore, FileDir, PathMapped, StoredPath

LIMIT = 15


class Base(DeclarativeBase):
    pass


class Row(Base):
    __tablename__ = "benchmark_row"
    id: Mapped[int] = mapped_column(primary_key=True)
    data: Mapped[bytes | None] = mapped_column(Artifact("bytes"))
    thing: Mapped[list | None] = mapped_column(Artifact("pickle"))
    file: PathMapped[StoredPath | None] = mapped_column(FileDir())


async def heartbeat(delays):
    while True:
        begun = time.perf_counter()
        await asyncio.sleep(0.001)
        delays.append(time.perf_counter() - begun - 0.001)


async def measured(name, work):
    delays = []
    beat = asyncio.create_task(heartbeat(delays))
    begun = time.perf_counter()
    await work
    took = time.perf_counter() - begun
    beat.cancel()
    delays.sort()
    p99 = delays[int(len(delays) * 0.99)] * 1000
    print(f"{name:18} {took:6.2f} s   p99 {p99:6.2f} ms   worst {delays[-1] * 1000:7.2f} ms")


async def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=8)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--directory", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        engine = create_async_engine(
            f"sqlite+aiosqlite:///{directory}/app.db", connect_args={"timeout": 600}
        )
        store = ArtifactStore(
            f"{directory}/artifacts", memory=0, checkouts=f"{directory}/checkouts"
        )
        store.attach(engine, metadata=Base.metadata)
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)

        async def one(row):
            async with AsyncSession(engine, expire_on_commit=False) as session:
                session.add(row)
                await session.commit()
                number = row.id
            async with AsyncSession(engine) as session:
                found = await session.get_one(Row, number)
                if found.file is not None:
                    await found.file.aunpack(f"{directory}/copies/{number}")

        async def each(make):
            await asyncio.gather(*(one(make(number)) for number in range(options.tasks)))

        def file(number):
            path = Path(directory, f"{number}.bin")
            path.write_bytes(os.urandom(options.size << 20))
            return path

        values = [os.urandom(options.size << 20) for _ in range(options.tasks)]
        files = [file(number) for number in range(options.tasks)]
        things = [
            [bytes([n]) * 100 for _ in range(options.size << 12)] for n in range(options.tasks)
        ]
        print(f"{options.tasks} tasks, {options.size} MiB each; limit: p99 {LIMIT} ms")
        await measured("idle", asyncio.sleep(2))
        await measured("bytes", each(lambda number: Row(data=values[number])))
        await measured("files", each(lambda number: Row(file=files[number])))
        await measured("pickle (codec)", each(lambda number: Row(thing=things[number])))
        await engine.dispose()


if __name__ == "__main__":
    asyncio.run(main())
