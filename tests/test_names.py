"""Any legal name of a file or directory comes back: through a column, a row and an unpacking."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import Session

from .models import set_up
from .test_tree import names
from .trees import listing

# Awkward ones, and any bytes: a name need not be UTF-8.
AWKWARD = [
    ".hidden",
    "..two",
    "...",
    "-rf",
    "--help",
    " ",
    " lead and trail ",
    "new\nline",
    "tab\t",
    "100%",
    "%2F",
    "%",
    "a:b",
    "&:blob:x:1:y",
    "C:",
    "back\\slash",
    "*?[x]",
    "$HOME",
    "`x`",
    "quote'\"",
    "Grüße",
    "e\u0301",
    "日本語",
    "\U0001f600",
    "\u202etxt.exe",
    "x" * 255,
    "ä" * 127,
    "con.txt",
]
NAMES = st.sampled_from(AWKWARD).map(os.fsencode) | names()
SETTINGS = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture
def sample(engine, tmp_path):
    return set_up(engine, tmp_path)[0]


def examples(test):
    for name in AWKWARD:
        test = example(name=os.fsencode(name))(test)
    return test


def round_trip(engine, sample, source):
    """The path that a source has after it was stored, loaded in a fresh session, and unpacked."""
    with Session(engine) as session:
        session.add(sample(run=source))
        session.commit()
    with Session(engine) as session:
        run = session.scalars(select(sample).order_by(sample.id.desc()).limit(1)).one().run
        return run.name, run.unpack(tempfile.mkdtemp(dir=os.getcwd()))


@examples
@given(name=NAMES)
@SETTINGS
def test_the_name_of_a_file(engine, sample, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    text = os.fsdecode(name)
    for source in ((text, b"content"), written(Path(tempfile.mkdtemp(dir=tmp_path)) / text)):
        found, path = round_trip(engine, sample, source)
        assert found == path.name == text
        assert path.read_bytes() == b"content"


@examples
@given(name=NAMES)
@SETTINGS
def test_the_names_in_a_directory(engine, sample, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    text = os.fsdecode(name)
    root = Path(tempfile.mkdtemp(dir=tmp_path)) / text
    written(root / text / text)
    (root / "below" / text).mkdir(parents=True)
    os.symlink(text, root / "below" / "a link to it")
    found, path = round_trip(engine, sample, root)
    assert found == path.name == text
    assert listing(path) == listing(root)


def written(path: Path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"content")
    return path
