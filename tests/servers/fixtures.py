"""The servers as fixtures, one of each for a pytest-xdist worker, started when first asked for."""

import os
import shutil

import pytest

from . import S3, Azure, FaultyS3, Google


def _run(server):
    """Start a server; skip what needs it where it cannot be had, which in CI is a failure."""
    reason = server.missing()
    if reason is not None:
        # npm is not ours to install.
        needed = os.environ.get("CI") == "true" and (server is not Azure or shutil.which("npm"))
        (pytest.fail if needed else pytest.skip)(reason)
    running = server()
    yield running
    running.close()


@pytest.fixture(scope="session")
def s3():
    """S3: `.url`, `.endpoint`, and `.options` or `.fsspec_options` for whoever opens the URL."""
    yield from _run(S3)


@pytest.fixture(scope="session")
def google():
    """Google Cloud Storage, as `s3`."""
    yield from _run(Google)


@pytest.fixture(scope="session")
def azure():
    """Azure Blob Storage, as `s3`."""
    yield from _run(Azure)


@pytest.fixture
def faulty_s3():
    """An S3 in this process, that fails on demand: see `FaultyS3`."""
    with FaultyS3() as server:
        yield server
