"""Short runs of the stress on both databases, and the broken steps that it has to find."""

import sys
import uuid

import pytest

from .command import run
from .run import DONE

LONG = 120
# A broken step is found within seconds where the machine is free; a run ends when it is found.
PATIENCE = 200

LEVELS = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]
NEW = pytest.mark.skipif(sys.version_info < (3, 12), reason="new in Python 3.12")
MODES = [
    "legacy-wal",
    "legacy-delete",
    pytest.param("autocommit_false-wal", marks=NEW),
    pytest.param("autocommit_false-delete", marks=NEW),
]


@pytest.fixture
def s3_place(s3):
    """The arguments for a store on S3."""
    return {"store": f"{s3.url}/{uuid.uuid4().hex}", "options": s3.options}


def stress(seconds, **asked):
    """Run the stress, and check that it has found nothing, and done something."""
    result = run("run", seconds=seconds, **asked)
    assert not result["found"], result
    assert all(result[word] for word in DONE), result


def finds(broken, **asked):
    """Check that the stress finds a broken step."""
    result = run("run", seconds=PATIENCE, broken=broken, **asked)
    assert "DanglingError" in result["found"] or "is not in the store" in result["found"], result


@pytest.mark.parametrize("isolation", LEVELS)
def test_postgresql(postgres_url, isolation):
    stress(7, database=postgres_url, isolation=isolation)


@pytest.mark.parametrize("mode", MODES)
def test_sqlite(mode):
    stress(4, database="sqlite", mode=mode, remote=mode.endswith("wal"))


@pytest.mark.parametrize("broken", ["no_horizon", "keys_used_again"])
def test_a_broken_step_is_found_on_postgresql(postgres_url, broken):
    finds(broken, database=postgres_url)


@pytest.mark.parametrize("broken", ["no_last_look", "keys_used_again"])
def test_a_broken_step_is_found_on_sqlite(broken):
    finds(broken, database="sqlite")


# -- for long ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("isolation", LEVELS)
def test_postgresql_for_long(postgres_url, isolation):
    stress(LONG, database=postgres_url, isolation=isolation)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_sqlite_for_long(mode):
    stress(LONG, database="sqlite", mode=mode)


@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_store_on_s3(database, s3_place, request):
    url = request.getfixturevalue("postgres_url") if database == "postgresql" else database
    stress(LONG, database=url, **s3_place)


@pytest.mark.slow
@pytest.mark.parametrize(
    "broken",
    [
        "no_last_look",
        "doom_not_compared",
        "doom_not_lifted",
        "look_remembered",
    ],
)
def test_every_broken_step_is_found_on_postgresql(postgres_url, broken):
    finds(broken, database=postgres_url)


@pytest.mark.slow
@pytest.mark.parametrize("broken", ["doom_not_compared", "doom_not_lifted", "no_write_lock"])
def test_every_broken_step_is_found_on_sqlite(broken):
    finds(broken, database="sqlite")
