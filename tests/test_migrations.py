"""The example application's database, made and unmade by Alembic, on both databases."""

import io
import sqlite3
from argparse import Namespace
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import inspect, make_url, select
from sqlalchemy.orm import Session

from migrations.example.models import Base, Recording
from sqla_artifacts import ArtifactStore, ledger
from sqla_artifacts.errors import NoLedgerError

INI = Path(__file__).parents[1] / "migrations" / "alembic.ini"


@pytest.fixture
def alembic(database_url):
    """Runs one of Alembic's commands on the fresh database; returns what it writes."""

    def run(name, *args, versions=INI.parent / "versions", **options):
        output = io.StringIO()
        x = Namespace(x=[f"url={database_url}"])
        config = Config(INI, output_buffer=output, stdout=output, cmd_opts=x)
        config.set_main_option("version_locations", str(versions))
        getattr(command, name)(config, *args, **options)
        return output.getvalue()

    return run


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(str(tmp_path / "artifacts"), checkouts=tmp_path / "checkouts")


def execute_script(url, sql):
    """Run what the database's own shell would be fed with."""
    if url.startswith("sqlite"):
        connection = sqlite3.connect(make_url(url).database)
        connection.executescript(sql)
        connection.close()
    else:
        libpq = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(libpq, autocommit=True) as connection:
            connection.execute(sql)


def store_and_read(engine, store):
    store.attach(engine)
    with Session(engine) as session:
        audio = ("hello.wav", b"RIFF")
        session.add(
            Recording(title="hello", transcript="Hello.", analysis={"words": 1}, audio=audio)
        )
        session.commit()
    with Session(engine) as session:
        recording = session.scalars(select(Recording)).one()
        assert recording.transcript == "Hello."
        assert recording.analysis.unpack() == {"words": 1}
        assert recording.audio.open().read() == b"RIFF"


def differences(engine):
    """What Alembic would have to change to make the database as the models say."""
    with engine.connect() as connection:
        context = MigrationContext.configure(connection)
        return compare_metadata(context, Base.metadata)


def test_upgraded_database_is_what_the_models_say(alembic, make_engine, database_url):
    alembic("upgrade", "head")
    engine = make_engine(database_url)
    assert differences(engine) == []
    alembic("check")


def test_artifacts_go_into_an_upgraded_database(alembic, make_engine, database_url, store):
    alembic("upgrade", "head")
    store_and_read(make_engine(database_url), store)


def test_upgrade_gives_the_ledger_one_identity(alembic, make_engine, database_url):
    alembic("upgrade", "head")
    with make_engine(database_url).connect() as connection:
        row = connection.execute(select(ledger.Ledger.id, ledger.Ledger.format)).one()
    assert len(row.id) == 32
    assert set(row.id) <= set("0123456789abcdef")
    assert row.format == ledger.FORMAT


def test_downgrade_takes_everything_away(alembic, make_engine, database_url, store):
    alembic("upgrade", "head")
    engine = make_engine(database_url)
    store_and_read(engine, store)
    alembic("downgrade", "base")
    assert inspect(engine).get_table_names() == ["alembic_version"]
    alembic("upgrade", "head")
    assert differences(engine) == []


def test_offline_scripts_make_and_unmake_the_same_database(
    alembic, make_engine, database_url, store
):
    engine = make_engine(database_url)
    up, down = alembic("upgrade", "head", sql=True), alembic("downgrade", "0001:base", sql=True)
    assert inspect(engine).get_table_names() == []
    execute_script(database_url, up)
    assert differences(engine) == []
    store_and_read(engine, store)
    execute_script(database_url, down)
    assert inspect(engine).get_table_names() == ["alembic_version"]


def test_one_offline_script_gives_each_ledger_an_identity_of_its_own(
    alembic, make_engine, database_url
):
    engine = make_engine(database_url)
    up, down = alembic("upgrade", "head", sql=True), alembic("downgrade", "0001:base", sql=True)
    identities = set()
    for _ in range(2):
        execute_script(database_url, up)
        with engine.connect() as connection:
            identities.add(connection.scalar(select(ledger.Ledger.id)))
        execute_script(database_url, f"{down}; DROP TABLE alembic_version")
    assert len(identities) == 2


def test_generated_revision_has_text_columns_and_runs(alembic, make_engine, database_url, tmp_path):
    alembic("revision", "all", autogenerate=True, versions=tmp_path)
    (revision,) = tmp_path.glob("*_all.py")
    assert "sqla_artifacts" not in revision.read_text()
    assert "sa.Column('transcript', sa.Text(), nullable=False)" in revision.read_text()
    alembic("upgrade", "head", versions=tmp_path)
    assert differences(make_engine(database_url)) == []


def test_ledger_without_identity_says_the_line_to_add(
    alembic, make_engine, database_url, store, tmp_path
):
    alembic("revision", "all", autogenerate=True, versions=tmp_path)
    alembic("upgrade", "head", versions=tmp_path)
    engine = make_engine(database_url)
    with pytest.raises(NoLedgerError, match=r"op.execute\(sqla_artifacts.ledger.identity\(\)\)"):
        store_and_read(engine, store)
    with engine.begin() as connection:
        connection.execute(ledger.identity())
    store_and_read(engine, store)
