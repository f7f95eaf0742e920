"""Who unpacks can be told how far it is."""

import asyncio
import threading

import pytest

from sqla_artifacts.progress import Progress
from sqla_artifacts.reference import Reference

from ..models import counting
from ..test_stored_path import LARGE
from .trees import distant_store, path_of, rot


class Listener:
    """Notes what it is told, and whether it was ever told twice at once."""

    def __init__(self):
        self.told = []
        self.overlapped = False
        self._lock = threading.Lock()

    def __call__(self, progress):
        if not self._lock.acquire(blocking=False):
            self.overlapped = True
            return
        self.told.append(progress)
        self._lock.release()

    def check(self, objects, size):
        """What was told leads in small steps from nothing to all."""
        assert not self.overlapped
        assert {(each.step, each.bytes_total) for each in self.told} == {("unpack", size)}
        assert self.told == sorted(self.told)
        assert self.told[-1] == Progress("unpack", objects, size, size)


@pytest.mark.parametrize("form", ["checkout", "copy", "part", "async"])
def test_a_directory_s_files_and_bytes_are_told(stored, folder, tmp_path, form):
    (folder / "none").touch()
    run, store = stored(folder)
    listener = Listener()
    if form == "async":
        asyncio.run(run.aunpack(tmp_path / "to", progress=listener))
    elif form == "part":
        run.unpack(tmp_path / "to", members=["weights", "none"], progress=listener)
    else:
        run.unpack(tmp_path / "to" if form == "copy" else None, progress=listener)
    listener.check(2, len(LARGE)) if form == "part" else listener.check(3, run.size)
    backend = counting(store)
    if form == "checkout":  # it is there already
        run.unpack(progress=listener.told.clear)
        assert backend.calls == []


def test_a_file_s_bytes_are_told(stored, folder, tmp_path):
    file, _ = stored(folder / "weights" / "layer0.bin")
    run, _ = stored(folder)
    small, large = run / "metrics.json", run / "latest"
    for path, size in ((file, len(LARGE)), (small, 13), (large, len(LARGE))):
        for to in (tmp_path / f"to{size}{path.name}", None):
            listener = Listener()
            path.unpack(to, progress=listener)
            listener.check(1, size)


def test_threads_tell_one_after_the_other(tmp_path, ten_thousand):
    run = ten_thousand.put(distant_store(tmp_path))
    listener = Listener()
    run.unpack(tmp_path / "to", progress=listener)
    listener.check(10_000, run.size)
    assert len(listener.told) >= 40


def test_a_large_file_from_a_distance_is_told_as_it_comes(tmp_path):
    store = distant_store(tmp_path)
    payload = store.stage.data(bytes(5 << 20))
    store.put([(payload, 0)])
    listener = Listener()
    path_of_file(store, payload).unpack(tmp_path / "to", progress=listener)
    listener.check(1, 5 << 20)
    assert len(listener.told) > 5


@pytest.mark.parametrize("of", ["file", "tree"])
def test_so_is_a_local_one(stored, tmp_path, of):
    folder = tmp_path / "large"
    folder.mkdir()
    (folder / "file").write_bytes(bytes(range(256)) * (5 << 14))
    path, _ = stored(folder if of == "tree" else folder / "file")
    listener = Listener()
    path.unpack(tmp_path / "to", progress=listener)
    listener.check(1, 20 << 20)
    assert len(listener.told) > 2


def test_it_begins_anew_where_a_damaged_blob_is_passed_over(tmp_path):
    store = distant_store(tmp_path)
    large = store.stage.data(bytes(range(256)) * 8192)
    store.put([(large, 0), (large, 1)])
    rot(store, large.digest)
    listener = Listener()
    path_of_file(store, large).unpack(tmp_path / "to", progress=listener)
    assert listener.told[-1] == Progress("unpack", 1, large.size, large.size)
    assert max(each.bytes_done for each in listener.told) == large.size


@pytest.mark.parametrize("name", ["", "weights", "weights/layer0.bin", "metrics.json"])
def test_an_error_of_the_listener_ends_it_and_leaves_nothing(stored, folder, tmp_path, name):
    run, _ = stored(folder / name)

    def refuse(progress):
        raise InterruptedError("enough")

    with pytest.raises(InterruptedError, match="enough"):
        run.unpack(tmp_path / "to", progress=refuse)
    assert list((tmp_path / "to").iterdir()) == []


def path_of_file(store, payload):
    """A stored file, as a column would return it."""
    return path_of(store, Reference("file", payload.digest, payload.size, "file"))
