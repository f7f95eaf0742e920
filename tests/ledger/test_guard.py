"""A guard refuses what raw SQL may not write, and lets pass what it may."""

import pytest
from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    String,
    Table,
    insert,
    select,
    text,
    type_coerce,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import DBAPIError, IntegrityError

from sqla_artifacts import Artifact, ArtifactList, ledger
from sqla_artifacts.digest import digest_of
from tests.collect.conftest import Collected

from .scene import make_table, watched_store
from .test_isolation import ISOLATIONS

UNKNOWN = f"&:blob:{'0' * 64}:1:bytes"


def protect(engine, column, **options):
    with engine.begin() as connection:
        connection.execute(ledger.guard(column, **options).create)


def run(engine, sql, **parameters):
    with engine.begin() as connection:
        return connection.execute(text(sql), parameters)


def reference_of(value):
    return f"&:blob:{digest_of(value, 'blake3')}:{len(value)}:bytes"


def refused(engine, sql, match="no live blob", **parameters):
    with pytest.raises(IntegrityError, match=match):
        run(engine, sql, **parameters)


@pytest.fixture
def scene(engine):
    """A scene with a guard on `data`, and a row of b"x"."""
    scene = Collected(engine)
    protect(engine, scene.table.c.data)
    scene.commit(b"x")
    return scene


INSERT = "INSERT INTO sample (data) VALUES (:data)"


def test_raw_sql_may_copy_a_reference(scene):
    run(scene.engine, "INSERT INTO sample (data) SELECT data FROM sample")
    run(scene.engine, INSERT, data=scene.references()[0])
    run(scene.engine, "UPDATE sample SET data = (SELECT data FROM sample WHERE id = 1)")
    assert scene.values() == [b"x"] * 3
    assert scene.check() == set()


def test_raw_sql_may_not_name_what_the_ledger_does_not_know(scene):
    refused(scene.engine, INSERT, data=UNKNOWN)
    refused(scene.engine, "UPDATE sample SET data = :data", data=UNKNOWN)
    refused(scene.engine, "INSERT INTO sample (data) SELECT :data FROM sample", data=UNKNOWN)
    assert scene.values() == [b"x"]


@pytest.mark.parametrize("state", ["pending", "gone"])
def test_a_blob_has_to_be_live(scene, state):
    for doom in (None, 1):
        change = "UPDATE artifact_blob SET state = :state, doom = :doom, horizon = :doom"
        run(scene.engine, change, state=state, doom=doom)
        refused(scene.engine, INSERT, data=reference_of(b"x"))
    run(scene.engine, "UPDATE sample SET data = data, run = NULL")  # it names nothing new


MALFORMED = [
    "",
    "/etc/passwd",
    "{digest}",
    "&:none:{digest}:1:bytes",
    "&:blob:{digest}:1:",
    "&:blob:{digest}::bytes",
    "&:blob:{digest}:x:bytes",
    "&:blob:{digest}:1:by/tes",
    "&:blob:{digest}:1:bytes\n",
    " &:blob:{digest}:1:bytes",
    "&:blob:{digest}0:1:bytes",
    "&:blob:{DIGEST}:1:bytes",
    '["&:blob:{digest}:1:bytes"]',
]


def test_what_is_no_reference_is_refused(scene):
    digest = digest_of(b"x", "blake3")
    for malformed in MALFORMED:
        data = malformed.replace("{digest}", digest).replace("{DIGEST}", digest.upper())
        refused(scene.engine, INSERT, "not a reference", data=data)


def test_bytes_are_no_reference(make_engine):
    scene = Collected(make_engine("sqlite"))
    protect(scene.engine, scene.table.c.data)
    scene.commit(b"x")
    refused(scene.engine, INSERT, "not a reference", data=reference_of(b"x").encode())


def test_null_passes_and_other_columns_are_not_looked_at(scene):
    run(scene.engine, INSERT, data=None)
    run(scene.engine, "INSERT INTO sample (run) VALUES ('anything')")
    run(scene.engine, "UPDATE sample SET data = NULL")
    assert scene.references() == [None] * 3


@pytest.mark.parametrize("clause", ["INSERT OR IGNORE", "INSERT OR REPLACE"])
def test_conflict_clauses_do_not_silence_a_guard(make_engine, clause):
    scene = Collected(make_engine("sqlite"))
    protect(scene.engine, scene.table.c.data)
    refused(scene.engine, f"{clause} INTO sample (id, data) VALUES (1, :data)", data=UNKNOWN)


def test_an_upsert_is_looked_at_as_what_it_does(scene):
    upsert = "INSERT INTO sample (id, data) VALUES (1, :data) ON CONFLICT (id) DO"
    run(scene.engine, f"{upsert} NOTHING", data=UNKNOWN)  # writes nothing
    refused(scene.engine, f"{upsert} UPDATE SET data = excluded.data", data=UNKNOWN)
    assert scene.values() == [b"x"]


# -- what the library stores --------------------------------------------------------------------


@pytest.mark.parametrize(("database", "isolation"), ISOLATIONS)
def test_what_the_library_stores_passes(make_engine, tmp_path, database, isolation):
    scene = Collected(make_engine(database))
    protect(scene.engine, scene.table.c.data)
    protect(scene.engine, scene.table.c.run)
    (tmp_path / "file").write_bytes(b"f" * 1_100_000)
    engine = scene.engine.execution_options(isolation_level=isolation)
    with engine.connect() as connection:
        assert connection.scalars(select(scene.table.c.id)).all() == []  # takes a snapshot
        scene.put(connection, b"1", b"2", b"1")
        scene.put(connection, tmp_path, tmp_path / "file", column="run")
        connection.execute(update(scene.table).where(scene.table.c.data == b"2").values(data=b"3"))
        copied = select(scene.table.c.data).where(scene.table.c.data == b"3")
        connection.execute(insert(scene.table).from_select(["data"], copied))
        connection.commit()
    with scene.engine.connect() as connection:
        references = connection.scalars(select(type_coerce(scene.table.c.data, String))).all()
    assert sorted(filter(None, references)) == sorted(map(reference_of, [b"1", b"1", b"3", b"3"]))
    scene.check()


def test_a_column_that_the_library_notes_after_the_snapshot(make_engine):
    scene = Collected(make_engine("postgresql", isolation_level="REPEATABLE READ"))
    scene.commit(b"x")
    other = make_table(scene.metadata, "other")
    scene.metadata.create_all(scene.engine)
    protect(scene.engine, other.c.data)
    with scene.engine.begin() as connection:
        connection.execute(select(other.c.id)).all()
        connection.execute(insert(other).values(data=b"y"))
        connection.execute(insert(other).values(data=b"x"))
    assert ("public", "other", "data") in scene.columns()


def test_two_stores_in_one_statement(make_engine):
    engine = make_engine("postgresql", isolation_level="REPEATABLE READ")
    metadata = MetaData()
    table = Table(
        "sample",
        metadata,
        Column("here", Artifact("bytes")),
        Column("there", Artifact("bytes", store="Zweiter Ort")),
    )
    watched_store().attach(engine, metadata=metadata)
    watched_store().attach(engine, name="Zweiter Ort")
    metadata.create_all(engine)
    for column in table.columns:
        protect(engine, column)
    with engine.begin() as connection:
        connection.execute(insert(table).values(here=b"h", there=b"t"))
    swapped = "INSERT INTO sample (here) SELECT there FROM sample"
    refused(engine, swapped, r"sample\.here: .* store 'default'")
    refused(engine, "UPDATE sample SET there = here", r"sample\.there: .* store 'Zweiter Ort'")


# -- lists ----------------------------------------------------------------------------------------


@pytest.fixture(params=["json", "array"])
def albums(request, engine):
    """(engine, table, SQL for a value of its guarded column) of lists of artifacts."""
    if request.param == "array" and engine.dialect.name == "sqlite":
        pytest.skip("only PostgreSQL has arrays")
    metadata = MetaData()
    is_array = request.param == "array"
    item = Artifact("bytes")
    column = Column("photos", ARRAY(item, dimensions=1) if is_array else ArtifactList(item))
    table = Table("album", metadata, Column("id", Integer, primary_key=True), column)
    watched_store().attach(engine, metadata=metadata)
    metadata.create_all(engine)
    protect(engine, column)
    with engine.begin() as connection:
        connection.execute(insert(table).values(photos=[b"1", None, b"2"]))
        connection.execute(insert(table).values(photos=[]))
        connection.execute(insert(table).values(photos=None))
    return engine, table, is_array


def put_list(engine, is_array, *items):
    if is_array:
        values = ", ".join("NULL" if item is None else f"'{item}'" for item in items)
        value = f"ARRAY[{values}]::text[]"
    else:
        value = "'[" + ", ".join("null" if i is None else f'"{i}"' for i in items) + "]'"
    with engine.begin() as connection:
        connection.execute(text(f"INSERT INTO album (photos) VALUES ({value})".replace(":", r"\:")))


def test_the_items_of_a_list_are_looked_at(albums):
    engine, table, is_array = albums
    put_list(engine, is_array, reference_of(b"2"), None, reference_of(b"1"))
    for item in (UNKNOWN, "none"):
        with pytest.raises(IntegrityError):
            put_list(engine, is_array, reference_of(b"1"), item)
    with engine.connect() as connection:
        lists = connection.scalars(select(table.c.photos).order_by(table.c.id)).all()
    assert lists == [[b"1", None, b"2"], [], None, [b"2", None, b"1"]]


def test_json_that_is_no_list_of_references(albums):
    engine, _, is_array = albums
    if is_array:
        pytest.skip("an array cannot hold it")
    typed = "CAST(:value AS jsonb)" if engine.dialect.name == "postgresql" else ":value"
    for value in ('{"a": 1}', "[1]", '[["x"]]', "[true]", '"x"', "[{}]", "no json"):
        with pytest.raises(DBAPIError, match=r"not a reference|invalid input syntax for type json"):
            run(engine, f"INSERT INTO album (photos) VALUES ({typed})", value=value)


# -- the collector --------------------------------------------------------------------------------


def test_a_guarded_column_is_noted_for_the_collector(scene):
    other = make_table(scene.metadata, "other")
    scene.metadata.create_all(scene.engine)
    protect(scene.engine, other.c.data)
    run(scene.engine, "INSERT INTO other (data) SELECT data FROM sample")
    run(scene.engine, "DELETE FROM sample")
    collected = scene.collect(metadata=None)
    assert (collected.deleted.blobs, collected.total.blobs) == (0, 1)  # without metadata=
    home = "main" if scene.engine.dialect.name == "sqlite" else "public"
    assert (home, "other", "data") in scene.columns()


def test_rows_of_a_partition_are_guarded_and_noted_under_the_table(make_engine):
    scene = Collected(make_engine("postgresql"))
    scene.commit(b"x")
    run(scene.engine, "CREATE TABLE parted (id int, data text) PARTITION BY LIST (id)")
    run(scene.engine, "CREATE TABLE part PARTITION OF parted FOR VALUES IN (1)")
    protect(scene.engine, Table("parted", scene.metadata, Column("data", Artifact("bytes"))).c.data)
    run(scene.engine, "INSERT INTO part (id, data) SELECT 1, data FROM sample")
    refused(scene.engine, "INSERT INTO parted (id, data) VALUES (1, :data)", data=UNKNOWN)
    refused(scene.engine, "INSERT INTO part (id, data) VALUES (1, :data)", data=UNKNOWN)
    assert ("public", "parted", "data") in scene.columns()
    assert ("public", "part", "data") not in scene.columns()
