"""Directories and large files unpacked, beside what copies them without a digest.

    python -m tests.benchmarks.unpack_trees [--rounds N] [--directory DIR] [--memory]

"tree" is 10,000 files of 4 KiB in a hundred directories, out of a store on the same disk, verified.
Its peers copy or extract the same tree; each round has them in turn, in fresh directories. "slow
store" is the same tree in memory, behind 20 ms for each request; beside it is a bare loop that
makes as many files, which is what this disk takes at least. "file" is 1 GiB, beside
shutil.copyfile. A ratio is the median of the rounds' ratios. No tree is removed before the end:
for minutes after that, ext4 takes several times as long to make files, so nothing else should
remove many meanwhile, nor just before. With --memory, processes of their own unpack 100,000 files,
and a file of 20 GiB whose blob is sparse; the copy is not where the file system shares no blocks,
so that takes 20 GiB of disk.
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
from importlib.util import find_spec
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


def remove(target):
    shutil.rmtree(target) if target.is_dir() else target.unlink()


def measured(ways, place, rounds, after=lambda target: None):
    """The times of each way, a function of a directory that is not there, by its name."""
    times = {name: [] for name in ways}
    for number in range(rounds):
        # In turn each is first, and none has to write out what another has written.
        for name in sorted(ways, reverse=number % 2):
            target = place / f"{name}-{number}".replace(" ", "-")
            os.sync()
            times[name].append(timed(ways[name], target))
            after(target)
    return times


def show(what, took, peer, limit=None):
    bound = f"  (limit {limit}x)" if limit else ""
    ratio = statistics.median(mine / other for mine, other in zip(took, peer, strict=True))
    seconds, other = statistics.median(took), statistics.median(peer)
    print(f"{what:34} {seconds:8.3f} s  {ratio:5.2f}x of {other:.3f}{bound}")


def make_bare(target, data=bytes(4096)):
    for number in range(100):
        directory = target / f"d{number:04}"
        directory.mkdir(parents=True)
        descriptor = os.open(directory, os.O_RDONLY)
        for name in map(str, range(100)):
            file = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=descriptor)
            os.write(file, data)
            os.close(file)
        os.close(descriptor)


def dvc_checkout(source, place):
    """What makes a directory out of DVC's store, in which the source is."""
    from dvc_data.hashfile.build import build
    from dvc_data.hashfile.checkout import checkout
    from dvc_data.hashfile.db.local import LocalHashFileDB
    from dvc_data.hashfile.state import StateNoop
    from dvc_data.hashfile.transfer import transfer
    from dvc_objects.fs.local import LocalFileSystem

    files = LocalFileSystem()
    store = LocalHashFileDB(files, str(place), state=StateNoop())
    staged, _, tree = build(store, str(source), files, "md5")
    transfer(staged, store, {tree.hash_info}, shallow=False)
    return lambda target: checkout(str(target), files, tree, store)


def slow_store(place, rounds):
    make_tree(place / "tree", 10_000)
    distant = ArtifactStore("memory://", memory=0, max_concurrency=32)
    reference = stored(distant, place / "tree")
    distant.backend = Slow(distant.backend)
    ways = {"slow": lambda target: unpack_to(distant, reference, target), "bare": make_bare}
    found = measured(ways, place, rounds)
    show("slow store: tree, bare loop", found["slow"], found["bare"])
    print(f"slow store: tree unpacked {statistics.median(found['slow']):17.3f} s  (limit 0.5 s)")


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

    ways = {
        "copytree": lambda target: shutil.copytree(source, target),
        "unpacked": lambda target: unpack_to(store, reference, target),
        "cp -a": lambda target: subprocess.run(["cp", "-a", source, target], check=True),
        "tarfile": extract,
    }
    if find_spec("dvc_data"):
        ways["dvc-data"] = dvc_checkout(source, place / "dvc")
    else:
        print("dvc-data is not installed")
    found = measured(ways, place, rounds)
    for peer in [way for way in ways if way != "unpacked"]:
        limit = 0.5 if peer == "copytree" else None
        show(f"tree: unpacked, {peer}", found["unpacked"], found[peer], limit)


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
    found = measured(
        {
            "copyfile": lambda target: shutil.copyfile(source, target),
            "unpack": lambda target: unpack_to(store, reference, target),
        },
        place,
        rounds,
        remove,
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
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        for measure in (file, slow_store, trees):
            place = Path(directory, measure.__name__)
            place.mkdir()
            measure(place, options.rounds)
    if options.memory:
        with tempfile.TemporaryDirectory(dir=options.directory) as directory:
            memory(Path(directory), options.large)


if __name__ == "__main__":
    main()
