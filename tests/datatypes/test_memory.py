"""Large values move in bounded memory, and mapped ones take none."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from ..models import set_up
from ..optional import need
from ..programs.checks import require

ROOT = Path(__file__).parents[2]
SIZE = 300


def peak(url, directory, step, datatype, size=SIZE):
    """How many MiB a step took at most."""
    require(Path("/proc/self/status").exists(), "no /proc")
    command = [sys.executable, "-m", "tests.datatypes.memory"]
    run = subprocess.run(
        [*command, url, directory, step, datatype, str(size)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return float(run.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("datatype", ["pickle", "torch"])
def test_a_large_value_is_in_memory_once(datatype, database_url, tmp_path):
    if datatype == "torch":
        need("torch")
    for step in ("store", "load"):
        taken = peak(database_url, tmp_path, step, datatype)
        assert SIZE * 0.9 < taken < SIZE * 1.5, step
    shutil.rmtree(tmp_path)  # pytest would keep it


@pytest.mark.slow
def test_a_mapped_array_of_50_million_elements_takes_no_memory(database_url, tmp_path):
    size = 400
    assert peak(database_url, tmp_path, "store", "numpy", size) < size * 1.5
    assert peak(database_url, tmp_path, "map", "numpy", size) < 40
    shutil.rmtree(tmp_path)


@pytest.mark.slow
def test_an_array_of_50_million_elements_comes_back(engine, tmp_path):
    sample, _ = set_up(engine, tmp_path)
    array = np.arange(50_000_000, dtype="f8")
    with Session(engine) as session:
        session.add(sample(image=array))
        session.commit()
    with Session(engine) as session:
        assert np.array_equal(session.scalars(select(sample.image)).one(), array)
    shutil.rmtree(tmp_path)
