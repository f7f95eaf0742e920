"""Blobs get their bytes back, from wherever they still are."""

import shutil

import pytest

from sqla_artifacts import ArtifactStore
from sqla_artifacts.errors import ForeignStoreError
from sqla_artifacts.location import key_of
from sqla_artifacts.repair import repair
from tests.ledger.scene import watched_store

from .conftest import LARGE, Damaged


def mend(scene, what=None, *sources):
    return repair(scene.store, scene.engine, what, sources=sources, metadata=scene.metadata)


def lose(scene, *values):
    """Damage blobs, and have it noticed; return their digests."""
    for value in values:
        scene.flip(scene.key(value))
    scene.verify("content", mark=True)
    return sorted(map(scene.digest, values))


def check_healed(scene, *digests):
    """Everything is sound, the damaged bytes are in quarantine, and every way to read works."""
    assert scene.kinds("content") == []
    assert scene.keys("quarantine/") == {f"quarantine/{digest}~0" for digest in digests}
    assert scene.check() == set()


@pytest.mark.parametrize("kind", ["mirror", "directory", "file", "function"])
def test_from_each_source(scene, tmp_path, kind):
    scene.commit(b"value", b"sound")
    original = tmp_path / "backup" / "a" / "original"
    original.parent.mkdir(parents=True)
    original.write_bytes(b"value")
    shutil.copytree(tmp_path / "store", tmp_path / "mirror")
    source = {
        "mirror": lambda: ArtifactStore(str(tmp_path / "mirror")),
        "directory": lambda: tmp_path / "backup",
        "file": lambda: str(original),
        "function": lambda: {scene.digest(b"value"): b"value"}.get,
    }[kind]()
    digests = lose(scene, b"value")
    assert mend(scene).failed.keys() == set(digests)
    report = mend(scene, None, lambda digest: None, source)
    assert (report.repaired, report.failed) == (digests, {})
    check_healed(scene, *digests)


def test_from_a_mirror_that_cannot_be_written_to(scene, tmp_path):
    scene.commit(b"value")
    mirror = tmp_path / "mirror"
    shutil.copytree(tmp_path / "store", mirror)
    shutil.rmtree(mirror / "tmp")
    lose(scene, b"value")
    mend(scene, None, ArtifactStore(str(mirror)))
    assert not (mirror / "tmp").exists()
    assert scene.values() == [b"value"]


def test_from_what_the_store_itself_still_has(engine, tmp_path):
    store = watched_store(str(tmp_path / "store"), memory=1 << 20, cache=tmp_path / "cache")
    scene = Damaged(engine, store)
    scene.commit(b"remembered", b"cached")
    assert scene.values()
    store.cache.put(scene.digest(b"cached"), b"cached")
    digests = lose(scene, b"remembered", b"cached")
    store._recent.discard(scene.digest(b"cached"))
    assert sorted(mend(scene).repaired) == digests
    check_healed(scene, *digests)


@pytest.mark.parametrize("given", ["digests", "one", "verification"])
def test_what_is_given_is_looked_at_and_repaired(scene, given):
    scene.commit(b"x", b"sound")
    scene.flip(scene.key(b"x"))  # and nobody has marked it
    x, sound = scene.digest(b"x"), scene.digest(b"sound")
    what = {"digests": [x, sound], "one": x, "verification": scene.verify("content")}[given]
    report = mend(scene, what, {x: b"x"}.get)
    assert (report.repaired, report.failed) == ([x], {})
    assert scene.states() == {x: ("live", 1), sound: ("live", 0)}
    check_healed(scene, x)


def test_a_tree_is_repaired_with_its_parts(scene, make_tree, tmp_path):
    large = b"l" * LARGE
    path = make_tree(large=large, a=b"a", b=b"b")
    scene.commit(path, column="run")
    tree = scene.tree()
    for digest in (tree, scene.digest(large), scene.digest(b"ab")):
        scene.flip(key_of(digest))
    scene.verify("content", mark=True)
    report = mend(scene, tree, path)
    assert sorted(report.repaired) == sorted([tree, scene.digest(large), scene.digest(b"ab")])
    check_healed(scene, *report.repaired)


def test_a_part_is_repaired_with_the_trees_that_wait_for_it(scene, make_tree):
    large = b"l" * LARGE
    for name in ("one", "two"):
        scene.commit(make_tree(name, large=large, own=name.encode()), column="run")
    digests = lose(scene, large)
    report = mend(scene, digests, make_tree("original", file=large))
    assert len(report.repaired) == 3
    assert {state for state, _ in scene.states().values()} == {"live"}
    check_healed(scene, *digests)


@pytest.mark.parametrize("shared", [True, False], ids=["shared", "private"])
def test_a_checkout_repairs_a_tree(scene, make_tree, tmp_path, shared):
    scene.commit(make_tree(large=b"l" * LARGE, a=b"a", b=b"b"), column="run")
    (stored,) = scene.paths()
    if not shared:
        stored.unpack(tmp_path / "private")
    source = stored.unpack().parents[1] if shared else tmp_path / "private" / "tree"
    lost = [scene.tree(), scene.digest(b"l" * LARGE), scene.digest(b"ab")]
    for digest in lost:
        scene.flip(key_of(digest))
    scene.verify("content", mark=True)
    assert mend(scene, None, source).failed == {}
    check_healed(scene, *lost)


def test_a_blob_that_the_ledger_has_forgotten(scene, make_tree):
    scene.commit(b"x")
    scene.commit(make_tree(a=b"a", b=b"b"), column="run")
    scene.run("DELETE FROM artifact_edge")
    scene.run("DELETE FROM artifact_blob")
    tree = scene.tree()
    assert sorted(mend(scene).repaired) == sorted([scene.digest(b"x"), tree])
    assert scene.kinds("content") == []
    assert scene.check() == set()


def test_damaged_bytes_that_a_stored_value_has_outlived_are_moved_away(scene):
    scene.commit(b"x")
    digests = lose(scene, b"x")
    scene.commit(b"x")
    report = mend(scene)
    assert (report.repaired, report.quarantined) == ([], [f"quarantine/{digests[0]}~0"])
    assert scene.store.backend.get(report.quarantined[0]) != b"x"
    check_healed(scene, *digests)
    scene.collect()
    assert scene.keys() == {scene.key(b"x", 1)}


def test_bytes_that_are_not_the_digests_are_not_taken(scene):
    scene.commit(b"x")
    (digest,) = lose(scene, b"x")
    report = mend(scene, None, lambda _: b"forged")
    assert "no source has the bytes" in report.failed[digest]
    assert "FAILED" in str(report)
    assert scene.keys() == {scene.key(b"x")}


def test_refusals(scene):
    scene.commit(b"x")
    with pytest.raises(ValueError, match="64 hexadecimal"):
        mend(scene, "no digest")
    scene.replace("owner.json", b'{"ledger": "another"}')
    with pytest.raises(ForeignStoreError):
        mend(scene)
