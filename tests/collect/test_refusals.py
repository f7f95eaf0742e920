"""When the collector deletes nothing: it is not sure that what seems to be garbage is."""

import datetime as dt

import pytest
from sqlalchemy import NullPool, create_engine, delete, event, text

from sqla_artifacts import ArtifactStore, ledger
from sqla_artifacts.collect import adopt, collect, forget_column
from sqla_artifacts.errors import (
    CollectError,
    ForeignStoreError,
    LedgerError,
    VanishedColumnError,
)


@pytest.fixture
def garbage(scene):
    """A scene with one blob that a row names and one that none does; it must stay as it is."""
    scene.commit(b"kept", b"deleted")
    with scene.engine.begin() as connection:
        connection.execute(delete(scene.table).where(scene.table.c.data == b"deleted"))
    keys = scene.stored()
    yield scene
    assert scene.stored() == keys


def run(scene, sql):
    with scene.engine.begin() as connection:
        connection.execute(text(sql))


def test_too_large_a_share_of_garbage(garbage):
    with pytest.raises(CollectError, match=r"1 of 2 blobs .* limit_share=0.4"):
        garbage.collect(limit_share=0.4)


def test_a_column_that_has_vanished(garbage):
    run(garbage, "ALTER TABLE sample RENAME COLUMN run TO renamed")
    with pytest.raises(VanishedColumnError, match=r"sample\.run.*forget_column"):
        garbage.collect(metadata=None)
    forget_column(garbage.store, garbage.engine, "sample.run")
    assert garbage.collect(metadata=None, dry_run=True).garbage.blobs == 1


def test_a_table_that_has_vanished(garbage):
    run(garbage, "ALTER TABLE sample RENAME TO renamed")
    with pytest.raises(VanishedColumnError, match=r"sample\.data, .*sample\.run"):
        garbage.collect(metadata=None)


def test_a_column_that_nobody_knows_cannot_be_forgotten(garbage):
    with pytest.raises(CollectError, match=r"no column sample\.other"):
        forget_column(garbage.store, garbage.engine, "sample.other")


def test_a_look_that_fails(garbage):
    if garbage.engine.dialect.name != "sqlite":
        pytest.skip("the next test is PostgreSQL's")
    run(garbage, "CREATE TABLE broken (run JSON)")
    run(garbage, "INSERT INTO broken VALUES ('[no json')")
    run(garbage, "UPDATE artifact_column SET table_name = 'broken' WHERE column_name = 'run'")
    with pytest.raises(CollectError, match="malformed JSON"):
        garbage.collect(metadata=None)


@pytest.mark.parametrize("hidden", ["table", "rows"])
def test_rows_that_this_role_cannot_see(garbage, hidden):
    if garbage.engine.dialect.name != "postgresql":
        pytest.skip("only PostgreSQL has roles")
    name = f"reader_{garbage.store.id}"
    run(garbage, f"CREATE ROLE {name}")
    run(garbage, f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}")
    if hidden == "table":
        run(garbage, f"REVOKE SELECT ON sample FROM {name}")
    else:
        run(garbage, "ALTER TABLE sample ENABLE ROW LEVEL SECURITY")
    engine = create_engine(garbage.engine.url, poolclass=NullPool)

    @event.listens_for(engine, "connect")
    def become(connection, record):
        with connection.cursor() as cursor:
            cursor.execute(f"SET ROLE {name}")
        connection.commit()

    with pytest.raises(CollectError, match=r"permission denied|row-level security"):
        garbage.collect_with(engine)


def test_a_store_of_another_database(garbage, tmp_path):
    with pytest.raises(CollectError, match="never stored anything"):
        collect(ArtifactStore(str(tmp_path)), garbage.engine)


def test_a_store_whose_owner_is_another(garbage):
    garbage.store.backend.delete("owner.json")
    assert garbage.store.backend.create("owner.json", b'{"ledger": "another"}')
    for dry_run in (True, False):
        with pytest.raises(ForeignStoreError):
            garbage.collect(dry_run=dry_run)
    adopt(garbage.store, garbage.engine)
    assert garbage.collect(dry_run=True).garbage.blobs == 1


def test_a_ledger_of_a_later_version(garbage):
    run(garbage, f"UPDATE artifact_ledger SET format = {ledger.FORMAT + 1}")
    with pytest.raises(CollectError, match="later version"):
        garbage.collect()


def test_arguments_that_make_no_sense(garbage):
    for options in ({"limit_share": 2}, {"grace": dt.timedelta(-1)}):
        with pytest.raises(ValueError, match="limit_share"):
            collect(garbage.store, garbage.engine, **options)


@pytest.mark.parametrize("url", ["sqlite+aiosqlite://", "mysql+pymysql://"])
def test_engines_that_it_does_not_work_with(garbage, url):
    class Dialect:
        name = url.partition("+")[0]
        is_async = "aio" in url

    class Engine:
        dialect = Dialect()

    with pytest.raises(LedgerError, match="synchronous engine"):
        collect(garbage.store, Engine())
