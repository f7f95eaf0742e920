"""The database, its logs and its errors show references, and nowhere a payload."""

import base64
import hashlib
import pickle
import re
import traceback

import pytest
from blake3 import blake3
from sqlalchemy import bindparam, delete, insert, select, text, update
from sqlalchemy.exc import IntegrityError, StatementError
from sqlalchemy.orm import Session

from sqla_artifacts.reference import parse
from sqla_artifacts.tree import parse_manifest

from .models import counting, make_models, set_up

MARKER = "payload-marker-7f3a"
CONTROL = "stands-in-the-row-9c2e"
COLUMNS = ("data", "text", "doc", "thing", "model", "note", "run")
REFERENCE = re.compile(r"&:(blob|tree):[0-9a-f]{64}:[0-9]+:[A-Za-z0-9.%_~-]+")


@pytest.fixture
def payloads(tmp_path):
    """A value with the marker for each of the columns."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "log").write_text(MARKER)
    return {
        "data": MARKER.encode(),
        "text": MARKER,
        "doc": {"key": MARKER},
        "thing": {"key": MARKER},
        "model": [MARKER.encode()],
        "note": MARKER * 2,
        "run": run,
    }


def assert_private(shown):
    """There is no payload in what is shown, and it would have been seen."""
    shown = shown if isinstance(shown, bytes) else shown.encode()
    assert CONTROL.encode() in shown
    plain = MARKER.encode()
    for form in (plain, plain.hex().encode(), base64.b64encode(plain).rstrip(b"=")):
        assert form not in shown


def store_one(engine, directory, payloads, **options):
    sample, store = set_up(engine, directory, **options)
    with Session(engine) as session:
        session.add(sample(name=CONTROL, **payloads))
        session.commit()
    return sample, store


def references(engine):
    """The row as any other program reads it."""
    with engine.connect() as connection:
        return connection.execute(text(f"SELECT {', '.join(COLUMNS)} FROM sample")).one()


def test_a_row_shows_references(engine, tmp_path, payloads):
    store_one(engine, tmp_path, payloads)
    for column, shown in references(engine)._mapping.items():
        assert REFERENCE.fullmatch(shown), column
        assert shown.startswith("&:tree:" if column == "run" else "&:blob:")


@pytest.mark.parametrize(("algorithm", "hasher"), [("blake3", blake3), ("sha256", hashlib.sha256)])
def test_hashing_a_blobs_file_gives_its_name(engine, tmp_path, payloads, algorithm, hasher):
    store_one(engine, tmp_path, payloads, algorithm=algorithm)
    files = [path for path in (tmp_path / "artifacts" / "blobs").rglob("*") if path.is_file()]
    names = {hasher(path.read_bytes()).hexdigest() for path in files}
    assert names == {path.name for path in files}
    assert {parse(shown).digest for shown in references(engine)} <= names


def test_the_store_opens_a_reference_as_the_encoded_bytes(engine, tmp_path, payloads):
    _, store = store_one(engine, tmp_path, payloads)
    row = references(engine)
    encoded = {}
    for column, shown in row._mapping.items():
        with store.open(shown) as stream:
            encoded[column] = stream.read()
    assert encoded["data"] == MARKER.encode()
    assert encoded["text"] == MARKER.encode()
    assert encoded["doc"] == b'{"key":"%s"}' % MARKER.encode()
    assert pickle.loads(encoded["thing"]) == {"key": MARKER}
    assert pickle.loads(encoded["model"]) == [MARKER.encode()]
    assert encoded["note"] == MARKER.encode() * 2
    assert [m.path for m in parse_manifest(encoded["run"]).members] == [".", "log"]
    assert parse(row.data).size == len(MARKER)


def test_sqlite_files_hold_no_payload(make_engine, sqlite_mode, tmp_path, payloads):
    engine = make_engine("sqlite", sqlite_mode=sqlite_mode)
    sample, _ = store_one(engine, tmp_path, payloads)
    with Session(engine) as session:
        session.get(sample, 1).data = MARKER.encode() * 3
        session.flush()
        # The write-ahead log, or the journal, is there as long as this transaction is open.
        seen = [path.read_bytes() for path in tmp_path.glob("test.db*")]
        assert len(seen) >= 2
        assert_private(b"".join(seen))
        session.commit()
    assert_private(b"".join(path.read_bytes() for path in tmp_path.glob("test.db*")))


def test_postgresql_tables_hold_no_payload(make_engine, tmp_path, payloads):
    engine = make_engine("postgresql")
    store_one(engine, tmp_path, payloads)
    with engine.connect() as connection:
        tables = connection.scalars(
            text("SELECT CAST(oid AS regclass)::text FROM pg_class WHERE relkind = 'r' "
                 "AND relnamespace = 'public'::regnamespace")
        ).all()  # fmt: skip
        assert {"sample", "artifact_blob", "artifact_column"} <= set(tables)
        rows = [connection.scalars(text(f"SELECT t::text FROM {t} AS t")).all() for t in tables]
    assert_private(str(rows))


def test_echo_shows_no_payload(engine, tmp_path, payloads, caplog):
    engine.echo = True
    sample, _ = store_one(engine, tmp_path, payloads)
    table = sample.__table__
    with engine.begin() as connection:
        connection.execute(insert(table), [{"data": MARKER.encode()}, {"data": MARKER.encode()}])
        connection.execute(update(table).values(note=MARKER))
        connection.execute(select(table.c.id).where(table.c.data == MARKER.encode()))
        connection.execute(select(table.c.id).where(table.c.text.in_([MARKER, "x"])))
    with Session(engine) as session:
        assert session.get(sample, 1).note.unpack() == MARKER
    assert "&:blob:" in caplog.text
    assert_private(caplog.text)


PAYLOAD = MARKER.encode()
ROW = {"data": PAYLOAD, "text": MARKER, "model": [MARKER], "count": -1, "name": CONTROL}
GIVEN = {"p": PAYLOAD, "c": -1}
UNTYPED = {"data": bindparam("p"), "count": bindparam("c")}

# Statements with a payload in every way to give one, and a count that cannot be bound.
FAILING = {
    "insert": lambda t: (insert(t), ROW),
    "insert-many": lambda t: (insert(t), [ROW, ROW]),
    "insert-values": lambda t: (insert(t).values(ROW), {}),
    "insert-rows": lambda t: (insert(t).values([ROW, ROW]), {}),
    "insert-parameters": lambda t: (insert(t).values(UNTYPED), GIVEN),
    "insert-parameters-many": lambda t: (insert(t).values(UNTYPED), [GIVEN, GIVEN]),
    "insert-parameter-missing": lambda t: (insert(t).values(UNTYPED), {"p": PAYLOAD}),
    "insert-in-cte": lambda t: (
        select(insert(t).values(UNTYPED).returning(t.c.id).cte()),
        GIVEN,
    ),
    "update": lambda t: (update(t).values(ROW), {}),
    "update-parameters": lambda t: (update(t).values(UNTYPED), GIVEN),
    "delete": lambda t: (delete(t).where(t.c.data == bindparam("p"), _count(t)), GIVEN),
    "select": lambda t: (select(t.c.id).where(t.c.data == bindparam("p"), _count(t)), GIVEN),
    "select-in": lambda t: (
        select(t.c.id).where(t.c.data.in_(bindparam("p", expanding=True)), _count(t)),
        {"p": [PAYLOAD], "c": -1},
    ),
    "text": lambda t: (
        text("UPDATE sample SET data = :p, count = :c").bindparams(
            bindparam("p", type_=t.c.data.type), bindparam("c", type_=t.c.count.type)
        ),
        GIVEN,
    ),
}


def _count(table):
    return table.c.count == bindparam("c")


def everything(error):
    """All that an error says, with its causes."""
    trace = "".join(traceback.format_exception(error))
    return f"{error}\n{error!r}\n{error.params!r}\n{trace}"


def test_an_error_of_another_column_shows_no_payload(engine, tmp_path):
    sample, _ = set_up(engine, tmp_path)
    for how, make in FAILING.items():
        statement, parameters = make(sample.__table__)
        with engine.connect() as connection, pytest.raises(StatementError) as caught:
            connection.execute(statement, parameters)
        shown = everything(caught.value)
        assert ("<bytes>" in shown or "<list>" in shown) == bool(parameters), how
        assert_private(f"{CONTROL} {how} {shown}")


@pytest.mark.parametrize("rows", [1, 3])
def test_an_error_of_a_flush_shows_no_payload(engine, tmp_path, payloads, rows):
    sample, _ = set_up(engine, tmp_path)
    with Session(engine) as session:
        session.add_all(sample(count=-1, name=f"{CONTROL}{i}", **payloads) for i in range(rows))
        with pytest.raises(StatementError) as caught:
            session.flush()
    assert_private(everything(caught.value))


def test_an_error_shows_the_values_of_other_tables(engine, tmp_path):
    sample, _ = set_up(engine, tmp_path)
    where = sample.__table__.c.count == bindparam("c"), sample.__table__.c.name == bindparam("n")
    with engine.connect() as connection, pytest.raises(StatementError) as caught:
        connection.execute(select(sample.id).where(*where), {"c": -1, "n": CONTROL})
    assert CONTROL in str(caught.value)


@pytest.mark.parametrize("many", [False, True])
def test_an_error_of_the_database_shows_references(engine, tmp_path, payloads, many):
    sample, _ = store_one(engine, tmp_path, payloads)
    row = {
        "name": CONTROL,
        "data": PAYLOAD,
        "text": MARKER,
        "thing": [MARKER],
        "run": ("f", PAYLOAD),
    }
    rows = [row | {"name": "another"}, row] if many else row
    with engine.connect() as connection, pytest.raises(IntegrityError) as caught:
        connection.execute(insert(sample.__table__), rows)
    assert "&:blob:" in str(caught.value.params)
    assert_private(everything(caught.value))


def test_literal_binds_show_references_and_store_nothing(engine, tmp_path, payloads):
    sample, store = set_up(engine, tmp_path)
    with Session(engine) as session:
        session.add(sample(name=CONTROL))
        session.commit()
    backend, table = counting(store), sample.__table__
    row = {
        "data": PAYLOAD,
        "text": MARKER,
        "doc": [MARKER],
        "thing": [MARKER],
        "run": ("f", PAYLOAD),
    }
    shown = [
        str(statement.compile(engine, compile_kwargs={"literal_binds": True}))
        for statement in (
            insert(table).values(name=CONTROL, **row),
            update(table).values(name=CONTROL, **row),
            select(table.c.name == CONTROL).where(table.c.data == PAYLOAD),
            select(table.c.name == CONTROL).where(table.c.text.in_([MARKER, None])),
        )
    ]
    for statement in shown:
        assert_private(statement)
        assert blake3(PAYLOAD).hexdigest() in statement
    assert "&:file:" in shown[0]
    with engine.begin() as connection:
        connection.execute(update(table).values(name="x"))
    assert not {"put", "create"} & set(backend.calls)


def test_a_statement_as_text_shows_no_payload(tmp_path):
    """Without an engine there is no store to ask how it names a value."""
    table = make_models()[1].__table__
    for statement in (insert(table).values(ROW), select(table.c.id).where(table.c.data == PAYLOAD)):
        assert_private(CONTROL + str(statement))
        assert_private(CONTROL + repr(statement))
