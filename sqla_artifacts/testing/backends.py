# ruff: noqa: D102, FBT001, PLR2004, S101, S311 (these are tests, which pytest calls)
"""What the store relies on in every backend, as tests."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from ..digest import digest_of
from ..payload import Payload, Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..backends import Backend

    MakeBackend: TypeAlias = Callable[[], Backend]

_DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
KEY = f"blobs/9f/86/{_DIGEST}"
_LARGE = 9 << 20


def payload(data: bytes) -> Payload:
    """Return a payload in memory."""
    return Payload(digest_of(data, "blake3"), len(data), data)


def staged(backend: Backend, data: bytes) -> Payload:
    """Return a payload in a staged file, in the backend's own directory if it has one."""
    with Stage("blake3", backend.staging, owner=backend).file() as (fp, file):
        fp.write(data)
    return Payload(digest_of(data, "blake3"), len(data), file)


def keys(backend: Backend, prefix: str) -> list[str]:
    """Return the keys that a backend lists."""
    return sorted(entry.key for entry in backend.list(prefix))


def together(functions: Sequence[Callable[[], Any]]) -> list[Any]:
    """Call functions in threads that start at the same moment; return their results."""
    barrier = threading.Barrier(len(functions))

    def call(function: Callable[[], Any]) -> Any:
        barrier.wait(60)
        return function()

    with ThreadPoolExecutor(len(functions)) as pool:
        return list(pool.map(call, functions))


class BackendConformance:
    """What a backend promises. Subclass it, with a fixture ``make_backend``.

    That is a function that makes backends, all of them on the same place, which is empty before
    each test. A second one shows what another process would see; a backend that cannot be made
    twice is made once, and returned again.
    """

    @pytest.fixture
    def backend(self, make_backend: MakeBackend) -> Backend:
        """Return the backend under test."""
        return make_backend()

    @pytest.fixture
    def shared(self, backend: Backend, make_backend: MakeBackend) -> Backend:
        """Return another one of the same place."""
        return make_backend()

    # -- objects --------------------------------------------------------------------------------

    @pytest.mark.parametrize("in_file", [False, True], ids=["bytes", "staged"])
    @pytest.mark.parametrize("data", [b"", b"one", bytes(range(256)) * 4096], ids=len)
    def test_put_and_get(
        self, backend: Backend, shared: Backend, data: bytes, in_file: bool
    ) -> None:
        backend.put([(KEY, staged(backend, data) if in_file else payload(data))])
        for reader in (backend, shared):
            assert reader.get(KEY) == data
            assert reader.size(KEY) == len(data)
            with reader.open(KEY) as fp:
                assert fp.read() == data

    @pytest.mark.parametrize("in_file", [False, True], ids=["bytes", "staged"])
    def test_put_replaces(self, backend: Backend, shared: Backend, in_file: bool) -> None:
        backend.put([(KEY, payload(b"a longer first object"))])
        assert shared.size(KEY) == 21
        backend.put([(KEY, staged(backend, b"second") if in_file else payload(b"second"))])
        assert shared.get(KEY) == b"second"
        assert shared.size(KEY) == 6
        assert keys(shared, "") == [KEY]

    def test_put_nothing(self, backend: Backend) -> None:
        backend.put([])
        assert keys(backend, "") == []

    def test_put_batch(self, backend: Backend, shared: Backend) -> None:
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

    def test_put_one_payload_under_two_keys(self, backend: Backend) -> None:
        content = payload(b"same")
        backend.put([("blobs/aa/bb/1", content), ("blobs/aa/bb/2", content)])
        assert backend.get("blobs/aa/bb/1") == backend.get("blobs/aa/bb/2") == b"same"

    @pytest.mark.parametrize("in_file", [False, True], ids=["bytes", "staged"])
    def test_large_object(self, backend: Backend, in_file: bool) -> None:
        data = random.Random(0).randbytes(_LARGE)
        backend.put([(KEY, staged(backend, data) if in_file else payload(data))])
        assert backend.size(KEY) == _LARGE
        assert backend.get(KEY) == data

    def test_open_is_seekable(self, backend: Backend) -> None:
        data = random.Random(0).randbytes(_LARGE)
        backend.put([(KEY, payload(data))])
        with backend.open(KEY) as fp:
            assert fp.seekable()
            assert fp.seek(_LARGE - 10) == _LARGE - 10
            assert fp.read(100) == data[-10:]
            assert fp.read(1) == b""
            assert fp.seek(-20, 2) == _LARGE - 20
            assert fp.tell() == _LARGE - 20
            assert fp.read(5) == data[-20:-15]
            assert fp.seek(0) == 0
            assert fp.read(3) == data[:3]

    def test_streams_are_independent(self, backend: Backend) -> None:
        backend.put([(KEY, payload(b"0123456789"))])
        with backend.open(KEY) as one, backend.open(KEY) as two:
            assert one.read(4) == b"0123"
            assert two.read(2) == b"01"
            assert one.read(2) == b"45"

    # -- what is not there ----------------------------------------------------------------------

    @pytest.mark.parametrize("key", [KEY, "store.json", "blobs/9f/86"])
    @pytest.mark.parametrize("empty", [True, False], ids=["empty", "beside"])
    def test_missing(self, backend: Backend, key: str, empty: bool) -> None:
        if not empty:
            backend.put([(f"{KEY}~1", payload(b"later")), (f"{KEY}1", payload(b"longer"))])
        for method in (backend.get, backend.size, backend.open):
            with pytest.raises(FileNotFoundError):
                method(key)
        if key != "blobs/9f/86":
            backend.delete(key)

    def test_missing_below_an_object(self, backend: Backend) -> None:
        backend.put([("store.json", payload(b"{}"))])
        for method in (backend.get, backend.size, backend.open):
            with pytest.raises(FileNotFoundError):
                method("store.json/inner")
        assert keys(backend, "store.json/") == []

    def test_delete(self, backend: Backend, shared: Backend) -> None:
        backend.put([(KEY, payload(b"one")), (f"{KEY}~1", payload(b"two"))])
        backend.delete(KEY)
        backend.delete(KEY)
        with pytest.raises(FileNotFoundError):
            shared.get(KEY)
        assert keys(shared, "") == [f"{KEY}~1"]
        backend.put([(KEY, payload(b"again"))])
        assert shared.get(KEY) == b"again"

    # -- listing --------------------------------------------------------------------------------

    def test_list(self, backend: Backend, shared: Backend) -> None:
        other = f"blobs/9f/87/{_DIGEST}"
        objects = [KEY, f"{KEY}~1", f"{KEY}~12", other, "store.json", "quarantine/one"]
        backend.put([(key, payload(key.encode())) for key in objects])

        assert keys(shared, "") == sorted(objects)
        assert keys(shared, "blobs/") == sorted([KEY, f"{KEY}~1", f"{KEY}~12", other])
        for prefix in ("blob", "blobs/9", "blobs/9f/8"):
            assert keys(shared, prefix) == keys(shared, "blobs/")
        assert keys(shared, "blobs/9f/86/") == sorted([KEY, f"{KEY}~1", f"{KEY}~12"])
        assert keys(shared, f"{KEY}~") == sorted([f"{KEY}~1", f"{KEY}~12"])
        assert keys(shared, f"{KEY}~12") == [f"{KEY}~12"]
        assert keys(shared, KEY) == sorted([KEY, f"{KEY}~1", f"{KEY}~12"])
        assert keys(shared, "store.json") == ["store.json"]
        for nothing in ("blobs/00/", "blobs/9f/86/0", "none", "none/at/all/", "store.json/x"):
            assert keys(shared, nothing) == []
        assert {entry.size for entry in shared.list(KEY)} == {76, 78, 79}

    def test_list_sees_what_others_change(self, backend: Backend, shared: Backend) -> None:
        for n in range(3):
            backend.put([(f"blobs/aa/bb/{n}", payload(b"x"))])
            assert len(keys(shared, "blobs/aa/")) == n + 1
        backend.delete("blobs/aa/bb/1")
        assert keys(shared, "blobs/") == ["blobs/aa/bb/0", "blobs/aa/bb/2"]

    def test_list_given_up(self, backend: Backend) -> None:
        backend.put([(f"blobs/aa/{n:02}/x", payload(b"x")) for n in range(20)])
        listing = iter(backend.list("blobs/"))
        assert next(listing).size == 1
        del listing

    def test_list_does_not_show_what_is_being_written(self, backend: Backend) -> None:
        waiting = staged(backend, b"waiting")
        assert keys(backend, "") == []
        backend.put([(KEY, waiting)])
        assert keys(backend, "") == [KEY]

    # -- create ---------------------------------------------------------------------------------

    def test_create(self, backend: Backend, shared: Backend) -> None:
        assert backend.create("store.json", b"first") is True
        assert shared.create("store.json", b"second") is False
        assert backend.create("store.json", b"first") is False
        assert shared.get("store.json") == b"first"
        backend.delete("store.json")
        assert shared.create("store.json", b"") is True
        assert backend.get("store.json") == b""
        assert backend.create("store.json", b"x") is False

    def test_create_under_threads(self, backend: Backend) -> None:
        claims = [b"%d" % n for n in range(8)]
        for key in ("store.json", "claims/one", "claims/two", "claims/three"):
            won = together([partial(backend.create, key, data) for data in claims])
            assert won.count(True) == 1
            assert backend.get(key) == claims[won.index(True)]

    # -- many at once ---------------------------------------------------------------------------

    def test_put_under_threads(self, backend: Backend) -> None:
        data = {f"blobs/{n % 5:02}/{n % 4:02}/{n}": str(n).encode() * 100 for n in range(200)}
        items = [(key, payload(value)) for key, value in data.items()]
        batches = [items[start : start + 25] for start in range(0, len(items), 25)]
        # Each batch twice: two writers of one blob do not hurt each other.
        together([partial(backend.put, batch) for batch in batches + batches])
        assert {key: backend.get(key) for key in data} == data
        assert keys(backend, "") == sorted(data)

    def test_a_reader_never_sees_part_of_an_object(self, backend: Backend, shared: Backend) -> None:
        versions = [bytes([n]) * (1 + n * 300_000) for n in range(4)]
        backend.put([(KEY, payload(versions[0]))])
        done = threading.Event()
        torn: list[int] = []

        def read() -> None:
            reads = 0
            while not done.is_set() or not reads:
                data = shared.get(KEY)
                if data not in versions:
                    torn.append(len(data))
                reads += 1

        def write() -> None:
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
    def test_unsafe_keys_are_refused(self, backend: Backend, key: str) -> None:
        calls: list[Callable[[], object]] = [
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

    def test_unsafe_prefixes_are_refused(self, backend: Backend) -> None:
        for prefix in ("../", "/etc/", "blobs/../../", "a//b"):
            with pytest.raises(ValueError, match="is no key"):
                list(backend.list(prefix))

    def test_is_a_backend(self, backend: Backend) -> None:
        assert "://" in backend.url
        assert backend.url in repr(backend) or type(backend).__name__ in repr(backend)
