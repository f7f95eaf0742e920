"""What the processes do that are killed: write, unpack, collect, verify, and fill a cache."""

import contextlib
import os
import random
import shutil
import tempfile

from sqlalchemy import String, delete, insert, select, type_coerce
from sqlalchemy.exc import OperationalError

from sqla_artifacts import ArtifactStore, FileDir
from sqla_artifacts.errors import BlobNotFoundError, UnpackError
from sqla_artifacts.verify import verify

from ..programs.cache import Remote
from .place import DIGESTS, is_tree, metadata, table

CACHE = 20_000
"""How many bytes a cache has: too few for all."""

STEPS = ["write", "unpack", "collect", "verify", "fill", "delete"]


class Worker:
    """Does a random step after another, every other time the one that is wanted, and says so."""

    def __init__(self, place, slot, seed, wanted="write", say=lambda *words: None):
        self.place = place
        self.slot = str(slot)
        self.chance = random.Random(seed)
        self.say = say
        tempfile.tempdir = str(place.directory / "tmp")
        self.engine = place.engine()
        self.store = place.store(self.engine)
        self.steps = [getattr(self, name) for name in STEPS]
        self.wanted = getattr(self, wanted)

    def run(self):
        parent = os.getppid()
        while os.getppid() == parent:
            self.do(self.chance.choice([self.wanted, self.chance.choice(self.steps)]))

    def do(self, step):
        self.say("begin", step.__name__)
        # Another worker's row or blob may have gone meanwhile. What must be there is checked last.
        with contextlib.suppress(BlobNotFoundError, UnpackError, OperationalError):
            step()
        self.say("end", step.__name__)

    def write(self):
        number = self.chance.randrange(DIGESTS)
        values = self.place.values(number)
        if is_tree(number) and self.chance.random() < 0.5:
            values["run"] = FileDir.from_archive(archive_of(self.place, number))
        with self.engine.begin() as connection:
            (row,) = connection.execute(insert(table).values(values)).inserted_primary_key
        self.say("committed", row, number)

    def delete(self):
        with self.engine.connect() as connection:
            ids = connection.scalars(select(table.c.id)).all()
        chosen = [row for row in ids if self.chance.random() < 0.3]
        self.say("deleting", *chosen)
        with self.engine.begin() as connection:
            connection.execute(delete(table).where(table.c.id.in_(chosen)))

    def unpack(self):
        """Make a shared checkout of a tree, and a copy of one's own."""
        trees = rows_of(self.engine, table.c.run)
        if trees:
            tree = self.chance.choice(trees)
            if self.chance.random() < 0.5:
                remove_checkout(tree)
            tree.unpack()
            own = self.place.directory / "copies" / self.slot
            shutil.rmtree(own / tree.name, ignore_errors=True)
            tree.unpack(own)

    def collect(self):
        self.place.collect(self.store, self.engine)

    def verify(self):
        return verify(self.store, self.engine, depth="content", metadata=metadata)

    def fill(self):
        """Read by way of a cache that is too small for everything."""
        store = ArtifactStore(
            self.store.url,
            memory=0,
            cache=self.place.directory / "cache",
            cache_size=CACHE,
            **self.place.options,
        )
        if not store.backend.is_remote:
            store.backend = Remote(store.backend)
        references = rows_of(self.engine, type_coerce(table.c.data, String))
        for reference in self.chance.sample(references, min(3, len(references))):
            store.get(reference)


def remove_checkout(tree):
    """Remove the shared checkout of a tree, but not what is left beside it."""
    folder = tree.store.checkouts / f"tree-{tree.digest}"
    shutil.rmtree(folder / tree.name, ignore_errors=True)


def archive_of(place, number):
    return place.source(number).with_suffix(".zip")


def rows_of(engine, column):
    with engine.connect() as connection:
        return connection.scalars(select(column).where(column.is_not(None))).all()
