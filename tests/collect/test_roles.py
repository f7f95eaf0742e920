"""The grants of docs/how-to/recovery.md are enough, for roles that log in and own nothing."""

import pytest
from sqlalchemy import NullPool, create_engine, delete, insert, select
from sqlalchemy.exc import ProgrammingError

from sqla_artifacts.collect import forget_column
from sqla_artifacts.digest import digest_of
from sqla_artifacts.location import key_of
from tests.check import check

from .conftest import Collected
from .page import run, sql_of
from .test_collect import DAY, copy_reference, make_tree, paste_reference

ROLES = ("app", "collector")
OWN = """
    GRANT SELECT, INSERT, UPDATE, DELETE ON sample TO app;
    GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO app
    """


@pytest.fixture
def scene(make_engine):
    """A scene whose roles have what the page grants them, and nothing else."""
    scene = Collected(make_engine("postgresql"))
    run(scene.engine, "CREATE ROLE app LOGIN; CREATE ROLE collector LOGIN")
    run(scene.engine, OWN)
    for grants in sql_of("recovery.md", "Roles and grants"):
        run(scene.engine, grants)
    yield scene
    for role in ROLES:
        run(scene.engine, f"DROP OWNED BY {role}; DROP ROLE {role}")


@pytest.fixture
def engine_of(scene):
    """Makes an engine on the scene's database for a role, with the scene's store attached."""
    engines = []

    def make(role, **options):
        url = scene.engine.url.set(username=role)
        engine = create_engine(url, poolclass=NullPool, **options)
        scene.store.attach(engine)
        engines.append(engine)
        return engine

    yield make
    for engine in engines:
        engine.dispose()


@pytest.mark.parametrize("isolation", ["READ COMMITTED", "REPEATABLE READ"])
def test_the_writer(scene, engine_of, tmp_path, isolation):
    engine = engine_of("app", isolation_level=isolation)
    with engine.begin() as connection:
        scene.put(connection, b"1", b"2", b"1")
        scene.put(connection, make_tree(tmp_path, large=b"l" * 1_500_000), column="run")
    with engine.begin() as connection:
        connection.execute(delete(scene.table).where(scene.table.c.data == b"1"))
        scene.put(connection, b"3")
    check(engine, scene.store, scene.table)
    for statement in ("DELETE FROM artifact_blob", "UPDATE artifact_ledger SET id = id"):
        with pytest.raises(ProgrammingError, match="permission denied"):
            run(engine, statement)


def test_the_collector(scene, engine_of, tmp_path):
    app, engine = engine_of("app"), engine_of("collector")
    with app.begin() as connection:
        scene.put(connection, b"copied")
    copy_reference(scene)
    with app.begin() as connection:
        scene.put(connection, make_tree(tmp_path, large=b"l" * 1_500_000), column="run")
        connection.execute(delete(scene.table))
    scene.store.backend.create(f"blobs/00/00/{'0' * 64}", b"stray")
    taken = scene.collect_with(engine, retention=DAY, metadata=None)
    assert (taken.taken.blobs, taken.strays.blobs) == (3, 1)
    with scene.engine.begin() as connection:
        paste_reference(scene, connection)
    report = scene.collect_with(engine, metadata=None)
    assert report.rescued == [digest_of(b"copied", "blake3")]
    scene.collect_with(engine, metadata=None)
    assert scene.stored() == {key_of(digest_of(b"copied", "blake3"), 1)}
    assert scene.values() == [b"copied"]
    with pytest.raises(ProgrammingError, match="permission denied"):
        run(engine, "DELETE FROM sample")


def test_the_collector_sees_who_holds_it_back(scene, engine_of):
    app = engine_of("app", connect_args={"application_name": "nightly-import"})
    scene.roll_back(b"x")
    with app.begin() as connection:
        connection.execute(insert(scene.table).values(data=b"y"))
        report = scene.collect_with(engine_of("collector"))
        assert any("nightly-import (app)" in holder for holder in report.held_by)
    assert scene.collect_with(engine_of("collector")).held_by == ()


def test_forgetting_a_column_needs_one_more(scene, engine_of):
    scene.commit(b"x")
    run(scene.engine, "ALTER TABLE sample DROP COLUMN run")
    run(scene.engine, "GRANT DELETE ON artifact_declaration TO collector")
    forget_column(scene.store, engine_of("collector"), "sample.run")
    assert scene.collect_with(engine_of("collector"), metadata=None).total.blobs == 1


def test_a_reader_needs_nothing_of_the_ledger(scene, engine_of):
    scene.commit(b"x")
    run(scene.engine, "REVOKE ALL ON ALL TABLES IN SCHEMA public FROM app")
    run(scene.engine, "GRANT SELECT ON sample TO app")
    with engine_of("app").connect() as connection:
        assert connection.scalars(select(scene.table.c.data)).all() == [b"x"]


def test_row_level_security_is_no_obstacle_for_a_role_that_bypasses_it(scene, engine_of):
    scene.commit(b"x")
    run(scene.engine, "ALTER TABLE sample ENABLE ROW LEVEL SECURITY")
    run(scene.engine, "ALTER ROLE collector BYPASSRLS")
    assert scene.collect_with(engine_of("collector")).marked.blobs == 0
    assert scene.values() == [b"x"]
