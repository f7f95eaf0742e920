"""An import that was killed is run again; and a blob of any size passes in bounded memory."""

import re
import shutil
import signal
import subprocess

import pytest
from sqlalchemy import func, select

from sqla_artifacts.ext.superduper import ArtifactFolder, import_rows

from ..check import check
from ..programs.checks import ROOT, command, require, run
from ..programs.superduper import ROWS, folder_of, make_rows, set_up


@pytest.mark.parametrize("batches", [0, 2])
def test_an_import_that_was_killed_is_run_again(database_url, make_engine, tmp_path, batches):
    program = command("superduper", database_url, tmp_path, "killed", batches)
    killed = subprocess.run(program, cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    engine = make_engine(database_url)
    table, store = set_up(engine, tmp_path)
    count = select(func.count()).select_from(table)
    with engine.connect() as connection:
        assert connection.scalar(count) == 2 * batches
    rows, folder = make_rows(tmp_path), ArtifactFolder(folder_of(tmp_path))
    assert import_rows(rows, table, engine, folder) == (ROWS - 2 * batches, 2 * batches)
    with engine.connect() as connection:
        assert connection.scalar(count) == ROWS
    assert check(engine, store, table) == set()


def peak_memory(url, place, size):
    """Import a blob of so many MiB; return how many it took at most."""
    ran = run("superduper", url, place, "large", size, before=["/usr/bin/time", "-v"])
    return int(re.search(r"Maximum resident set size \(kbytes\): (\d+)", ran.stderr)[1]) / 1024


@pytest.mark.slow
def test_a_blob_of_256_mib_is_imported_in_32_mib_of_memory(database_url, make_engine, tmp_path):
    require(shutil.which("/usr/bin/time"), "no /usr/bin/time")
    small, large = (peak_memory(database_url, tmp_path, size) for size in (1, 256))
    assert large - small <= 32
    engine = make_engine(database_url)
    table, _ = set_up(engine, tmp_path)
    with engine.connect() as connection:
        data = connection.scalars(select(table.c.data).where(table.c.id == "256")).one().unpack()
    assert (len(data), data[:5], data[-3:]) == (256 << 20, b"start", b"end")
    shutil.rmtree(tmp_path)  # pytest would keep it
