"""Batches of objects stored durably, against the same writes and flushes by hand.

    python -m tests.benchmarks.small_objects [--size MIB] [--rounds N] [--directory DIR]

Both write every object to a temporary file, flush the file system, rename, and flush it again.
"by hand" does only that, into directories of the same layout; "put" is LocalBackend.put in a
new store. "one by one" is a put for each object, of as many as a tenth. All take turns, each
in a fresh directory.
"""

import argparse
import itertools
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from sqla_artifacts.backends.local import LocalBackend
from sqla_artifacts.durable import opened_for_syncfs, start_writeback
from sqla_artifacts.payload import Stage

STAGE = Stage("blake3")


def key_of(digest):
    return f"blobs/{digest[:2]}/{digest[2:4]}/{digest}"


def put(place, payloads):
    LocalBackend(place).put([(key_of(payload.digest), payload) for payload in payloads])


def one_by_one(place, payloads):
    backend = LocalBackend(place)
    for payload in payloads[: len(payloads) // 10]:
        backend.put([(key_of(payload.digest), payload)])


def by_hand(place, payloads):
    (place / "tmp").mkdir(parents=True)
    made = {str(place)}
    with opened_for_syncfs(str(place)) as sync:
        if sync is None:
            raise SystemExit("syncfs is not to be trusted here: choose another --directory")
        for number, payload in enumerate(payloads):
            name = f"{place}/tmp/{number}"
            descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444)
            os.write(descriptor, payload.content)
            if payload.size > 1 << 18:
                start_writeback(descriptor, 0, payload.size)
            os.close(descriptor)
            make(f"{place}/{key_of(payload.digest)[:-65]}", made)
        sync()
        for number, payload in enumerate(payloads):
            os.rename(f"{place}/tmp/{number}", f"{place}/{key_of(payload.digest)}")
        sync()


def make(path, made):
    if path not in made:
        make(path.rpartition("/")[0], made)
        os.mkdir(path)
        made.add(path)


def timed(function, place, payloads):
    os.sync()
    start = time.perf_counter()
    function(place, payloads)
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", type=int, default=200, help="of the large batch in MiB")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--directory", type=Path, default=Path(), help="on the disk to measure")
    arguments = parser.parse_args()

    directory = Path(tempfile.mkdtemp(prefix="benchmark-", dir=arguments.directory))
    numbers = itertools.count()
    try:
        for count, size in ((1000, 4 << 10), (arguments.size, 1 << 20)):
            times = {put: [], by_hand: [], one_by_one: []}
            for round_ in range(arguments.rounds):
                payloads = [STAGE.data(os.urandom(size)) for _ in range(count)]
                for function in sorted(times, key=lambda f: f.__name__, reverse=round_ % 2 == 1):
                    place = directory / str(next(numbers))
                    times[function].append(timed(function, place, payloads))
            stored, written, single = (statistics.median(values) for values in times.values())
            single /= count // 10
            print(f"{count} x {size >> 10} KiB, medians of {arguments.rounds} rounds")
            print(f"put         {stored * 1e3:8.1f} ms  {stored / count * 1e6:7.0f} us an object")
            print(f"by hand     {written * 1e3:8.1f} ms  {written / count * 1e6:7.0f} us an object")
            print(f"one by one               {single * 1e6:7.0f} us an object")
            print(f"put / by hand  {stored / written:.3f}")
    finally:
        # Only now: a disk is slow for a while after many files are deleted.
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
