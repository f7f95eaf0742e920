"""The stat cache: what has not changed is not read, and what has changed always is."""

import logging
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sqla_artifacts import stat_cache
from sqla_artifacts.directory import stage_directory
from sqla_artifacts.errors import InvalidValueError, SourceError
from sqla_artifacts.source import stage_source
from sqla_artifacts.stat_cache import DAYS, TICK, State

from .sources import digest_of_tree, files_read, let_a_tick_pass, make, same_size, stage_of, write

FILES = 21


@pytest.fixture
def place(tmp_path, monkeypatch):
    """(a directory that is at rest, where to stage, the cache's file)"""
    source = make(tmp_path / "source")
    let_a_tick_pass(monkeypatch)
    return source, tmp_path / "stage", tmp_path / "stat.db"


def check_read(place, expected):
    """The cache says what reading says, and only so many files were read for it."""
    digest, read = files_read(digest_of_tree, *place)
    assert digest == digest_of_tree(place[0], place[1])
    assert read == expected


def test_what_has_not_changed_is_not_read(place):
    check_read(place, FILES)
    check_read(place, 0)


def test_nor_is_it_staged(place):
    digest_of_tree(*place)
    payload = stage_directory(place[0], stage_of(*place[1:]))
    assert payload.parts
    assert all(callable(part.content) for part in payload.parts)
    assert list(place[1].iterdir()) == []


def change_in_place(source):
    same_size(source / "1" / "4.txt")


def rename_over(source):
    other = source.parent / "other"
    shutil.copy2(source / "1" / "4.txt", other)
    same_size(other)
    other.rename(source / "1" / "4.txt")


def append(source):
    with (source / "0.bin").open("ab") as fp:
        fp.write(b"x")


@pytest.mark.parametrize("change", [change_in_place, rename_over, append])
def test_a_change_is_seen(place, change):
    before, _ = files_read(digest_of_tree, *place)
    change(place[0])
    digest, read = files_read(digest_of_tree, *place)
    assert digest == digest_of_tree(place[0], place[1]) != before
    # A small one is read again with those that share its pack.
    assert read == (1 if change is append else FILES - 1)


def test_a_file_that_goes_costs_reading_its_pack(place):
    check_read(place, FILES)
    (place[0] / "1" / "4.txt").unlink()
    check_read(place, FILES - 2)
    check_read(place, 0)


def test_a_change_of_modes_and_links_is_seen(place):
    before = digest_of_tree(*place)
    (place[0] / "link").symlink_to("0.bin")
    (place[0] / "empty").mkdir()
    os.chmod(place[0] / "1", 0o700)
    check_read(place, 0)
    assert digest_of_tree(*place) != before


def test_a_change_within_the_same_tick_is_seen(place, monkeypatch):
    """The clock of the file system stands still, and so it shows nothing."""
    first = min(path.stat().st_ctime_ns for path in place[0].rglob("*"))
    real = stat_cache.state_of
    still = {"mtime": 0, "ctime": 0}
    monkeypatch.setattr(stat_cache, "state_of", lambda status: real(status)._replace(**still))
    monkeypatch.setattr(time, "time_ns", lambda: first + TICK)
    for _ in range(3):
        check_read(place, FILES)
        change_in_place(place[0])
    # Long after, they are remembered. A clock that still stands then would hide a change.
    let_a_tick_pass(monkeypatch)
    check_read(place, FILES)
    change_in_place(place[0])
    assert files_read(digest_of_tree, *place)[1] == 0


@pytest.mark.parametrize("field", State._fields)
def test_each_part_of_a_state_counts(place, monkeypatch, field):
    check_read(place, FILES)
    real = stat_cache.state_of

    def other(status):
        state = real(status)
        return state._replace(**{field: getattr(state, field) + 1})

    monkeypatch.setattr(stat_cache, "state_of", other)
    check_read(place, FILES)


def test_what_turns_out_to_be_needed_is_read_and_checked(place):
    first = stage_directory(place[0], stage_of(place[1]))
    digest_of_tree(*place)
    payload = stage_directory(place[0], stage_of(*place[1:]))
    loaded = [part.load() for part in payload.parts]
    assert [part.digest for part in loaded] == [part.digest for part in first.parts]
    for part, expected in zip(loaded, first.parts, strict=True):
        with part.open() as fp, expected.open() as other:
            assert fp.read() == other.read()


@pytest.mark.parametrize("name", ["1/4.txt", "0.bin"])
@pytest.mark.parametrize("change", [same_size, Path.unlink, lambda path: write(path, b"")])
def test_what_has_changed_by_then_is_refused(place, name, change):
    digest_of_tree(*place)
    payload = stage_directory(place[0], stage_of(*place[1:]))
    change(place[0] / name)
    with pytest.raises(SourceError, match=f"{name}' (changed while|cannot be read)"):
        [part.load() for part in payload.parts]
    assert len(list(place[1].iterdir())) <= 1  # what could be read


@pytest.mark.parametrize("name", ["", "0.bin"])
def test_the_limit_of_a_column_holds_for_what_is_remembered(place, name):
    for _ in range(2):
        assert stage_source(place[0] / name, stage_of(*place[1:]))
    stage = stage_of(*place[1:])
    stage.limit = 1000
    with pytest.raises(InvalidValueError, match="max_size of 1000"):
        stage_source(place[0] / name, stage)


def test_algorithms_are_kept_apart(place):
    def digest(algorithm, cache):
        stage = stage_of(place[1], cache)
        stage.algorithm = algorithm
        return stage_directory(place[0], stage).digest

    for algorithm in ("blake3", "sha256"):
        for expected in (FILES, 0):
            found = files_read(digest, algorithm, place[2])
            assert found == (digest(algorithm, None), expected)


def test_a_row_that_nobody_asks_for_goes(place, tmp_path, monkeypatch):
    check_read(place, FILES)
    other = make(tmp_path / "other", seed=2)
    later = time.time_ns() + (DAYS - 1) * 24 * 3600 * 10**9
    monkeypatch.setattr(time, "time_ns", lambda: later)
    check_read((other, *place[1:]), FILES)
    check_read((other, *place[1:]), 0)
    later += 2 * 24 * 3600 * 10**9
    check_read((other, *place[1:]), 0)
    with sqlite3.connect(place[2]) as connection:
        kept = [os.fsdecode(path) for (path,) in connection.execute("SELECT path FROM directory")]
    connection.close()
    assert {Path(path).parent for path in kept if Path(path) != other} == {other}
    check_read(place, FILES)


@pytest.mark.parametrize("content", [b"no database at all" * 100, None])
def test_a_cache_that_is_broken_is_not_used(place, caplog, content):
    if content is None:
        place[2].mkdir()
    else:
        place[2].write_bytes(content)
    stage = stage_of(*place[1:])
    with caplog.at_level(logging.WARNING, "sqla_artifacts.stat_cache"):
        for _ in range(2):
            digest = stage_directory(place[0], stage).digest
    assert digest == digest_of_tree(place[0], place[1])
    assert [str(place[2]) in record.getMessage() for record in caplog.records] == [True]


def test_a_row_that_is_broken_is_not_used(place):
    check_read(place, FILES)
    with sqlite3.connect(place[2]) as connection:
        connection.execute("UPDATE directory SET files = x'c1'")
    connection.close()
    check_read(place, FILES)
    check_read(place, 0)


def test_a_cache_that_is_locked_holds_nobody_up_for_ever(place, monkeypatch, caplog):
    monkeypatch.setattr(stat_cache, "_TIMEOUT", 0.01)
    check_read(place, FILES)
    change_in_place(place[0])
    holder = sqlite3.connect(place[2], isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    check_read(place, FILES - 1)
    holder.close()
    assert "locked" in caplog.text
    check_read(place, FILES - 1)


def test_many_processes_share_a_cache_and_are_killed(place):
    """Whenever one is killed, the others and the next are right."""
    program = """
import sys
from tests.storing.sources import digest_of_tree, same_size
from pathlib import Path
print("begun", flush=True)
while True:
    digest_of_tree(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
    same_size(Path(sys.argv[1]) / "1" / "4.txt")
"""
    others = [make(place[0].parent / f"source {n}", seed=n) for n in range(3)]
    for moment in range(2):
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", program, source, place[1], place[2]], stdout=subprocess.PIPE
            )
            for source in others
        ]
        for process in processes:
            process.stdout.readline()
        for number in range(10):
            check_read(place, 0 if number or moment else FILES)
        for process in processes:
            process.send_signal(signal.SIGKILL)
            process.wait()
            process.stdout.close()
    for source in others:
        assert digest_of_tree(source, *place[1:]) == digest_of_tree(source, place[1])
    with sqlite3.connect(place[2]) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
