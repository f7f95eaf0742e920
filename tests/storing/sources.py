"""Directories for these tests, how they are stored, and how many files that has read."""

import os
import random
import time
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.orm import Session

from sqla_artifacts.directory import stage_directory
from sqla_artifacts.payload import Stage
from sqla_artifacts.progress import reporting
from sqla_artifacts.stat_cache import TICK, StatCache

MIB = 1 << 20


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def make(root, *, small=20, large=1, seed=1):
    """A directory with files of a few KiB, and of a little more than 1 MiB."""
    generator = random.Random(seed)
    for number in range(small):
        write(root / f"{number % 3}" / f"{number}.txt", generator.randbytes(2000 + number))
    for number in range(large):
        write(root / f"{number}.bin", generator.randbytes(MIB + number))
    return root


def let_a_tick_pass(monkeypatch):
    """Have all files that are there now be older than the clock's granularity."""
    monkeypatch.setattr(time, "time_ns", lambda: int(time.time() * 1e9) + 2 * TICK)


def stage_of(directory, cache=None):
    """A stage in a directory, with a stat cache if its path is given."""
    Path(directory).mkdir(exist_ok=True)
    stage = Stage("blake3", directory)
    stage.stat_cache = None if cache is None else StatCache(cache)
    return stage


def digest_of_tree(source, directory, cache=None):
    return stage_directory(source, stage_of(directory, cache)).digest


def files_read(function, *args):
    """(what a function returns, how many files and values it has read and staged)"""
    seen = [0]
    with reporting(lambda now: now.step == "stage" and seen.append(now.objects)):
        return function(*args), seen[-1]


def add(engine, sample, *sources):
    with Session(engine) as session:
        session.add_all(sample(run=source) for source in sources)
        session.commit()


def references(engine):
    with engine.connect() as connection:
        return list(connection.scalars(text("SELECT run FROM sample ORDER BY id")))


def blobs(store):
    """The keys of all blobs, with their sizes."""
    return {entry.key: entry.size for entry in store.backend.list("blobs/")}


def same_size(path):
    """Change a file but for its size and its time of modification."""
    status = os.stat(path)
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert os.stat(path).st_mtime_ns == status.st_mtime_ns
