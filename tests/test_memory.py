"""Files of any size move in bounded memory."""

import random
import re
import shutil
import subprocess

import pytest

from .programs.checks import require, run

MIB = 1 << 20


def peak_memory(url, place, size, how):
    """Store and unpack a file of so many MiB; return how many it took at most."""
    source, target = place / str(size) / "file", place / str(size) / "target"
    source.parent.mkdir(parents=True)
    with source.open("wb") as fp:
        # Sparse between two ends, so that a large one takes no time to make.
        ends = [random.Random(f"{size} {end}").randbytes(min(size, 8) * MIB // 2) for end in "ab"]
        fp.write(ends[0])
        fp.seek(size * MIB - len(ends[1]))
        fp.write(ends[1])
    ran = run("move", url, place / "store", source, how, target, before=["/usr/bin/time", "-v"])
    copy = target / f"{size}/file" if how == "directory" else target / "file"
    assert subprocess.run(["cmp", source, copy], check=False).returncode == 0
    return int(re.search(r"Maximum resident set size \(kbytes\): (\d+)", ran.stderr)[1]) / 1024


def check_memory(url, place, size, how, limit):
    """Raise AssertionError if a file takes so many MiB more than a small one does."""
    require(shutil.which("/usr/bin/time"), "no /usr/bin/time")
    small = peak_memory(url, place, 1, how)
    large = peak_memory(url, place, size, how)
    assert large - small <= limit, f"{small} MiB for one of 1 MiB, {large} MiB for {size} MiB"


@pytest.mark.parametrize("how", ["path", "stream", "directory"])
def test_a_file_of_64_mib_moves_in_32_mib_of_memory(database_url, tmp_path, how):
    check_memory(database_url, tmp_path, 64, how, limit=32)


@pytest.mark.slow
def test_a_file_of_2_gib_moves_in_64_mib_of_memory(database_url, tmp_path):
    check_memory(database_url, tmp_path, 2048, "path", limit=64)
    shutil.rmtree(tmp_path)  # pytest would keep it
