"""Directories of a column, and trees that are made in memory."""

import pytest

from ..test_stored_path import folder, stored  # noqa: F401 (fixtures)
from .trees import LargeTree


@pytest.fixture(scope="session")
def ten_thousand():
    """A tree of 10,000 files of 4 KiB, as the blobs that it is stored as."""
    return LargeTree(10_000)
