"""Any tree of legal names comes back: modes, empty folders and links, through a column."""

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from sqlalchemy import select
from sqlalchemy.orm import Session

from ..check import check
from ..models import set_up
from ..test_unpacking import directories
from ..trees import build, listing
from .sources import add, let_a_tick_pass, references


@given(entries=directories())
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def check_trees(engine, sample, store, place, entries):
    with tempfile.TemporaryDirectory(dir=place) as directory:
        source = build(Path(directory) / "source", entries)
        for _ in range(2):  # the second time from the stat cache
            add(engine, sample, source)
        assert len(set(references(engine)[-2:])) == 1
        with Session(engine) as session:
            run = session.scalars(select(sample).order_by(sample.id.desc()).limit(1)).one().run
            assert listing(run.unpack(Path(directory) / "target")) == listing(source)
    assert check(engine, store, sample.__table__) == set()


def test_any_tree_comes_back(engine, tmp_path, monkeypatch):
    let_a_tick_pass(monkeypatch)
    sample, store = set_up(engine, tmp_path, stat_cache=tmp_path / "stat.db")
    check_trees(engine, sample, store, tmp_path)
