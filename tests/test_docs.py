"""The code in README.md and docs/ runs, and says the truth.

The Python blocks of a page run in order and share their names, in an empty directory. A block that
cannot run there follows a comment `<!-- skip: next -->`, which is not shown. The programs in
docs/examples/ run too; those that need large packages in test_examples.py.
"""

import subprocess
import sys
from pathlib import Path

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

ROOT = Path(__file__).parents[1]
PAGES = [path for path in [ROOT / "README.md"] if path.exists()] + sorted(ROOT.glob("docs/**/*.md"))
LARGE = {"torch_loader.py": "torch", "dask_workers.py": "distributed"}
PROGRAMS = sorted(p for p in ROOT.glob("docs/examples/**/*.py") if p.name not in LARGE)

sybil = Sybil([PythonCodeBlockParser(), SkipParser()])


def name(path):
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_blocks_of_a_page_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for example in sybil.parse(page).examples():
        example.evaluate()


@pytest.mark.parametrize("program", PROGRAMS, ids=name)
def test_an_example_program_runs(program, tmp_path):
    command = [sys.executable, "-W", "error", program]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
