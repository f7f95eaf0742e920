"""What is left of processes that were killed at any moment: everything, and nothing else."""

import uuid

import pytest

from .command import run


@pytest.fixture(params=["sqlite", "postgresql", "postgresql-s3"])
def place(request):
    """The arguments for a database and a store."""
    database, _, store = request.param.partition("-")
    asked = {"database": database}
    if database == "postgresql":
        asked["database"] = request.getfixturevalue("postgres_url")
    if store:
        server = request.getfixturevalue("s3")
        asked |= {"store": f"{server.url}/{uuid.uuid4().hex}", "options": server.options}
    return asked


def killed(count, place):
    """Kill that often, and check that nothing is lost, dangling, or left behind."""
    result = run("kills", count=count, **place)
    assert not result["found"], f"{result}"
    assert result["kills"] >= count
    assert result["committed"]
    assert {"write", "unpack", "collect", "verify", "fill"} <= result["moments"].keys(), result


def test_kills_at_any_moment(place):
    killed(40 if "store" in place else 80, place)


@pytest.mark.slow
def test_many_kills_at_any_moment(place):
    killed(200, place)


@pytest.mark.slow
def test_what_nobody_sweeps_is_found():
    """As a rule every fifteenth kill leaves something."""
    result = run("kills", count=150, database="sqlite", broken="never_swept")
    assert any(each.startswith("left behind") for each in result["found"]), result
