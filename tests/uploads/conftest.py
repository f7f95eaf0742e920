"""A stage, and a place for temporary files that has to be empty in the end."""

import tempfile

import pytest

from sqla_artifacts.payload import Stage


@pytest.fixture
def stage(tmp_path):
    return Stage("blake3", tmp_path)


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    yield place
    assert list(place.iterdir()) == []
