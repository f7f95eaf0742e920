"""What is special about buckets: parts, conditions, ranges, signed URLs, forks."""

import json
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from datetime import timedelta

import pytest

from sqla_artifacts import ArtifactStore
from sqla_artifacts.backends import objects
from sqla_artifacts.backends.objects import ObjectBackend
from sqla_artifacts.payload import Payload
from sqla_artifacts.testing.backends import KEY, keys, payload, staged

MIB = 1 << 20
DATA = bytes(range(256)) * (20 * MIB // 256)


@pytest.fixture
def backend(faulty_s3):
    return ObjectBackend(f"{faulty_s3.url}/some/place", **faulty_s3.options)


@pytest.fixture
def small_parts(monkeypatch):
    """Send what has more than 5 MiB in parts of as much, the least that S3 takes."""
    monkeypatch.setattr(objects, "LARGE", 5 * MIB)
    monkeypatch.setattr(objects, "_PART", 5 * MIB)


@pytest.fixture(params=["s3", "google", "azure"])
def bucket(request):
    """A backend on each provider's kind of bucket."""
    if request.param == "google":
        server = request.getfixturevalue("faulty_s3")
        return ObjectBackend(f"gs://tests/{uuid.uuid4().hex}", **server.google_options)
    server = request.getfixturevalue(request.param)
    return ObjectBackend(f"{server.url}/{uuid.uuid4().hex}", **server.options)


def asked(server, method, key=""):
    """What a faulty S3 was asked by a method for the keys that contain `key`."""
    return [each for each in server.asked if each.method == method and key in each.key]


# -- parts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_file", [False, True], ids=["bytes", "staged"])
def test_a_large_object_is_sent_in_parts(bucket, small_parts, in_file):
    bucket.put([(KEY, staged(bucket, DATA) if in_file else payload(DATA))])
    assert bucket.size(KEY) == len(DATA)
    assert bucket.get(KEY) == DATA
    assert keys(bucket, "") == [KEY]


def test_parts_are_as_large_as_it_takes(backend, faulty_s3, small_parts, monkeypatch):
    monkeypatch.setattr(objects, "_PARTS", 3)
    backend.put([(KEY, payload(DATA + b"x"))])
    assert len([each for each in asked(faulty_s3, "PUT") if "partNumber" in each.query]) == 3
    assert backend.get(KEY) == DATA + b"x"


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_a_failed_upload_leaves_no_parts(backend, faulty_s3, small_parts, method):
    faulty_s3.plan = lambda m, _, query: "error" if m == method and "uploadId" in query else None
    with pytest.raises(OSError, match="InternalError"):
        backend.put([(KEY, payload(DATA))])
    assert faulty_s3.bucket.uploads == {}
    assert faulty_s3.bucket.objects == {}
    faulty_s3.heal()
    backend.put([(KEY, payload(DATA))])
    assert backend.get(KEY) == DATA


@pytest.mark.parametrize("fault", ["lost", "error_after", "repeat"])
def test_an_upload_whose_last_answer_is_lost_is_stored(backend, faulty_s3, small_parts, fault):
    faulty_s3.plan = lambda m, _, query: fault if m == "POST" and "uploadId" in query else None
    backend.put([(KEY, payload(DATA))])
    assert backend.get(KEY) == DATA


def test_an_older_object_is_not_taken_for_a_failed_upload(backend, faulty_s3, small_parts):
    backend.put([(KEY, payload(DATA))])
    faulty_s3.plan = lambda m, _, query: "error" if "uploadId" in query else None
    with pytest.raises(OSError, match="InternalError"):
        backend.put([(KEY, payload(DATA))])


class Weighing:
    """A remote backend that takes a moment for each object, and notes how many bytes are moving."""

    is_remote = True

    def __init__(self):
        self.most = self.moving = 0
        self.lock = threading.Lock()

    def put(self, batch):
        ((_, payload),) = batch
        with self.lock:
            self.moving += payload.size
            self.most = max(self.most, self.moving)
        time.sleep(0.01)
        with self.lock:
            self.moving -= payload.size


def test_only_so_many_bytes_are_sent_at_once():
    store = ArtifactStore("memory://", max_concurrency=32)
    store.backend = weighing = Weighing()
    store.put([(Payload(f"{n:064}", 60 * MIB, b""), 0) for n in range(32)])
    assert 120 * MIB <= weighing.most <= 256 * MIB


# -- create ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["lost", "error_after", "repeat"])
def test_create_knows_its_own_object_when_the_answer_is_lost(backend, faulty_s3, fault):
    faulty_s3.script(fault, method="PUT")
    assert backend.create("store.json", b"one") is True
    faulty_s3.script(fault, method="PUT")
    assert backend.create("store.json", b"one") is False


def test_create_waits_for_a_write_that_is_on_its_way(backend, faulty_s3):
    faulty_s3.script("conflict", "conflict", method="PUT")
    assert backend.create("store.json", b"one") is True
    assert len(asked(faulty_s3, "PUT")) == 3


def test_create_that_fails_says_so(backend, faulty_s3):
    faulty_s3.always("error", method="PUT")
    with pytest.raises(OSError, match=r"cannot create 'store.json' in s3://tests/some/place"):
        backend.create("store.json", b"one")
    assert faulty_s3.bucket.objects == {}


# -- reading --------------------------------------------------------------------------------------


def test_a_small_object_is_opened_and_read_by_one_request(backend, faulty_s3):
    backend.put([(KEY, payload(b"x" * 1000))])
    with backend.open(KEY) as fp:
        assert fp.read() == b"x" * 1000
    assert len(asked(faulty_s3, "GET")) == 1


def test_a_range_of_a_large_object_is_read_by_itself(backend, faulty_s3):
    backend.put([(KEY, payload(DATA))])
    with backend.open(KEY) as fp:
        fp.seek(15 * MIB + 7)
        assert fp.read(100) == DATA[15 * MIB + 7 :][:100]
        fp.seek(15 * MIB + 100)
        assert fp.read(1000) == DATA[15 * MIB + 100 :][:1000]
    assert len(asked(faulty_s3, "GET")) == 2


def test_reading_on_takes_larger_and_larger_ranges(backend, faulty_s3):
    backend.put([(KEY, payload(DATA))])
    with backend.open(KEY) as fp:
        assert b"".join(iter(lambda: fp.read(MIB), b"")) == DATA
    assert len(asked(faulty_s3, "GET")) <= 8  # 20 MiB, of which 8 MiB come at once


def test_a_listing_reads_a_page_when_it_is_needed(backend, faulty_s3):
    objects = {f"some/place/blobs/{n}": (b"", ()) for n in range(4500)}
    faulty_s3.bucket.objects.update(objects)
    listing = backend.list("blobs/")
    assert asked(faulty_s3, "GET") == []
    next(listing)
    assert len(asked(faulty_s3, "GET")) <= 2
    assert len(list(listing)) == 4499
    assert len(asked(faulty_s3, "GET")) == 5


# -- signed URLs ----------------------------------------------------------------------------------


@pytest.mark.parametrize("server", ["s3", "azure"])
def test_a_signed_url_reads_an_object_and_no_other(request, server):
    running = request.getfixturevalue(server)
    backend = ObjectBackend(f"{running.url}/{uuid.uuid4().hex}", **running.options)
    backend.put([(KEY, payload(b"for anybody")), (f"{KEY}~1", payload(b"for nobody"))])
    url = backend.presign(KEY, timedelta(minutes=5))
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == b"for anybody"
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(url.replace(KEY, f"{KEY}~1"))
    caught.value.close()
    assert caught.value.code == 403


@pytest.mark.parametrize("expires", [timedelta(0), timedelta(seconds=-1), timedelta(days=8)])
def test_a_url_that_nobody_would_sign(backend, expires):
    with pytest.raises(ValueError, match="up to 7 days"):
        backend.presign(KEY, expires)


# -- forks ----------------------------------------------------------------------------------------


def fork(server, before):
    """Run the program; return its lines."""
    options = {name: value for name, value in server.options.items() if name != "retry_config"}
    arguments = [f"{server.url}/fork", json.dumps(options), before]
    command = [sys.executable, "-m", "tests.programs.fork_objects", *arguments]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


def test_a_store_that_was_made_before_a_fork_works_on_both_sides(faulty_s3):
    assert fork(faulty_s3, "made") == ["child stored", "parent stored"]


def test_a_store_that_was_used_before_a_fork_says_what_to_do(faulty_s3):
    first, child, parent = fork(faulty_s3, "used")
    assert (first, parent) == ("first stored", "parent stored")
    assert child.startswith("child StoreError: the store s3://tests")
    assert 'start processes by "spawn" or "forkserver"' in child
