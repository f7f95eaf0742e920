"""Trees: the parts before the manifest, the edges with it, and nothing of a tree twice."""

import pytest
from sqlalchemy import select, text

from sqla_artifacts.directory import stage_directory
from sqla_artifacts.errors import StoreWriteError
from sqla_artifacts.store import key_of


@pytest.fixture
def tree(tmp_path):
    """A directory with a large file and a small one: a manifest, and two parts."""
    directory = tmp_path / "tree"
    directory.mkdir()
    (directory / "large").write_bytes(bytes(1 << 20))
    (directory / "small").write_bytes(b"small")
    return directory


def manifest_of(scene, tree):
    with stage_directory(tree, scene.store.stage).open() as stream:
        return stream.read()


def delete_rows(scene):
    with scene.engine.begin() as connection:
        connection.execute(scene.table.delete())


def states(scene):
    """The states of all blobs by their keys, and the number of edges."""
    with scene.engine.connect() as connection:
        blobs = connection.execute(text("SELECT digest, state FROM artifact_blob")).all()
        edges = connection.scalar(text("SELECT count(*) FROM artifact_edge"))
    return {key_of(digest): state for digest, state in blobs}, edges


def test_the_parts_come_first(make_scene, tree):
    """On SQLite all that is in one transaction."""
    scene, seen = make_scene("postgresql"), []
    scene.store.backend.before_put = lambda keys: seen.append((keys, *states(scene)))
    scene.commit(tree, column="run")
    (parts, _, edges), ((manifest,), known, edges_then) = seen
    assert (len(parts), edges, edges_then) == (2, 0, 2)
    assert known == dict.fromkeys(parts, "live") | {manifest: "pending"}


def test_a_tree_that_is_there_is_not_stored_again(scene, tree):
    for _ in range(2):
        scene.commit(tree, column="run")
        assert len(scene.puts) == 3
        assert scene.check() == set()


def test_a_manifest_that_cannot_be_written(scene, tree):
    def fail(keys):
        if len(keys) == 1:
            raise OSError

    scene.store.backend.before_put = fail
    with pytest.raises(StoreWriteError):
        scene.commit(tree, column="run")
    scene.store.backend.before_put = lambda keys: None
    scene.commit(tree, column="run")
    assert scene.check() == set()


def test_a_tree_that_was_taken_is_stored_again(scene, collector, tree):
    scene.commit(tree, column="run")
    delete_rows(scene)
    assert len(collector.collect()) == 1  # the manifest, which still needed its parts
    assert len(collector.collect()) == 2
    scene.commit(tree, column="run")
    assert len(scene.puts) == 6
    assert collector.collect() == set()
    assert scene.check() == set()


def test_parts_that_are_doomed_are_spared(scene, collector, tree):
    """The tree is gone, its parts are about to be: who stores it again needs them."""
    scene.commit(tree, column="run")
    delete_rows(scene)
    collector.collect()
    collector.mark()
    scene.commit(tree, column="run")
    assert len(scene.puts) == 4  # the parts were there still
    assert collector.collect() == set()
    assert scene.check() == set()


def test_a_part_that_is_a_value_of_its_own(scene, collector, tree):
    large = (tree / "large").read_bytes()
    scene.commit(large)
    scene.commit(tree, column="run")
    assert len(scene.puts) == 3
    delete_rows(scene)
    scene.commit(large)
    assert len(collector.collect()) == 1
    assert len(collector.collect()) == 1  # the pack; the row names the other part
    assert scene.check() == set()


def test_a_manifest_that_was_stored_as_a_mere_value(scene, tree):
    """That its bytes are live says nothing of the parts."""
    scene.commit(manifest_of(scene, tree))
    scene.commit(tree, column="run")
    assert scene.check() == set()
    with scene.engine.connect() as connection:
        run = connection.scalar(select(scene.table.c.run).where(scene.table.c.run.is_not(None)))
    assert run.open("small").read() == b"small"


@pytest.mark.parametrize("order", [1, -1], ids=["first", "second"])
def test_a_manifest_as_a_mere_value_of_the_same_statement(scene, tree, order):
    rows = [
        {"data": manifest_of(scene, tree), "run": None},
        {"data": None, "run": tree},
    ]
    with scene.engine.begin() as connection:
        connection.execute(scene.table.insert(), rows[::order])
    assert scene.check() == set()


@pytest.mark.parametrize("before", [False, True], ids=["new", "manifest is a mere value"])
def test_a_tree_from_another_store(scene, make_scene, tree, tmp_path, before):
    other = make_scene(f"sqlite:///{tmp_path / 'other.db'}")
    other.commit(tree, column="run")
    with other.engine.connect() as connection:
        run = connection.scalar(select(other.table.c.run))
    if before:
        scene.commit(manifest_of(scene, tree))
    scene.commit(run, column="run")
    assert scene.check() == set()


def test_a_tree_of_the_same_store_is_not_read_back(scene, tree):
    scene.commit(tree, column="run")
    with scene.engine.connect() as connection:
        run = connection.scalar(select(scene.table.c.run))
    scene.store.backend.get = scene.store.backend.open = None
    scene.commit(run, column="run")
    del scene.store.backend.get, scene.store.backend.open
    assert len(scene.puts) == 3
    assert scene.check() == set()
