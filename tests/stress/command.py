"""What the programs of the stress have in common: their arguments, and the servers they ask for."""

import argparse
import contextlib
import json
import random
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

from ..engines import SqliteMode
from ..postgres import FAST, PostgresServer, find_binaries
from ..programs.checks import ROOT
from .place import MEMORY, Place


def parser(about):
    found = argparse.ArgumentParser(description=about.partition("\n")[0])
    found.add_argument("--database", default="postgresql", help="postgresql, sqlite, or a URL")
    found.add_argument("--isolation", help="PostgreSQL's isolation level of the writers")
    found.add_argument("--mode", default="legacy-wal", help="SQLite's, as in tests/engines.py")
    found.add_argument("--store", default="", help="s3, or a URL; a directory if left out")
    found.add_argument("--options", type=json.loads, default={}, help="of the store, as JSON")
    found.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    return found


def main(module, asked, work):
    """Do `work` in the place that is asked for; print its result, and return its exit status."""
    if asked.store == "s3":
        return _with_s3(module, asked)
    with contextlib.ExitStack() as stack:
        temporary = tempfile.TemporaryDirectory(
            prefix="stress-", dir=MEMORY, ignore_cleanup_errors=True
        )
        directory = Path(stack.enter_context(temporary))
        url = asked.database
        if url == "postgresql":
            server = PostgresServer(find_binaries(), **FAST)
            stack.callback(server.close)
            url = server.url()
        elif url == "sqlite":
            url = f"sqlite:///{directory / 'test.db'}"
        place = Place(
            url,
            directory,
            asked.isolation,
            SqliteMode(*asked.mode.split("-")),
            asked.store,
            asked.options,
        )
        result = work(place)
    sys.stdout.write(json.dumps(result) + "\n")
    return 1 if result["found"] else 0


def command(module, **asked):
    """The command that runs one of the programs."""
    options = []
    for name, value in asked.items():
        if value not in {None, False, ""} if not isinstance(value, dict) else value:
            shown = json.dumps(value) if isinstance(value, dict) else str(value)
            options += [f"--{name}"] if value is True else [f"--{name}", shown]
    return [sys.executable, "-W", "error", "-m", f"tests.stress.{module}", *options]


def run(module, **asked):
    """Run one of the programs; return its result."""
    ran = subprocess.run(
        command(module, **asked), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.stdout, ran.stderr
    return json.loads(ran.stdout)


def _with_s3(module, asked):
    # In a process of its own: what has spoken to S3 has threads, and must not fork.
    from ..servers import S3

    server = S3()
    try:
        again = vars(asked) | {
            "store": f"{server.url}/{uuid.uuid4().hex}",
            "options": server.options,
        }
        return subprocess.run(command(module, **again), cwd=ROOT, check=False).returncode
    finally:
        server.close()
