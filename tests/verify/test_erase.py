"""Content that has to be gone now is gone from everywhere, and what named it is shown."""

import pytest
from sqlalchemy import Column, Integer, Table, insert, select

from sqla_artifacts import Artifact, ArtifactList, LazyArtifact
from sqla_artifacts.erase import erase
from sqla_artifacts.errors import BlobNotFoundError, ForeignStoreError, InvalidReferenceError
from sqla_artifacts.location import key_of
from tests.ledger.scene import watched_store

from .conftest import LARGE, Damaged


def wipe(scene, what, **options):
    options = {"dry_run": False} | options
    return erase(scene.store, scene.engine, what, metadata=scene.metadata, **options)


def everywhere(directory):
    """All bytes below a directory."""
    return b"\0".join(path.read_bytes() for path in directory.rglob("*") if path.is_file())


def test_a_value_is_gone_from_everywhere(engine, tmp_path):
    store = watched_store(str(tmp_path / "store"), memory=1 << 20, cache=tmp_path / "cache")
    scene = Damaged(engine, store)
    secret, other = b"personal data", b"other"
    scene.commit(secret, other, secret)
    assert scene.values() == [other, secret, secret]
    store.cache.put(scene.digest(secret), secret)
    store.backend.create(f"quarantine/{scene.digest(secret)}~7", secret)
    store.backend.create(scene.key(secret, 3), secret)
    report = wipe(scene, scene.digest(secret))
    assert [row.key for row in report.rows] == [{"id": 1}, {"id": 3}]
    assert len(report.keys) == 3
    assert store.recent([scene.digest(secret)]) == [None]
    assert secret not in everywhere(tmp_path / "store") + everywhere(tmp_path / "cache")
    with pytest.raises(BlobNotFoundError):
        scene.values()
    assert scene.keys() == {scene.key(other)}


def test_a_dry_run_says_the_same_and_changes_nothing(scene):
    scene.commit(b"x", b"y")
    before, states = scene.keys(""), scene.states()
    report = wipe(scene, scene.digest(b"x"), dry_run=True)
    assert (scene.keys(""), scene.states()) == (before, states)
    assert "would erase" in str(report)
    done = wipe(scene, scene.digest(b"x"))
    assert (done.digests, done.rows, done.keys) == (report.digests, report.rows, report.keys)


def test_storing_it_again_works_under_a_new_key(scene):
    scene.commit(b"x")
    wipe(scene, scene.digest(b"x"))
    assert scene.kinds("content") == [("missing", scene.digest(b"x"))]
    scene.commit(b"x")
    assert scene.keys() == {scene.key(b"x", 1)}
    assert scene.values() == [b"x", b"x"]
    scene.collect()
    assert scene.keys() == {scene.key(b"x", 1)}


def test_no_collector_brings_it_back(scene):
    scene.commit(b"x")
    wipe(scene, scene.digest(b"x"))
    report = scene.collect()
    assert (report.rescued, report.lost) == ([], [])
    assert scene.keys() == set()


def test_again_after_it_was_broken_off(scene):
    scene.commit(b"x")
    delete, failed = scene.store.backend.delete, []

    def fail_once(key):
        if not failed:
            failed.append(key)
            raise OSError(5, "broken off")
        delete(key)

    scene.store.backend.delete = fail_once
    with pytest.raises(OSError, match="broken off"):
        wipe(scene, scene.digest(b"x"))
    wipe(scene, scene.digest(b"x"))
    assert scene.keys() == set()
    assert scene.collect().rescued == []


def test_what_is_stored_again_meanwhile_is_not_touched(scene):
    scene.commit(b"x")
    entries, listed = scene.store.backend.list, []

    def store_before_the_last(prefix):
        listed.append(prefix)
        if scene.blob(b"x").state == "gone" and b"again" not in listed:
            listed.append(b"again")
            scene.commit(b"x")
        return entries(prefix)

    scene.store.backend.list = store_before_the_last
    report = wipe(scene, scene.digest(b"x"))
    assert b"again" in listed
    assert scene.keys() == {scene.key(b"x", 1)}
    assert [row.key for row in report.rows] == [{"id": 1}, {"id": 2}]  # committed meanwhile
    assert scene.kinds("content") == []


def test_what_the_ledger_does_not_know_is_erased_and_its_key_not_used_again(scene):
    scene.commit(b"other")
    scene.store.backend.create(scene.key(b"x", 2), b"x")
    wipe(scene, scene.digest(b"x"))
    assert scene.keys() == {scene.key(b"other")}
    scene.commit(b"x")
    assert scene.keys() == {scene.key(b"other"), scene.key(b"x", 3)}


def test_what_is_nowhere_is_no_error(scene):
    scene.commit(b"x")
    report = wipe(scene, "0" * 64)
    assert (report.rows, report.keys) == ([], [])


def test_a_row_value_names_what_to_erase(scene):
    table = Table(
        "lazy",
        scene.metadata,
        Column("id", Integer, primary_key=True),
        Column("model", LazyArtifact("bytes")),
        Column("album", ArtifactList(Artifact("bytes"))),
    )
    scene.metadata.create_all(scene.engine)
    with scene.engine.begin() as connection:
        connection.execute(insert(table).values(model=b"model", album=[b"1", b"model"]))
        lazy = connection.scalar(select(table.c.model))
    for what in (lazy, lazy.reference, str(lazy.reference)):
        report = wipe(scene, what, dry_run=True)
        assert report.digests == [scene.digest(b"model")]
        columns = [row.column.rpartition(".")[2] for row in report.rows]
        assert sorted(columns) == ["album", "model"]


def test_a_file_goes_with_its_checkout(scene, make_tree):
    file = make_tree("of", secret=b"secret content") / "secret"
    scene.commit(file, column="run")
    (stored,) = scene.paths()
    checkout = stored.unpack()
    assert checkout.read_bytes() == b"secret content"
    report = wipe(scene, stored)
    assert report.checkouts == [checkout.parent]
    assert not checkout.parent.exists()
    with pytest.raises(BlobNotFoundError):
        stored.unpack(file.parent / "again")


def test_a_tree_goes_with_the_parts_that_only_it_needs(scene, make_tree):
    shared, own = b"s" * LARGE, b"o" * LARGE
    scene.commit(make_tree("one", shared=shared, own=own), column="run")
    scene.commit(make_tree("two", shared=shared), column="run")
    first, second = scene.paths()
    first.unpack().chmod(0o555)  # a checkout, not easy to remove
    report = wipe(scene, first)
    assert sorted(report.digests) == sorted([first.digest, scene.digest(own)])
    assert report.shared == {scene.digest(shared): (second.digest,)}
    assert scene.keys() == {scene.key(shared), key_of(second.digest)}
    assert not report.checkouts[0].exists()
    assert second.open("shared").read() == shared
    assert scene.kinds("content") == [("missing", first.digest)]
    assert sorted(wipe(scene, second).digests) == sorted([second.digest, scene.digest(shared)])
    assert scene.keys() == set()


def test_a_part_that_a_row_names_stays(scene, make_tree):
    large = b"l" * LARGE
    path = make_tree(large=large)
    scene.commit(path, path / "large", column="run")
    tree, _ = scene.paths()
    assert wipe(scene, tree).shared == {scene.digest(large): ()}
    assert scene.keys() == {scene.key(large)}


def test_a_part_breaks_its_trees(scene, make_tree):
    large = b"l" * LARGE
    path = make_tree(large=large)
    scene.commit(path, column="run")
    (tree,) = scene.paths()
    checkout = tree.unpack()
    report = wipe(scene, scene.digest(large))
    assert report.broken == [tree.digest]
    assert [row.key for row in report.rows] == [{"id": 1}]
    assert not checkout.exists()
    scene.commit(path, column="run")  # not de-duplicated against the broken tree
    assert scene.kinds("content") == []


def test_trees_that_hold_the_same_small_file_are_shown(scene, make_tree):
    path = make_tree(secret=b"secret", other=b"other")
    scene.commit(path, path / "secret", column="run")
    tree, file = scene.paths()
    report = wipe(scene, file)
    assert (report.broken, report.holding) == ([], [tree.digest])
    assert tree.open("secret").read() == b"secret"


def test_refusals(scene):
    scene.commit(b"x")
    with pytest.raises(InvalidReferenceError):
        wipe(scene, "no reference")
    scene.replace("owner.json", b'{"ledger": "another"}')
    with pytest.raises(ForeignStoreError):
        wipe(scene, scene.digest(b"x"))
    assert scene.keys() == {scene.key(b"x")}
