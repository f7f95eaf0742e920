"""A directory that is stored again: how much of it is new, and what the stat cache saves."""

import datetime as dt
import os
import pickle
import random

import pytest
from sqlalchemy import delete
from sqlalchemy.orm import Session

from sqla_artifacts import ArtifactStore, FileDir
from sqla_artifacts.collect import collect
from sqla_artifacts.errors import SourceError

from ..check import check
from ..models import set_up, staged
from .sources import (
    MIB,
    add,
    blobs,
    files_read,
    let_a_tick_pass,
    make,
    references,
    same_size,
    write,
)

FILES = 21
NOW = dt.timedelta(0)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """3 files of 20 MiB, and 5,000 small ones with their labels."""
    root, generator = tmp_path_factory.mktemp("labelled"), random.Random(1)
    for number in range(3):
        write(root / f"weights/{number}.bin", generator.randbytes(20 * MIB))
    for number in range(5000):
        write(root / f"images/{number // 100}/{number}.raw", generator.randbytes(4096))
    write(root / "labels.csv", generator.randbytes(200_000))
    return root


@pytest.mark.parametrize("cached", [False, True], ids=["read", "stat cache"])
def test_a_changed_file_costs_its_pack_at_the_most(engine, tmp_path, labelled, monkeypatch, cached):
    let_a_tick_pass(monkeypatch)
    options = {"stat_cache": tmp_path / "stat.db"} if cached else {}
    sample, store = set_up(engine, tmp_path, **options)
    add(engine, sample, labelled)
    known = blobs(store)
    assert sorted(known.values())[-3:] == [20 * MIB] * 3
    for name in ("images/20/2050.raw", "labels.csv"):
        write(labelled / name, os.urandom(labelled.joinpath(name).stat().st_size))
        add(engine, sample, labelled)
        new = {key: size for key, size in blobs(store).items() if key not in known}
        known |= new
        # The manifest; the pack, or two if the file was one that ends a pack, or is now.
        assert 2 <= len(new) <= 3
        assert 20 * MIB not in new.values()
    assert check(engine, store, sample.__table__) == set()


@pytest.fixture
def scene(engine, tmp_path, monkeypatch):
    """(engine, sample, store with a stat cache, a directory that is at rest)"""
    source = make(tmp_path / "source")
    let_a_tick_pass(monkeypatch)
    sample, store = set_up(engine, tmp_path, stat_cache=tmp_path / "stat.db")
    return engine, sample, store, source


def stored(scene, *paths):
    """How many files it takes to store a path again."""
    engine, sample, store, source = scene
    _, read = files_read(add, engine, sample, *(paths or [source]))
    assert check(engine, store, sample.__table__) == set()
    assert staged(store) == []
    return read


def test_what_has_not_changed_is_not_read_again(scene):
    assert [stored(scene) for _ in range(3)] == [FILES, 0, 0]
    assert len(set(references(scene[0]))) == 1


@pytest.mark.parametrize("name", ["0.bin", "0/0.txt"])
def test_nor_is_a_file(scene, name):
    path = scene[3] / name
    assert [stored(scene, path) for _ in range(2)] == [1, 0]
    same_size(path)
    assert stored(scene, path) == 1
    first, second, third = references(scene[0])
    assert first == second != third


def test_a_comparison_and_another_store_know_it_too(scene, make_engine, tmp_path):
    assert stored(scene) == FILES
    other = make_engine(f"sqlite:///{tmp_path / 'other.db'}")
    cache = scene[2].stat_cache.path
    sample, store = set_up(other, tmp_path, name="other", stat_cache=cache)
    # Another store does not have the bytes: they are read where they are needed.
    assert stored((other, sample, store, scene[3])) == FILES
    assert references(other) == references(scene[0])
    assert stored((other, sample, store, scene[3])) == 0


@pytest.mark.parametrize("name", [None, "0.bin"], ids=["directory", "file"])
def test_what_was_collected_is_stored_again(scene, name):
    engine, sample, store, source = scene
    path = source / name if name else source
    read = stored(scene, path)
    with Session(engine) as session:
        session.execute(delete(sample))
        session.commit()
    empty(engine, store)
    assert blobs(store) == {}
    assert [stored(scene, path) for _ in range(2)] == [read, 0]


def test_so_is_it_if_it_was_stored_in_this_process(engine, tmp_path):
    """Its packs are assumed to be there, and read once more when they turn out not to be."""
    source = make(tmp_path / "source")
    sample, store = set_up(engine, tmp_path)
    scene = engine, sample, store, source
    packed = FILES - 1
    assert [stored(scene) for _ in range(2)] == [FILES, FILES]
    with Session(engine) as session:
        session.execute(delete(sample))
        session.commit()
    empty(engine, store)
    assert blobs(store) == {}
    assert [stored(scene) for _ in range(2)] == [FILES + packed, FILES]


def empty(engine, store):
    """Collect until nothing is left."""
    for _ in range(3):
        collect(store, engine, dry_run=False, grace=NOW, retention=NOW, limit_share=1)


@pytest.mark.parametrize("name", [None, "0.bin"], ids=["directory", "file"])
def test_what_changes_before_it_is_read_after_all_is_refused(scene, name, monkeypatch):
    engine, sample, store, source = scene
    path = source / name if name else source
    stored(scene, path)
    with Session(engine) as session:
        session.execute(delete(sample))
        session.commit()
    empty(engine, store)
    real = FileDir._stage

    def stage_and_change(*args):
        found = real(*args)
        same_size(source / "0.bin")
        return found

    monkeypatch.setattr(FileDir, "_stage", stage_and_change)
    with pytest.raises(SourceError, match=r"sample\.run: .*0\.bin' changed while it was read"):
        add(engine, sample, path)
    monkeypatch.undo()
    assert references(engine) == []
    assert staged(store) == []


def test_a_pickled_store_has_the_same_stat_cache(scene):
    again = pickle.loads(pickle.dumps(scene[2]))
    assert again.stat_cache.path == scene[2].stat_cache.path


def test_an_empty_name_is_refused(tmp_path):
    with pytest.raises(ValueError, match="stat_cache='' cannot be a file"):
        ArtifactStore(str(tmp_path), stat_cache="")
