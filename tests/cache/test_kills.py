"""Processes that share a cache, killed while they fill it and remove copies from it."""

import json
import uuid

import pytest

from ..programs.cache import COUNT, LARGEST, content, open_store, put, reference, space
from ..programs.checks import run, temporary_files

SIZE = 800_000


def check_kills(url, options, cache, kills):
    """Kill those who fill a cache, and check what they served and what they have left."""
    contents = [content(number) for number in range(COUNT)]
    store = open_store(url, cache=cache, cache_size=SIZE, **options)
    put(store, *contents)
    found = json.loads(run("cache", "kill", url, json.dumps(options), cache, SIZE, kills).stdout)
    # Copies came and went, so the reads met a cache that changed.
    assert found["seen"] > COUNT / 4
    assert min(found["reads"], found["reader"]) > kills
    # What several processes add at the same moment may be too much, until one of them adds more.
    assert found["size"] < SIZE + 3 * LARGEST
    for data in contents:
        assert store.get(reference(data)) == data
    assert space(cache) <= SIZE
    assert temporary_files(cache / "sqla_artifacts") == []


@pytest.mark.parametrize("kills", [60, pytest.param(2000, marks=pytest.mark.slow)])
def test_processes_that_are_killed_leave_nothing_wrong(tmp_path, kills):
    check_kills(str(tmp_path / "artifacts"), {}, tmp_path / "cache", kills)


def test_processes_that_are_killed_while_they_read_a_bucket(s3, tmp_path):
    url = f"{s3.url}/{uuid.uuid4().hex}"
    check_kills(url, s3.options, tmp_path / "cache", 20)
