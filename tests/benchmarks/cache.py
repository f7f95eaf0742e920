"""python -m tests.benchmarks.cache [COUNT [KIB]]: what a read out of the cache on disk costs.

"hit" is `ArtifactStore.get` of a blob that is in the cache, "by hand" reads the same file and
checks its BLAKE3 digest, "local store" is `get` from a directory without a cache. "fill" is `get`
of a blob that is not in the cache, "miss" the same without a cache. They take turns; the files are
in the page cache, and the fastest of each is shown.
"""

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from blake3 import blake3

from sqla_artifacts import ArtifactStore

ROUNDS = 7


def by_hand(root, digest):
    with open(f"{root}/{digest[:2]}/{digest}", "rb", buffering=0) as fp:
        data = fp.read()
    if blake3(data).hexdigest() != digest:
        raise SystemExit(f"{digest} is corrupt")


def seconds(function, items):
    began = time.perf_counter()
    for item in items:
        function(item)
    return time.perf_counter() - began


def measure(place, count, kib):
    plain = ArtifactStore(str(place / "artifacts"), memory=0)
    cached = ArtifactStore(str(place / "artifacts"), memory=0, cache=place / "cache")
    plain.prepare()
    payloads = [plain.stage.data(os.urandom(kib << 10)) for _ in range(count)]
    plain.put([(payload, 0) for payload in payloads])
    references = [f"&:blob:{payload.digest}:{payload.size}:bytes" for payload in payloads]
    copies = place / "cache" / "sqla_artifacts" / "blobs"
    times = {}
    for _ in range(ROUNDS):
        shutil.rmtree(place / "cache", ignore_errors=True)
        for name, function in {
            "miss": plain.get,
            "fill": cached.get,
            "hit": cached.get,
            "by hand": lambda reference: by_hand(copies, reference[7:71]),
            "local store": plain.get,
        }.items():
            times.setdefault(name, []).append(seconds(function, references))
    return {name: min(taken) / count for name, taken in times.items()}


def main(count=500, kib=100):
    place = Path(tempfile.mkdtemp(prefix="benchmark-", dir=Path.cwd()))
    try:
        times = measure(place, count, kib)
    finally:
        shutil.rmtree(place)
    print(f"{count} x {kib} KiB")
    for name, taken in times.items():
        print(f"{name:<12}{taken * 1e6:>8.0f} us each")
    print(f"a hit costs {(times['hit'] - times['by hand']) * 1e6:.0f} us more than by hand")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
