"""The program that README's first command runs, in a fresh directory."""

import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from blake3 import blake3

PROGRAM = Path(__file__).parents[1] / "docs" / "examples" / "quickstart.py"
COLUMNS = {"signal": "blob", "model": "blob", "image": "file", "run": "tree"}


# README's first command installs neither; SQLAlchemy's asyncio needs the one.
ABSENT = """
import runpy, sys
sys.modules |= dict.fromkeys(["greenlet", "psycopg"])
runpy.run_path(sys.argv[1], run_name="__main__")
"""


@pytest.fixture
def run_quickstart(tmp_path):
    def run():
        command = [sys.executable, "-W", "error", "-c", ABSENT, PROGRAM]
        run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
        return run.stdout

    return run


def rows(directory):
    connection = sqlite3.connect(directory / "app.db")
    found = connection.execute(
        "SELECT signal, model, image, run FROM sample ORDER BY id"
    ).fetchall()
    connection.close()
    return found


def blobs(directory):
    return {p.name: p for p in (directory / "artifacts" / "blobs").rglob("*") if p.is_file()}


def test_quickstart_stores_an_array_an_object_an_image_and_a_directory(run_quickstart, tmp_path):
    output = run_quickstart()
    assert {path.name for path in tmp_path.iterdir()} == {"app.db", "artifacts"}
    (row,) = rows(tmp_path)
    files = blobs(tmp_path)
    for (column, kind), reference in zip(COLUMNS.items(), row, strict=True):
        assert re.search(rf"^  {column} +{re.escape(reference)}$", output, re.MULTILINE)
        assert reference.startswith(f"&:{kind}:")
        digest = reference[7:71]
        assert blake3(files[digest].read_bytes()).hexdigest() == digest
    image = files[row[2][7:71]].read_bytes()
    assert image.startswith(b"\x89PNG\r\n\x1a\n")
    assert "found by digest: [1]" in output


def test_quickstart_run_again_adds_a_row_and_no_blob(run_quickstart, tmp_path):
    run_quickstart()
    before = blobs(tmp_path).keys()
    output = run_quickstart()
    first, second = rows(tmp_path)
    assert first == second
    assert blobs(tmp_path).keys() == before
    assert "found by digest: [1, 2]" in output
