import contextlib
import errno
import os
import subprocess
import sys
import tempfile
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqla_artifacts import copying
from sqla_artifacts.copying import copy, copy_and_hash
from sqla_artifacts.digest import CHUNK, digest_of
from sqla_artifacts.errors import SourceError
from sqla_artifacts.payload import Stage

FOLLOWED = copying._FOLLOW_FROM
STEP = copying._STEP
BLOCK = os.urandom(CHUNK)
WAYS = pytest.mark.parametrize("fast", [True, False], ids=["fast", "plain"])

linux = pytest.mark.skipif(sys.platform != "linux", reason="the fast way is for Linux")


def data_of(size):
    return (BLOCK * (size // CHUNK + 1))[:size]


@contextlib.contextmanager
def files(data, *, at=0):
    """A source with its position at `at`, and an empty target."""
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as target:
        source.write(data)
        source.flush()
        source.seek(at)
        yield source.fileno(), target.fileno()


def content(descriptor):
    return os.pread(descriptor, os.fstat(descriptor).st_size + 1, 0)


def followers():
    return [thread for thread in threading.enumerate() if thread.name == "artifact digest"]


around = st.sampled_from([0, CHUNK, FOLLOWED, STEP, FOLLOWED + STEP, 2 * STEP])
sizes = st.builds(lambda edge, off: max(0, edge + off), around, st.integers(-2, 2)) | st.integers(
    0, 2 * STEP
)


@given(size=sizes, fast=st.booleans(), at=st.integers(0, 100), sha=st.booleans())
def test_the_copy_has_the_bytes_and_the_digest(size, fast, at, sha):
    algorithm = "sha256" if sha else "blake3"
    data = data_of(size)
    with files(data, at=at) as (source, target):
        assert copy_and_hash(source, target, algorithm, fast=fast) == (
            digest_of(data, algorithm),
            size,
        )
        assert content(target) == data
    assert followers() == []


@given(size=sizes, fast=st.booleans())
def test_copy_without_a_digest(size, fast):
    data = data_of(size)
    with files(data) as (source, target):
        assert copy(source, target, fast=fast) == size
        assert content(target) == data


@linux
@pytest.mark.parametrize("after", [0, 1, 2])
@pytest.mark.parametrize("number", sorted(copying._NOT_THESE), ids=errno.errorcode.get)
def test_where_the_kernel_does_not_copy(monkeypatch, number, after):
    calls = []
    real = os.copy_file_range

    def refusing(source, target, count, *offsets):
        calls.append(offsets)
        if len(calls) > after:
            raise OSError(number, os.strerror(number))
        return real(source, target, count // 3, *offsets)

    monkeypatch.setattr(os, "copy_file_range", refusing)
    data = data_of(2 * STEP + 5)
    with files(data) as (source, target):
        assert copy_and_hash(source, target, "blake3") == (digest_of(data, "blake3"), len(data))
        assert content(target) == data
    assert len(calls) == after + 1


@linux
def test_where_the_source_looks_empty_to_the_kernel(monkeypatch):
    monkeypatch.setattr(os, "copy_file_range", lambda *_: 0)
    data = data_of(FOLLOWED)
    with files(data) as (source, target):
        assert copy_and_hash(source, target, "blake3") == (digest_of(data, "blake3"), len(data))


@linux
def test_without_copy_file_range(monkeypatch):
    monkeypatch.delattr(os, "copy_file_range")
    data = data_of(FOLLOWED + 1)
    with files(data) as (source, target):
        assert copy_and_hash(source, target, "blake3") == (digest_of(data, "blake3"), len(data))


@linux
def test_the_digest_is_that_of_the_copy(monkeypatch):
    """Of the bytes that lie in the target, not of those that were read from the source."""
    real = os.copy_file_range

    def falsifying(source, target, count, offset, offset_dst):
        done = real(source, target, count, offset, offset_dst)
        if done:
            os.pwrite(target, b"!", offset_dst)
        return done

    monkeypatch.setattr(os, "copy_file_range", falsifying)
    data = data_of(STEP + FOLLOWED)
    with files(data) as (source, target):
        digest, _ = copy_and_hash(source, target, "blake3")
        assert digest == digest_of(content(target), "blake3") != digest_of(data, "blake3")


@linux
def test_where_no_thread_starts(monkeypatch):
    def refuse(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    data = data_of(2 * STEP + 5)
    with files(data) as (source, target):
        assert copy_and_hash(source, target, "blake3") == (digest_of(data, "blake3"), len(data))
        assert content(target) == data


@linux
def test_an_error_of_the_digest_stops_the_copy(monkeypatch):
    def failing(*_):
        raise OSError(errno.EIO, "unreadable")

    monkeypatch.setattr(os, "preadv", failing)
    with files(data_of(3 * STEP)) as (source, target), pytest.raises(OSError, match="unreadable"):
        copy_and_hash(source, target, "blake3")
    assert followers() == []


@linux
def test_a_target_that_is_cut_meanwhile(monkeypatch):
    real = os.copy_file_range

    def cutting(source, target, *rest):
        done = real(source, target, *rest)
        os.ftruncate(target, 0)
        return done

    monkeypatch.setattr(os, "copy_file_range", cutting)
    with files(data_of(FOLLOWED)) as (source, target), pytest.raises(OSError, match="shorter"):
        copy_and_hash(source, target, "blake3")


@pytest.mark.parametrize("flushed", [True, False])
def test_the_disk_begins_at_once_only_if_the_copy_will_be_flushed(flushed, monkeypatch):
    begun = []
    monkeypatch.setattr(copying, "start_writeback", lambda *args: begun.append(args))
    with files(data_of(3 * STEP)) as (source, target):
        copy_and_hash(source, target, "blake3", flushed=flushed)
    assert sum(size for _, _, size in begun) == (3 * STEP if flushed else 0)


@WAYS
@pytest.mark.parametrize("size", [CHUNK, 3 * STEP])
def test_an_error_of_the_copy_leaves_no_thread(size, fast):
    with (
        files(data_of(size)) as (source, _),
        open(os.devnull, "rb") as unwritable,
        pytest.raises(OSError, match="descriptor"),
    ):
        copy_and_hash(source, unwritable.fileno(), "blake3", fast=fast)
    assert followers() == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
@WAYS
@pytest.mark.parametrize("size", [1, STEP + 1])
def test_a_full_device(size, fast):
    with (
        files(data_of(size)) as (source, _),
        open("/dev/full", "r+b", buffering=0) as full,
        pytest.raises(OSError) as caught,  # noqa: PT011 - the number says it
    ):
        copy_and_hash(source, full.fileno(), "blake3", fast=fast)
    assert caught.value.errno == errno.ENOSPC
    assert followers() == []


@linux
@WAYS
@pytest.mark.parametrize("limit", [100, STEP + 100])
def test_a_file_that_may_not_grow(tmp_path, limit, fast):
    """In a process of its own, which alone the limit then holds for."""
    source = tmp_path / "source"
    source.write_bytes(data_of(3 * STEP))
    script = f"""
import errno, resource, sys
from sqla_artifacts.copying import copy_and_hash
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
with open(sys.argv[1], "rb") as source, open(sys.argv[2], "w+b") as target:
    try:
        copy_and_hash(source.fileno(), target.fileno(), "blake3", fast={fast})
    except OSError as error:
        assert error.errno == errno.EFBIG, error
        print("refused")
"""
    arguments = [sys.executable, "-c", script, source, tmp_path / "target"]
    assert subprocess.check_output(arguments) == b"refused\n"


@linux
@WAYS
@pytest.mark.parametrize("size", [CHUNK, 3 * STEP])
def test_a_source_that_shrinks_is_refused(monkeypatch, tmp_path, size, fast):
    changed(monkeypatch, lambda source: os.truncate(source, size // 2))
    check_refused(tmp_path, size, fast)


@linux
@WAYS
@pytest.mark.parametrize("size", [CHUNK, 3 * STEP])
def test_a_source_that_grows_is_refused(monkeypatch, tmp_path, size, fast):
    def grow(source):
        with open(source, "ab") as fp:
            fp.write(data_of(STEP))

    changed(monkeypatch, grow)
    check_refused(tmp_path, size, fast)


@linux
@WAYS
def test_a_source_that_never_ends(monkeypatch, tmp_path, fast):
    """It grows as fast as it is copied, and yet the copy ends."""
    changed(monkeypatch, lambda source: os.truncate(source, os.path.getsize(source) + STEP))
    check_refused(tmp_path, 2 * STEP, fast)


def changed(monkeypatch, change):
    """Have every step of a copy followed by a change of the file named "source"."""

    def wrap(name):
        real = getattr(os, name)

        def wrapper(descriptor, *rest):
            done = real(descriptor, *rest)
            if (path := os.readlink(f"/proc/self/fd/{descriptor}")).endswith("/source"):
                change(path)
            return done

        monkeypatch.setattr(os, name, wrapper)

    for name in ("copy_file_range", "pread"):
        if hasattr(os, name):
            wrap(name)


def check_refused(directory, size, fast):
    source = directory / "source"
    source.write_bytes(data_of(size))
    staging = directory / "stage"
    staging.mkdir()
    stage = Stage("blake3", staging, fast=fast)
    with source.open("rb") as fp, pytest.raises(SourceError, match="changed while"):
        stage.copy(fp.fileno(), "source")
    assert list(staging.iterdir()) == []


@WAYS
def test_memory_is_bounded(tmp_path, fast):
    """A source of 256 MiB, all of it a hole, and a process that grows by far less."""
    source = tmp_path / "source"
    with source.open("wb") as fp:
        fp.truncate(1 << 28)
    script = f"""
import resource, sys
from sqla_artifacts.copying import copy_and_hash
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with open(sys.argv[1], "rb") as source, open(sys.argv[2], "w+b") as target:
    copy_and_hash(source.fileno(), target.fileno(), "blake3", fast={fast})
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    arguments = [sys.executable, "-c", script, source, tmp_path / "target"]
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(subprocess.check_output(arguments)) * unit < 32 << 20
