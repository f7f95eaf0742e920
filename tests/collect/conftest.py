"""A scene for the collector: an attached engine, a table, and runs without any waiting."""

import datetime as dt

import pytest

from sqla_artifacts.collect import collect
from tests.ledger.scene import Scene

ZERO = dt.timedelta(0)


class Collected(Scene):
    """A scene whose garbage is collected at once."""

    def collect(self, **options):
        return self.collect_with(self.engine, **options)

    def collect_with(self, engine, **options):
        options = {
            "dry_run": False,
            "grace": ZERO,
            "retention": ZERO,
            "limit_share": 1,
            "metadata": self.metadata,
        } | options
        return collect(self.store, engine, **options)

    def stored(self):
        """The keys of the blobs in the store."""
        return {entry.key for entry in self.store.backend.list("blobs/")}


@pytest.fixture
def scene(engine):
    return Collected(engine)
