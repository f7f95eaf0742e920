"""A scene with a local store, whose keys can be damaged."""

import datetime as dt

import pytest
from sqlalchemy import select, text, update

from sqla_artifacts import ledger
from sqla_artifacts.collect import collect
from sqla_artifacts.location import key_of
from sqla_artifacts.verify import verify
from tests.ledger.scene import Scene, watched_store

ZERO = dt.timedelta(0)
LARGE = 1_200_000
"""The size of a file that is a part of its own in a tree."""


class Damaged(Scene):
    """A scene whose store loses things."""

    def verify(self, depth="references", **options):
        return verify(self.store, self.engine, depth=depth, metadata=self.metadata, **options)

    def kinds(self, depth="references", **options):
        """The kinds of what a verification finds, and of what."""
        found = self.verify(depth, **options).findings
        return sorted((finding.kind, finding.digest) for finding in found)

    def collect(self, **options):
        options = {"grace": ZERO, "retention": ZERO, "limit_share": 1, "dry_run": False} | options
        return collect(self.store, self.engine, metadata=self.metadata, **options)

    def key(self, value, generation=0):
        return key_of(self.digest(value), generation)

    def replace(self, key, data):
        """Put other bytes under a key."""
        self.store.backend.delete(key)
        assert self.store.backend.create(key, data)

    def flip(self, key):
        data = bytearray(self.store.backend.get(key))
        data[len(data) // 2] ^= 4
        self.replace(key, bytes(data))

    def keys(self, prefix="blobs/"):
        return {entry.key for entry in self.store.backend.list(prefix)}

    def set_blob(self, value, **values):
        with self.engine.begin() as connection:
            where = ledger.Blob.digest == self.digest(value)
            connection.execute(update(ledger.Blob).where(where).values(**values))

    def run(self, sql):
        with self.engine.begin() as connection:
            connection.execute(text(sql))

    def states(self):
        """Each blob's state and generation, by digest."""
        with self.engine.connect() as connection:
            rows = connection.execute(
                select(ledger.Blob.digest, ledger.Blob.state, ledger.Blob.generation)
            )
            return {digest: (state, generation) for digest, state, generation in rows}

    def paths(self):
        """The committed values of `run`."""
        run = self.table.c.run
        with self.engine.connect() as connection:
            query = select(run).where(run.is_not(None)).order_by(self.table.c.id)
            return list(connection.scalars(query))

    def tree(self):
        """The digest of the only tree."""
        return self.paths()[0].digest


@pytest.fixture
def scene(engine, tmp_path):
    checkouts = tmp_path / "checkouts"
    return Damaged(engine, watched_store(str(tmp_path / "store"), checkouts=checkouts))


@pytest.fixture
def make_tree(tmp_path):
    """Makes directories: `make_tree("name", file=b"content")`."""

    def make(name="tree", **files):
        path = tmp_path / "trees" / name
        path.mkdir(parents=True)
        for file, content in files.items():
            (path / file).write_bytes(content)
        return path

    return make
