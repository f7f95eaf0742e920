"""A directory that changes while it is stored: an error, or what its manifest names."""

import subprocess
import sys

import pytest

from sqla_artifacts.digest import digest_of
from sqla_artifacts.directory import stage_directory
from sqla_artifacts.errors import SourceError
from sqla_artifacts.tree import parse_manifest

from .sources import let_a_tick_pass, make, stage_of

CHANGES = """
import os, random, sys
from pathlib import Path
root, generator = Path(sys.argv[1]), random.Random(1)
paths = sorted(path for path in root.rglob("*") if path.is_file())
print("begun", flush=True)
while True:
    path = generator.choice(paths)
    data = generator.randbytes(1) * generator.choice([100, 3000, 3000, 1 << 20])
    match generator.randrange(4):
        case 0:
            path.write_bytes(data)
        case 1:
            with path.open("r+b") as fp:
                fp.seek(generator.randrange(3000))
                fp.write(b"!")
        case 2:
            (root / "new").write_bytes(data)
            (root / "new").rename(path)
        case 3:
            path.unlink()
            path.write_bytes(data)
"""


@pytest.fixture
def changing(tmp_path):
    """A directory whose files another process keeps changing."""
    source = make(tmp_path / "source", small=30, large=2)
    with subprocess.Popen(
        [sys.executable, "-c", CHANGES, source], stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        yield source
        process.kill()


def check_parts(payload):
    """All bytes are those that the manifest names."""
    manifest = parse_manifest(payload.content)
    blobs = {}
    for part in payload.parts:
        with part.open() as fp:
            blobs[part.digest] = fp.read()
        assert digest_of(blobs[part.digest], "blake3") == part.digest
    for member in (each for each in manifest.members if each.kind == "file"):
        place = manifest.place(member.path)
        if place is not None:
            data = blobs[place.digest][place.offset : place.offset + place.size]
            assert digest_of(data, "blake3") == member.digest


@pytest.mark.parametrize("cached", [False, True], ids=["read", "stat cache"])
def test_an_error_or_exactly_what_the_manifest_names(changing, tmp_path, monkeypatch, cached):
    if cached:
        let_a_tick_pass(monkeypatch)  # files that change all the time would not be remembered
    cache = tmp_path / "stat.db" if cached else None
    done = refused = 0
    while done + refused < 200 or not done or not refused:
        try:
            check_parts(stage_directory(changing, stage_of(tmp_path / "stage", cache)))
            done += 1
        except SourceError:
            refused += 1
    assert list((tmp_path / "stage").iterdir()) == []
