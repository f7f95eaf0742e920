"""`StoredPath`: a file or a directory that stays in the store until it is asked for."""

import asyncio
import io
import os
import pickle
import stat
import threading
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from sqla_artifacts import ArtifactStore, StoredPath, unpack
from sqla_artifacts.errors import BlobNotFoundError, InvalidValueError, NotStoredError, SourceError

from .models import counting, set_up, staged
from .test_pickling import run_elsewhere

LARGE = bytes(range(256)) * 8192


@pytest.fixture
def folder(tmp_path):
    """A directory with a small and a large file, an empty folder and a link."""
    run = tmp_path / "runs" / "7"
    (run / "weights").mkdir(parents=True)
    (run / "empty").mkdir()
    (run / "metrics.json").write_text('{"loss": 0.5}')
    (run / "weights" / "layer0.bin").write_bytes(LARGE)
    (run / "latest").symlink_to("weights/layer0.bin")
    return run


@pytest.fixture
def stored(engine, tmp_path):
    """Stores a value in a row of its own, and returns what a new session reads, and the store."""
    sample, store = set_up(engine, tmp_path)

    def save(value):
        with Session(engine) as session:
            row = sample(run=value)
            session.add(row)
            session.commit()
            key = row.id
        with Session(engine) as session:
            return session.scalars(select(sample.run).where(sample.id == key)).one(), store

    return save


def test_a_select_does_no_io(engine, tmp_path, folder):
    sample, store = set_up(engine, tmp_path)
    with Session(engine) as session:
        session.add_all([sample(run=folder), sample(run=("run.txt", b"a run"))])
        session.commit()
        backend = counting(store)
        tree, file = session.scalars(select(sample.run).order_by(sample.id)).all()
        assert repr(file) == "<StoredPath 'run.txt' file 5 bytes>"
        assert repr(tree) == f"<StoredPath '7' tree {len(LARGE) + 13} bytes>"
        assert (tree.is_dir, file.is_dir) == (True, False)
        assert (tree.name, file.name) == ("7", "run.txt")
        assert file.members == {}
        assert len(tree.digest) == 64
    assert backend.calls == []


def test_everything_that_is_a_file_can_be_stored(stored, tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"content")
    with path.open("rb") as opened, path.open("rb") as moved:
        moved.seek(3)
        values = {
            "str": str(path),
            "path": path,
            "stream": opened,
            "stream that stands elsewhere": moved,
            "bytes": ("a.txt", b"content"),
            "bytearray": ("a.txt", bytearray(b"content")),
            "named stream": ("a.txt", io.BytesIO(b"content")),
            "proxy": StoredPath(path),
        }
        for value in values.values():
            found, _ = stored(value)
            assert found.name == "a.txt"
            assert found.unpack().read_bytes() == b"content"
            assert found.open().read() == b"content"
        assert (opened.tell(), moved.tell()) == (0, 3)
    assert stored(io.BytesIO(b"content"))[0].name == "file"


REFUSED = [
    (5, InvalidValueError),
    (b"content", InvalidValueError),
    (io.StringIO("text"), InvalidValueError),
    (("a", "text"), InvalidValueError),
    (("a", b"b", b"c"), InvalidValueError),
    (("a", io.StringIO("text")), InvalidValueError),
    *(((name, b""), InvalidValueError) for name in ("a/b", ".", "..", "x" * 256, "", "a\0b")),
    ("a\0b", InvalidValueError),
    ("does-not-exist", SourceError),
    (Path("does/not/exist"), SourceError),
    ("/dev/null", SourceError),
]


def test_anything_else_is_refused_and_names_the_column(engine, tmp_path):
    sample, store = set_up(engine, tmp_path)
    with Session(engine) as session:
        for value, error in REFUSED:
            session.add(sample(run=value))
            with pytest.raises(error, match=r"^sample\.run: "):
                session.commit()
            session.rollback()
        session.add(sample(run=("a", b"x")))
        session.commit()
        assert len(session.scalars(select(sample)).all()) == 1
    assert staged(store) == []


def test_a_file_keeps_its_name(stored, tmp_path):
    for name in ("ünï cödé", "50%", "a:b", "-rf", " ", "…", "x" * 255, "a\nb"):
        found, _ = stored((name, b"content"))
        assert found.name == found.unpack().name == name
    path = os.fsencode(tmp_path) + b"/\xff\xfe"
    Path(os.fsdecode(path)).write_bytes(b"content")
    found, _ = stored(os.fsdecode(path))
    assert os.fsencode(found.unpack().name) == b"\xff\xfe"


def test_unpack_makes_one_read_only_checkout(stored, folder):
    found, store = stored(folder)
    path = found.unpack()
    assert path.name == "7"
    assert path.is_relative_to(store.checkouts)
    assert (path / "weights" / "layer0.bin").read_bytes() == LARGE
    assert (path / "latest").readlink() == Path("weights/layer0.bin")
    assert list((path / "empty").iterdir()) == []
    assert not stat.S_IMODE((path / "metrics.json").stat().st_mode) & 0o222
    backend = counting(store)
    assert found.unpack() == path
    assert unpack([found, found]) == [path, path]
    assert backend.calls == []


def test_a_file_opens_like_any_path(stored):
    found, _ = stored(("a.txt", b"content"))
    with open(found, "rb") as stream:
        assert stream.read() == b"content"
    assert os.path.getsize(found) == 7
    assert Path(found).read_bytes() == b"content"


@pytest.mark.parametrize("form", ["file", "directory"])
def test_a_private_copy_can_be_changed_and_the_store_does_not_change(stored, folder, form):
    found, _ = stored(folder if form == "directory" else folder / "metrics.json")
    for destination in ("first", "second"):
        copy = found.unpack(folder.parent / destination)
        assert copy == folder.parent / destination / found.name
        changed = copy / "metrics.json" if form == "directory" else copy
        assert changed.read_text() == '{"loss": 0.5}'
        changed.write_text("changed")
    checkout = found.unpack()
    unchanged = checkout / "metrics.json" if form == "directory" else checkout
    assert unchanged.read_text() == '{"loss": 0.5}'


def test_a_member_is_read_without_the_rest(stored, folder):
    found, store = stored(folder)
    assert set(found.members) == {"empty", "latest", "metrics.json", "weights"} | {
        "weights/layer0.bin"
    }
    assert found.members["weights/layer0.bin"].size == len(LARGE)
    backend = counting(store)
    with found.open("metrics.json") as stream:
        assert stream.read() == b'{"loss": 0.5}'
    assert backend.calls == ["open"]
    with found.open("weights/layer0.bin") as stream:
        stream.seek(-256, os.SEEK_END)
        assert stream.read() == bytes(range(256))
    for member, error in (("nothing", FileNotFoundError), ("weights", IsADirectoryError)):
        with pytest.raises(error):
            found.open(member)
    with pytest.raises(IsADirectoryError):
        found.open()


def test_a_member_of_a_file_is_refused(stored):
    found, _ = stored(("a.txt", b"content"))
    with pytest.raises(NotADirectoryError):
        found.open("b")


def test_an_attribute_is_a_proxy_from_its_assignment_on(engine, tmp_path):
    sample, _ = set_up(engine, tmp_path)
    row = sample(run=("a.txt", b"first"))
    assert isinstance(row.run, StoredPath)
    row.run = ("b.txt", b"second")
    assert repr(row.run) == "<StoredPath 'b.txt' not flushed>"
    assert not row.run.stored
    for ask in (row.run.unpack, row.run.open, lambda: row.run.size, lambda: os.fspath(row.run)):
        with pytest.raises(NotStoredError, match="flush"):
            ask()
    with Session(engine) as session:
        session.add(row)
        session.flush()
        assert row.run.stored
        assert row.run.unpack().read_bytes() == b"second"
        row.run = None
        session.commit()
        assert row.run is None


def test_aunpack_leaves_the_event_loop_free(stored, tmp_path):
    found, store = stored(("a.txt", b"content"))
    backend = counting(store)

    async def main():
        return await found.aunpack(), await found.aunpack(tmp_path / "to")

    checkout, copy = asyncio.run(main())
    assert checkout.read_bytes() == copy.read_bytes() == b"content"
    assert copy == tmp_path / "to" / "a.txt"
    assert backend.threads
    assert threading.get_ident() not in backend.threads


def test_a_blob_that_is_gone_names_the_column(stored):
    found, store = stored(("a.txt", b"content"))
    store.backend.delete(store.stat(found.reference).key)
    with pytest.raises(BlobNotFoundError, match=r"^sample\.run: "):
        found.unpack()


def test_a_pickled_path_is_small_and_unpacks_in_another_process(stored, folder):
    tree, _ = stored(folder)
    file, _ = stored(("a.txt", b"content"))
    data = pickle.dumps(tree)
    assert max(len(data), len(pickle.dumps(file))) < 500
    load = "import pickle, sys; found = pickle.load(sys.stdin.buffer); "
    shown = run_elsewhere(f"{load} print(sorted(p.name for p in found.unpack().iterdir()))", data)
    assert shown == "['empty', 'latest', 'metrics.json', 'weights']"
    assert run_elsewhere(f"{load} print(open(found).read())", pickle.dumps(file)) == "content"
    assert run_elsewhere(f"{load} print(found.open('metrics.json').read())", data).startswith("b'{")


def test_a_pickled_path_has_no_options(engine, tmp_path):
    sample, _ = set_up(engine, tmp_path)
    with Session(engine) as session:
        session.add(sample(run=("a.txt", b"content")))
        session.commit()
        origin = session.scalars(select(sample.run)).one()
    store = ArtifactStore(f"local://{tmp_path}/artifacts", token="s3cret")
    moved = StoredPath(origin=origin._origin._replace(store=store), text=str(origin.reference))
    assert b"s3cret" not in pickle.dumps(moved)
    assert pickle.loads(pickle.dumps(moved)).open().read() == b"content"
