"""Files of any size go to a bucket and back in bounded memory."""

import json
import os
import shutil
import uuid
from pathlib import Path

import pytest

from tests.programs.checks import require, run
from tests.servers import S3

MIB = 1 << 20


def move(server, url, database, place, size):
    """Store and unpack a file of so many MiB, and compare; return how many it took at most."""
    source, target = place / f"source{size}", place / f"target{size}"
    with source.open("wb") as fp:
        fp.write(os.urandom(MIB // 2))
        # Sparse between two ends, so that it takes no time to make.
        fp.seek(size * MIB - MIB // 2)
        fp.write(os.urandom(MIB // 2))
    options = json.dumps(server.options)
    peak = run("move_objects", database, url, options, source, target).stdout
    (copy,) = (
        (path for path in target.rglob("*") if path.is_file()) if target.is_dir() else [target]
    )
    assert same(source, copy)
    return int(peak) / 1024


def same(one, two):
    """Whether two files are equal, in bounded memory."""
    with one.open("rb") as left, two.open("rb") as right:
        while data := left.read(8 * MIB):
            if right.read(8 * MIB) != data:
                return False
        return not right.read(1)


def check_memory(server, database, place, size, limit):
    url = f"{server.url}/{uuid.uuid4().hex}"
    small, large = (move(server, url, database, place, mib) for mib in (1, size))
    assert large - small <= limit, f"{small} MiB for one of 1 MiB, {large} MiB for {size} MiB"


def test_a_file_of_200_mib_moves_in_150_mib_of_memory(s3, database_url, tmp_path):
    check_memory(s3, database_url, tmp_path, 200, limit=150)


@pytest.mark.slow
def test_a_file_of_4_gib_moves_in_150_mib_of_memory(sqlite_url, tmp_path):
    require(shutil.disk_usage(Path("/tmp")).free > 20 << 30, "less than 20 GiB of disk")
    require(S3.missing() is None, S3.missing())
    server = S3()  # of its own, whose directory goes with it
    try:
        check_memory(server, sqlite_url, tmp_path, 4096, limit=150)
    finally:
        server.close()
        shutil.rmtree(tmp_path)  # pytest would keep it
