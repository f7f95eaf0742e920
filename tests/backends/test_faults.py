"""Faults between a store and its bucket, seen from a session.

Every read is right or a clear error, no committed row is without its blob, and when the fault is
over everything works again.
"""

import itertools
import random
import time
from datetime import timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from sqla_artifacts import ArtifactStore
from sqla_artifacts.errors import ArtifactError, BlobCorruptedError, StoreWriteError
from tests.check import check
from tests.models import make_models
from tests.servers.faulty import CONFLICT, CORRUPT, FAULTS, SILENT

PASSING = [fault for fault in FAULTS if fault != CORRUPT]
LASTING = ["error", "slow_down", "reset", "lost", "error_after"]
MIB = 1 << 20


class Scene:
    """A model on an engine, its store in a bucket that fails on demand."""

    def __init__(self, engine, server, directory, **options):
        self.server = server
        self.directory = directory
        self.base, self.sample = make_models()
        options = {"checkouts": directory / "checkouts", "memory": 0, **server.options, **options}
        self.store = ArtifactStore(f"{server.url}/place", **options)
        self.store.attach(engine, metadata=self.base.metadata)
        self.base.metadata.create_all(engine)
        self.engine = engine
        self.session = Session(engine)
        self._numbers = itertools.count()

    def row(self, seed=None):
        """A row with a value, a lazy value and a directory, none of which was there before."""
        number = next(self._numbers)
        chance = random.Random(f"{seed} {number}")
        tree = self.directory / f"tree{number}"
        tree.mkdir()
        for name in ("one", "two"):
            (tree / name).write_bytes(chance.randbytes(chance.randrange(5000)))
        data = chance.randbytes(chance.randrange(1, 200_000))
        return self.sample(name=str(number), data=data, note=f"note {number}", run=tree)

    def content(self, row):
        """All of a row's payloads, read through the store."""
        members = {name: row.run.open(name).read() for name in ("one", "two")}
        return row.data, row.note.unpack(), members

    def add(self, row):
        """Commit a row; return what it was made of."""
        tree, note, data = self.directory / f"tree{row.name}", f"note {row.name}", row.data
        self.session.add(row)
        self.session.commit()
        return data, note, {name: (tree / name).read_bytes() for name in ("one", "two")}

    def read(self, name):
        """Read a row anew."""
        self.session.expunge_all()
        return self.content(self.session.scalars(select(self.sample).filter_by(name=name)).one())

    def check(self):
        """Check all that is committed, and that more can be stored, with the faults over."""
        self.server.heal()
        self.session.rollback()
        row = self.row("check")
        name, expected = row.name, self.add(row)
        assert self.read(name) == expected
        check(self.engine, self.store, self.sample.__table__)


@pytest.fixture
def scene(engine, faulty_s3, tmp_path):
    scene = Scene(engine, faulty_s3, tmp_path)
    yield scene
    scene.session.close()


# -- one fault ------------------------------------------------------------------------------------


# Half of a refusal says nothing at all, and the first write asks for what is not there.
@pytest.mark.parametrize("fault", sorted(set(PASSING) - {"truncate"}))
def test_a_write_survives_a_fault_that_passes(scene, fault):
    for method in ("GET", "PUT"):
        scene.server.script(fault, fault, method=method)
        row = scene.row(fault)
        name, expected = row.name, scene.add(row)
        scene.server.heal()
        assert scene.read(name) == expected
    scene.check()


@pytest.mark.parametrize("fault", PASSING)
def test_a_read_survives_a_fault_that_passes(scene, fault):
    row = scene.row(fault)
    name, expected = row.name, scene.add(row)
    scene.server.script(fault, fault, method="GET", key="blobs/")
    assert scene.read(name) == expected
    scene.check()


def test_corrupted_bytes_are_not_returned(scene):
    row = scene.row()
    name, expected = row.name, scene.add(row)
    scene.server.always(CORRUPT, method="GET", key="blobs/")
    with pytest.raises(BlobCorruptedError):
        scene.read(name)
    scene.server.heal()
    assert scene.read(name) == expected
    scene.check()


# -- an outage ------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", LASTING)
@pytest.mark.parametrize("begun", [False, True], ids=["first", "later"])
def test_a_write_in_an_outage_is_a_clear_error(scene, fault, begun):
    if begun:
        scene.add(scene.row("before"))
    scene.server.always(fault)
    with pytest.raises(StoreWriteError, match=r"s3://tests/place"):
        scene.add(scene.row("during"))
    scene.session.rollback()
    assert len(scene.session.scalars(select(scene.sample.id)).all()) == int(begun)
    scene.check()


@pytest.mark.parametrize("fault", [*LASTING, "truncate"])
def test_a_read_in_an_outage_is_a_clear_error(scene, fault):
    row = scene.row()
    name, expected = row.name, scene.add(row)
    scene.server.always(fault, method="GET")
    with pytest.raises(OSError, match=r"cannot read 'blobs/.*' in s3://tests/place"):
        scene.read(name)
    scene.server.heal()
    assert scene.read(name) == expected
    scene.check()


def test_a_server_that_does_not_answer_is_given_up(engine, faulty_s3, tmp_path):
    scene = Scene(engine, faulty_s3, tmp_path, read_timeout=timedelta(milliseconds=200))
    row = scene.row()
    name, _ = row.name, scene.add(row)
    faulty_s3.always(SILENT, key="blobs/")
    for action in (lambda: scene.read(name), lambda: scene.add(scene.row())):
        begun = time.monotonic()
        with pytest.raises(OSError, match="s3://tests/place"):
            action()
        assert time.monotonic() - begun < 20
        scene.session.rollback()
    scene.check()
    scene.session.close()


def test_two_stores_that_come_at_once_agree_on_what_the_store_is(engine, faulty_s3, tmp_path):
    faulty_s3.script(CONFLICT, "lost", method="PUT", key=".json")
    scene = Scene(engine, faulty_s3, tmp_path)
    scene.add(scene.row())
    assert ArtifactStore(scene.store.url, **faulty_s3.options).id == scene.store.id
    scene.check()
    scene.session.close()


# -- many faults ----------------------------------------------------------------------------------


def attempt(action):
    """What an action returns, or None if it fails with an error that it may raise."""
    try:
        return action()
    except (ArtifactError, OSError):
        return None


@pytest.mark.parametrize("rate", [0.1, 0.5])
@pytest.mark.parametrize("seed", range(2))
def test_whatever_happens_reads_are_right_and_rows_have_their_blobs(scene, seed, rate):
    chance = random.Random(seed)
    committed = {}
    scene.server.seed(seed, rate)
    outcomes = set()
    for _ in range(40):
        if not committed or chance.random() < 0.4:
            row = scene.row(f"{seed} {rate}")
            name = row.name
            expected = attempt(lambda row=row: scene.add(row))
            if expected is None:
                scene.session.rollback()
            else:
                committed[name] = expected
            outcomes.add(("add", expected is not None))
        else:
            name = chance.choice(sorted(committed))
            found = attempt(lambda name=name: scene.read(name))
            assert found is None or found == committed[name]
            outcomes.add(("read", found is not None))
    scene.server.heal()
    assert {("add", True), ("read", True)} <= outcomes
    for name, expected in committed.items():
        assert scene.read(name) == expected
    scene.session.expunge_all()
    assert set(scene.session.scalars(select(scene.sample.name))) == set(committed)
    scene.check()


def test_a_batch_under_faults_is_right_or_an_error(scene):
    rows = [scene.sample(name=f"b{n}", data=bytes([n]) * 10_000) for n in range(64)]
    scene.session.add_all(rows)
    scene.session.commit()
    for seed in range(10):
        scene.server.seed(seed, 0.2)
        scene.session.expunge_all()
        query = select(scene.sample).order_by(scene.sample.id)
        found = attempt(lambda query=query: [r.data for r in scene.session.scalars(query)])
        assert found is None or found == [bytes([n]) * 10_000 for n in range(64)]
        scene.session.rollback()
    scene.check()
