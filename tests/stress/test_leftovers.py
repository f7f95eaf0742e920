"""What a killed process leaves is removed by the next one, and nothing else is."""

import datetime as dt
import os
import re
import subprocess
import sys
import time

import pytest

from sqla_artifacts import leftovers
from sqla_artifacts.backends.generic import GenericBackend
from sqla_artifacts.digest import digest_of
from sqla_artifacts.leftovers import new_directory, new_file
from sqla_artifacts.payload import Payload

from ..programs.checks import ROOT

NAME = ".unpack-"

# Makes a file and a directory that is full and read-only, says so, and waits to be killed.
MAKER = """
import os, sys
from sqla_artifacts.leftovers import new_directory, new_file
directory = sys.argv[1]
file = new_file(directory, ".unpack-", 0o444)
tree = new_directory(directory, ".unpack-")
os.makedirs(tree[0] + "/a/b")
open(tree[0] + "/a/b/file", "w").close()
os.symlink(directory, tree[0] + "/a/link")
os.chmod(tree[0] + "/a/b", 0o500)
print("made", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def fresh():
    """As in a process that has not swept anything."""
    leftovers._swept.clear()


@pytest.fixture
def maker(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", MAKER, tmp_path],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout.readline() == "made\n"
        yield process
        process.kill()


def make(make_one, directory):
    path, descriptor = make_one(str(directory), NAME)
    os.close(descriptor)
    return os.path.basename(path)


@pytest.mark.parametrize("make_one", [new_file, new_directory])
def test_what_a_killed_process_has_made_is_removed(maker, tmp_path, make_one):
    assert len(os.listdir(tmp_path)) == 2
    maker.kill()
    maker.wait()
    own = make(make_one, tmp_path)
    assert os.listdir(tmp_path) == [own]


def test_what_a_living_process_has_made_is_kept(maker, tmp_path):
    made = set(os.listdir(tmp_path))
    own = make(new_file, tmp_path)
    assert set(os.listdir(tmp_path)) == made | {own}


def test_what_has_another_name_is_kept(tmp_path):
    names = {".unpack-mine", ".unpack-0123456789ABCDEF", "unpack-0123456789abcdef"}
    for name in names:
        (tmp_path / name).mkdir()
    (tmp_path / ".unpack-0123456789abcdef").symlink_to(tmp_path / ".unpack-mine")
    make(new_file, tmp_path)
    assert names | {".unpack-0123456789abcdef"} <= set(os.listdir(tmp_path))


def test_a_directory_is_swept_once(tmp_path):
    make(new_file, tmp_path)
    left = make(new_file, tmp_path)
    make(new_file, tmp_path)
    assert left in os.listdir(tmp_path)


def test_a_directory_that_is_not_there_is_an_error(tmp_path):
    for make_one in (new_file, new_directory):
        with pytest.raises(FileNotFoundError):
            make(make_one, tmp_path / "absent")


def test_what_was_staged_for_a_bucket_is_removed(tmp_path):
    """By the next process that stages something for one."""
    stage = """
import os, sys, tempfile
from sqla_artifacts import ArtifactStore
tempfile.tempdir = sys.argv[1]
file = ArtifactStore("local://" + sys.argv[1] + "/store").stage.new_file()
print([name for _, _, names in os.walk(sys.argv[1]) for name in names], flush=True)
os._exit(0)
"""
    command = [sys.executable, "-c", stage, tmp_path]
    for _ in range(2):
        shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        assert len(re.findall("staged-", shown)) == 1, shown


def test_what_a_writer_left_elsewhere_is_removed_a_day_later(tmp_path):
    folder = tmp_path / "tmp"
    folder.mkdir()
    for name, age in (("old", dt.timedelta(days=2)), ("new", dt.timedelta(hours=2))):
        (folder / name).touch()
        then = time.time() - age.total_seconds()
        os.utime(folder / name, (then, then))
    backend = GenericBackend(f"local://{tmp_path}")
    backend.put([("blobs/x", Payload(digest_of(b"x", "blake3"), 1, b"x"))])
    assert os.listdir(folder) == ["new"]
    assert backend.get("blobs/x") == b"x"
