"""Limits: archives and uploads that would become too much are refused early, in little memory."""

import io
import random
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from sqla_artifacts.archive import Archive
from sqla_artifacts.errors import InvalidValueError

from .archives import COMPRESSIONS, hard_link, link, member, tar_of, zip_member, zip_of
from .bombs import bombs

ROOT = Path(__file__).parents[2]
MIB = 1 << 20


def small():
    """Small archives of every kind, after which all is imported that will be."""
    for name, mode in COMPRESSIONS.items():
        yield f"small.{name}", "stored", tar_of(member("a", bytes(2 * MIB)), mode=mode)
    for method in (0, 8, 12, 14):
        packed = zip_of(zip_member("a", bytes(2 * MIB)), compression=method)
        yield f"small-{method}.zip", "stored", packed


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is in /proc")
def test_bombs_are_refused_in_64_mib_of_memory(tmp_path, temporary):
    expected = {}
    for name, message, data in (*small(), *bombs()):
        (tmp_path / name).write_bytes(data)
        expected[name] = message
    run = subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            "-m",
            "tests.uploads.peak",
            *map(tmp_path.joinpath, expected),
        ],
        cwd=ROOT,
        env={"TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    before = 0
    for line, (name, message) in zip(run.stdout.splitlines(), expected.items(), strict=True):
        memory, _, result = line.partition(" ")
        before = float(memory) if name.startswith("small") else before
        assert result.startswith(message.format(name)), name
        assert float(memory) - before < 64, name


# -- what is counted ---------------------------------------------------------------------------


def packed(*members):
    """The same files as a tar and as a zip file."""
    yield tar_of(*(member(name, data) for name, data in members))
    yield zip_of(*(zip_member(name, data) for name, data in members))


def refuses(archive, message, stage):
    with pytest.raises(
        InvalidValueError, match=f"^the archive 'archive' holds more than {message}"
    ):
        archive.stage(stage)


def test_the_size_is_that_of_all_files(stage):
    for archive in packed(("a", bytes(6)), ("b", bytes(5)), ("c/d", b"")):
        assert Archive(archive, max_size=11).stage(stage).total == 11
        refuses(Archive(archive, max_size=10), "max_size=10 bytes: raise that if you trust", stage)


def test_members_are_files_links_and_directories_also_those_that_are_implied(stage):
    for archive in packed(("a/b/c", b""), ("d", b"")):
        assert Archive(archive, max_members=4).stage(stage).total == 0
        refuses(Archive(archive, max_members=3), "max_members=3 files, links and direc", stage)
    links = tar_of(link("a", "x"), link("b", "x"), member("c", type=tarfile.DIRTYPE))
    assert Archive(links, max_members=3).stage(stage).total == 0
    refuses(Archive(links, max_members=2), "max_members=2 files", stage)


def test_deep_paths_and_long_names_are_limited_too(stage):
    deep = tar_of(member("x/" * 1000 + "y"))
    refuses(Archive(deep, max_members=100), "max_members=100 files", stage)
    path = "/".join(["x" * 200] * 15)
    long = tar_of(*(member(f"{number}/{path}") for number in range(10)))
    refuses(Archive(long, max_members=200), "max_members=200 .* or names longer than 512", stage)
    assert Archive(long, max_members=1000).stage(stage).total == 0


def test_hard_links_count_as_what_they_become(stage):
    links = [hard_link(str(number), "a") for number in range(4)]
    archive = tar_of(member("a", bytes(MIB)), *links)
    assert Archive(archive, max_size=5 * MIB).stage(stage).total == 5 * MIB
    refuses(Archive(archive, max_size=5 * MIB - 1), "max_size=5242879 bytes", stage)


def test_a_zip_file_with_too_long_a_directory_is_not_read(stage):
    members = [zip_member(str(number)) for number in range(1000)]
    refuses(Archive(zip_of(*members), max_members=999), "max_members=999 files", stage)
    assert Archive(zip_of(*members), max_members=1000).stage(stage).total == 0


def test_a_large_member_in_an_archive_of_few(stage):
    for archive in packed(("a", random.Random(1).randbytes(3 * MIB))):
        assert Archive(archive, max_members=1).stage(stage).total == 3 * MIB


class Endless(io.RawIOBase):
    """A response without an end."""

    given = 0

    def readable(self):
        return True

    def readinto(self, buffer):
        self.given += len(buffer)
        return len(buffer)


def test_an_upload_without_an_end_is_refused(stage):
    upload = Endless()
    message = r"the archive 'file' is itself larger than its max_size=1000 allows: raise that"
    with pytest.raises(InvalidValueError, match=message):
        Archive(upload, max_size=1000, max_members=1).stage(stage)
    assert upload.given < 8 * MIB


def test_an_archive_may_be_larger_than_what_is_in_it(stage):
    archive = io.BytesIO(tar_of(member("a", b"a")))
    assert Archive(archive, max_size=1, max_members=1).stage(stage).total == 1


@pytest.mark.parametrize("kind", ["pax_headers", "uname"])
def test_a_member_may_have_attributes(stage, kind):
    value = {"SCHILY.xattr.user.a": "x" * 10_000} if kind == "pax_headers" else "x" * 30
    archive = tar_of(member("a", b"a", **{kind: value}))
    assert re.search(rb"x{30}", archive)
    assert Archive(archive).stage(stage).total == 1
