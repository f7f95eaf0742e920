"""A large file stored durably, against the durable copy that the machine can make.

    python -m tests.benchmarks.large_file [--size MIB] [--rounds N] [--directory DIR]

Both start with the source in the page cache. "store" is all that storing takes: copy, digest,
flush, rename, and the flush of the new directories. "copy" is copy_file_range with early
writeback and one fsync. The two take turns, each in a fresh directory, which is removed before
the next turn: otherwise each would write to memory that a virtual machine has never touched, and
measure the host that hands it out.
"""

import argparse
import gc
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from sqla_artifacts.backends.local import LocalBackend
from sqla_artifacts.durable import start_writeback
from sqla_artifacts.payload import Stage

LIMIT = 1.10
STEP = 8 << 20


def store(source, place):
    backend = LocalBackend(place)
    with source.open("rb") as fp:
        payload = Stage("blake3", backend.staging, owner=backend).copy(fp.fileno(), source.name)
    digest = payload.digest
    backend.put([(f"blobs/{digest[:2]}/{digest[2:4]}/{digest}", payload)])


def copy(source, place):
    place.mkdir()
    with source.open("rb") as fp, (place / "copy").open("wb") as target:
        offset = 0
        while count := os.copy_file_range(fp.fileno(), target.fileno(), STEP, offset, offset):
            start_writeback(target.fileno(), offset, count)
            offset += count
        os.fsync(target.fileno())


def timed(function, source, place):
    os.sync()
    start = time.perf_counter()
    function(source, place)
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", type=int, default=1024, help="in MiB")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--directory", type=Path, default=Path(), help="on the disk to measure")
    arguments = parser.parse_args()

    directory = Path(tempfile.mkdtemp(prefix="benchmark-", dir=arguments.directory))
    try:
        source = directory / "source"
        with source.open("wb") as fp:
            for _ in range(arguments.size):
                fp.write(os.urandom(1 << 20))
        times = {store: [], copy: []}
        for number in range(arguments.rounds):
            turn = [store, copy] if number % 2 else [copy, store]
            for function in turn:
                place = directory / f"{function.__name__}-{number}"
                times[function].append(timed(function, source, place))
                gc.collect()
                shutil.rmtree(place)
        print(f"{arguments.size} MiB, {arguments.rounds} rounds, in seconds")
        print("       median  fastest")
        for function in (store, copy):
            median, fastest = statistics.median(times[function]), min(times[function])
            print(f"{function.__name__:5}  {median:6.3f}  {fastest:7.3f}")
        ratios = [a / b for a, b in zip(times[store], times[copy], strict=True)]
        fastest = min(times[store]) / min(times[copy])
        print(f"ratio  {statistics.median(ratios):6.3f}  {fastest:7.3f}  (limit {LIMIT:.2f})")
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
