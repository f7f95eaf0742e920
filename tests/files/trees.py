"""Trees that are made in memory, on a store that is far away."""

import io
from random import Random

from sqla_artifacts import ArtifactStore, StoredPath
from sqla_artifacts.backends.ranges import RangeStream
from sqla_artifacts.digest import digest_of
from sqla_artifacts.lazy import Origin
from sqla_artifacts.location import key_of
from sqla_artifacts.member import Member, plan_packs
from sqla_artifacts.reference import Reference
from sqla_artifacts.tree import Manifest, Part

from ..transfers.gauge import Requests

KIB = 1 << 10


class LargeTree:
    """A tree of many small files, in directories of a hundred."""

    def __init__(self, count, size=4 * KIB):
        random = Random(count)
        self.contents, members = {}, [Member(".", "directory", 0o755)]
        for number in range(count):
            directory = f"d{number // 100:04}"
            if not number % 100:
                members.append(Member(directory, "directory", 0o755))
            path, data = f"{directory}/f{number:06}.bin", random.randbytes(size)
            members.append(Member(path, "file", 0o644, size, digest_of(data, "blake3")))
            self.contents[path] = data
        packs = [b"".join(self.contents[m.path] for m in pack) for pack in plan_packs(members)]
        self.blobs = {digest_of(pack, "blake3"): pack for pack in packs}
        parts = tuple(Part(digest, len(pack)) for digest, pack in self.blobs.items())
        self.manifest = Manifest(tuple(members), parts)
        data = self.manifest.format()
        self.reference = Reference("tree", digest_of(data, "blake3"), self.manifest.size, "tree")
        self.blobs[self.reference.digest] = data

    def put(self, store):
        """Store the tree, and return it as a column would."""
        store.prepare()
        store.put([(store.stage.data(data), 0) for data in self.blobs.values()])
        return path_of(store, self.reference)


def path_of(store, reference):
    """The proxy of what a store holds, as a column would return it."""
    return StoredPath(origin=Origin(store, (), "sample.run"), text=str(reference))


class Distant:
    """A bucket: whole objects and ranges of them, each of which is a request.

    `reads` are the requests that could not be made before another one had been answered: an object
    is opened by reading its first bytes.
    """

    is_remote = True

    def __init__(self, backend):
        self._backend = backend
        self.requests = Requests()
        self.reads = 0

    def __getattr__(self, name):
        return getattr(self._backend, name)

    def get(self, key):
        with self.requests.noted(key):
            return self._backend.get(key)

    def open(self, key):
        return io.BufferedReader(RangeStream(lambda *where: self._range(key, *where)), 256 * KIB)

    def _range(self, key, start, length):
        self.reads += start > 0
        with self.requests.noted(key):
            data = self._backend.get(key)
        return data[start : start + length], len(data)


def distant_store(tmp_path, **options):
    """A store in memory that is read like a bucket."""
    options = {"memory": 0, "max_concurrency": 32, "checkouts": tmp_path / "checkouts"} | options
    store = ArtifactStore("memory://", **options)
    store.backend = Distant(store.backend)
    _ = store.id
    return store


def rot(store, digest, data=None):
    """Change a byte of a stored blob."""
    key = key_of(digest)
    data = data or store.backend.get(key)
    store.backend.put([(key, store.stage.data(bytes([data[0] ^ 1]) + data[1:]))])
