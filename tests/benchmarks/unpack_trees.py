"""Directories and large files unpacked, beside what copies them without a digest.

    python -m tests.benchmarks.unpack_trees [--rounds N] [--directory DIR] [--memory]

"tree" is 10,000 files of 4 KiB in a hundred directories, out of a store on the same disk, verified.
Its peers copy or extract the same tree; each round has them in turn, in fresh directories. "slow
store" is the same tree in memory, behind 20 ms for each request. "file" is 1 GiB, beside
shutil.copyfile. With --memory, processes of their own unpack 100,000 files, and a file of 20 GiB
whose blob is sparse; the copy is not where the file system shares no blocks, so that takes 20 GiB
of disk.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

from sqla_artifacts import ArtifactStore
from sqla_artifacts.checkout import unpack_to
from sqla_artifacts.digest import hasher
from sqla_artifacts.directory import stage_directory
from sqla_artifacts.location import key_of
from sqla_artifacts.reference import Reference
from tests.benchmarks.slow import Slow

MIB = 1 << 20


def make_tree(directory, count, size=4096):
    for number in range(count):
        if not number % 100:
            (directory / f"d{number // 100:04}").mkdir(parents=True)
        path = directory / f"d{number // 100:04}" / f"f{number:06}.bin"
        path.write_bytes(os.urandom(size))


def stored(store, directory):
    """Store a directory, and return its reference."""
    store.prepare()
    tree = stage_directory(directory, store.stage)
    store.put([(each, 0) for each in (*tree.parts, tree)])
    return Reference("tree", tree.digest, tree.total, "tree")


def timed(function, *arguments):
    begun = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - begun


def medians(ways, place, rounds):
    """The median of each way's times; a way is a function of a directory that is not there."""
    times = {name: [] for name in ways}
    for number in range(rounds):
        for name, way in ways.items():
            target = place / f"{name}-{number}".replace(" ", "-")
            times[name].append(timed(way, target))
            shutil.rmtree(target) if target.is_dir() else target.unlink()
    return {name: statistics.median(taken) for name, taken in times.items()}


def show(what, took, peer, limit=None):
    bound = f"  (limit {limit}x)" if limit else ""
    print(f"{what:34} {took:8.3f} s  {took / peer:5.2f}x of {peer:.3f}{bound}")


def trees(place, rounds):
    source = place / "tree"
    make_tree(source, 10_000)
    with tarfile.open(place / "tree.tar", "w") as archive:
        archive.add(source, "tree")
    store = ArtifactStore(str(place / "store"), memory=0)
    reference = stored(store, source)
    os.sync()

    def extract(target):
        with tarfile.open(place / "tree.tar") as archive:
            archive.extractall(target, filter="fully_trusted")

    found = medians(
        {
            "copytree": lambda target: shutil.copytree(source, target),
            "unpacked": lambda target: unpack_to(store, reference, target),
            "cp -a": lambda target: subprocess.run(["cp", "-a", source, target], check=True),
            "tarfile": extract,
        },
        place,
        rounds,
    )
    show("tree: unpacked, copytree", found["unpacked"], found["copytree"], 0.5)
    show("tree: unpacked, cp -a", found["unpacked"], found["cp -a"])
    show("tree: unpacked, tarfile", found["unpacked"], found["tarfile"])
    print("tree: dvc-data is left out: it would have to be installed for this alone")
    distant = ArtifactStore("memory://", memory=0, max_concurrency=32)
    stored(distant, source)
    distant.backend = Slow(distant.backend)
    ways = {"slow": lambda target: unpack_to(distant, reference, target)}
    print(
        f"slow store: tree unpacked {medians(ways, place, rounds)['slow']:17.3f} s  (limit 0.5 s)"
    )


def file(place, rounds, size=1024 * MIB):
    source = place / "file"
    with source.open("wb") as fp:
        for _ in range(size // MIB):
            fp.write(os.urandom(MIB))
    store = ArtifactStore(str(place / "store"), memory=0)
    store.prepare()
    with source.open("rb") as fp:
        payload = store.stage.copy(fp.fileno(), "file")
    store.put([(payload, 0)])
    reference = Reference("file", payload.digest, size, "file")
    os.sync()
    found = medians(
        {
            "copyfile": lambda target: shutil.copyfile(source, target),
            "unpack": lambda target: unpack_to(store, reference, target),
        },
        place,
        rounds,
    )
    show("file: 1 GiB unpacked, copyfile", found["unpack"], found["copyfile"], 1.15)
    source.unlink()


PROGRAM = """
import re, sys
from pathlib import Path
from sqla_artifacts import ArtifactStore
from sqla_artifacts.checkout import unpack_to
from sqla_artifacts.reference import parse
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) >> 10
before = peak()
unpack_to(ArtifactStore(sys.argv[1]), parse(sys.argv[2]), Path(sys.argv[3]))
print(peak() - before)
"""


def memory(place, gib):
    store = ArtifactStore(str(place / "store"), memory=0)
    make_tree(place / "many", 100_000, 512)
    many = stored(store, place / "many")
    shutil.rmtree(place / "many")
    size, digest = gib << 30, hasher("blake3")
    for _ in range(size // MIB):
        digest.update(bytes(MIB))
    key = store.backend.root / key_of(digest.hexdigest())
    key.parent.mkdir(parents=True)
    with key.open("wb") as fp:
        fp.truncate(size)
    sparse = Reference("file", digest.hexdigest(), size, "sparse")
    for name, reference in (("100,000 files", many), (f"{gib} GiB", sparse)):
        program = [sys.executable, "-c", PROGRAM, store.url, str(reference), place / "out"]
        run = subprocess.run(program, check=True, capture_output=True, text=True)
        print(f"memory: {name:26} {int(run.stdout):8} MiB more  (limit 200)")
        shutil.rmtree(place / "out")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--directory", type=Path, help="on the disk to measure")
    parser.add_argument("--memory", action="store_true", help="measure memory as well")
    parser.add_argument("--large", type=int, default=20, help="GiB of the file for --memory")
    options = parser.parse_args()
    for measure in (trees, file):
        with tempfile.TemporaryDirectory(dir=options.directory) as directory:
            measure(Path(directory), options.rounds)
    if options.memory:
        with tempfile.TemporaryDirectory(dir=options.directory) as directory:
            memory(Path(directory), options.large)


if __name__ == "__main__":
    main()
