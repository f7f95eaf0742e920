"""Processes that share a cache: a store read like a bucket, and programs that read it.

cache kill URL OPTIONS CACHE SIZE KILLS: two processes fill the cache and are killed, one after the
other, at random moments; a third one reads all the while. Prints what it has seen, as JSON.

cache fork URL CACHE: reads in a child that is forked while another thread fills the same copy.

cache full URL CACHE: reads with a cache on a disk of 6 MiB. Prints the warnings.
"""

import contextlib
import io
import json
import logging
import mmap
import os
import random
import signal
import statistics
import struct
import sys
import threading
import time
from pathlib import Path

from sqla_artifacts import ArtifactStore
from sqla_artifacts.backends.ranges import RangeStream
from sqla_artifacts.digest import digest_of

from ..threads import until

COUNT = 120
LARGEST = 300_000
MIB = 1 << 20


class Remote:
    """What a backend holds, read like a bucket: by ranges, and from no file."""

    is_remote = True

    def __init__(self, backend):
        self._backend = backend

    def __getattr__(self, name):
        return getattr(self._backend, name)

    def open(self, key):
        return io.BufferedReader(RangeStream(lambda *place: self.range(key, *place)), 1 << 18)

    def range(self, key, start, length):
        with self._backend.open(key) as stream:
            stream.seek(start)
            return stream.read(length), os.fstat(stream.fileno()).st_size


def content(number):
    """The bytes of a blob; some are empty, some larger than a request, some below a block."""
    return random.Random(number).randbytes([0, 100, 5000, 100_000, 270_000, LARGEST][number % 6])


def open_store(url, **options):
    """A store that reads a directory like a bucket, and remembers nothing."""
    store = ArtifactStore(url, memory=0, **options)
    if not store.backend.is_remote:
        store.backend = Remote(store.backend)
    return store


def reference(data):
    return f"&:blob:{digest_of(data, 'blake3')}:{len(data)}:bytes"


def put(store, *contents):
    """Store some bytes, and return the reference of the last ones."""
    store.prepare()
    store.put([(store.stage.data(data), 0) for data in contents])
    return reference(contents[-1])


def _read(open_it):
    def read(store, text):
        with open_it(store, text) as stream:
            return stream.read()

    return read


WAYS = {
    "get": lambda store, text: store.get(text),
    "open": _read(lambda store, text: store.open(text)),
    "open_sound": _read(lambda store, text: store.open_sound(text[7:71])),
    "open_verified": _read(lambda store, text: store.open_verified(text)),
    "payload": _read(lambda store, text: store.payload(text[7:71]).open()),
}
UNCHECKED = _read(lambda store, text: store.open_unchecked(text[7:71]))


def copies(cache):
    """The files of a cache's copies, by digest."""
    return {path.name: path for path in Path(cache).glob("sqla_artifacts/blobs/*/*")}


def only_copy(store):
    """The file of the one copy that a store's cache holds."""
    (path,) = copies(store.cache.path).values()
    return path


def damage(path, how):
    """Change the bytes of a file."""
    path.write_bytes(how(path.read_bytes()))


def space(cache):
    """The bytes of all copies."""
    total = 0
    for path in copies(cache).values():
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


DATA = content(5)
TEXT = reference(DATA)
DIGEST = TEXT[7:71]
EVERY_WAY = [*WAYS.values(), UNCHECKED]


# -- killed at any moment ------------------------------------------------------------------------


def read_for_ever(seed, make_store, reads):
    """Read at random, and end if a byte is wrong, or if nobody looks any more."""
    contents = [content(number) for number in range(COUNT)]
    store, chance = make_store(), random.Random(seed)
    parent = os.getppid()
    while os.getppid() == parent:  # so that none is left behind by a failure
        data = chance.choice(contents)
        assert chance.choice(EVERY_WAY)(store, reference(data)) == data
        reads[0] += 1


class Child:
    """A process that reads for ever, and counts its reads."""

    def __init__(self, seed, make_store):
        self._reads = mmap.mmap(-1, 8)
        self._pid = os.fork()
        if not self._pid:
            try:
                with memoryview(self._reads).cast("Q") as reads:
                    read_for_ever(seed, make_store, reads)
            finally:
                os._exit(1)

    @property
    def reads(self):
        return struct.unpack("Q", self._reads)[0]

    def kill(self):
        """Kill it, and check that nothing else had ended it."""
        os.kill(self._pid, signal.SIGKILL)
        _, status = os.waitpid(self._pid, 0)
        assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL


def check_copies(cache):
    """Check that what has a name is complete; return the names."""
    found = set()
    for digest, path in copies(cache).items():
        with contextlib.suppress(FileNotFoundError):
            assert digest_of(path.read_bytes(), "blake3") == digest
            found.add(digest)
    return found


def kill(url, options, cache, size, kills):
    """Kill those who fill a cache, again and again."""

    def make_store():  # by each child for itself: an object store is no good after a fork
        return open_store(url, cache=cache, cache_size=int(size), **json.loads(options))

    seed = random.SystemRandom().randrange(1 << 32)
    sys.stderr.write(f"seed {seed}\n")
    chance, seeds = random.Random(seed), iter(range(seed, seed + 1_000_000))
    reader = Child(next(seeds), make_store)
    fillers = [Child(next(seeds), make_store) for _ in range(2)]
    seen, sizes, reads = set(), [], 0
    for number in range(int(kills)):
        filler = fillers[number % 2]
        until(lambda filler=filler: filler.reads)
        time.sleep(chance.uniform(0, 0.04))
        filler.kill()
        reads += filler.reads
        seen |= check_copies(cache)
        sizes.append(space(cache))
        fillers[number % 2] = Child(next(seeds), make_store)
    for child in [reader, *fillers]:
        child.kill()
    check_copies(cache)
    sys.stdout.write(
        json.dumps(
            {
                "seen": len(seen),
                "size": statistics.median(sizes),
                "reads": reads,
                "reader": reader.reads,
            }
        )
    )


# -- forked, and out of space --------------------------------------------------------------------


def fork(url, cache):
    """Read in a child what another thread of its parent was about to fill."""
    store = open_store(url, cache=cache)
    data = content(3)
    inside, done = threading.Event(), threading.Event()

    def fill():
        with store.cache.alone(digest_of(data, "blake3")):
            inside.set()
            done.wait()

    thread = threading.Thread(target=fill)
    thread.start()
    inside.wait()
    child = os.fork()
    if not child:
        try:
            signal.alarm(30)
            assert store.get(reference(data)) == data
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    done.set()
    thread.join()
    assert status == 0
    assert list(copies(cache)) == [digest_of(data, "blake3")]


def full(url, cache):
    """Read more than the cache's disk takes."""
    shown = io.StringIO()
    logging.basicConfig(stream=shown)
    store = open_store(url, cache=cache)
    contents = [bytes([number]) * 3 * MIB for number in range(4)] + [bytes(9 * MIB)]
    put(store, *contents)
    for data in contents * 2:
        for way in EVERY_WAY:
            assert way(store, reference(data)) == data
    assert [path.name for path in Path(cache).rglob("tmp/*/new-*")] == []
    sys.stdout.write(shown.getvalue())


if __name__ == "__main__":
    {"kill": kill, "fork": fork, "full": full}[sys.argv[1]](*sys.argv[2:])
