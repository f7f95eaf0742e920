"""The operations that make and remove guards, in revisions written by hand."""

import pytest
from alembic.operations.ops import UpgradeOps
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import mapped_column

from sqla_artifacts import Artifact, ArtifactList
from sqla_artifacts.ext.guards import GuardOp, UnguardOp
from sqla_artifacts.ledger.guard import Guarded

from .project import KEY, models

UNKNOWN = f"&:blob:{'0' * 64}:1:bytes"
REVISION = '''
"""Guards."""

from alembic import op

revision = "guards"
down_revision = {base!r}


def upgrade():
    op.guard_artifacts("sample", "data")
    op.guard_artifacts("sample", "pages", is_list=True)


def downgrade():
    op.unguard_artifacts("sample", "pages")
    op.unguard_artifacts("sample", "data")
'''


@pytest.fixture
def project(project):
    """A project whose second revision guards two columns."""
    columns = {
        "id": KEY(),
        "data": mapped_column(Artifact("bytes")),
        "pages": mapped_column(ArtifactList(Artifact("bytes"))),
    }
    base = models(sample=columns)
    project.use(base)
    project.revise()
    head = project.first = project.run("heads").split()[0]
    (project.directory / "versions" / "guards.py").write_text(REVISION.format(base=head))
    return project


def put(engine, column, value):
    typed = ":value"
    if column == "pages" and engine.dialect.name == "postgresql":
        typed = "CAST(:value AS jsonb)"
    with engine.begin() as connection:
        sql = f"INSERT INTO sample ({column}) VALUES ({typed})"
        connection.execute(text(sql), {"value": value})


def assert_guarded(engine):
    for column, value in (("data", UNKNOWN), ("pages", f'["{UNKNOWN}"]')):
        with pytest.raises(IntegrityError, match=rf"sample\.{column}"):
            put(engine, column, value)


def test_up_and_down(project, make_engine):
    project.run("upgrade", "head")
    engine = make_engine(project.url)
    assert_guarded(engine)
    assert project.differences() == ""  # autogenerate leaves guards alone
    project.run("downgrade", "-1")
    put(engine, "data", UNKNOWN)
    put(engine, "pages", f'["{UNKNOWN}"]')


def test_as_a_script(project, make_engine):
    project.run("upgrade", project.first)
    engine = make_engine(project.url)
    run_script(engine, project.run("upgrade", f"{project.first}:guards", "--sql"))
    assert_guarded(engine)
    run_script(engine, project.run("downgrade", f"guards:{project.first}", "--sql"))
    put(engine, "data", UNKNOWN)


def run_script(engine, script):
    driver = engine.raw_connection()
    try:
        if engine.dialect.name == "sqlite":
            driver.driver_connection.executescript(script)
        else:
            driver.driver_connection.execute(script)
        driver.commit()
    finally:
        driver.close()


def test_an_operation_can_be_reversed():
    guarded = Guarded("media", "film", "data", "videos", is_list=False, ledger_schema="order")
    (undo,) = UpgradeOps([GuardOp(guarded)]).reverse().ops
    assert isinstance(undo, UnguardOp)
    assert undo.guard.drop.guarded == guarded
