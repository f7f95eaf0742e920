"""The same directory, wherever it lies and however it is read, is stored once."""

import random
import shutil
from pathlib import Path

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from sqla_artifacts.folder import Folder

from .programs.checks import temporary_files
from .programs.model import Sample, attach

FILES = {
    "empty": b"",
    "notes.txt": b"notes",
    "a/b/large": random.Random(1).randbytes(3 << 20),
    "a/b/same as large": random.Random(1).randbytes(3 << 20),
    "a/small": random.Random(2).randbytes(200_000),
    "z/small": random.Random(2).randbytes(200_000),
}


def make_run(place, seed):
    """Make a directory `run` whose members come into being in an order that the seed chooses."""
    generator = random.Random(seed)
    run = place / "run"
    names = [*FILES, "a/nothing", "link"]
    generator.shuffle(names)
    for name in names:
        path = run / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name == "link":
            path.symlink_to("a/small")
        elif name in FILES:
            path.write_bytes(FILES[name])
        else:
            path.mkdir(exist_ok=True)
    return run


def state_of(store):
    """Every file of a store: its path, inode and time of change."""
    root = Path(store.backend.root)
    files = (path for path in root.rglob("*") if path.is_file() and path.parts[-3] != "tmp")
    return {path: (path.stat().st_ino, path.stat().st_ctime_ns) for path in files}


def references(engine):
    with engine.connect() as connection:
        return list(connection.scalars(text("SELECT file FROM sample ORDER BY id")))


def add(engine, *files):
    with Session(engine) as session:
        session.add_all(Sample(file=file) for file in files)
        session.commit()


def rows_of_the_ledger(engine):
    with engine.connect() as connection:
        blobs = connection.execute(text("SELECT * FROM artifact_blob ORDER BY digest")).all()
        edges = connection.execute(
            text("SELECT * FROM artifact_edge ORDER BY manifest, part")
        ).all()
    return blobs, edges


@pytest.fixture
def store(engine, tmp_path):
    return attach(engine, tmp_path / "artifacts")


def test_one_directory_in_two_places_has_one_reference(engine, store, tmp_path):
    add(engine, make_run(tmp_path / "here", 1), make_run(tmp_path / "there", 2))
    first, second = references(engine)
    assert first == second
    assert first.startswith("&:tree:")
    assert first.endswith(f":{sum(map(len, FILES.values()))}:run")


def test_the_order_in_which_a_directory_is_read_makes_no_difference(
    engine, store, tmp_path, monkeypatch
):
    run, scan, orders = make_run(tmp_path, 1), Folder.scan, set()

    def shuffled(folder, path):
        entries = scan(folder, path)
        generator.shuffle(entries)
        orders.add((path, tuple(entries)))
        return entries

    monkeypatch.setattr(Folder, "scan", shuffled)
    for seed in range(4):
        generator = random.Random(seed)
        add(engine, run)
    assert len(set(references(engine))) == 1
    assert sum(path == "." for path, _ in orders) > 1


def test_a_directory_stored_again_leaves_nothing_new(engine, store, tmp_path):
    add(engine, make_run(tmp_path / "here", 1))
    before, ledger = state_of(store), rows_of_the_ledger(engine)
    assert {path.name for path in before} > {"store.json", "owner.json"}
    again = make_run(tmp_path / "there", 2)
    add(engine, again, again)
    with Session(engine) as session:
        stored = session.scalars(select(Sample).order_by(Sample.id)).first().file
        add(engine, stored, stored.unpack(tmp_path / "copy"))
    assert len(set(references(engine))) == 1
    assert len(references(engine)) == 5
    assert state_of(store) == before
    assert rows_of_the_ledger(engine) == ledger
    assert temporary_files(store.backend.root) == []


def test_a_renamed_copy_shares_everything_but_the_name(engine, store, tmp_path):
    run = make_run(tmp_path / "here", 1)
    add(engine, run)
    before = state_of(store)
    add(engine, Path(shutil.copytree(run, tmp_path / "best", symlinks=True)))
    first, second = references(engine)
    assert second == first.removesuffix("run") + "best"
    assert state_of(store) == before


def test_a_directory_that_differs_in_one_file_shares_the_rest(engine, store, tmp_path):
    run = make_run(tmp_path / "here", 1)
    add(engine, run)
    before = state_of(store)
    (run / "notes.txt").write_bytes(b"other notes")
    add(engine, run)
    new = state_of(store).keys() - before.keys()
    # A manifest and the pack of the small files; the large one is there already.
    assert len(new) == 2
    assert all(path.stat().st_size < 1 << 20 for path in new)
    assert state_of(store).items() >= before.items()
