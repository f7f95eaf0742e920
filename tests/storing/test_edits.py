"""Whatever is done to a directory, it is stored as if nothing was remembered of it."""

import os
import random
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sqla_artifacts.directory import stage_directory

from .sources import let_a_tick_pass, make, same_size, stage_of, write


def edit(root, step):
    """One of the things that happen to a directory."""
    generator = random.Random(step)
    paths = sorted(path for path in root.rglob("*") if path.is_file())
    path = generator.choice(paths) if paths else root / "first"
    match step % 8:
        case 0 | 1 if paths:
            same_size(path)
        case 2 if paths:
            path.unlink()
        case 3 if paths:
            path.rename(path.parent / generator.choice("abcd"))
        case 4 if paths and path != (copy := root / generator.choice("abcd")):
            shutil.copy2(path, copy)
        case 5:
            write(root / generator.choice("xyz") / "f", generator.randbytes(1 << 20))
        case 6 if paths:
            os.chmod(path, generator.choice([0o600, 0o644, 0o755]))
        case _:
            write(root / generator.choice("xyz") / generator.choice("abcd"), b"%d" % step)


@given(steps=st.lists(st.lists(st.integers(0, 999), max_size=3), min_size=2, max_size=6))
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_the_reference_is_always_that_of_reading(tmp_path, monkeypatch, steps):
    let_a_tick_pass(monkeypatch)
    with tempfile.TemporaryDirectory(dir=tmp_path) as directory:
        source = make(Path(directory) / "source", small=5, large=0)
        stage = Path(directory) / "stage"
        lasting = stage_of(stage)  # it remembers the packs that it has made
        for edits in steps:
            for step in edits:
                edit(source, step)
            found = set()
            for each in (stage_of(stage, Path(directory) / "stat.db"), stage_of(stage), lasting):
                payload = stage_directory(source, each)
                loaded = [part.load() for part in payload.parts]
                found.add((payload.digest, tuple((part.digest, part.size) for part in loaded)))
            assert len(found) == 1
