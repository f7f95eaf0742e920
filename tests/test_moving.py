"""Proxies that move: between rows, columns, datatypes and stores."""

import hashlib
import io

import pytest
from blake3 import blake3
from sqlalchemy import select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from sqla_artifacts import (
    Artifact,
    FileDir,
    Lazy,
    LazyArtifact,
    LazyMapped,
    PathMapped,
    StoredPath,
)
from sqla_artifacts.errors import BlobCorruptedError, BlobNotFoundError, UnknownDataTypeError

from .models import counting, make_store, set_up

LARGE = bytes(range(256)) * 8192
HASHERS = {"blake3": blake3, "sha256": hashlib.sha256}


@pytest.fixture
def folder(tmp_path):
    """A directory with files that are packed, and one that is not."""
    path = tmp_path / "source" / "run"
    (path / "empty").mkdir(parents=True)
    (path / "a").write_text("a")
    (path / "b").write_text("b")
    (path / "large").write_bytes(LARGE)
    (path / "link").symlink_to("large")
    return path


@pytest.fixture
def saved(engine, tmp_path, folder):
    """(Sample, store, row): one row with a value, a file and a directory, loaded and detached."""
    sample, store = set_up(engine, tmp_path)
    with Session(engine) as session:
        session.add_all(
            [
                sample(name="value", note="a note", model={"a": 1}, run=("file.bin", LARGE)),
                sample(name="tree", run=folder),
            ]
        )
        session.commit()
        value, tree = session.scalars(select(sample).order_by(sample.id)).all()
        proxies = {"note": value.note, "model": value.model, "file": value.run, "tree": tree.run}
        return sample, store, proxies


@pytest.fixture(params=["blake3", "sha256"])
def other(request, make_engine, tmp_path):
    """(engine, Sample, store) of another database, whose store may have other digests."""
    directory = tmp_path / "other"
    directory.mkdir()
    engine = make_engine(f"sqlite:///{directory / 'other.db'}")
    return engine, *set_up(engine, directory, algorithm=request.param)


def assert_sound(store):
    """Every blob of a store has the digest that names it; return how many there are."""
    keys = [entry.key for entry in store.backend.list("blobs/")]
    for key in keys:
        digest = HASHERS[store.algorithm](store.backend.get(key)).hexdigest()
        assert digest == key.rpartition("/")[2]
    return len(keys)


def test_a_proxy_given_to_another_row_moves_no_bytes(engine, saved):
    sample, store, proxies = saved
    counter = counting(store)
    with Session(engine) as session:
        session.add_all(
            [
                sample(
                    name="copy", note=proxies["note"], model=proxies["model"], run=proxies["file"]
                ),
                sample(name="tree copy", run=proxies["tree"]),
            ]
        )
        session.commit()
        assert counter.calls == []
        copy = session.scalars(select(sample).where(sample.name == "copy")).one()
        assert copy.note is not proxies["note"]
        assert copy.note.reference == proxies["note"].reference
        assert (copy.note.unpack(), copy.model.unpack()) == ("a note", {"a": 1})
        assert copy.run.open().read() == LARGE


def test_a_proxy_given_to_another_store_is_copied(saved, other):
    _, store, proxies = saved
    engine, sample, target = other
    before = assert_sound(store)
    with Session(engine) as session:
        session.add_all(
            [
                sample(
                    name="copy", note=proxies["note"], model=proxies["model"], run=proxies["file"]
                ),
                sample(name="tree", run=proxies["tree"]),
            ]
        )
        session.commit()
    assert assert_sound(store) == assert_sound(target) == before
    for entry in list(store.backend.list("")):
        store.backend.delete(entry.key)
    with Session(engine) as session:
        copy, tree = session.scalars(select(sample).order_by(sample.id)).all()
        assert (copy.note.unpack(), copy.model.unpack()) == ("a note", {"a": 1})
        assert (copy.run.name, copy.run.unpack().read_bytes()) == ("file.bin", LARGE)
        path = tree.run.unpack()
        assert path.name == "run"
        assert sorted(p.name for p in path.iterdir()) == ["a", "b", "empty", "large", "link"]
        assert (path / "link").read_bytes() == LARGE


@pytest.mark.parametrize("other", ["blake3"], indirect=True)
def test_a_proxy_that_another_store_has_already_is_not_read(saved, other):
    _, store, proxies = saved
    engine, sample, target = other
    with Session(engine) as session:
        session.add(sample(note="a note", run=("another name", LARGE)))
        session.commit()
        source, own = counting(store), counting(target)
        session.add(sample(note=proxies["note"], run=proxies["file"]))
        session.commit()
    assert source.calls == []
    assert "put" not in own.calls


@pytest.mark.parametrize("what", ["note", "file", "tree"])
def test_damage_is_not_copied(saved, other, what):
    _, store, proxies = saved
    engine, sample, target = other
    key = "note" if what == "note" else "run"
    path = store.backend.root / store.stat(proxies[what].reference).key
    data = path.read_bytes()
    path.chmod(0o600)
    with Session(engine) as session:
        for damage, error in (
            (lambda: path.write_bytes(data[:-1] + bytes([data[-1] ^ 1])), BlobCorruptedError),
            (lambda: path.write_bytes(data[:-1]), BlobCorruptedError),
            (path.unlink, BlobNotFoundError),
        ):
            damage()
            session.add(sample(**{key: proxies[what]}))
            with pytest.raises(error, match=f"^sample.{key}: "):
                session.commit()
            session.rollback()
        assert session.scalars(select(sample)).all() == []
        session.add(sample(note="usable"))
        session.commit()
    assert assert_sound(target) == 1


class ReadOnce(io.RawIOBase):
    """A stream that cannot go back."""

    def __init__(self, data):
        self._rest = io.BytesIO(data)

    def readable(self):
        return True

    def readinto(self, buffer):
        return self._rest.readinto(buffer)


def test_one_new_proxy_in_several_places_of_a_flush(engine, tmp_path):
    sample, _ = set_up(engine, tmp_path)
    run, note = StoredPath(("run", ReadOnce(b"a run"))), Lazy("a note")
    with Session(engine) as session:
        session.add_all(sample(run=run, note=note) for _ in range(3))
        session.flush()
        session.add(sample(run=run, note=note))
        session.commit()
        rows = session.scalars(select(sample)).all()
        assert [row.run.open().read() for row in rows] == [b"a run"] * 4
        assert [row.note.unpack() for row in rows] == ["a note"] * 4


def test_named_stores_of_one_database_copy_to_each_other(engine, tmp_path):
    class Base(DeclarativeBase):
        pass

    class Record(Base):
        __tablename__ = "record"
        id: Mapped[int] = mapped_column(primary_key=True)
        here: LazyMapped[str | None] = mapped_column(LazyArtifact("text"))
        there: LazyMapped[str | None] = mapped_column(LazyArtifact("text", store="there"))
        run: PathMapped[StoredPath | None] = mapped_column(FileDir(store="there"))

    here, there = make_store(tmp_path), make_store(tmp_path, "there")
    here.attach(engine, metadata=Base.metadata)
    there.attach(engine, metadata=Base.metadata, name="there")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        record = Record(here="value", run=("a", b"run"))
        session.add(record)
        session.commit()
        assert (assert_sound(here), assert_sound(there)) == (1, 1)
        record.there = record.here
        session.commit()
        assert (assert_sound(here), assert_sound(there)) == (1, 2)
        assert (record.here.store, record.there.store) == (here, there)
        assert record.here.unpack() == record.there.unpack() == "value"


# -- between datatypes -----------------------------------------------------------------------------


@pytest.fixture
def record(engine, tmp_path):
    class Base(DeclarativeBase):
        pass

    class Record(Base):
        __tablename__ = "record"
        id: Mapped[int] = mapped_column(primary_key=True)
        text: LazyMapped[str | None] = mapped_column(LazyArtifact("text"))
        json: LazyMapped[str | None] = mapped_column(LazyArtifact("json"))
        both: LazyMapped[str | None] = mapped_column(LazyArtifact("json", accepts=["text"]))
        eager: Mapped[object | None] = mapped_column(Artifact("json", accepts=["pickle"]))

    make_store(tmp_path).attach(engine, metadata=Base.metadata)
    Base.metadata.create_all(engine)
    return Record


def test_a_proxy_of_another_datatype_is_encoded_anew(engine, record):
    with Session(engine) as session:
        row = record(text="value")
        session.add(row)
        session.commit()
        row.json = row.text
        row.eager = row.text
        session.commit()
        assert (row.text.reference.label, row.json.reference.label) == ("text", "json")
        assert (row.json.read_bytes(), row.text.read_bytes()) == (b'"value"', b"value")
        assert row.json.unpack() == row.text.unpack() == row.eager == "value"


def test_a_proxy_of_an_accepted_datatype_stays_as_it_is(engine, record):
    with Session(engine) as session:
        row = record(text="value")
        session.add(row)
        session.commit()
        row.both = row.text
        session.commit()
        assert row.both.reference == row.text.reference
        assert row.both.unpack() == "value"
        row.both = "value"
        session.commit()
        assert row.both.reference.label == "json"


def test_a_row_of_an_accepted_datatype_is_read_and_of_another_refused(engine, record, tmp_path):
    class Base(DeclarativeBase):
        pass

    class Old(Base):
        __tablename__ = "record"
        id: Mapped[int] = mapped_column(primary_key=True)
        eager: Mapped[object | None] = mapped_column(Artifact("pickle"))
        json: LazyMapped[object | None] = mapped_column(LazyArtifact("pickle"))

    with Session(engine) as session:
        session.add_all([Old(eager={1, 2}), Old(json={1, 2})])
        session.commit()
    with Session(engine) as session:
        assert session.scalars(select(record.eager).where(record.id == 1)).one() == {1, 2}
        proxy = session.scalars(select(record.json).where(record.id == 2)).one()
        with pytest.raises(
            UnknownDataTypeError, match=r"^record\.json: .*'pickle'.*'json'.*accept"
        ):
            proxy.unpack()
        with pytest.raises(UnknownDataTypeError):
            _ = proxy.media_type
        assert proxy.size
        session.execute(text("UPDATE record SET json = NULL"))
        session.commit()
        assert session.get(record, 2).json is None
