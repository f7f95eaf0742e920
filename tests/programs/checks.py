"""What the tests that use these programs, or their model, share."""

import contextlib
import ctypes
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from sqla_artifacts.errors import StoreWriteError

from .model import Sample

ROOT = Path(__file__).parents[2]
# CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH.
_READS_AND_WRITES_ALL = 1 << 1 | 1 << 2

CI = os.environ.get("CI") == "true"


@contextlib.contextmanager
def mere_user():
    """Take from this thread what lets root read and write every file."""
    if os.geteuid():
        yield
        return
    if sys.platform != "linux":
        pytest.skip("root reads and writes every file here")
    header = struct.pack("II", 0x20080522, 0)  # the third version, and the calling thread
    before = ctypes.create_string_buffer(24)
    capabilities = ctypes.CDLL(None, use_errno=True)
    assert capabilities.capget(header, before) == 0
    effective, *rest = struct.unpack("6I", before.raw)
    less = struct.pack("6I", effective & ~_READS_AND_WRITES_ALL, *rest)
    assert capabilities.capset(header, less) == 0
    try:
        yield
    finally:
        assert capabilities.capset(header, before) == 0


def require(present, reason):
    """Skip the test unless what it needs is there; in CI, where it has to be, fail."""
    if not present:
        (pytest.fail if CI else pytest.skip)(reason)


def command(program, *arguments):
    """The command that runs one of the programs, with warnings as errors."""
    return [sys.executable, "-W", "error", "-m", f"tests.programs.{program}", *map(str, arguments)]


def run(program, *arguments, before=()):
    """Run a program to its end, after words such as `strace -f`; return what it prints."""
    result = subprocess.run(
        [*map(str, before), *command(program, *arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result


def refused(session, store, error, message, *samples):
    """Check that rows are refused by this very error, and that they leave nothing behind."""
    count = text("SELECT count(*) FROM sample")
    rows, digests = session.scalar(count), ledger_of(session)
    session.add_all(samples)
    with pytest.raises(error, match=f"^{message}") as caught:
        session.commit()
    assert type(caught.value) is error
    assert len(str(caught.value)) < 1000
    session.rollback()
    assert session.scalar(count) == rows
    assert temporary_files(store.backend.root) == []
    good = check_usable(session)
    # On PostgreSQL what was to be written is noted before it is.
    if session.bind.dialect.name == "sqlite" or error is not StoreWriteError:
        assert ledger_of(session) == digests | good


def ledger_of(session):
    """The digests of all blobs that the ledger knows."""
    digests = set(session.scalars(text("SELECT digest FROM artifact_blob")))
    session.rollback()
    return digests


def check_usable(session):
    """Check that a session can store a row and read it back; return the digests of its blobs."""
    good = Sample(data=b"good", model=["good"], file=("good", b"good"))
    session.add(good)
    session.commit()
    session.refresh(good)
    assert (good.data, good.model.unpack(), good.file.open().read()) == (b"good", ["good"], b"good")
    digests = {good.model.digest, good.file.digest}
    session.delete(good)
    session.commit()
    return digests


def temporary_files(place):
    """What a store's `tmp` holds but for the locks of living processes."""
    found = (Path(place) / "tmp").rglob("*")
    return sorted(str(path) for path in found if path.is_file() and path.name != "lock")


def blob_files(place):
    """The files of a store's blobs, by digest."""
    return {path.name: path for path in (Path(place) / "blobs").rglob("*") if path.is_file()}
