"""pytest-alembic's own tests of the example, on both databases."""

import pytest
from pytest_alembic.plugin.error import AlembicTestFailure
from pytest_alembic.plugin.fixtures import alembic_runner  # noqa: F401 (a fixture)
from pytest_alembic.tests import (  # noqa: F401 (they are run here)
    test_model_definitions_match_ddl,
    test_single_head_revision,
    test_up_down_consistency,
    test_upgrade,
)
from sqlalchemy import update

from sqla_artifacts import ledger

from .project import MIGRATIONS


@pytest.fixture
def alembic_config():
    return {"file": str(MIGRATIONS / "alembic.ini")}


@pytest.fixture
def alembic_engine(engine):
    return engine


def test_its_comparison_notices_a_changed_declaration(alembic_runner, engine):  # noqa: F811
    alembic_runner.migrate_up_to("heads", return_current=False)
    with engine.begin() as connection:
        connection.execute(update(ledger.Declaration).values(store_name="other"))
    with pytest.raises(AlembicTestFailure) as failure:
        test_model_definitions_match_ddl(alembic_runner)
    ((_, upgrade),) = failure.value.context
    assert "store 'other' -> Artifact('text'), store 'default'" in upgrade.replace("\n# ", " ")
