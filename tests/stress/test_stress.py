"""Short runs of the stress on both databases, and the broken steps that it has to find."""

import sys
import uuid

import pytest

from .command import run

# A minute in all, over the levels.
SECONDS = 20
LONG = 30
# A broken step is found within seconds where the machine is free; a run ends when it is found.
PATIENCE = 150

LEVELS = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]
NEW = pytest.mark.skipif(sys.version_info < (3, 12), reason="new in Python 3.12")
MODES = [
    "legacy-wal",
    "legacy-delete",
    pytest.param("autocommit_false-wal", marks=NEW),
    pytest.param("autocommit_false-delete", marks=NEW),
]


@pytest.fixture(params=["local", "s3"])
def store(request):
    """The arguments for a store in a directory, and for one on S3."""
    if request.param == "local":
        return {}
    server = request.getfixturevalue("s3")
    return {"store": f"{server.url}/{uuid.uuid4().hex}", "options": server.options}


def stress(seconds, **asked):
    """Run the stress, and check that it has found nothing; it says so if it did too little."""
    result = run("run", seconds=seconds, **asked)
    assert not result["found"], f"{result}"


def finds(broken, **asked):
    """Check that the stress finds a broken step."""
    result = run("run", seconds=PATIENCE, broken=broken, **asked)
    assert "DanglingError" in result["found"] or "is not in the store" in result["found"], result


@pytest.mark.parametrize("isolation", LEVELS)
def test_postgresql(postgres_url, isolation):
    stress(SECONDS, database=postgres_url, isolation=isolation)


@pytest.mark.parametrize("mode", MODES)
def test_sqlite(mode, store):
    stress(3, database="sqlite", mode=mode, **store)


@pytest.mark.parametrize("broken", ["no_horizon", "keys_used_again"])
def test_a_broken_step_is_found_on_postgresql(postgres_url, broken):
    finds(broken, database=postgres_url)


@pytest.mark.parametrize("broken", ["no_last_look", "keys_used_again"])
def test_a_broken_step_is_found_on_sqlite(broken):
    finds(broken, database="sqlite")


# -- for long ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("isolation", LEVELS)
def test_postgresql_for_long(postgres_url, isolation, store):
    stress(LONG, database=postgres_url, isolation=isolation, **store)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_sqlite_for_long(mode, store):
    stress(LONG, database="sqlite", mode=mode, **store)


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
