"""The mark `feature`, and a store and sessions for the tests that carry it."""

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
