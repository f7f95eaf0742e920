"""Every column that holds references is registered, however a statement comes to write to it."""

import pytest
from sqlalchemy import (
    Column,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    TypeDecorator,
    bindparam,
    event,
    insert,
    text,
    update,
)
from sqlalchemy.sql.elements import quoted_name

from sqla_artifacts import Artifact, DataType
from tests.check import check

from .scene import Scene


class Wrapped(TypeDecorator):
    """A user's own type around ours."""

    impl = Artifact("bytes")
    cache_ok = True


VARIANT = LargeBinary().with_variant(Artifact("bytes"), "sqlite", "postgresql")


def registered(scene, table):
    return {column for _, name, column in scene.columns() if name == table.name}


def test_the_columns_of_the_table(scene):
    assert scene.columns() == set()
    scene.commit(b"value")
    home = "main" if scene.engine.dialect.name == "sqlite" else "public"
    assert scene.columns() == {(home, "sample", "data"), (home, "sample", "run")}


def test_a_registration_that_was_removed_is_made_again(scene):
    scene.commit(b"value")
    before = scene.columns()
    with scene.engine.begin() as connection:
        connection.execute(text("DELETE FROM artifact_column"))
    scene.commit(b"value")
    assert scene.columns() == before
    assert scene.check() == set()


def test_registered_before_the_statement_runs(scene):
    """On PostgreSQL it is committed; on SQLite it shares the end of the row's transaction."""
    seen = []

    @event.listens_for(scene.engine, "before_cursor_execute")
    def look(connection, cursor, statement, *_):
        if statement.startswith("INSERT INTO sample"):
            query = text("SELECT column_name FROM artifact_column")
            if scene.engine.dialect.name == "sqlite":
                seen.extend(connection.scalars(query))
            else:
                with scene.engine.connect() as other:
                    seen.extend(other.scalars(query))

    scene.commit(b"value")
    assert sorted(seen) == ["data", "run"]


def test_an_update(scene):
    with scene.engine.begin() as connection:
        connection.execute(text("INSERT INTO sample (id) VALUES (1)"))
        assert registered(scene, scene.table) == set()
        connection.execute(update(scene.table).values(data=b"value"))
    assert scene.values() == [b"value"]
    assert scene.check() == set()


def test_a_name_that_is_not_quoted(scene):
    # PostgreSQL folds it to lower case; the table is there all the same.
    table = Table(
        quoted_name("Unquoted", quote=False),
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("data", Artifact("bytes")),
    )
    table.create(scene.engine)
    with scene.engine.begin() as connection:
        connection.execute(insert(table), {"data": b"value"})
    assert len(scene.puts) == 1
    names = {name.lower() for _, name, _ in scene.columns()}
    assert names == {"unquoted"}


@pytest.mark.parametrize("column_type", [Wrapped(), VARIANT], ids=["wrapped", "variant"])
def test_a_type_inside_another(scene, column_type):
    table = Table(
        "other",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("inside", column_type),
        Column("data", Artifact("bytes")),
    )
    table.create(scene.engine)
    with scene.engine.begin() as connection:
        connection.execute(insert(table), {"inside": b"value"})
    assert registered(scene, table) == {"inside", "data"}


def test_two_tables_in_one_statement(make_scene):
    scene = make_scene("postgresql")  # SQLite has no INSERT inside WITH
    other = Table("other", MetaData(), Column("id", Integer), Column("extra", Artifact("bytes")))
    other.create(scene.engine)
    first = insert(other).values(extra=b"first").returning(other.c.id).cte("first")
    with scene.engine.begin() as connection:
        connection.execute(insert(scene.table).values(data=b"second").add_cte(first))
    assert registered(scene, other) == {"extra"}
    assert registered(scene, scene.table) == {"data", "run"}
    assert len(scene.puts) == 2


def test_a_column_bound_with_another_columns_type(scene):
    other = Table("other", MetaData(), Column("id", Integer), Column("extra", Artifact("bytes")))
    other.create(scene.engine)
    value = bindparam("value", b"value", type_=other.c.extra.type)
    with scene.engine.begin() as connection:
        connection.execute(insert(scene.table).values(data=value))
    assert registered(scene, scene.table) >= {"data"}
    assert scene.check() == set()


def test_an_engine_attached_by_a_copy_of_it(make_engine, database_url):
    engine = make_engine(database_url)
    scene = Scene(engine.execution_options(logging_token="copy"))
    scene.engine = engine
    scene.commit(b"value")
    assert scene.values() == [b"value"]
    assert scene.check() == set()


def test_copies_of_the_engine_made_before_and_after(make_engine, database_url):
    engine = make_engine(database_url)
    before = engine.execution_options(logging_token="before")
    scene = Scene(engine)
    for scene.engine in (before, engine.execution_options(logging_token="after")):
        scene.commit(b"value")
        assert scene.check() == set()
    assert scene.values() == [b"value"] * 2


def test_a_datatype_that_asks_the_database_while_it_encodes(make_scene, make_collector):
    """Its statement comes in between, on another connection, and must not take what is not its."""
    scene = make_scene("postgresql")
    collector = make_collector(scene)
    scene.commit(b"registers the column")
    scene.roll_back(b"first")
    asked = []

    def encode(value, info):
        with scene.engine.begin() as connection:
            asked.append(connection.scalar(text("SELECT CAST(:x AS integer)"), {"x": 1}))
        collector.collect()
        return value

    table = Table("sample", MetaData(), Column("id", Integer, primary_key=True))
    table.append_column(Column("data", Artifact("bytes")))
    table.append_column(Column("run", Artifact(DataType("asking", encode, lambda data, _: data))))
    with scene.engine.begin() as connection:
        connection.execute(insert(table).values(data=b"first", run=b"second"))
        assert asked == [1]
        assert collector.collect() == set()
    check(scene.engine, scene.store, table)
