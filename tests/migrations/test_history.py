"""The example application's history, up and down, on both databases."""

import re
import sqlite3
import subprocess
import sys
import textwrap

import psycopg
import pytest
from sqlalchemy import inspect, make_url, select, update
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from migrations.example.models import Base, Recording
from sqla_artifacts import FileDir, LazyArtifact, LazyMapped, PathMapped, StoredPath, ledger
from sqla_artifacts.types import Artifact

from ..models import make_store
from .project import BARE_ENV, ENV, INI, MIGRATIONS

# Runs Alembic's command line where the package cannot be imported.
WITHOUT_THE_PACKAGE = """
import sys

class Missing:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in {"sqla_artifacts", "migrations", "app_models"}:
            raise ImportError(name)

sys.meta_path.insert(0, Missing())
from alembic.config import main
for command in (["upgrade", "head"], ["downgrade", "base"], ["upgrade", "head"]):
    main([*sys.argv[1:], *command])
assert not any(name.startswith("sqla_artifacts") for name in sys.modules)
"""


@pytest.fixture
def history(project):
    """The example: its models, and a copy of its revisions."""
    project.use(Base)
    for revision in (MIGRATIONS / "versions").glob("*.py"):
        (project.directory / "versions" / revision.name).write_text(revision.read_text())
    return project


@pytest.fixture
def engine(make_engine, database_url):
    return make_engine(database_url)


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path)


def without_the_package(project):
    """Run all revisions up, down and up, in a process in which the package is missing."""
    bare = project.directory / "bare"
    bare.mkdir()
    (bare / "env.py").write_text(BARE_ENV)
    ini = bare / "alembic.ini"
    ini.write_text(f"{INI}version_locations = {project.directory / 'versions'}\n")
    command = [sys.executable, "-c", WITHOUT_THE_PACKAGE, "-c", ini, "-x", f"url={project.url}"]
    run = subprocess.run(command, cwd=bare, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


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
    values = {"title": "hello", "transcript": "Hello.", "analysis": {"words": 1}, "cover": b"PNG"}
    with Session(engine) as session:
        session.add(Recording(**values, audio=("hello.wav", b"RIFF")))
        session.commit()
    with Session(engine) as session:
        recording = session.scalars(select(Recording)).one()
        assert (recording.transcript, recording.cover) == ("Hello.", b"PNG")
        assert recording.analysis.unpack() == {"words": 1}
        assert recording.audio.open().read() == b"RIFF"


def identity_of(engine):
    with engine.connect() as connection:
        return connection.execute(select(ledger.Ledger.id, ledger.Ledger.format)).one()


def tables_of(engine):
    return inspect(engine).get_table_names()


def test_check_is_clean_after_an_upgrade(history):
    history.run("upgrade", "head")
    assert history.differences() == ""


def test_artifacts_go_into_an_upgraded_database(history, engine, store):
    history.run("upgrade", "head")
    store_and_read(engine, store)


def test_an_upgrade_gives_the_ledger_one_identity(history, engine):
    history.run("upgrade", "head")
    row = identity_of(engine)
    assert len(row.id) == 32
    assert set(row.id) <= set("0123456789abcdef")
    assert row.format == ledger.FORMAT


def test_a_downgrade_takes_everything_away(history, engine, store):
    history.run("upgrade", "head")
    store_and_read(engine, store)
    history.run("downgrade", "base")
    assert tables_of(engine) == ["alembic_version"]
    history.run("upgrade", "head")
    assert history.differences() == ""


def test_offline_scripts_make_and_unmake_the_same_database(history, engine, store):
    up = history.run("upgrade", "head", "--sql")
    down = history.run("downgrade", "head:base", "--sql")
    assert tables_of(engine) == []
    execute_script(history.url, up)
    assert history.differences() == ""
    store_and_read(engine, store)
    execute_script(history.url, down)
    assert tables_of(engine) in ([], ["alembic_version"])


def test_one_offline_script_gives_each_ledger_an_identity_of_its_own(history, engine):
    up = history.run("upgrade", "head", "--sql")
    down = history.run("downgrade", "head:base", "--sql")
    identities = set()
    for _ in range(2):
        execute_script(history.url, up)
        identities.add(identity_of(engine).id)
        execute_script(history.url, f"{down}; DROP TABLE IF EXISTS alembic_version")
    assert len(identities) == 2


def test_every_revision_runs_where_the_package_is_missing(history):
    without_the_package(history)
    assert history.differences() == ""


def test_what_was_stored_before_a_change_of_datatype_is_read_after_it(history, engine, store):
    class Old(DeclarativeBase):
        pass

    class OldRecording(Old):
        __tablename__ = "recording"
        id: Mapped[int] = mapped_column(primary_key=True)
        title: Mapped[str]
        transcript: Mapped[str] = mapped_column(Artifact("text"))
        analysis: LazyMapped[object] = mapped_column(LazyArtifact("pickle"))
        audio: PathMapped[StoredPath] = mapped_column(FileDir())

    history.run("upgrade", "0002")
    store.attach(engine)
    with Session(engine) as session:
        session.add(OldRecording(title="", transcript="", analysis={1, 2}, audio=("a", b"")))
        session.commit()
    history.run("upgrade", "head")
    with Session(engine) as session:
        recording = session.scalars(select(Recording)).one()
        assert recording.analysis.unpack() == {1, 2}
        recording.analysis = [1, 2]
        session.commit()
        assert recording.analysis.reference.label == "json"
        assert recording.analysis.unpack() == [1, 2]


def test_the_real_command_checks_the_example(history, engine):
    command = [sys.executable, "-m", "alembic", "-c", MIGRATIONS / "alembic.ini"]
    command += ["-x", f"url={history.url}", "check"]

    def check():
        return subprocess.run(
            command, cwd=history.directory, capture_output=True, text=True, check=False
        )

    history.run("upgrade", "head")
    clean = check()
    assert clean.returncode == 0, clean.stderr
    was = update(ledger.Declaration).where(ledger.Declaration.column_name == "transcript")
    with engine.begin() as connection:
        connection.execute(was.values(declared="Artifact('bytes')"))
    found = check()
    assert found.returncode != 0
    change = "recording.transcript: Artifact('bytes') -> Artifact('text')"
    assert change in found.stdout + found.stderr


def test_the_page_shows_the_examples_own_code():
    page = (MIGRATIONS.parent / "docs" / "how-to" / "alembic.md").read_text(encoding="utf-8")
    assert f"```python\n{ENV.read_text()}```" in page
    revision = (MIGRATIONS / "versions" / "0003_covers_and_json.py").read_text()
    (shown,) = re.findall(r"```python\n(# recording\.analysis.*?)```", page, re.DOTALL)
    assert textwrap.indent(shown, "    ") in revision
