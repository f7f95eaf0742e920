"""All values of a statement are bound before the first is stored, and yet memory is bounded."""

import gc
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import insert, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from sqla_artifacts import Artifact, ArtifactList, FileDir, LazyArtifact, LazyMapped, PathMapped
from sqla_artifacts.errors import InvalidValueError
from sqla_artifacts.payload import Share, Spool, Stage

from .check import check
from .models import make_store, staged

BENCHMARK = Path(__file__).parent / "benchmarks" / "executemany.py"
LIMIT = 500
KIB = 1 << 10


class Base(DeclarativeBase):
    pass


class Row(Base):
    __tablename__ = "row"
    id: Mapped[int] = mapped_column(primary_key=True)
    data: Mapped[bytes | None] = mapped_column(Artifact("bytes"))
    text: Mapped[str | None] = mapped_column(Artifact("text"))
    thing: LazyMapped[object | None] = mapped_column(LazyArtifact("pickle"))
    lazy: LazyMapped[bytes | None] = mapped_column(LazyArtifact("bytes"))
    run: PathMapped[object | None] = mapped_column(FileDir())
    texts: Mapped[list[str] | None] = mapped_column(ArtifactList(Artifact("text")))


class Noting:
    """A backend that notes what it is given, the bytes or None for a file, and stores it."""

    def __init__(self, store):
        self._store, self._backend = store, store.backend
        self.contents = []

    def __getattr__(self, name):
        return getattr(self._backend, name)

    def put(self, objects):
        contents = [payload.content for _, payload in objects]
        self.contents += [each if isinstance(each, bytes) else None for each in contents]
        self.waiting = len(staged(self._store))
        self._backend.put(objects)

    @property
    def in_memory(self):
        """How many bytes came from memory."""
        return sum(map(len, filter(None, self.contents)))

    @property
    def files(self):
        """How many came from files."""
        return self.contents.count(None)


def start(engine, *place):
    """An engine that has a store, and the store."""
    store = make_store(*place)
    store.attach(engine, metadata=Base.metadata)
    Base.metadata.create_all(engine)
    return engine, store


@pytest.fixture
def store(engine, tmp_path):
    return start(engine, tmp_path)[1]


@pytest.fixture
def noting(store):
    store.backend = Noting(store)
    return store.backend


@pytest.fixture
def room(monkeypatch):
    """`room(n)` leaves room for so many bytes to wait in memory."""

    def leave(size):
        monkeypatch.setattr(Share, "LIMIT", Share.taken + size)

    leave(20 * KIB)
    return leave


@pytest.fixture
def nothing_kept(store):
    """When the test is over, memory is given back, and no file waits."""
    gc.collect()
    before = Share.taken
    yield
    gc.collect()  # an error's traceback
    assert Share.taken == before
    assert staged(store) == []


pytestmark = pytest.mark.usefixtures("nothing_kept")


def text_of(number):
    return f"{number:04}" * KIB


def execute(engine, **columns):
    """Insert as many rows as there are values, in one statement."""
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    with engine.begin() as connection:
        connection.execute(insert(Row), rows)


def column(engine, name):
    with engine.connect() as connection:
        return list(connection.scalars(select(getattr(Row.__table__.c, name)).order_by(Row.id)))


# -- what waits ------------------------------------------------------------------------------------


@pytest.mark.parametrize("encode", [str, list], ids=["encoder", "dump"])
def test_what_memory_has_no_room_for_waits_in_files(engine, store, room, noting, encode):
    name = "text" if encode is str else "thing"
    values = [encode(text_of(number)) for number in range(10)]
    execute(engine, **{name: values})
    assert noting.in_memory <= 20 * KIB
    assert noting.files == noting.waiting >= 5
    loaded = column(engine, name)
    assert [getattr(value, "unpack", lambda v=value: v)() for value in loaded] == values
    assert check(engine, store, Row.__table__) == set()


def test_so_do_the_items_of_lists(engine, room, noting):
    values = [[text_of(number), text_of(number + 100)] for number in range(10)]
    execute(engine, texts=values)
    assert noting.in_memory <= 20 * KIB
    assert noting.files >= 15
    assert column(engine, "texts") == values


def test_so_does_what_one_flush_stores(engine, store, room, noting):
    with Session(engine) as session:
        session.add_all(Row(id=n, thing=[text_of(n)], text=text_of(n)) for n in range(10))
        session.commit()
        assert noting.in_memory <= 20 * KIB
        assert noting.files >= 10
        assert [row.text for row in session.scalars(select(Row).order_by(Row.id))] == [
            text_of(number) for number in range(10)
        ]


def test_all_statements_of_a_process_share_the_memory(engine, room, noting):
    elsewhere = Share.take(20 * KIB)
    execute(engine, text=["a small value"])
    assert (noting.in_memory, noting.files) == (0, 1)
    del elsewhere
    execute(engine, text=["another one"])
    assert noting.contents[-1] == b"another one"


def test_bytes_of_the_users_own_are_no_copy_and_stay(engine, room, noting):
    room(0)
    values = [b"one", b"two"]
    execute(engine, data=values, lazy=values)
    with Session(engine) as session:
        session.add(Row(lazy=b"three"))
        session.commit()
    assert (noting.files, noting.in_memory) == (0, 11)


def test_what_is_read_back_from_another_store_waits_in_files(
    engine, make_engine, tmp_path, room, noting
):
    execute(engine, thing=[[text_of(number)] for number in range(10)])
    other, there = start(make_engine(f"sqlite:///{tmp_path / 'other.db'}"), tmp_path, "other")
    there.backend = Noting(there)
    execute(other, thing=column(engine, "thing"))
    assert there.backend.in_memory <= 20 * KIB
    assert there.backend.files >= 5
    assert [each.unpack() for each in column(other, "thing")] == [[text_of(n)] for n in range(10)]


# -- what is equal ---------------------------------------------------------------------------------


def test_of_equal_values_one_waits(engine, room, noting):
    execute(engine, text=[text_of(number % 2) for number in range(50)])
    assert noting.contents == [text_of(0).encode(), text_of(1).encode()]
    assert column(engine, "text") == [text_of(number % 2) for number in range(50)]


def test_of_equal_files_one_waits(engine, noting, tmp_path):
    large = tmp_path / "large"
    large.write_bytes(bytes(Spool.LIMIT + 1))
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "member").write_text("member")
    with large.open("rb") as stream:
        execute(engine, run=[large, ("other name", stream), folder, folder, large])
    assert noting.waiting == 2  # the file, and the pack
    names = [value.name for value in column(engine, "run")]
    assert names == ["large", "other name", "folder", "folder", "large"]


def test_equal_values_of_two_columns_are_stored_once(engine, noting):
    execute(engine, data=[b"same"], lazy=[b"same"], text=["same"])
    assert noting.contents == [b"same"]
    with engine.connect() as connection:
        row = connection.execute(select(Row.__table__)).one()
    assert (row.data, row.lazy.unpack(), row.text) == (b"same", b"same", "same")


def test_an_equal_value_is_not_even_written_to_a_file(engine, room, noting, monkeypatch):
    made = []

    def new_file(stage):
        made.append(stage)
        return original(stage)

    original = Stage.new_file
    monkeypatch.setattr(Stage, "new_file", new_file)
    room(0)
    execute(engine, text=["one", "two", *["one"] * 20])
    assert (len(made), noting.files) == (2, 2)


@pytest.mark.parametrize("is_first", [True, False], ids=["lost first", "at hand first"])
def test_what_is_at_hand_serves_for_an_equal_tree_that_is_lost(
    engine, make_engine, tmp_path, store, is_first
):
    folder = tmp_path / "folder"
    (folder / "below").mkdir(parents=True)
    (folder / "below" / "member").write_text("member")
    execute(engine, run=[folder])
    (proxy,) = column(engine, "run")
    for entry in list(store.backend.list("blobs/")):
        store.backend.delete(entry.key)
    other, there = start(make_engine(f"sqlite:///{tmp_path / 'other.db'}"), tmp_path, "other")
    execute(other, run=[proxy, folder] if is_first else [folder, proxy])
    for each in column(other, "run"):
        assert each.open("below/member").read() == b"member"
    assert check(other, there, Row.__table__) == set()


# -- what fails ------------------------------------------------------------------------------------


def test_a_value_that_cannot_be_bound_leaves_nothing_waiting(engine, store, room):
    values = [{"text": text_of(number)} for number in range(10)]
    with engine.connect() as connection, pytest.raises(InvalidValueError, match="expected a str"):
        connection.execute(insert(Row), [*values, {"text": 1}])
    assert column(engine, "text") == []


# -- how much that is ------------------------------------------------------------------------------


def memory_of(tmp_path, *arguments):
    """How many MiB an executemany took, of `count distinct MiB how`."""
    *options, one = arguments
    command = [sys.executable, BENCHMARK, "--directory", tmp_path, *options, "--one", *one]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return float(run.stdout.split()[0])


@pytest.mark.slow
@pytest.mark.parametrize(("mib", "how"), [(10, "bytes"), (5, "stream")])
def test_an_executemany_of_large_values_takes_less_than_500_mib(
    database_url, store, tmp_path, mib, how
):
    one = ["300", "300", str(mib), how]
    place = tmp_path / "made"
    place.mkdir()
    assert memory_of(place, "--database", database_url, one) < LIMIT
    shutil.rmtree(place)  # pytest would keep it


@pytest.mark.slow
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_so_does_one_into_a_bucket(s3, store, tmp_path, monkeypatch):
    for name, value in s3.options.items():
        monkeypatch.setenv(f"AWS_{name.upper()}", value)
    one = ["100", "100", "10", "bytes"]
    assert memory_of(tmp_path, "--url", f"{s3.url}/{tmp_path.name}", one) < LIMIT
