"""What the store relies on in every backend, as tests.

For a backend of your own, subclass `BackendConformance` in a test module and give it a `backend`
fixture that yields a new, empty one. `shared` is a second backend object on the same bytes, as
another process would have it; where there is none, the same object does.
"""

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from sqla_artifacts.backends import Backend
from sqla_artifacts.digest import digest_of
from sqla_artifacts.payload import Payload, Stage

DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
KEY = f"blobs/9f/86/{DIGEST}"
LARGE = 9 << 20


def payload(data):
    """A payload in memory."""
    return Payload(digest_of(data, "blake3"), len(data), data)


def staged(backend, data):
    """A payload in a staged file, where `backend` wants them or in a temporary directory."""
    stage = Stage("blake3", backend.staging, owner=backend)
    with stage.file() as (fp, file):
        fp.write(data)
    # The temporary directory lasts as long as its stage.
    file.stage = stage
    return Payload(digest_of(data, "blake3"), len(data), file)


def keys(backend, prefix):
    return sorted(entry.key for entry in backend.list(prefix))


def together(functions):
    """Call functions in threads that start at the same moment; return their results."""
    barrier = threading.Barrier(len(functions))

    def call(function):
        barrier.wait(60)
        return function()

    with ThreadPoolExecutor(len(functions)) as pool:
        return list(pool.map(call, functions))


class BackendConformance:
    """Subclass it, with a `backend` fixture."""

    @pytest.fixture
    def shared(self, backend):
        return backend

    # -- objects --------------------------------------------------------------------------------

    @pytest.mark.parametrize("in_file", [False, True], ids=["bytes", "staged"])
    @pytest.mark.parametrize("data", [b"", b"one", bytes(range(256)) * 4096], ids=len)
    def test_put_and_get(self, backend, shared, data, in_file):
        backend.put([(KEY, staged(backend, data) if in_file else payload(data))])
        for reader in (backend, shared):
            assert reader.get(KEY) == data
            assert reader.size(KEY) == len(data)
            with reader.open(KEY) as fp:
                assert fp.read() == data

    @pytest.mark.parametrize("in_file", [False, True], ids=["bytes", "staged"])
    def test_put_replaces(self, backend, shared, in_file):
        backend.put([(KEY, payload(b"a longer first object"))])
        assert shared.size(KEY) == 21
        backend.put([(KEY, staged(backend, b"second") if in_file else payload(b"second"))])
        assert shared.get(KEY) == b"second"
        assert shared.size(KEY) == 6
        assert keys(shared, "") == [KEY]

    def test_put_nothing(self, backend):
        backend.put([])
        assert keys(backend, "") == []

    def test_put_batch(self, backend, shared):
        data = {f"blobs/{n % 7:02}/{n % 3:02}/{n}": str(n).encode() * n for n in range(60)}
        backend.put(
            [
                (key, staged(backend, value) if n % 10 == 0 else payload(value))
                for n, (key, value) in enumerate(data.items())
            ]
        )
        assert {entry.key: entry.size for entry in shared.list("")} == {
            key: len(value) for key, value in data.items()
        }
        assert all(shared.get(key) == value for key, value in data.items())

    def test_put_one_payload_under_two_keys(self, backend):
        content = payload(b"same")
        backend.put([("blobs/aa/bb/1", content), ("blobs/aa/bb/2", content)])
        assert backend.get("blobs/aa/bb/1") == backend.get("blobs/aa/bb/2") == b"same"

    @pytest.mark.parametrize("in_file", [False, True], ids=["bytes", "staged"])
    def test_large_object(self, backend, in_file):
        data = random.Random(0).randbytes(LARGE)
        backend.put([(KEY, staged(backend, data) if in_file else payload(data))])
        assert backend.size(KEY) == LARGE
        assert backend.get(KEY) == data

    def test_open_is_seekable(self, backend):
        data = random.Random(0).randbytes(LARGE)
        backend.put([(KEY, payload(data))])
        with backend.open(KEY) as fp:
            assert fp.seekable()
            assert fp.seek(LARGE - 10) == LARGE - 10
            assert fp.read(100) == data[-10:]
            assert fp.read(1) == b""
            assert fp.seek(-20, 2) == LARGE - 20
            assert fp.tell() == LARGE - 20
            assert fp.read(5) == data[-20:-15]
            assert fp.seek(0) == 0
            assert fp.read(3) == data[:3]

    def test_streams_are_independent(self, backend):
        backend.put([(KEY, payload(b"0123456789"))])
        with backend.open(KEY) as one, backend.open(KEY) as two:
            assert one.read(4) == b"0123"
            assert two.read(2) == b"01"
            assert one.read(2) == b"45"

    # -- what is not there ----------------------------------------------------------------------

    @pytest.mark.parametrize("key", [KEY, "store.json", "blobs/9f/86"])
    @pytest.mark.parametrize("empty", [True, False], ids=["empty", "beside"])
    def test_missing(self, backend, key, empty):
        if not empty:
            backend.put([(f"{KEY}~1", payload(b"later")), (f"{KEY}1", payload(b"longer"))])
        for method in (backend.get, backend.size, backend.open):
            with pytest.raises(FileNotFoundError):
                method(key)
        if key != "blobs/9f/86":
            backend.delete(key)

    def test_missing_below_an_object(self, backend):
        backend.put([("store.json", payload(b"{}"))])
        for method in (backend.get, backend.size, backend.open):
            with pytest.raises(FileNotFoundError):
                method("store.json/inner")
        assert keys(backend, "store.json/") == []

    def test_delete(self, backend, shared):
        backend.put([(KEY, payload(b"one")), (f"{KEY}~1", payload(b"two"))])
        backend.delete(KEY)
        backend.delete(KEY)
        with pytest.raises(FileNotFoundError):
            shared.get(KEY)
        assert keys(shared, "") == [f"{KEY}~1"]
        backend.put([(KEY, payload(b"again"))])
        assert shared.get(KEY) == b"again"

    # -- listing --------------------------------------------------------------------------------

    def test_list(self, backend, shared):
        other = f"blobs/9f/87/{DIGEST}"
        objects = [KEY, f"{KEY}~1", f"{KEY}~12", other, "store.json", "quarantine/one"]
        backend.put([(key, payload(key.encode())) for key in objects])

        assert keys(shared, "") == sorted(objects)
        assert keys(shared, "blobs/") == sorted([KEY, f"{KEY}~1", f"{KEY}~12", other])
        assert keys(shared, "blob") == keys(shared, "blobs/")
        assert keys(shared, "blobs/9") == keys(shared, "blobs/")
        assert keys(shared, "blobs/9f/86/") == sorted([KEY, f"{KEY}~1", f"{KEY}~12"])
        assert keys(shared, "blobs/9f/8") == keys(shared, "blobs/")
        assert keys(shared, f"{KEY}~") == sorted([f"{KEY}~1", f"{KEY}~12"])
        assert keys(shared, f"{KEY}~12") == [f"{KEY}~12"]
        assert keys(shared, KEY) == sorted([KEY, f"{KEY}~1", f"{KEY}~12"])
        assert keys(shared, "store.json") == ["store.json"]
        for nothing in ("blobs/00/", "blobs/9f/86/0", "none", "none/at/all/", "store.json/x"):
            assert keys(shared, nothing) == []
        assert {entry.size for entry in shared.list(KEY)} == {76, 78, 79}

    def test_list_sees_what_others_change(self, backend, shared):
        for n in range(3):
            backend.put([(f"blobs/aa/bb/{n}", payload(b"x"))])
            assert len(keys(shared, "blobs/aa/")) == n + 1
        backend.delete("blobs/aa/bb/1")
        assert keys(shared, "blobs/") == ["blobs/aa/bb/0", "blobs/aa/bb/2"]

    def test_list_given_up(self, backend):
        backend.put([(f"blobs/aa/{n:02}/x", payload(b"x")) for n in range(20)])
        listing = iter(backend.list("blobs/"))
        assert next(listing).size == 1
        del listing

    def test_list_does_not_show_what_is_being_written(self, backend):
        waiting = staged(backend, b"waiting")
        assert keys(backend, "") == []
        backend.put([(KEY, waiting)])
        assert keys(backend, "") == [KEY]

    # -- create ---------------------------------------------------------------------------------

    def test_create(self, backend, shared):
        assert backend.create("store.json", b"first") is True
        assert shared.create("store.json", b"second") is False
        assert backend.create("store.json", b"first") is False
        assert shared.get("store.json") == b"first"
        backend.delete("store.json")
        assert shared.create("store.json", b"") is True
        assert backend.get("store.json") == b""
        assert backend.create("store.json", b"x") is False

    def test_create_under_threads(self, backend):
        claims = [str(n).encode() for n in range(8)]
        for key in ("store.json", "claims/one", "claims/two", "claims/three"):
            won = together([partial(backend.create, key, data) for data in claims])
            assert won.count(True) == 1
            assert backend.get(key) == claims[won.index(True)]

    # -- many at once ---------------------------------------------------------------------------

    def test_put_under_threads(self, backend):
        data = {f"blobs/{n % 5:02}/{n % 4:02}/{n}": str(n).encode() * 100 for n in range(200)}
        items = [(key, payload(value)) for key, value in data.items()]
        batches = [items[start : start + 25] for start in range(0, len(items), 25)]
        # Each batch twice: two writers of one blob do not hurt each other.
        together([partial(backend.put, batch) for batch in batches + batches])
        assert {key: backend.get(key) for key in data} == data
        assert keys(backend, "") == sorted(data)

    def test_a_reader_never_sees_part_of_an_object(self, backend, shared):
        versions = [bytes([n]) * (1 + n * 300_000) for n in range(4)]
        backend.put([(KEY, payload(versions[0]))])
        done = threading.Event()
        torn = []

        def read():
            reads = 0
            while not done.is_set() or not reads:
                data = shared.get(KEY)
                if data not in versions:
                    torn.append(len(data))
                reads += 1

        def write():
            try:
                for n in range(40):
                    version = versions[n % 4]
                    backend.put(
                        [(KEY, staged(backend, version) if n % 8 > 3 else payload(version))]
                    )
            finally:
                done.set()

        together([read, read, write])
        assert torn == []

    # -- keys and names -------------------------------------------------------------------------

    @pytest.mark.parametrize(
        "key", ["", "/etc/passwd", "../up", "blobs/../../up", "a//b", "a/", "./a", "a\0b", "a\\b"]
    )
    def test_unsafe_keys_are_refused(self, backend, key):
        calls = [
            lambda: backend.put([(key, payload(b"x"))]),
            lambda: backend.create(key, b"x"),
            lambda: backend.get(key),
            lambda: backend.open(key),
            lambda: backend.size(key),
            lambda: backend.delete(key),
        ]
        for call in calls:
            with pytest.raises(ValueError, match="is no key"):
                call()

    def test_unsafe_prefixes_are_refused(self, backend):
        for prefix in ("../", "/etc/", "blobs/../../", "a//b"):
            with pytest.raises(ValueError, match="is no key"):
                list(backend.list(prefix))

    def test_is_a_backend(self, backend):
        accepted: Backend = backend
        assert "://" in accepted.url
        assert accepted.url in repr(backend) or type(backend).__name__ in repr(backend)
