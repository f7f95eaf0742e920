"""Directories stored durably, beside those who copy or pack them without making it durable.

    python -m tests.benchmarks.store_trees [--files N] [--size BYTES] [--large MIB] [--rounds N]
                                           [--directory DIR]

"stored" is all of it: staging, the manifest, put with its flushes, and the row's commit, on a
SQLite file. "again" is the same into the same store, beside a plain read and hash of all files;
"stat cache" is it once more, in a store that has one. "slow store" is one with 20 ms a request.
"large" is one file, beside write and fsync of a plain copy, the limit of what a disk can do. Those
that are compared take turns, in fresh directories; medians, and medians of each round's ratio.
The sources are in the page cache.
"""

import argparse
import gc
import os
import shutil
import statistics
import subprocess
import tarfile
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from blake3 import blake3
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from sqla_artifacts import ArtifactStore, FileDir, PathMapped, StoredPath
from sqla_artifacts.durable import start_writeback
from tests.benchmarks.slow import Slow

STEP = 8 << 20


class Base(DeclarativeBase):
    pass


class Run(Base):
    __tablename__ = "benchmark_run"
    id: Mapped[int] = mapped_column(primary_key=True)
    run: PathMapped[StoredPath] = mapped_column(FileDir())


class Place:
    """A fresh directory with a store, and a database that knows it."""

    def __init__(self, path, **options):
        path.mkdir()
        self.store = ArtifactStore(str(path / "store"), max_concurrency=32, **options)
        self.engine = create_engine(f"sqlite:///{path / 'rows.db'}")
        self.store.attach(self.engine, metadata=Base.metadata)
        Base.metadata.create_all(self.engine)
        self.add(("name", b"so that the store is there"))

    def add(self, source):
        with Session(self.engine) as session:
            session.add(Run(run=source))
            session.commit()

    def blobs(self):
        return sum(1 for _ in self.store.backend.list("blobs/"))


def make(root, files, size):
    for number in range(files):
        folder = root / f"{number // 100:04}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:06}.bin").write_bytes(os.urandom(size))


def read_and_hash(source):
    for folder, _, names in os.walk(source):
        for name in names:
            with open(os.path.join(folder, name), "rb") as fp:
                blake3(fp.read()).hexdigest()


def tar(source, target):
    with tarfile.open(target, "w") as archive:
        archive.add(source, "source")


def cp(source, target):
    subprocess.run(["cp", "-a", source, target], check=True)


def dvc_data(source, target):
    """DVC's store, a file for each file; it is not made durable either."""
    from dvc_data.hashfile.build import build
    from dvc_data.hashfile.db.local import LocalHashFileDB
    from dvc_data.hashfile.state import StateNoop
    from dvc_data.hashfile.transfer import transfer
    from dvc_objects.fs.local import LocalFileSystem

    files = LocalFileSystem()
    stored = LocalHashFileDB(files, str(target), state=StateNoop())
    staged, _, tree = build(stored, str(source), files, "md5")
    transfer(staged, stored, {tree.hash_info}, shallow=False)


def copy_durably(source, target):
    with source.open("rb") as fp, target.open("wb") as copy:
        offset = 0
        while count := os.copy_file_range(fp.fileno(), copy.fileno(), STEP, offset, offset):
            start_writeback(copy.fileno(), offset, count)
            offset += count
        os.fsync(copy.fileno())


def timed(function, *arguments):
    gc.collect()
    os.sync()
    begun = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - begun


def stored_slowly(source, path):
    place = Place(path)
    place.store.backend = Slow(place.store.backend)
    return timed(place.add, source)


def a_round(source, directory):
    """The seconds that each way takes, once."""
    plain, cached = (
        Place(directory / "plain"),
        Place(directory / "cached", stat_cache=directory / "c"),
    )
    cached.add(source)
    took = {
        "copytree": timed(shutil.copytree, source, directory / "copy"),
        "stored": timed(plain.add, source),
        "read + hash": timed(read_and_hash, source),
    }
    blobs = plain.blobs()
    took["again"] = timed(plain.add, source)
    assert plain.blobs() == blobs
    took["stat cache"] = timed(cached.add, source)
    took["cp -a"] = timed(cp, source, directory / "cp")
    took["tarfile"] = timed(tar, source, directory / "tar")
    if find_spec("dvc_data"):
        took["dvc-data"] = timed(dvc_data, source, directory / "dvc")
    took["slow store"] = stored_slowly(source, directory / "slow")
    return took


def alone(function, path):
    """What a function returns for a fresh directory, which is gone before the next turn.

    Otherwise each would write to memory that a virtual machine has never touched.
    """
    path.mkdir()
    try:
        return function(path)
    finally:
        shutil.rmtree(path)


def a_large_round(source, directory):
    def stored(path):
        return timed(Place(path / "place").add, source)

    def again(path, **options):
        place = Place(path / "place", **options)
        place.add(source)
        return timed(place.add, source)

    return {
        "copy + fsync": alone(
            lambda path: timed(copy_durably, source, path / "copy"), directory / "a"
        ),
        "large": alone(stored, directory / "b"),
        "large again": alone(again, directory / "c"),
        "large, stat cache": alone(
            lambda path: again(path, stat_cache=path / "stat.db"), directory / "d"
        ),
    }


def rounds(function, source, directory, count):
    """Each way's seconds, round by round."""
    found = []
    for number in range(count):
        place = directory / str(number)
        place.mkdir()
        found.append(function(source, place))
        shutil.rmtree(place)
    return {what: [took[what] for took in found] for what in found[0]}


def show(took, what, peer, limit):
    ratio = statistics.median(a / b for a, b in zip(took[what], took[peer], strict=True))
    best = min(took[what]) / min(took[peer])
    median = statistics.median(took[what])
    of = f"{statistics.median(took[peer]):.3f} s of {peer}"
    print(f"{what:18} {median:7.3f} s {ratio:6.2f}x, fastest {best:5.2f}x, of {of}  {limit}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=4096, help="of each file, in bytes")
    parser.add_argument("--large", type=int, default=1024, help="of the large file, in MiB")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--directory", type=Path, default=Path(), help="on the disk to measure")
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="benchmark-", dir=options.directory.absolute()))
    try:
        source = directory / "source"
        make(source, options.files, options.size)
        time.sleep(2.5)  # until the stat cache trusts their times
        took = rounds(a_round, source, directory, options.rounds)
        show(took, "stored", "copytree", "(limit 0.6x)")
        show(took, "again", "read + hash", "(limit 1.1x)")
        show(took, "stat cache", "copytree", "(limit 0.15x)")
        show(took, "cp -a", "copytree", "")
        show(took, "tarfile", "copytree", "")
        print(f"{'slow store':18} {statistics.median(took['slow store']):7.3f} s  (limit 1 s)")
        if "dvc-data" in took:
            show(took, "dvc-data", "copytree", "")
        else:
            print("dvc-data is not installed")
        if options.large:
            large = directory / "large"
            make(large, 1, options.large << 20)
            time.sleep(2.5)
            file = large / "0000" / "000000.bin"
            took = rounds(a_large_round, file, directory, options.rounds)
            show(took, "large", "copy + fsync", "(limit 1.05x)")
            show(took, "large again", "copy + fsync", "")
            show(took, "large, stat cache", "copy + fsync", "")
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
