"""Guards are made and removed, under whatever names and in whatever schemas."""

import pytest
from sqlalchemy import (
    JSON,
    Column,
    Integer,
    MetaData,
    String,
    Table,
    event,
    insert,
    inspect,
    text,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sqla_artifacts import Artifact, ledger
from sqla_artifacts.errors import LedgerError
from tests.collect.conftest import Collected

from .scene import make_table, watched_store
from .test_guard import INSERT, UNKNOWN, protect, reference_of, refused, run
from .test_isolation import attach_databases, make_schemas


@pytest.fixture
def scene(engine):
    """A scene with a guard on `data`."""
    scene = Collected(engine)
    protect(engine, scene.table.c.data)
    return scene


def test_with_create_all_and_drop_all(engine):
    class Base(DeclarativeBase):
        pass

    class Sample(Base):
        __tablename__ = "sample"
        id: Mapped[int] = mapped_column(primary_key=True)
        data: Mapped[bytes | None] = mapped_column(Artifact("bytes"))

    guard = ledger.guard(Sample.data)
    event.listen(Sample.__table__, "after_create", guard.create)
    event.listen(Sample.__table__, "before_drop", guard.drop)
    watched_store().attach(engine, metadata=Base.metadata)
    for _ in range(2):
        Base.metadata.create_all(engine)
        refused(engine, INSERT, data=UNKNOWN)
        Base.metadata.drop_all(engine)
    assert inspect(engine).get_table_names() == []
    if engine.dialect.name == "postgresql":
        count = "SELECT count(*) FROM pg_proc WHERE proname LIKE 'artifact_guard%'"
        assert run_scalar(engine, count) == 0


def run_scalar(engine, sql):
    with engine.connect() as connection:
        return connection.scalar(text(sql))


def test_it_can_be_removed_also_if_it_is_not_there(scene):
    with scene.engine.begin() as connection:
        for _ in range(2):
            connection.execute(ledger.guard(scene.table.c.data).drop)
    run(scene.engine, INSERT, data=UNKNOWN)


AWKWARD = ['or"der', "50% off", "semi;colon: $1 ?", "it's", "ä" * 31]


@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_names(engine, name):
    metadata = MetaData()
    columns = [Column(f"{name}{n}"[:62], Artifact("bytes"), key=f"c{n}") for n in range(2)]
    home = name.replace("%", "")
    table = Table(home, metadata, Column("id", Integer, primary_key=True), *columns)
    plain = Table(home, MetaData(), *[Column(c.name, String, key=c.key) for c in columns])
    watched_store().attach(engine, metadata=metadata)
    metadata.create_all(engine)
    for column in columns:
        protect(engine, column)
    with engine.begin() as connection:
        connection.execute(insert(table).values(c0=b"x", c1=b"y"))
    for key in ("c0", "c1"):
        with pytest.raises(IntegrityError, match="no live blob"), engine.begin() as connection:
            connection.execute(insert(plain).values({key: UNKNOWN}))
    with engine.begin() as connection:
        connection.execute(ledger.guard(columns[0]).drop)
        connection.execute(insert(plain).values(c0=UNKNOWN))
    with pytest.raises(IntegrityError, match="no live blob"), engine.begin() as connection:
        connection.execute(insert(plain).values(c1=UNKNOWN))


@pytest.mark.parametrize("told", [False, True], ids=["by MetaData", "by argument"])
def test_schemas(engine, tmp_path, told):
    make_schemas(engine, tmp_path, "artifacts")
    metadata = MetaData()
    table = make_table(metadata, schema="artifacts")
    store = watched_store()
    store.attach(engine, metadata=metadata, schema="artifacts")
    metadata.create_all(engine)
    column = make_table(MetaData(), schema="artifacts").c.data if told else table.c.data
    protect(engine, column, **({"schema": "artifacts"} if told else {}))
    with engine.begin() as connection:
        connection.execute(insert(table).values(data=b"x"))
    sql = "INSERT INTO artifacts.sample (data) VALUES (:data)"
    run(engine, sql, data=reference_of(b"x"))
    refused(engine, sql, data=UNKNOWN)
    with engine.begin() as connection:
        connection.execute(ledger.guard(table.c.data).drop)
    run(engine, sql, data=UNKNOWN)


def test_a_ledger_in_another_file_of_sqlite_is_refused(make_engine, tmp_path):
    engine = make_engine("sqlite")
    attach_databases(engine, tmp_path, "other")
    scene = Collected(engine, ledger_schema="other")
    with pytest.raises(LedgerError, match=r"sample\.data cannot be guarded.*'other'"):
        protect(engine, scene.table.c.data)


def test_whoever_may_write_to_the_table_needs_no_right_on_the_ledger(make_engine):
    scene = Collected(make_engine("postgresql"))
    scene.commit(b"x")
    protect(scene.engine, scene.table.c.data)
    role = f"writer_{scene.store.id}"
    run(scene.engine, f"CREATE ROLE {role}")
    run(scene.engine, f"GRANT INSERT ON sample TO {role}")
    run(scene.engine, f"GRANT USAGE ON SEQUENCE sample_id_seq TO {role}")
    run(scene.engine, "UPDATE artifact_blob SET doom = 1, horizon = 1")
    for data, passes in ((reference_of(b"x"), True), (UNKNOWN, False)):
        with scene.engine.connect() as connection:
            connection.execute(text(f"SET LOCAL ROLE {role}"))
            connection.execute(text("SET LOCAL search_path = pg_temp, public"))
            if passes:
                connection.execute(text(INSERT), {"data": data})
                connection.commit()
            else:
                with pytest.raises(IntegrityError):
                    connection.execute(text(INSERT), {"data": data})
    assert scene.blob(b"x").doom is None
    with scene.engine.begin() as connection:
        connection.execute(text(f"DROP OWNED BY {role}"))
        connection.execute(text(f"DROP ROLE {role}"))


def test_what_cannot_be_guarded(scene):
    for column in (scene.table.c.id, Column("doc", JSON), Column("name", String)):
        with pytest.raises(LedgerError, match="no column of artifacts"):
            ledger.guard(column)
    with pytest.raises(LedgerError, match="not for mysql"):
        ledger.guard(scene.table.c.run).create.compile(dialect=mysql.dialect())
