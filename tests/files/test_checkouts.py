"""Checkouts under many processes, under kill -9, and beside somebody who means harm."""

import io
import os
import pickle
import signal
import stat
import subprocess
import sys
import time

import pytest

from sqla_artifacts import ArtifactStore
from sqla_artifacts.digest import digest_of
from sqla_artifacts.errors import ArtifactError, UnpackError
from sqla_artifacts.folder import Folder
from sqla_artifacts.unpacking import tree as unpacking_tree
from sqla_artifacts.unpacking import unpack_file

from ..trees import listing
from .trees import LargeTree

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals, links, descriptors")

PROGRAM = """
import pickle, sys
run, where = pickle.load(sys.stdin.buffer)
"""


def start(code, *values):
    """Start a Python program that gets some values."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM + code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    pickle.dump(values, process.stdin)
    process.stdin.flush()
    return process


def finished(process):
    """Wait for a program, and return what it printed."""
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return printed.decode()


@pytest.fixture
def tree(tmp_path):
    """A tree of 200 small files in a store on the disk."""
    store = ArtifactStore(str(tmp_path / "store"), checkouts=tmp_path / "checkouts")
    return LargeTree(200).put(store)


def temporaries(directory):
    return [path.name for path in directory.rglob(".unpack-*")]


def test_processes_that_check_out_at_once_all_read_the_right_bytes(stored, folder):
    run, store = stored(folder)
    file, _ = stored(folder / "weights" / "layer0.bin")
    code = """
print("ready", flush=True)
sys.stdin.buffer.readline()
for path in (run, where):
    there = path.unpack()
    files = sorted(there.rglob("*")) if path.is_dir else [there]
    print(*(f"{f.name} {len(f.read_bytes())}" for f in files if f.is_file()), sep=", ")
"""
    processes = [start(code, run, file) for _ in range(4)]
    for process in processes:
        assert process.stdout.readline() == b"ready\n"
    for process in processes:  # together, now that all of them are up
        process.stdin.write(b"\n")
        process.stdin.flush()
    printed = {finished(process) for process in processes}
    size = os.path.getsize(folder / "weights" / "layer0.bin")
    names = f"latest {size}, metrics.json 13, layer0.bin {size}"
    assert printed == {f"{names}\nlayer0.bin {size}\n"}
    assert listing(run.unpack() / "weights") == listing_of_checkout(folder / "weights")
    assert temporaries(store.checkouts) == []


def listing_of_checkout(folder):
    """What a checkout of a directory holds: files that cannot be written."""
    return {
        path: (value[0] & ~0o222, value[1]) if value[1] is not None else value
        for path, value in listing(folder).items()
    }


KILLED = """
from sqla_artifacts.unpacking import tree

def stop(self):
    print("in the middle", flush=True)
    sys.stdin.buffer.readline()

tree._Unpacking.finish = stop
run.unpack(where)
"""


AGAIN = """
import os
os.rename(where, f"{where}-1")
run.unpack(where.parent)
"""


@pytest.mark.parametrize("to", [None, "to"], ids=["checkout", "copy"])
def test_a_killed_unpack_leaves_nothing_that_the_next_does_not_sweep(tree, tmp_path, to):
    where = to and tmp_path / to
    process = start(KILLED, tree, where)
    assert process.stdout.readline() == b"in the middle\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (place,) = (where or tree.store.checkouts).rglob(".unpack-*")
    assert not (place.parent / tree.name).exists()
    path = tree.unpack(where)
    assert path == place.parent / tree.name
    assert len(list(path.rglob("*.bin"))) == 200
    # A process sweeps a directory once, and this one may have done so before.
    finished(start(AGAIN, tree, path))
    assert temporaries(place.parent) == []


# -- somebody who means harm ---------------------------------------------------------------------

RACER = """
import itertools, os, shutil
print("ready", flush=True)
for number in itertools.count():
    for name in os.listdir(where):
        inside = os.path.join(where, name)
        if name.startswith(".unpack-") and not os.path.islink(inside):
            try:
                below = [os.path.join(inside, each) for each in os.listdir(inside)]
                for each in [inside, *below][number % 2 :]:
                    os.rename(each, f"{where}/../moved/{number}-{os.path.basename(each)}")
                    os.symlink(run, each)
            except OSError:
                pass
"""


def test_somebody_who_replaces_directories_by_links_leads_nobody_out(tmp_path):
    store = ArtifactStore(str(tmp_path / "store"))
    tree = LargeTree(300).put(store)
    outside, target, moved = (tmp_path / name for name in ("outside", "target", "moved"))
    for directory in (outside, target, moved):
        directory.mkdir()
    (outside / "mine").mkdir(mode=0o751)
    (outside / "mine" / "file").write_bytes(b"mine")
    before = listing(outside)
    racer = start(RACER, str(outside), str(target))
    try:
        assert racer.stdout.readline() == b"ready\n"
        refused, end = 0, time.monotonic() + 3
        while time.monotonic() < end:
            try:
                path = tree.unpack(target)
            except ArtifactError:
                refused += 1
            else:
                os.rename(path, moved / f"whole-{time.monotonic_ns()}")
            assert listing(outside) == before
            assert not os.path.lexists(target / "tree") or (target / "tree").is_dir()
    finally:
        racer.kill()
        racer.communicate()
    assert refused
    assert listing(outside) == before


@pytest.mark.parametrize("when", ["before the members", "before the name"])
def test_a_link_in_the_place_of_the_temporary_directory_is_refused(
    tree, tmp_path, monkeypatch, when
):
    outside, target = tmp_path / "outside", tmp_path / "target"
    for directory in (outside, target):
        directory.mkdir()
    step = {"before the members": "make_empty", "before the name": "finish"}[when]
    original = getattr(unpacking_tree._Unpacking, step)

    def replace(self):
        if when == "before the name":
            original(self)
        os.rename(self.temporary, tmp_path / "moved")
        os.symlink(outside, self.temporary)
        if when == "before the members":
            original(self)

    monkeypatch.setattr(unpacking_tree._Unpacking, step, replace)
    with pytest.raises(UnpackError, match="something else has taken its place"):
        tree.unpack(target)
    assert list(outside.iterdir()) == []
    assert not (target / "tree").is_symlink()


def test_nothing_behind_a_link_is_cleared_away_after_an_error(tree, tmp_path, monkeypatch):
    outside, target = tmp_path / "outside", tmp_path / "target"
    for directory in (outside, target):
        directory.mkdir(mode=0o751)
    (outside / "mine").write_bytes(b"mine")
    before = listing(outside)

    def fail(self):
        os.rename(self.temporary, tmp_path / "moved")
        os.symlink(outside, self.temporary)
        raise InterruptedError("stop")

    monkeypatch.setattr(unpacking_tree._Unpacking, "finish", fail)
    with pytest.raises(InterruptedError, match="stop"):
        tree.unpack(target)
    assert listing(outside) == before


def test_a_directory_that_became_a_link_keeps_its_mode_outside(tmp_path):
    (tmp_path / "outside").mkdir(mode=0o751)
    with Folder(str(tmp_path)) as folder:
        os.symlink("outside", tmp_path / "link")
        with pytest.raises(OSError, match="link"):
            folder.chmod("link", 0o700)
    assert stat.S_IMODE((tmp_path / "outside").stat().st_mode) == 0o751


def test_a_link_in_the_place_of_a_temporary_file_is_refused(tmp_path):
    (tmp_path / "outside").write_bytes(b"mine")
    (tmp_path / "outside").chmod(0o644)
    (tmp_path / "to").mkdir()

    class Racing(io.BytesIO):
        def read(self, size=-1):
            for path in (tmp_path / "to").glob(".unpack-*"):
                path.unlink()
                path.symlink_to(tmp_path / "outside")
            return super().read(size)

    data = b"content"
    with pytest.raises(UnpackError, match="something else has taken its place"):
        unpack_file(
            Racing(data),
            digest_of(data, "blake3"),
            tmp_path / "to" / "file",
            algorithm="blake3",
            read_only=True,
        )
    assert list((tmp_path / "to").iterdir()) == []
    assert (tmp_path / "outside").read_bytes() == b"mine"
    assert stat.S_IMODE((tmp_path / "outside").stat().st_mode) == 0o644
