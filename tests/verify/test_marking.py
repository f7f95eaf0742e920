"""What was found damaged is no longer de-duplicated against, and nothing of it is lost."""

import datetime as dt

import pytest
from sqlalchemy import insert

from sqla_artifacts.collect import opened
from sqla_artifacts.collect.caretaker import Found
from sqla_artifacts.errors import BlobCorruptedError, BlobNotFoundError
from sqla_artifacts.repair import repair
from sqla_artifacts.verify.checks import examine
from sqla_artifacts.verify.marking import condemn

from .conftest import LARGE

DAY = dt.timedelta(days=1)


@pytest.mark.parametrize("damage", ["flip", "truncate", "delete"])
def test_a_stored_value_heals_its_blob(scene, damage):
    scene.commit(b"value", b"other")
    key = scene.key(b"value")
    if damage == "flip":
        scene.flip(key)
    elif damage == "truncate":
        scene.replace(key, b"val")
    else:
        scene.store.backend.delete(key)
    scene.commit(b"value")  # de-duplicated: nobody knows yet
    with pytest.raises((BlobCorruptedError, BlobNotFoundError)):
        scene.values()
    assert scene.verify("content", mark=True).marked == 1
    assert scene.states()[scene.digest(b"value")] == ("gone", 0)
    scene.commit(b"value")
    assert scene.values() == [b"other", b"value", b"value", b"value"]
    assert scene.kinds("content") == []


def test_storing_a_tree_again_heals_its_parts(scene, make_tree):
    large = b"l" * LARGE
    path = make_tree(large=large, small=b"s")
    scene.commit(path, column="run")
    scene.flip(scene.key(large))
    assert scene.verify("content", mark=True).marked == 2
    states = scene.states()
    assert states[scene.digest(large)] == ("gone", 0)
    assert states[scene.tree()] == ("pending", 0)
    assert states[scene.digest(b"s")] == ("live", 0)
    scene.commit(path, column="run")
    assert scene.kinds("content") == []
    repair(scene.store, scene.engine)  # which moves the damaged bytes away
    assert scene.check() == set()


def test_a_manifest_of_a_tree_that_waits_for_a_part_can_be_read(scene, make_tree):
    large = b"l" * LARGE
    scene.commit(make_tree(large=large, small=b"s"), column="run")
    scene.flip(scene.key(large))
    scene.verify("content", mark=True)
    (tree,) = scene.paths()
    assert tree.open("small").read() == b"s"


def test_an_incomplete_tree_is_marked(scene, make_tree):
    large = b"l" * LARGE
    path = make_tree(large=large)
    scene.commit(path, column="run")
    scene.set_blob(large, state="gone")
    assert scene.verify(mark=True).marked == 1
    assert scene.states()[scene.tree()] == ("pending", 0)
    scene.commit(path, column="run")
    assert scene.kinds() == []


def test_only_the_generation_that_was_looked_at_is_marked(scene):
    scene.commit(b"x")
    scene.set_blob(b"x", generation=1)  # a collector and a writer have come between
    assert mark(scene, b"x", 0) == 0
    assert scene.blob(b"x").state == "live"
    scene.set_blob(b"x", state="pending")
    assert mark(scene, b"x", 1) == 0
    scene.set_blob(b"x", state="live", doom=7)
    assert mark(scene, b"x", 1) == 1
    assert scene.blob(b"x")[4:] == ("gone", None, None, None)


def mark(scene, value, generation):
    with opened(scene.store, scene.engine, None, scene.metadata) as caretaker:
        return condemn(caretaker, [Found(scene.digest(value), generation, len(value))])


def test_a_writer_that_relied_on_it_in_an_open_transaction_is_not_disturbed(scene):
    """Its row names what was damaged before; storing the value once more heals it for both."""
    if scene.engine.dialect.name == "sqlite":
        pytest.skip("there the mark waits for the transaction's end")
    scene.commit(b"x")
    with scene.engine.connect() as connection:
        connection.execute(insert(scene.table), {"data": b"x"})  # live, by its look
        scene.flip(scene.key(b"x"))
        assert scene.verify("content", mark=True).marked == 1
        scene.collect()
        connection.commit()
    assert scene.kinds("content") == [("missing", scene.digest(b"x"))]
    scene.collect()
    assert scene.keys() == {scene.key(b"x")}
    scene.commit(b"x")
    assert scene.values() == [b"x"] * 3


def test_no_collector_deletes_the_evidence_while_it_is_named(scene):
    scene.commit(b"x")
    scene.flip(scene.key(b"x"))
    scene.verify("content", mark=True)
    for _ in range(2):
        report = scene.collect()
        assert report.lost == [scene.digest(b"x")]
    assert scene.keys() == {scene.key(b"x")}
    scene.run("DELETE FROM sample")
    scene.collect()
    assert scene.keys() == set()


def test_an_older_generation_that_alone_is_sound_is_kept(scene):
    scene.commit(b"x")
    scene.run("DELETE FROM sample")
    scene.collect(retention=DAY)  # generation 0 is taken, and not deleted yet
    scene.commit(b"x")
    scene.flip(scene.key(b"x", 1))
    scene.run("UPDATE artifact_trash SET gone_at = '2001-01-01 00:00:00.000000'")
    scene.verify("content", mark=True)
    scene.collect(retention=DAY)  # generation 0 is long due, and generation 1 is not
    assert scene.keys() >= {scene.key(b"x")}
    assert scene.values() == [b"x"]
    scene.collect()
    assert scene.kinds("content") == []
    assert scene.blob(b"x").generation == 2


def test_what_was_marked_and_turns_out_to_be_there_is_stored_again_by_a_collector(scene):
    scene.commit(b"x")
    data = scene.store.backend.get(scene.key(b"x"))
    scene.store.backend.delete(scene.key(b"x"))
    scene.verify("listing", mark=True)
    scene.store.backend.create(scene.key(b"x"), data)
    assert scene.collect().rescued == [scene.digest(b"x")]
    assert scene.kinds("content") == []


def test_examining_says_what_is_wrong(scene):
    scene.commit(b"four")
    blob = Found(scene.digest(b"four"), 0, 4)
    assert examine(scene.store, blob) is None
    scene.replace(scene.key(b"four"), b"for")
    assert examine(scene.store, blob).detail == "3 bytes instead of 4"
    scene.replace(scene.key(b"four"), b"five")
    assert examine(scene.store, blob).detail == "other bytes"
    scene.store.backend.delete(scene.key(b"four"))
    assert examine(scene.store, blob).kind == "missing"
