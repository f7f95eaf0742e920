"""Rows of every version of Superduper are imported, whole and once, and nothing is decoded."""

import os
import pickle
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, TypeDecorator, func, select, text
from sqlalchemy.orm import DeclarativeBase, Session

from sqla_artifacts import ArtifactList, Encoded, FileDir, LazyArtifact
from sqla_artifacts.errors import (
    BlobCorruptedError,
    BlobNotFoundError,
    InvalidReferenceError,
    InvalidValueError,
    SourceError,
)
from sqla_artifacts.ext.superduper import ArtifactFolder, Imported, Schema, check_rows, import_rows

from ..check import check
from .target import make_files, my_artifact, set_up, unpacked
from .writers import WRITERS, Named, Writer, sha1

VALUE = "This is a test"


@pytest.fixture
def old(tmp_path):
    return tmp_path / "artifacts.old"


@pytest.fixture
def target(engine, tmp_path):
    return set_up(engine, tmp_path)


def blobs(writer, *values):
    """Rows whose values are in the folder, with the keys "0", "1" and on."""
    ids = [writer.put_pickle(value, sha1(pickle.dumps(value))) for value in values]
    return [{"id": str(n), "x": f"&:blob:{each}"} for n, each in enumerate(ids)]


def count(engine, table):
    with engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(table))


@pytest.mark.parametrize("writer", WRITERS)
def test_rows_of_every_version_come_over(engine, tmp_path, old, target, writer):
    table, store = target
    file, folder = make_files(tmp_path)
    superduper = writer(old)
    rows = [superduper.document("a", VALUE, file), superduper.document("b", (1, 2), folder)]
    assert list(check_rows(rows, table, ArtifactFolder(old))) == []
    assert import_rows(rows, table, engine, ArtifactFolder(f"filesystem://{old}")) == (2, 0)
    one, two = unpacked(engine, table)
    assert (one["x"], two["x"]) == (VALUE, (1, 2))
    assert (one["f"].name, one["f"].read_bytes()) == (file.name, b"weights")
    assert two["f"].name == folder.name
    assert (two["f"] / "sub" / "part").read_bytes() == b"part"
    assert check(engine, store, table) == set()
    with engine.connect() as connection:
        references = connection.execute(text("SELECT x, f FROM my_collection ORDER BY id")).all()
    assert [[each[:7] for each in row] for row in references] == [
        ["&:blob:", "&:file:"],
        ["&:blob:", "&:tree:"],
    ]
    assert all(row[0].endswith(":my-artifact") for row in references)


def test_nothing_is_decoded(engine, old, target, tmp_path):
    table, _ = target
    canary = tmp_path / "canary"

    class Hostile:
        def __reduce__(self):
            return (os.mkdir, (str(canary),))

    rows = blobs(Writer(old), Hostile())
    rows.append({"id": "in the row", "x": pickle.dumps(Hostile())})
    assert list(check_rows(rows, table, ArtifactFolder(old))) == []
    assert import_rows(rows, table, engine, ArtifactFolder(old)).inserted == 2
    assert not canary.exists()
    with engine.connect() as connection:
        connection.scalars(select(table.c.x)).first().unpack()
    assert canary.exists()  # so it would have shown


def test_bytes_that_were_in_the_row_are_stored_as_they_are(engine, old, target):
    table, _ = target
    data = pickle.dumps(VALUE)
    leaf = {"_path": "superduper.components.datatype.Encodable", "blob": data}
    rows = [
        {"id": "1", "x": data},
        {"id": "2", "x": "?leaf", "_builds": {"leaf": leaf}},
        {"id": "3", "x": {"_content": {"bytes": data, "leaf_type": "encodable", "sha1": "…"}}},
        {"id": "4", "x": Encoded(data), "f": Path(__file__)},
        {"id": "5", "x": None},
    ]
    Writer(old)
    assert import_rows(rows, table, engine, ArtifactFolder(old)).inserted == 5
    found = unpacked(engine, table)
    assert [row["x"] for row in found] == [VALUE] * 4 + [None]
    assert found[3]["f"].read_bytes() == Path(__file__).read_bytes()


def test_a_blob_that_rows_share_is_stored_once(engine, old, target):
    table, store = target
    rows = blobs(Writer(old), *[VALUE] * 5)
    assert import_rows(rows, table, engine, ArtifactFolder(old), batch=2) == (5, 0)
    assert len(list(store.backend.list("blobs/"))) == 1


def bad_rows(folder):
    """Rows that cannot be imported: for each the error, and what it says."""
    writer = Writer(folder)
    corrupt, link = sha1(b"sound"), "0" * 40
    writer.put_bytes(b"rotten", corrupt)
    (writer.blobs / link).symlink_to(folder / corrupt)
    (writer.files / "empty").mkdir()
    yield {"x": f"&:blob:{corrupt}"}, BlobCorruptedError, f"{corrupt}' is corrupt: the SHA-1"
    yield {"x": f"&:blob:{'1' * 40}"}, BlobNotFoundError, f"'&:blob:{'1' * 40}' is not in "
    yield {"x": f"&:blob:{link}"}, SourceError, "is a link"
    yield {"x": "/etc/passwd"}, InvalidReferenceError, "a str is no reference"
    yield {"x": "&:file:empty"}, InvalidReferenceError, "expected the reference of a blob, not"
    yield {"f": "&:file:empty"}, BlobNotFoundError, "'&:file:empty' is not in"
    yield {"f": "/etc/passwd"}, InvalidReferenceError, "a str is no reference"
    yield {"f": b"bytes"}, InvalidReferenceError, "a bytes is no reference"
    yield {"f": "?a", "_builds": {"a": {"x": "/etc/passwd"}}}, InvalidReferenceError, "a str"
    yield {"f": "?a", "_builds": {"a": {"x": "?a"}}}, InvalidReferenceError, "a str is no"
    yield {"f": "?a"}, InvalidReferenceError, "a str is no reference"
    yield {"files": ["/etc/passwd"]}, InvalidReferenceError, "a str is no reference"
    yield {"other": 1}, InvalidValueError, "there is no such column"
    yield {"id": None}, InvalidValueError, "a row without its primary key"


def test_bad_rows_are_reported_and_stop_the_import(engine, old, tmp_path):
    table, store = set_up(engine, tmp_path, files=ArtifactList(FileDir()))
    for row, error, message in bad_rows(old):
        column = next(iter(row))
        bad = {"id": "bad"} | row
        good = blobs(Writer(old), "1st", "2nd", "3rd")
        rows = [*good[:2], {**good[2], "id": "in the batch"}, bad]
        ((key, problem),) = check_rows(rows, table, ArtifactFolder(old))
        assert (key, type(problem)) == (bad["id"], error)
        assert str(problem).startswith(f"my_collection.{column}: row '{bad['id']}': ")
        assert message in str(problem)
        assert "/etc/passwd" not in str(problem)
        with pytest.raises(error) as caught:
            import_rows(rows, table, engine, ArtifactFolder(old), batch=2)
        assert str(caught.value) == str(problem)
        assert count(engine, table) == 2
    assert check(engine, store, table) == set()


class Wrapped(TypeDecorator):
    impl = FileDir
    cache_ok = True

    def process_bind_param(self, value, dialect):
        return value


def test_a_type_around_one_of_ours_takes_references_only(engine, old, tmp_path):
    table, _ = set_up(engine, tmp_path, f=Wrapped)
    row = Named(old).document("1", VALUE, make_files(tmp_path)[0])
    ((_, error),) = check_rows([row | {"f": "/etc/passwd"}], table, ArtifactFolder(old))
    assert "a str is no reference" in str(error)
    import_rows([row], table, engine, ArtifactFolder(old))
    assert unpacked(engine, table)[0]["f"].read_bytes() == b"weights"


def test_a_long_key_is_cut_short_in_messages(old):
    Writer(old)
    table = Schema("s", {"x": my_artifact()}).table("t", MetaData())
    ((key, error),) = check_rows([{"id": "k" * 9999, "x": "?"}], table, ArtifactFolder(old))
    assert key == "k" * 9999
    assert len(str(error)) < 300


def test_all_that_is_wrong_is_reported(old, engine, target):
    table, _ = target
    missing = f"&:blob:{'1' * 40}"
    rows = [{"id": "1", "x": missing, "f": "no"}, {"id": "2"}, {"id": "3", "x": missing}]
    Writer(old)
    found = check_rows(iter(rows), table, ArtifactFolder(old))
    assert [(key, error.column) for key, error in found] == [
        ("1", "my_collection.x"),
        ("1", "my_collection.f"),
        ("3", "my_collection.x"),
    ]
    assert count(engine, table) == 0


def test_rows_that_are_there_are_skipped(engine, old, target):
    table, _ = target
    rows = blobs(Writer(old), *"abcde")
    shown = []
    folder = ArtifactFolder(old)
    assert import_rows(rows[:3], table, engine, folder, batch=2, progress=shown.append) == (3, 0)
    assert shown == [(2, 0), (3, 0)]
    (old / rows[0]["x"][7:]).unlink()  # of a row that is there, nothing is read any more
    again = [*rows, rows[4] | {"x": None}]
    assert import_rows(iter(again), table, engine, folder, batch=4) == Imported(2, 4)
    assert [row["x"] for row in unpacked(engine, table)] == list("abcde")


def test_a_connection_or_session_is_left_to_commit(engine, old, target):
    table, _ = target
    rows = blobs(Writer(old), *"abc")
    folder = ArtifactFolder(old)
    with engine.connect() as connection:
        assert import_rows(rows, table, connection, folder) == (3, 0)
        connection.rollback()
    assert count(engine, table) == 0
    with Session(engine) as session:
        import_rows(rows, table, session, folder, batch=1, progress=lambda done: session.commit())
    assert count(engine, table) == 3


def test_rows_go_into_a_mapped_class_with_a_key_of_two_columns(engine, old, tmp_path):
    class Base(DeclarativeBase):
        pass

    key = {"a": Column(Integer, primary_key=True), "id": Column(Integer, primary_key=True)}
    table, _ = set_up(engine, tmp_path, **key)

    class Thing(Base):
        __table__ = table

    rows = [{"a": n % 2, **row, "id": n // 2} for n, row in enumerate(blobs(Writer(old), *"abcd"))]
    rows[1].pop("x")  # documents may lack a field
    folder = ArtifactFolder(old)
    assert import_rows(rows[:2], Thing, engine, folder) == (2, 0)
    assert import_rows(rows, Thing, engine, folder) == (2, 2)
    found = [(row["a"], row["id"], row["x"]) for row in unpacked(engine, table)]
    assert found == [(0, 0, "a"), (0, 1, "c"), (1, 0, None), (1, 1, "d")]
    rows[0].pop("a")
    ((key, error),) = check_rows(rows[:1], Thing, folder)
    assert (key, error.column) == ((None, 0), "my_collection.a")


def test_a_table_without_a_primary_key_is_refused(old):
    Writer(old)
    table = Table("plain", MetaData(), Column("x", LazyArtifact(my_artifact())))
    with pytest.raises(InvalidValueError, match="table 'plain' has no primary key"):
        import_rows([], table, None, ArtifactFolder(old))


def test_fields_of_superdupers_are_kept_where_the_table_has_them(engine, old, tmp_path):
    table, _ = set_up(engine, tmp_path, _fold="str")
    Writer(old)
    rows = [{"id": "1", "_fold": "valid", "_schema": "my-schema", "_id": object()}]
    import_rows(rows, table, engine, ArtifactFolder(old))
    assert unpacked(engine, table)[0]["_fold"] == "valid"


def test_lists_of_references_go_into_lists(engine, old, tmp_path):
    lists = {"many": ArtifactList(LazyArtifact(my_artifact())), "files": ArtifactList(FileDir())}
    table, _ = set_up(engine, tmp_path, **lists)
    file, folder = make_files(tmp_path)
    one, two = (Named(old).document(key, key, path) for key, path in (("1", file), ("2", folder)))
    row = {"id": "1", "many": [one["x"], None, two["x"]], "files": [one["f"], two["f"]]}
    import_rows([row], table, engine, ArtifactFolder(old))
    (found,) = unpacked(engine, table)
    assert found["many"] == ["1", None, "2"]
    assert [path.name for path in found["files"]] == [file.name, folder.name]
