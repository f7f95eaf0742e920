"""A ledger of format 1 serves new code, and one of format 2 old code, while a revision waits."""

import re

import pytest
from sqlalchemy import MetaData, inspect, select, text, update
from sqlalchemy.orm import Session

from sqla_artifacts import ledger
from sqla_artifacts.ledger.sql import POSTGRESQL, SQLITE

from ..check import check
from ..models import make_models, make_store
from .project import KEY, models

FORMAT_1 = {f"artifact_{n}" for n in ("ledger", "store", "blob", "trash", "edge", "column")}
STEPS = (("upgrade", "head", 2), ("downgrade", "base", 1), ("upgrade", "head", 2))


def make_format_1(engine):
    """The tables as they were before there were declarations."""
    metadata = MetaData()
    ledger.install(metadata)
    metadata.create_all(engine, [metadata.tables[name] for name in sorted(FORMAT_1)])
    set_format(engine, 1)


def format_of(engine):
    with engine.connect() as connection:
        return connection.scalar(select(ledger.Ledger.format))


@pytest.fixture
def scene(engine, tmp_path):
    """(engine, Base, Sample, store) on a ledger of format 1."""
    make_format_1(engine)
    base, sample = make_models()
    base.metadata.create_all(engine)
    store = make_store(tmp_path)
    store.attach(engine)
    return engine, base, sample, store


def add(engine, sample, data):
    with Session(engine) as session:
        session.add(sample(data=data, run=("a", b"run")))
        session.commit()


def test_new_code_before_the_revision(scene):
    engine, _, sample, store = scene
    add(engine, sample, b"before")
    assert format_of(engine) == 1
    assert not inspect(engine).has_table("artifact_declaration")
    check(engine, store, sample.__table__)


def test_old_code_after_the_revision():
    """Writers of either version run the same statements, on the tables of format 1 alone."""
    for statements in (POSTGRESQL, SQLITE):
        assert set(re.findall(r"artifact_\w+", " ".join(statements.values()))) <= FORMAT_1


def test_a_ledger_of_either_format_keeps_what_was_stored(scene, project):
    engine, base, sample, store = scene
    add(engine, sample, b"before")
    with engine.connect() as connection:
        identity = connection.scalar(select(ledger.Ledger.id))
    ledger.install(base.metadata)
    project.use(base)
    assert "the ledger's format: 1 -> 2" in project.revise()
    for command, revision, expected in STEPS:
        project.run(command, revision)
        assert format_of(engine) == expected
        add(engine, sample, command.encode())
    assert project.differences() == ""
    check(engine, store, sample.__table__)
    with engine.connect() as connection:
        assert connection.scalar(select(ledger.Ledger.id)) == identity


def test_create_all_makes_the_older_ledger_one_of_this_format(scene):
    engine, base, sample, store = scene
    ledger.install(base.metadata)
    base.metadata.create_all(engine)
    assert format_of(engine) == ledger.FORMAT
    add(engine, sample, b"after")
    check(engine, store, sample.__table__)


def set_format(engine, number):
    with engine.begin() as connection:
        connection.execute(update(ledger.Ledger).values(format=number))


def test_a_format_behind_its_tables_is_a_difference(engine, project):
    project.use(models(sample={"id": KEY()}))
    project.advance()
    set_format(engine, 1)
    assert "the ledger's format: 1 -> 2" in project.differences()


def test_a_newer_ledger_is_left_alone(engine, project):
    base = models(sample={"id": KEY()})
    project.use(base)
    project.advance()
    set_format(engine, 99)
    assert project.differences() == ""
    ledger.Declaration.__table__.drop(engine)
    base.metadata.create_all(engine)
    assert format_of(engine) == 99


def test_a_revision_written_for_format_1_may_have_made_the_identity(engine, project):
    """By `ledger.identity()`, which says today's format whatever the tables are."""
    make_format_1(engine)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM artifact_ledger"))
        connection.execute(ledger.identity())
    project.use(models(sample={"id": KEY()}))
    assert "the ledger's format: 1 -> 2" in project.advance()
    project.run("downgrade", "base")
    assert format_of(engine) == 1


def test_tables_of_create_all_lack_only_the_declarations(engine, project):
    base, _ = make_models()
    ledger.install(base.metadata)
    base.metadata.create_all(engine)
    project.use(base)
    text = project.advance()
    assert "INSERT INTO artifact_declaration" in text
    assert not re.search(r"op\.(create|add|alter|drop)", text)
    assert "artifact_ledger" not in text
