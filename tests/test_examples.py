"""The programs of docs/examples that need large packages, in fresh directories."""

import os
import re
import runpy
import subprocess
import sys

import pytest

from .optional import need
from .test_docs import LARGE, ROOT

TORCH, DASK = (ROOT / "docs" / "examples" / name for name in ("torch_loader.py", "dask_workers.py"))


@pytest.fixture
def run(tmp_path):
    """Runs a program with these arguments and environment, and returns what it says."""

    def run(program, *arguments, **environment):
        need(LARGE[program.name])
        finished = subprocess.run(
            [sys.executable, "-W", "error", program, *arguments],
            cwd=tmp_path,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert finished.returncode == 0, finished.stderr
        return finished.stdout

    return run


def test_a_data_loader_with_workers_reads_every_image_once_and_in_order(run, tmp_path):
    output = run(TORCH)
    assert "200 images, each once, in order within each of 2 workers" in output
    assert "the mean of all pixels is 99.5" in output
    assert {path.name for path in tmp_path.iterdir()} == {"loader.db", "loader-artifacts"}


def test_a_dataset_holds_nothing_that_is_open_and_works_without_workers(run, tmp_path, monkeypatch):
    need("torch")
    monkeypatch.chdir(tmp_path)
    program = runpy.run_path(TORCH)
    program["fill"]()
    samples = program["Samples"](program["DATABASE"], program["STORE"])
    assert {*map(type, vars(samples).values())} == {str}
    found = [(key, image.unique().tolist(), label) for key, image, label in samples]
    assert found == [(number + 1, [number], number) for number in range(200)]


@pytest.mark.parametrize("where", ["directory", pytest.param("bucket", marks=pytest.mark.slow)])
def test_dask_workers_unpack_what_they_are_sent(run, request, tmp_path, where):
    need("distributed")
    arguments, environment, made = [], {}, {"dask.db", "dask-artifacts"}
    if where == "bucket":
        server = request.getfixturevalue("s3")
        arguments, made = [f"{server.url}/{tmp_path.name}"], {"dask.db"}
        environment = {f"AWS_{name.upper()}": value for name, value in server.options.items()}
    output = run(DASK, *arguments, **environment)
    size = int(re.search(r"20 arrays of 800,128 bytes; each is sent as (\d+) bytes", output)[1])
    assert size < 600
    assert "the energies are 0 to 36,100,000" in output
    assert {path.name for path in tmp_path.iterdir()} == made


def test_what_dask_is_sent_names_no_database_and_no_credentials(tmp_path, monkeypatch):
    distributed = need("distributed")
    monkeypatch.chdir(tmp_path)
    signals = runpy.run_path(DASK)["load"]("filesystem://./dask-artifacts")
    frames = distributed.protocol.serialize(signals[0])
    sent = repr(frames).encode() + b"".join(map(bytes, frames[1]))
    assert b"dask-artifacts" in sent
    assert b"dask.db" not in sent
    assert b"sqlite" not in sent
