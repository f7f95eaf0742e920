"""The mark `feature`, a store and sessions for the tests that carry it, and tests run again."""

import inspect

import pytest
from sqlalchemy.orm import sessionmaker

from tests.models import make_store


def pytest_configure(config):
    config.addinivalue_line(
        "markers",
        "feature(name, *, group, note='', only=None): what the test proves, for docs/features.md; "
        "only='postgresql' if SQLite does not have it",
    )


def pytest_collection_modifyitems(items):
    """See to it that what the table says of databases has been tried on one."""
    for item in items:
        asked = {"make_engine", "database_url"} & {*getattr(item, "fixturenames", ())}
        if item.get_closest_marker("feature") and not asked:
            msg = f"{item.nodeid} proves a feature, and asks for no database"
            raise pytest.UsageError(msg)


def pytest_pycollect_makeitem(collector, name, obj):
    """Collect the test modules that a module with LEFT_OUT imports, inside of its fixtures."""
    if inspect.ismodule(obj) and name.startswith("test_") and hasattr(collector.obj, "LEFT_OUT"):
        nodeid = f"{collector.nodeid}::{name}"
        again = _Again.from_parent(collector, path=collector.path, name=name, nodeid=nodeid)
        again.obj = obj
        return again
    return None


class _Again(pytest.Module):
    """A test module inside another one, which says what of it to leave out."""

    def collect(self):
        tests = super().collect()
        return [test for test in tests if not self.parent.obj.LEFT_OUT.search(test.name)]


@pytest.fixture
def store(tmp_path):
    """A store, attached to nothing yet."""
    return make_store(tmp_path)


@pytest.fixture
def sessions(engine, store):
    """`sessions(metadata)` makes its tables and the ledger's, and returns a sessionmaker."""

    def start(metadata):
        store.attach(engine, metadata=metadata)
        metadata.create_all(engine)
        return sessionmaker(engine)

    return start
