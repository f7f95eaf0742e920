"""What is done for a batch costs what the batch costs, however much the ledger holds.

SQLite knows nothing of its tables unless somebody runs ANALYZE, and then guesses; a statement
that begins with the ledger instead of the batch reads all of it, once for each blob.
"""

import datetime as dt
import re

import pytest
from sqlalchemy import delete, event
from sqlalchemy.orm import Session

from sqla_artifacts.collect import collect
from sqla_artifacts.erase import erase
from sqla_artifacts.repair import repair
from sqla_artifacts.verify import verify
from tests.engines import SqliteMode, sqlite_engine
from tests.models import set_up

ZERO = dt.timedelta(0)
LEDGER = re.compile(
    r"(SCAN|SEARCH) \S*(artifact_(blob|trash|edge)|blob|trash|edge|part|manifest)\b"
)
BY_KEY = re.compile(r"\(store=\? AND (digest|manifest|part)")


@pytest.fixture
def scene(sqlite_url, tmp_path):
    engine = sqlite_engine(sqlite_url, SqliteMode("begin", "wal"))
    sample, store = set_up(engine, tmp_path)
    yield engine, sample, store
    engine.dispose()


@pytest.fixture
def plans(scene):
    """The plans of what is executed for a batch, by statement."""
    engine, _, _ = scene
    found = {}

    def note(connection, cursor, statement, parameters, *_):
        is_batch = "json_each(?)" in statement or statement.startswith("UPDATE")
        if "artifact_" in statement and is_batch and statement not in found:
            plan = cursor.connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            found[statement] = [(parent, step) for _, parent, _, step in plan]

    event.listen(engine, "before_cursor_execute", note)
    return found


def slow(plans):
    """The plans that go through the ledger where they are asked for a batch."""
    return [" ".join(statement.split()) for statement, steps in plans.items() if is_slow(steps)]


def is_slow(steps):
    for place, (parent, step) in enumerate(steps):
        inside = [other for above, other in steps[place + 1 :] if above == parent]
        goes_through = LEDGER.match(step) and not BY_KEY.search(step)
        if goes_through and (step.startswith("SCAN") or any("json_each" in i for i in inside)):
            return True
    return False


def write(engine, sample, directory):
    directory.mkdir(exist_ok=True)
    (directory / "large").write_bytes(bytes(2 << 20))
    with Session(engine) as session:
        session.add_all([sample(data=b"%d" % n, model=n, run=str(directory)) for n in range(3)])
        session.commit()


def test_a_write_reads_no_more_of_the_ledger_than_it_is_about(scene, plans, tmp_path):
    engine, sample, _ = scene
    write(engine, sample, tmp_path / "run")
    assert len(plans) >= 2
    assert slow(plans) == []


def test_a_caretaker_reads_no_more_for_a_batch_than_it_is_about(scene, plans, tmp_path):
    engine, sample, store = scene
    write(engine, sample, tmp_path / "run")
    with Session(engine) as session:
        kept = session.query(sample).first()
        reference = kept.model.reference
        session.execute(delete(sample).where(sample.id != kept.id))
        session.commit()
    options = {"grace": ZERO, "retention": ZERO, "limit_share": 1}
    assert collect(store, engine, dry_run=False, **options).deleted.blobs == 4
    store.backend.delete(store.stat(reference).key)
    verify(store, engine, depth="content", mark=True)
    repair(store, engine)
    erase(store, engine, reference, dry_run=False)
    assert len(plans) >= 15
    assert slow(plans) == []
