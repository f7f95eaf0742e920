"""Disks that refuse: the store is read as if there were no cache."""

import os
import shutil
import subprocess

import pytest

from ..programs.cache import (
    DATA,
    DIGEST,
    EVERY_WAY,
    TEXT,
    WAYS,
    content,
    damage,
    only_copy,
    put,
    reference,
)
from ..programs.checks import mere_user, run
from ..test_bad_store import truncated


def warned(caplog):
    """Check that there was one warning, and return it."""
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("sqla_artifacts.cache", "WARNING")
    return record.getMessage()


def test_a_directory_that_may_not_be_written_to(store, make_store, caplog):
    put(store, DATA, content(4))
    store.get(TEXT)
    (store.cache.path / "sqla_artifacts" / "tmp").chmod(0o555)
    other = make_store()
    with mere_user():
        for read in EVERY_WAY:
            assert read(other, TEXT) == DATA
            assert caplog.records == []
        for read in EVERY_WAY:
            assert read(other, reference(content(4))) == content(4)
    (store.cache.path / "sqla_artifacts" / "tmp").chmod(0o755)
    assert "Permission denied" in warned(caplog)


def test_a_damaged_copy_that_cannot_be_removed(store, make_store, caplog):
    put(store, DATA)
    store.get(TEXT)
    damage(only_copy(store), truncated)
    folder = only_copy(store).parent
    folder.chmod(0o555)
    other = make_store()
    with mere_user():
        for read in WAYS.values():
            assert read(other, TEXT) == DATA
        with pytest.raises(PermissionError):
            other.cache.discard(DIGEST)
    folder.chmod(0o755)
    assert "Permission denied" in warned(caplog)


def test_a_file_in_place_of_the_directory(make_store, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    store = make_store(cache=tmp_path / "file")
    put(store, DATA)
    for read in EVERY_WAY:
        assert read(store, TEXT) == DATA
    assert "Not a directory" in warned(caplog)


def test_a_directory_that_is_removed_meanwhile(store):
    put(store, DATA)
    for read in WAYS.values():
        assert read(store, TEXT) == DATA
        assert only_copy(store).read_bytes() == DATA
        shutil.rmtree(store.cache.path)


def test_a_full_disk(tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    unshare = ["unshare", "--mount", *(() if os.geteuid() == 0 else ("--map-root-user",))]
    mount = 'mount -t tmpfs -o size=6m tmpfs "$0"'
    works = subprocess.run([*unshare, "sh", "-c", mount, place], capture_output=True, check=False)
    if works.returncode:
        pytest.skip(f"no file system can be mounted here: {works.stderr.decode()}")
    before = [*unshare, "sh", "-c", f'{mount} && exec "$@"', place]
    shown = run("cache", "full", tmp_path / "artifacts", place / "cache", before=before).stdout
    assert shown.count("WARNING:sqla_artifacts.cache:") == 1
    assert "No space left on device" in shown
