"""What the collector takes, spares, rescues and deletes."""

import datetime as dt

import pytest
from sqlalchemy import JSON, Column, Integer, Table, delete, insert, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY

from sqla_artifacts import Artifact, ArtifactList, ledger
from sqla_artifacts.collect import Tally
from sqla_artifacts.digest import digest_of
from sqla_artifacts.location import key_of
from tests.check import check

DAY = dt.timedelta(days=1)


def digest(value):
    return digest_of(value, "blake3")


def drop(scene, *values):
    with scene.engine.begin() as connection:
        for value in values:
            connection.execute(delete(scene.table).where(scene.table.c.data == value))


def make_tree(directory, name="tree", **files):
    path = directory / name
    path.mkdir()
    for file, content in files.items():
        (path / file).write_bytes(content)
    return path


def test_what_no_row_names_is_deleted_and_nothing_else(scene):
    scene.commit(b"kept", b"deleted", b"kept twice", b"kept twice")
    drop(scene, b"deleted")
    scene.roll_back(b"rolled back")
    report = scene.collect()
    assert scene.stored() == {key_of(digest(b"kept")), key_of(digest(b"kept twice"))}
    assert report.deleted == Tally(2, len(b"deleted") + len(b"rolled back"))
    assert check(scene.engine, scene.store, scene.table) == set()
    assert scene.values() == [b"kept", b"kept twice", b"kept twice"]


def test_a_dry_run_says_what_would_be_done_and_changes_nothing(scene):
    scene.commit(b"kept", b"deleted")
    drop(scene, b"deleted")

    def everything():
        with scene.engine.connect() as connection:
            tables = [table for table in ledger.metadata.sorted_tables if table.columns]
            rows = [connection.execute(select(table)).all() for table in tables]
        return rows, scene.stored()

    before = everything()
    report = scene.collect(dry_run=True)
    assert everything() == before
    assert (report.total.blobs, report.garbage) == (2, Tally(1, 7))
    assert "dry run" in str(report)


def test_a_value_that_comes_back_after_it_was_taken_gets_a_new_key(scene):
    scene.commit(b"x")
    drop(scene, b"x")
    scene.collect(retention=DAY)  # taken, and not deleted yet
    assert scene.stored() == {key_of(digest(b"x"))}
    scene.commit(b"x")
    assert scene.stored() == {key_of(digest(b"x")), key_of(digest(b"x"), 1)}
    scene.collect()
    assert scene.stored() == {key_of(digest(b"x"), 1)}
    assert scene.values() == [b"x"]
    assert check(scene.engine, scene.store, scene.table) == set()


def test_a_value_that_comes_back_while_it_is_doomed_is_spared(scene):
    scene.commit(b"x")
    drop(scene, b"x")
    report = scene.collect(grace=DAY)
    assert (report.marked.blobs, report.taken.blobs, report.waiting.blobs) == (1, 0, 1)
    scene.commit(b"x")
    assert scene.collect().taken.blobs == 0
    assert scene.values() == [b"x"]


def test_a_reference_that_sql_copied_before_the_doom_is_seen(scene):
    scene.commit(b"x")
    copy_reference(scene)
    drop(scene, b"x")
    with scene.engine.begin() as connection:
        paste_reference(scene, connection)
    assert scene.collect().deleted.blobs == 0
    assert scene.values() == [b"x"]


def test_a_reference_that_sql_copied_after_it_was_taken_is_rescued(scene):
    scene.commit(b"x")
    copy_reference(scene)
    drop(scene, b"x")
    scene.collect(retention=DAY)
    with scene.engine.begin() as connection:
        paste_reference(scene, connection)
    report = scene.collect()
    assert report.rescued == [digest(b"x")]
    assert scene.values() == [b"x"]
    scene.collect()
    assert scene.stored() == {key_of(digest(b"x"), 1)}
    assert scene.values() == [b"x"]
    assert check(scene.engine, scene.store, scene.table) == set()


def test_what_cannot_be_rescued_is_reported_and_kept(scene):
    scene.commit(b"x")
    copy_reference(scene)
    drop(scene, b"x")
    scene.collect(retention=DAY)
    with scene.engine.begin() as connection:
        paste_reference(scene, connection)
    damage(scene, key_of(digest(b"x")))
    report = scene.collect()
    assert (report.rescued, report.lost) == ([], [digest(b"x")])
    assert "LOST" in str(report)
    assert scene.stored() == {key_of(digest(b"x"))}


def copy_reference(scene):
    """Keep the reference of the only row in a table that nobody knows of."""
    with scene.engine.begin() as connection:
        connection.execute(text("CREATE TABLE elsewhere AS SELECT data FROM sample"))


def paste_reference(scene, connection):
    connection.execute(text("INSERT INTO sample (data) SELECT data FROM elsewhere"))


def damage(scene, key):
    data = bytearray(scene.store.backend.get(key))
    data[0] ^= 1
    scene.store.backend.delete(key)
    assert scene.store.backend.create(key, bytes(data))


def test_a_tree_goes_with_its_parts_but_for_those_that_another_needs(scene, tmp_path):
    large, other = b"l" * 1_500_000, b"o" * 1_500_000
    scene.commit(make_tree(tmp_path, "first", shared=large, own=other), column="run")
    scene.commit(make_tree(tmp_path, "second", shared=large), column="run")
    with scene.engine.begin() as connection:
        connection.execute(delete(scene.table).where(scene.table.c.id == 1))
    scene.collect()
    assert key_of(digest(large)) in scene.stored()
    assert key_of(digest(other)) not in scene.stored()
    assert check(scene.engine, scene.store, scene.table) == set()
    with scene.engine.begin() as connection:
        connection.execute(delete(scene.table))
        assert connection.scalar(select(ledger.Edge.part)) is not None
    scene.collect()
    assert scene.stored() == set()
    with scene.engine.connect() as connection:
        assert connection.scalar(select(ledger.Edge.part)) is None


def test_a_copied_tree_is_rescued_with_its_parts(scene, tmp_path):
    large = b"l" * 1_500_000
    scene.commit(make_tree(tmp_path, "tree", large=large, small=b"s"), column="run")
    with scene.engine.begin() as connection:
        connection.execute(text("CREATE TABLE elsewhere AS SELECT run FROM sample"))
        connection.execute(delete(scene.table))
    scene.collect(retention=DAY)
    with scene.engine.begin() as connection:
        connection.execute(text("INSERT INTO sample (run) SELECT run FROM elsewhere"))
    report = scene.collect()
    assert len(report.rescued) == 3  # the manifest, the pack, the large file
    assert report.lost == []
    assert scene.collect().deleted.blobs == 3
    assert check(scene.engine, scene.store, scene.table) == set()
    with scene.engine.connect() as connection:
        path = connection.scalar(select(scene.table.c.run)).unpack(tmp_path / "unpacked")
    assert (path / "large").read_bytes() == large


@pytest.mark.parametrize("array", [False, True], ids=["json", "array"])
def test_references_in_lists_and_arrays_count(scene, array):
    if array and scene.engine.dialect.name != "postgresql":
        pytest.skip("only PostgreSQL has arrays")
    column_type = ARRAY(Artifact("bytes")) if array else ArtifactList(Artifact("bytes"))
    albums = Table(
        "album",
        scene.metadata,
        Column("id", Integer, primary_key=True),
        Column("photos", column_type),
    )
    scene.metadata.create_all(scene.engine)
    with scene.engine.begin() as connection:
        connection.execute(insert(albums), [{"photos": [b"1", b"2"]}, {"photos": []}])
        connection.execute(insert(albums), [{"photos": [b"3"]}])
        connection.execute(delete(albums).where(albums.c.id == 3))
    scene.collect(metadata=None)
    assert scene.stored() == {key_of(digest(b"1")), key_of(digest(b"2"))}


def test_a_declared_column_counts_that_no_writer_has_used(scene):
    scene.commit(b"x")
    with scene.engine.begin() as connection:
        connection.execute(text("CREATE TABLE copied AS SELECT data AS picture FROM sample"))
        connection.execute(
            insert(ledger.Declaration).values(
                table_schema="",
                table_name="copied",
                column_name="picture",
                declared="Artifact('bytes')",
                store_name="default",
            )
        )
        connection.execute(delete(scene.table))
    scene.collect()
    assert scene.stored() == {key_of(digest(b"x"))}


def test_a_column_of_the_models_counts_that_no_writer_has_used(scene):
    scene.commit(b"x")
    Table("copied", scene.metadata, Column("picture", Artifact("bytes")))
    scene.metadata.create_all(scene.engine)
    with scene.engine.begin() as connection:
        connection.execute(text("INSERT INTO copied SELECT data FROM sample"))
        connection.execute(delete(scene.table))
    assert scene.collect(dry_run=True, metadata=None).garbage.blobs == 1
    scene.collect()
    assert scene.stored() == {key_of(digest(b"x"))}


def test_references_anywhere_in_json_count(scene):
    scene.commit(b"x", b"y")
    holder = Table("holder", scene.metadata, Column("doc", JSON))
    scene.metadata.create_all(scene.engine)
    with scene.engine.begin() as connection:
        texts = connection.scalars(text("SELECT data FROM sample ORDER BY id")).all()
        connection.execute(insert(holder).values(doc={"a": [{"b": texts[0]}, 1, None]}))
        connection.execute(
            insert(ledger.Column).values(
                store=scene.store.id,
                table_schema="main" if scene.engine.dialect.name == "sqlite" else "public",
                table_name="holder",
                column_name="doc",
            )
        )
        connection.execute(delete(scene.table))
    scene.collect()
    assert scene.stored() == {key_of(digest(b"x"))}


def test_keys_that_the_ledger_does_not_know_are_taken(scene):
    scene.commit(b"x")
    stray = key_of(digest(b"stray"), 2)
    scene.store.backend.create(stray, b"stray")
    scene.store.backend.create("blobs/read/me/first", b"not a blob")
    assert scene.collect(dry_run=True).strays == Tally(1, 5)
    scene.collect()
    assert scene.stored() == {key_of(digest(b"x")), "blobs/read/me/first"}
    scene.commit(b"stray")
    assert key_of(digest(b"stray"), 3) in scene.stored()


def test_a_key_that_appears_again_after_its_deletion_is_deleted_again(scene):
    scene.commit(b"x")
    drop(scene, b"x")
    scene.collect()
    assert scene.store.backend.create(key_of(digest(b"x")), b"x")  # a write that was on its way
    scene.commit(b"x")
    scene.collect()
    assert scene.stored() == {key_of(digest(b"x"), 1)}


def test_the_report_says_when_what_was_taken_is_deleted(scene):
    scene.commit(b"x")
    drop(scene, b"x")
    report = scene.collect(retention=7 * DAY)
    (due,) = report.schedule
    assert due.blobs == Tally(1, 1)
    assert abs(due.day - (dt.datetime.now(dt.UTC) + 7 * DAY).date()) <= DAY
    assert str(due.day) in str(report)


def test_progress_is_told(scene):
    scene.commit(b"x", b"yy")
    drop(scene, b"x", b"yy")
    told = []
    scene.collect(progress=told.append)
    last = [progress for progress in told if progress.step == "delete"][-1]
    assert (last.objects, last.bytes_done, last.bytes_total) == (2, 3, 3)


def test_an_update_frees_the_old_value(scene):
    scene.commit(b"old")
    with scene.engine.begin() as connection:
        connection.execute(update(scene.table).values(data=b"new"))
    scene.collect()
    assert scene.stored() == {key_of(digest(b"new"))}
