"""Stores that have a cache."""

import pytest

from ..programs.cache import open_store


@pytest.fixture
def make_store(tmp_path):
    """Opens the same store, read like a bucket, and the same cache; asks for options."""

    def make(**options):
        options = {"cache": tmp_path / "cache", "checkouts": tmp_path / "checkouts", **options}
        return open_store(str(tmp_path / "artifacts"), **options)

    return make


@pytest.fixture
def store(make_store):
    return make_store()
