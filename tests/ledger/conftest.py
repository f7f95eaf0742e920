import pytest

from .collector import Collector, SQLiteCollector
from .scene import Scene


@pytest.fixture
def make_scene(make_engine):
    """Makes scenes, on a URL or on "sqlite" or "postgresql"; engine options as `make_engine`'s."""

    def make(database, *, store=None, ledger_schema=None, **options):
        return Scene(make_engine(database, **options), store, ledger_schema=ledger_schema)

    return make


@pytest.fixture
def scene(make_scene, database_url):
    """A scene, once on SQLite and once on PostgreSQL."""
    return make_scene(database_url)


@pytest.fixture
def make_collector(make_engine):
    """Makes the collector of a scene, with an engine of its own."""

    def make(scene):
        kind = SQLiteCollector if scene.engine.dialect.name == "sqlite" else Collector
        return kind(scene, make_engine(scene.engine.url))

    return make


@pytest.fixture
def collector(scene, make_collector):
    """The collector of the test's scene."""
    return make_collector(scene)
