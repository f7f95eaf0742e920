"""Damage in a thousand random places: each is found on read and by `verify`, and healed."""

import itertools
import random

import pytest
from sqlalchemy import String, select, type_coerce

from sqla_artifacts.checkout import unpack_to
from sqla_artifacts.errors import BlobCorruptedError
from sqla_artifacts.location import key_of
from sqla_artifacts.reference import parse

PLACES = 1000


@pytest.fixture
def values(make_tree):
    """Sixty-four values, twenty files, eight trees of a manifest and a pack: a hundred blobs."""
    chance = random.Random(1)
    blobs = [chance.randbytes(chance.choice((1, 20, 3000))) + b"%d" % n for n in range(64)]
    files = [make_tree(f"of {n}", file=chance.randbytes(2000 + n)) / "file" for n in range(20)]
    trees = [make_tree(f"tree {n}", a=b"%d" % n, b=chance.randbytes(900)) for n in range(8)]
    return blobs, [*files, *trees]


def store_all(scene, values):
    with scene.engine.begin() as connection:
        for column, each in zip(("data", "run"), values, strict=True):
            scene.put(connection, *each, column=column)


def references(scene):
    with scene.engine.connect() as connection:
        columns = [type_coerce(scene.table.c[name], String) for name in ("data", "run")]
        rows = connection.execute(select(*columns)).all()
    return sorted({parse(text) for text in itertools.chain(*rows) if text})


def damage(scene, key, chance):
    """Flip a bit or cut off the end, anywhere."""
    data = bytearray(scene.store.backend.get(key))
    place = chance.randrange(len(data))
    if chance.random() < 0.5:
        data[place] ^= 1 << chance.randrange(8)
    else:
        del data[place:]
    scene.replace(key, bytes(data))


def read(scene, reference, place):
    if reference.kind == "tree":
        unpack_to(scene.store, reference, place)
    else:
        scene.store.get(reference)


def test_each_is_found_on_read_and_by_verifying_and_healed_by_storing(scene, values, tmp_path):
    chance = random.Random(2)
    store_all(scene, values)
    damaged = 0
    for turn in itertools.count():
        live = {digest: generation for digest, (_, generation) in scene.states().items()}
        assert len(live) == 100
        for digest, generation in live.items():
            damage(scene, key_of(digest, generation), chance)
        damaged += len(live)
        for number, reference in enumerate(references(scene)):
            with pytest.raises(BlobCorruptedError):
                read(scene, reference, tmp_path / f"bad {turn} {number}")
        report = scene.verify("content", mark=True)
        assert {finding.digest for finding in report.findings} == live.keys()
        assert report.counts == {"corrupt": len(live)}
        store_all(scene, values)
        for number, reference in enumerate(references(scene)):
            read(scene, reference, tmp_path / f"good {turn} {number}")
        if damaged >= PLACES:
            break
    assert scene.verify("content").findings == []
