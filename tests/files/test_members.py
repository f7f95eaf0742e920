"""What is in a stored directory, reached as with `pathlib`."""

import os
import pickle
from datetime import timedelta
from pathlib import Path, PurePosixPath

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from sqla_artifacts.errors import BlobNotFoundError, NotStoredError, StoreError
from sqla_artifacts.stored_member import Difference

from ..models import CountingBackend, counting, set_up
from ..test_stored_path import LARGE


def test_a_member_is_reached_like_a_path(stored, folder):
    run, _ = stored(folder)
    layer = run / "weights" / "layer0.bin"
    assert layer == run / "weights/layer0.bin" == run / PurePosixPath("weights/./layer0.bin")
    assert layer != run / "weights"
    assert len({layer, run / "weights/layer0.bin"}) == 1
    assert (layer.name, layer.path) == ("layer0.bin", "weights/layer0.bin")
    assert (layer.is_file, layer.is_dir, layer.exists()) == (True, False, True)
    assert (layer.size, layer.digest) == (len(LARGE), run.members[layer.path].digest)
    assert layer.read_bytes() == LARGE
    assert (run / "metrics.json").read_text() == '{"loss": 0.5}'
    assert repr(run / "a") == f"<StoredMember 'a' of {run!r}>"
    with pytest.raises(TypeError):
        run / 5


def test_a_directory_inside_says_what_it_holds(stored, folder):
    run, _ = stored(folder)
    weights = run / "weights"
    assert (weights.is_dir, weights.is_file, weights.size) == (True, False, len(LARGE))
    assert list(weights.members) == ["layer0.bin"]
    assert list(weights.iterdir()) == [weights / "layer0.bin"]
    names = ["empty", "latest", "metrics.json", "weights"]
    assert [member.name for member in run.iterdir()] == names
    assert (run / "weights" / "..").size == run.size
    assert (run / "metrics.json").members == {}


def test_links_are_followed_within_the_directory(stored, folder):
    (folder / "there").symlink_to("weights")
    (folder / "nowhere").symlink_to("not/here")
    run, _ = stored(folder)
    assert (run / "latest").is_file
    assert (run / "latest").read_bytes() == (run / "there" / "layer0.bin").read_bytes() == LARGE
    assert [each.path for each in (run / "there").iterdir()] == ["there/layer0.bin"]
    assert not (run / "nowhere").exists()
    assert run.members["nowhere"].target == "not/here"


def test_nothing_is_asked_until_it_is_needed_and_the_manifest_once(stored, folder):
    run, store = stored(folder)
    backend = counting(store)
    members = [run / "metrics.json", run / "weights" / "layer0.bin", run / "nothing"]
    assert [member.name for member in members][-1] == "nothing"
    assert backend.calls == []
    assert [member.exists() for member in members] == [True, True, False]
    assert [each.size for each in run.glob("**/*.*")] == [13, len(LARGE)]
    assert run.diff(run) == Difference([], [], [])
    assert backend.calls == ["get"]


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("nothing", FileNotFoundError),
        ("weights/nothing", FileNotFoundError),
        ("/metrics.json", FileNotFoundError),
        ("metrics.json/deeper", NotADirectoryError),
        ("weights", IsADirectoryError),
        (".", IsADirectoryError),
    ],
)
def test_what_cannot_be_opened_raises_what_a_path_would(stored, folder, path, error):
    run, _ = stored(folder)
    for read in (lambda: run.open(path), (run / path).open, (run / path).read_bytes):
        with pytest.raises(error) as caught:
            read()
        assert "sample.run, &:tree:" in str(caught.value)


def test_a_file_has_no_members(stored):
    file, _ = stored(("a.txt", b"content"))
    assert not (file / "b").exists()
    for ask in ((file / "b").open, lambda: list(file.iterdir()), lambda: file.diff(file)):
        with pytest.raises(NotADirectoryError):
            ask()
    assert (file.read_bytes(), file.read_text()) == (b"content", "content")


def test_a_lost_manifest_is_no_missing_member(stored, folder):
    run, store = stored(folder)
    store.backend.delete(store.stat(run.reference).key)
    with pytest.raises(BlobNotFoundError, match=r"^sample\.run: "):
        (run / "metrics.json").exists()


def test_a_value_that_is_not_flushed_has_no_members_yet(engine, tmp_path, folder):
    sample, _ = set_up(engine, tmp_path)
    row = sample(run=folder)
    with pytest.raises(NotStoredError, match="flush"):
        (row.run / "metrics.json").exists()
    with Session(engine) as session:
        session.add(row)
        session.flush()
        assert (row.run / "metrics.json").exists()


def test_a_member_s_path_is_its_own_shared_checkout(stored, folder):
    run, store = stored(folder)
    small, large = run / "metrics.json", run / "latest"
    for member, data in ((small, b'{"loss": 0.5}'), (large, LARGE)):
        path = Path(os.fspath(member))
        assert path.read_bytes() == data
        assert path.name == member.name
        assert path.parent.name == f"file-{member.digest}"
        assert not path.stat().st_mode & 0o222
    assert not list(store.checkouts.glob("tree-*"))
    assert Path(run / "weights") == run.unpack() / "weights"
    backend = counting(store)
    assert small.unpack() == Path(os.fspath(small))
    assert backend.calls == []


def test_a_member_can_be_stored_again_by_itself(stored, folder):
    run, store = stored(folder)
    file, _ = stored(run / "weights" / "layer0.bin")
    assert (file.name, file.digest) == ("layer0.bin", run.members["weights/layer0.bin"].digest)
    part, _ = stored(run / "weights")
    assert list(part.members) == ["layer0.bin"]
    assert len(list(store.backend.list("blobs/"))) == 4  # two manifests, a pack, the large file


def test_a_pickled_member_opens_elsewhere(stored, folder):
    run, _ = stored(folder)
    _ = run.members
    data = pickle.dumps(run / "metrics.json")
    assert len(data) < 800
    assert pickle.loads(data).read_text() == '{"loss": 0.5}'


def test_two_versions_differ_in_what_was_changed(stored, folder):
    before, _ = stored(folder)
    (folder / "metrics.json").write_text("{}")
    (folder / "empty").chmod(0o700)
    (folder / "latest").unlink()
    (folder / "weights" / "layer1.bin").write_bytes(b"new")
    after, store = stored(folder)
    backend = counting(store)
    found = before.diff(after)
    assert found == Difference(["weights/layer1.bin"], ["latest"], ["empty", "metrics.json"])
    assert backend.calls == ["get", "get"]
    inner = (before / "weights").diff(after / "weights")
    assert inner == Difference(["layer1.bin"], [], [])


class Signing(CountingBackend):
    def presign(self, key, expires):
        return f"https://{key}?{expires}"


def test_only_a_blob_of_its_own_has_a_url(stored, folder):
    run, store = stored(folder)
    store.backend = Signing(store.backend)
    hour = timedelta(hours=1)
    digest = (run / "latest").digest
    assert f"/{digest}?" in (run / "latest").url(expires=hour)
    with pytest.raises(StoreError, match=r"^sample\.run: 'metrics.json' lies in a pack"):
        (run / "metrics.json").url(expires=hour)
    with pytest.raises(IsADirectoryError):
        (run / "weights").url(expires=hour)
    with pytest.raises(StoreError, match="a directory"):
        run.url(expires=hour)


def test_members_are_the_same_from_every_session(engine, tmp_path, folder):
    sample, _ = set_up(engine, tmp_path)
    with Session(engine) as session:
        session.add(sample(run=folder))
        session.commit()
    proxies = []
    for _ in range(2):
        with Session(engine) as session:
            proxies.append(session.scalars(select(sample.run)).one())
    first, second = proxies
    assert first / "a" == second / "a"
    assert hash(first / "a") == hash(second / "a")
