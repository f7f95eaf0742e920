"""However large a directory or a file is, storing and unpacking it take little memory."""

import shutil
import subprocess
import sys

import pytest

MIB, GIB = 1 << 20, 1 << 30

STORE = """
import sys
from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session
from tests.models import make_models, make_store
from pathlib import Path

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

place, source, cache = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
base, sample = make_models()
store = make_store(place, **({"stat_cache": cache[0]} if cache else {}))
engine = create_engine(f"sqlite:///{place}/test.db")
store.attach(engine, metadata=base.metadata)
base.metadata.create_all(engine)

def add(source):
    with Session(engine) as session:
        session.add(sample(run=source))
        session.commit()

add(("name", b"content"))
before = peak()
for _ in range(2):
    add(source)
with Session(engine) as session:
    query = select(sample).order_by(sample.id.desc()).limit(1)
    session.scalars(query).one().run.unpack(to=place / "copy")
print((peak() - before) // 1024)
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def grown(place, source, *cache):
    """How many MiB a process grows that stores a source twice, and unpacks it."""
    place.mkdir()
    command = [sys.executable, "-c", STORE, place, source, *cache]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return int(run.stdout)


def make_many(root, count):
    for number in range(count):
        if not number % 1000:
            folder = root / str(number)
            folder.mkdir(parents=True)
        (folder / f"{number}.txt").write_bytes(b"%d" % number)
    return root


def make_sparse(path, size):
    with path.open("wb") as fp:
        fp.write(b"begin")
        fp.seek(size // 2)
        fp.write(b"middle")
        fp.truncate(size)
    if path.stat().st_blocks * 512 > 16 * MIB:
        pytest.skip("no sparse files here")
    return path


def taken(place):
    """How much room a place takes on the disk."""
    return sum(path.stat().st_blocks * 512 for path in place.rglob("*"))


@pytest.mark.parametrize("cached", [False, True], ids=["read", "stat cache"])
def test_many_files(tmp_path, cached):
    source = make_many(tmp_path / "source", 5000)
    assert grown(tmp_path / "store", source, *[tmp_path / "stat.db"] * cached) < 20


def test_a_sparse_file_takes_neither_memory_nor_disk(tmp_path):
    source = make_sparse(tmp_path / "source", GIB // 4)
    assert grown(tmp_path / "store", source) < 40
    assert (tmp_path / "store" / "copy" / "source").stat().st_size == GIB // 4
    assert taken(tmp_path / "store") < 16 * MIB


@pytest.mark.slow
@pytest.mark.parametrize("cached", [False, True], ids=["read", "stat cache"])
def test_100_000_files(tmp_path, cached):
    source = make_many(tmp_path / "source", 100_000)
    size = grown(tmp_path / "store", source, *[tmp_path / "stat.db"] * cached)
    shutil.rmtree(tmp_path)  # pytest would keep it
    assert size < 200


@pytest.mark.slow
def test_a_sparse_file_of_20_gib(tmp_path):
    source = make_sparse(tmp_path / "source", 20 * GIB)
    size = grown(tmp_path / "store", source)
    room = taken(tmp_path / "store")
    shutil.rmtree(tmp_path)  # pytest would keep it
    assert size < 200
    assert room < 64 * MIB
