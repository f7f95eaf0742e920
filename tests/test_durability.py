"""What survives a power failure, by the record of the system calls, and what survives a kill."""

import contextlib
import os
import random
import re
import select as files
import signal
import subprocess
import time
from collections import Counter

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from sqla_artifacts.errors import StoreWriteError
from sqla_artifacts.reference import parse
from sqla_artifacts.tree import parse_manifest

from .engines import SqliteMode
from .programs import disk
from .programs.checks import ROOT, command, refused, require, run
from .programs.model import Base, Sample, attach
from .programs.writers import check

SEED = 20


@pytest.fixture
def strace():
    require(disk.works(), "no strace, or it may not trace")


@pytest.fixture(params=["sqlite", "sqlite-wal", "postgresql"])
def database(request, make_engine):
    """An engine on each database, SQLite with both of its journals."""
    name, _, journal = request.param.partition("-")
    return make_engine(name, sqlite_mode=SqliteMode("legacy", journal or "delete"))


@pytest.fixture
def sources(tmp_path):
    """A large file, and a directory with small files, a large one, and one that is empty."""
    generator = random.Random(1)
    folder = tmp_path / "sources"
    (folder / "tree" / "a" / "b").mkdir(parents=True)
    (folder / "large.bin").write_bytes(generator.randbytes(9 << 20))
    (folder / "tree" / "a" / "small").write_bytes(b"small")
    (folder / "tree" / "a" / "b" / "large").write_bytes(generator.randbytes(3 << 20))
    (folder / "tree" / "empty").touch()
    return folder


def url_of(engine):
    return engine.url.render_as_string(hide_password=False)


def blobs_of(engine, store, ids):
    """The digests of all blobs that rows need."""
    found = set()
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT id, data, model, file FROM sample"))
        for number, *references in rows.all():
            for reference in map(parse, filter(None, references if number in ids else ())):
                found.add(reference.digest)
                if reference.kind == "tree":
                    found.update(part.digest for part in parse_manifest(store.get(reference)).parts)
    return found


def departures(engine):
    """Return what says which digests a call lets out of the process, all of the row's for None."""
    path, connections = engine.url.database, set()

    def sqlite(call):
        return None if call.writes_to(path, f"{path}-wal") else set()

    def postgresql(call):
        sent = " ".join(call.strings) if call.sends else ""
        if "INSERT INTO sample" in sent:
            connections.add(call.files[0])
            return None
        if "COMMIT" in sent and call.files[0] in connections:
            return None
        return set(re.findall("[0-9a-f]{64}", sent)) if "SET state = 'live'" in sent else set()

    return sqlite if engine.dialect.name == "sqlite" else postgresql


def lost_blobs(engine, tmp_path, sources, *options):
    """Store one of each kind under strace; return what a power failure could take, by kind."""
    place, trace = tmp_path / "artifacts", tmp_path / "trace"
    store = attach(engine, place)
    ran = run("store", url_of(engine), place, sources, before=disk.strace(trace, *options))
    ids = {kind: {*map(int, rest)} for kind, *rest in map(str.split, ran.stdout.splitlines())}
    paths = {kind: blobs_of(engine, store, numbers) for kind, numbers in ids.items()}
    at, kind, departs = disk.Disk(), None, departures(engine)
    lost, departed = {kind: [] for kind in ids}, Counter()
    for call in disk.calls(trace):
        word, _, rest = "".join(call.strings[:1]).partition(" ")
        if call.name == "write" and word in {"begin", "end"}:
            kind = rest.removesuffix("\\n") if word == "begin" else None
        if kind and (digests := departs(call)) != set():
            departed[kind] += digests is None
            keys = [f"blobs/{d[:2]}/{d[2:4]}/{d}" for d in digests or paths[kind]]
            keys += ["store.json", "owner.json"]
            lost[kind] += filter(None, (at.lost(place / key) for key in keys))
        at.apply(call)
    assert all(departed[kind] for kind in ids), "a row's departure was not seen"
    return lost


def test_blobs_and_their_names_are_flushed_before_commit(strace, database, tmp_path, sources):
    lost = lost_blobs(database, tmp_path, sources)
    assert lost == {"small": [], "batch": [], "large": [], "tree": []}


@pytest.mark.parametrize("missing", ["fsync", "fsync,syncfs"])
def test_a_missing_flush_would_be_noticed(strace, engine, tmp_path, sources, missing):
    lost = lost_blobs(engine, tmp_path, sources, "-e", f"inject={missing}:retval=0")
    kinds = lost if "," in missing else ("small", "large", "tree")
    assert all(lost[kind] for kind in kinds)


def test_every_flush_that_fails_is_an_error_and_stores_nothing(
    make_engine, database_url, tmp_path, monkeypatch
):
    flush, left = os.fsync, 0

    def fails_once(descriptor):
        nonlocal left
        left -= 1
        if left == 0:
            raise OSError(5, "Input/output error")
        flush(descriptor)

    def fresh_session(name):
        engine = make_engine(database_url)
        Base.metadata.drop_all(engine)
        return Session(engine), attach(engine, tmp_path / name)

    monkeypatch.setattr(os, "fsync", fails_once)
    with fresh_session("none fails")[0] as session:
        session.add(Sample(data=b"flushed"))
        session.commit()
    flushes = -left
    assert flushes > 8
    for number in range(1, flushes + 1):
        session, store = fresh_session(str(number))
        left = number
        message = "sample.data: .*Input/output error"
        with session:
            refused(session, store, StoreWriteError, message, Sample(data=b"flushed"))


class Writers:
    """The program that forks writers, and what they have said."""

    def __init__(self, *arguments):
        self._said = []
        self._process = subprocess.Popen(
            command("writers", *arguments),
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def start(self, first, rows):
        """Start a writer of rows with these numbers, and return its process's."""
        self._said = []
        self._process.stdin.write(f"{first} {rows}\n")
        return int(self._next().removeprefix("pid "))

    def committed(self, number):
        """Wait until that many rows are committed, or the writer is over."""
        while len(self._said) < number and self._next() != "ended":
            pass

    def last(self):
        """Wait until the writer is over; return the rows that it said to be there."""
        if "ended" not in self._said:
            self.committed(1 << 30)
        return {int(word) for word in self._said if word != "ended"}

    def close(self):
        self._process.stdin.close()
        self._process.stdout.close()
        assert self._process.wait(60) == 0

    def _next(self):
        line = self._process.stdout.readline().rstrip()
        assert line, "the program ended"
        if not line.startswith("pid "):
            self._said.append(line)
        return line

    def heard_within(self, seconds):
        """Listen for that long at most."""
        files.select([self._process.stdout], [], [], seconds)


@contextlib.contextmanager
def running(engine, tmp_path):
    writers = Writers(url_of(engine), tmp_path / "artifacts", tmp_path / "sources")
    try:
        yield writers
    finally:
        writers.close()


def test_committed_rows_outlive_writers_killed_at_any_moment(engine, tmp_path):
    attach(engine, tmp_path / "artifacts")
    generator, acknowledged, first, pace = random.Random(SEED), set(), 1, 0.03
    with running(engine, tmp_path) as writers:
        for kill in range(20):
            rows, jitter = generator.randrange(4), generator.random()
            writer = writers.start(first, 1000)
            started = time.monotonic()
            writers.committed(rows)
            if rows:
                pace = (time.monotonic() - started) / rows
            writers.heard_within(jitter * pace)
            os.kill(writer, signal.SIGKILL)
            acknowledged |= writers.last()
            with Session(engine) as session:
                samples = session.scalars(select(Sample).order_by(Sample.id)).all()
                moment = f"seed {SEED}, kill {kill}: {rows} rows and {jitter * pace:.4f} s"
                assert acknowledged <= {sample.id for sample in samples}, moment
                for sample in samples:
                    if sample.id >= first:
                        check(sample, tmp_path / "copies")
            first = max([first, *(sample.id + 1 for sample in samples)])
        left = list((tmp_path / "artifacts" / "tmp").iterdir())
        writers.start(first, 1)
        assert writers.last() == {first}
    assert left, "nothing was left behind that could have been removed"
    assert list((tmp_path / "artifacts" / "tmp").iterdir()) == []
    with Session(engine) as session:
        for sample in session.scalars(select(Sample)):
            check(sample, tmp_path / "copies again")
