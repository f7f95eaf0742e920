"""Where nothing could protect a blob, nothing is stored; where it can be, it is protected."""

import pytest
from sqlalchemy import (
    Column,
    MetaData,
    StaticPool,
    Table,
    bindparam,
    create_engine,
    insert,
    text,
)

from sqla_artifacts import Artifact, ArtifactStore
from sqla_artifacts.errors import InvalidValueError, UnsafeTransactionError
from sqla_artifacts.store import key_of
from tests.engines import SQLITE_MODES

from .scene import make_table

DRIVERS = [None, *SQLITE_MODES]
BOTH = ["sqlite", "postgresql"]


def driver_name(mode):
    return str(mode or "postgresql")


def refuse(scene, connection, statement, *rows):
    """Check that a statement is refused, and that the connection is of use after a rollback."""
    with pytest.raises(UnsafeTransactionError):
        connection.execute(statement, *rows)
    connection.rollback()
    assert scene.puts == []
    assert scene.columns() == set()
    assert connection.scalar(text("SELECT count(*) FROM sample")) == 0
    connection.rollback()


@pytest.mark.parametrize("database", BOTH)
def test_autocommit_of_the_engine(make_scene, database):
    scene = make_scene(database, isolation_level="AUTOCOMMIT")
    with scene.engine.connect() as connection:
        refuse(scene, connection, insert(scene.table), {"data": b"value"})


def test_autocommit_of_a_connection(scene):
    with scene.engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        refuse(scene, connection, insert(scene.table), {"data": b"value"})
    scene.commit(b"value")
    assert scene.check() == set()


def test_one_connection_for_all_on_postgresql(postgres_url):
    engine = create_engine(postgres_url, poolclass=StaticPool)
    with pytest.raises(UnsafeTransactionError, match="StaticPool"):
        ArtifactStore("memory://").attach(engine)


# After a COMMIT in raw SQL psycopg begins anew by itself, and so does sqlite3 in its legacy mode.
# In the others nothing begins until SQLAlchemy's transaction is over.
RAW_COMMIT = {
    "postgresql": [b"first", b"second"],
    "legacy": [b"first", b"second"],
    "begin": UnsafeTransactionError,
    "autocommit_false": UnsafeTransactionError,
}


@pytest.mark.parametrize("mode", DRIVERS, ids=driver_name)
def test_a_commit_in_raw_sql(make_scene, mode):
    scene = make_scene("sqlite" if mode else "postgresql", sqlite_mode=mode)
    expected = RAW_COMMIT[mode.transactions if mode else "postgresql"]
    with scene.engine.connect() as connection:
        scene.put(connection, b"first")
        connection.exec_driver_sql("COMMIT")
        if expected is UnsafeTransactionError:
            with pytest.raises(UnsafeTransactionError):
                scene.put(connection, b"second")
            expected = [b"first"]
            connection.invalidate()  # sqlite3 fails to roll back what it did not see end
        else:
            scene.put(connection, b"second")
            connection.commit()
    assert scene.values() == expected
    assert scene.check() == set()


@pytest.mark.parametrize("mode", DRIVERS, ids=driver_name)
def test_the_first_statement_of_a_transaction(make_scene, mode):
    scene = make_scene("sqlite" if mode else "postgresql", sqlite_mode=mode)
    with scene.engine.connect() as connection:
        connection.execute(insert(scene.table).values(data=b"value"))
        connection.commit()
    assert scene.values() == [b"value"]
    assert scene.check() == set()


def typed(column_type):
    statement = text("INSERT INTO sample (id, data) VALUES (1, :data)")
    return statement.bindparams(bindparam("data", type_=column_type))


def test_text_with_the_type_of_a_column(scene):
    with scene.engine.begin() as connection:
        connection.execute(typed(scene.table.c.data.type), {"data": b"value"})
    assert scene.values() == [b"value"]
    assert scene.check() == set()


def test_text_with_a_type_of_no_column(scene):
    of_no_table = Column("data", Artifact("bytes"))
    with scene.engine.connect() as connection:
        for column_type in (Artifact("bytes"), of_no_table.type):
            refuse(scene, connection, typed(column_type), {"data": b"value"})


def test_text_with_a_type_of_two_tables(scene):
    shared = Artifact("bytes")
    for name in ("one", "two"):
        Table(name, MetaData(), Column("data", shared))
    with scene.engine.connect() as connection:
        refuse(scene, connection, typed(shared), {"data": b"value"})


def test_a_temporary_table(scene):
    with scene.engine.connect() as connection:
        for name in ("draft", "sample"):  # the second hides the table that it is named like
            draft = make_table(MetaData(), name, prefixes=["TEMPORARY"])
            draft.create(connection)
            connection.commit()
            with pytest.raises(UnsafeTransactionError, match="temporary"):
                connection.execute(insert(draft), {"data": b"value"})
            connection.rollback()
            draft.drop(connection)
            connection.commit()
    assert scene.puts == []
    assert scene.columns() == set()


def test_a_view(scene):
    view = Table("view", MetaData(), Column("data", Artifact("bytes")))
    with scene.engine.connect() as connection:
        connection.execute(text("CREATE VIEW view AS SELECT data FROM sample"))
        if scene.engine.dialect.name == "sqlite":
            into = "INSERT INTO sample (data) VALUES (new.data)"
            trigger = f"CREATE TRIGGER t INSTEAD OF INSERT ON view BEGIN {into}; END"
            connection.execute(text(trigger))
        connection.commit()
        refuse(scene, connection, insert(view), {"data": b"value"})


def test_a_reference_that_is_rendered_into_the_statement(scene):
    # Its payload is bound nowhere, so nothing would store it.
    column_type = scene.table.c.data.type
    value = bindparam("data", b"value", type_=column_type, literal_execute=True)
    with scene.engine.connect() as connection:
        refuse(scene, connection, insert(scene.table).values(id=1, data=value))


def test_a_table_that_is_not_there(scene):
    table = make_table(MetaData(), "nowhere")
    with scene.engine.connect() as connection:
        with pytest.raises(UnsafeTransactionError, match="no table 'nowhere'"):
            connection.execute(insert(table), {"data": b"value"})
        connection.rollback()
        assert connection.scalar(text("SELECT count(*) FROM sample")) == 0
    assert scene.columns() == set()


def test_what_a_failed_statement_had_bound_is_forgotten(scene):
    with scene.engine.connect() as connection:
        with pytest.raises(InvalidValueError):
            scene.put(connection, b"first", object())
        connection.rollback()
        scene.put(connection, b"second")
        connection.commit()
    assert scene.puts == [key_of(scene.digest(b"second"))]
    assert scene.check() == set()
