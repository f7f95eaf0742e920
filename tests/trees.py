"""Directories for the tests of trees."""

import os
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

# Path, mode, and a file's content; or path and a link's target.
GOLDEN = [
    (b".", 0o755, None),
    (b"a", 0o700, None),
    (b"a-b", 0o644, b"hello"),
    (b"a/empty", 0o600, b""),
    (b"a/empty directory", 0o555, None),
    (b"a/link", b"../big"),
    (b"a/none", b"not/there%"),
    ("a/ä\n%:".encode(), 0o640, b"odd name"),
    (b"big", 0o444, bytes(1 << 20)),
    (b"run.sh", 0o4755, b"#!/bin/sh\n"),
]


def build(root, entries):
    """Make a directory, its entries in the order given, and return its path."""
    raw = os.fsencode(root)
    for path, *content in entries:
        full = os.path.join(raw, path)
        if len(content) == 1:
            os.makedirs(os.path.dirname(full), exist_ok=True)
            os.symlink(content[0], full)
        elif content[1] is None:
            os.makedirs(full, exist_ok=True)
        else:
            os.makedirs(os.path.dirname(full), exist_ok=True)
            Path(os.fsdecode(full)).write_bytes(content[1])
            os.chmod(full, content[0])
    for path, *content in sorted(entries, reverse=True):
        if len(content) == 2 and content[1] is None:
            os.chmod(os.path.join(raw, path), content[0])
    return Path(root)


def listing(root):
    """What a directory holds: path, mode and content, or path and target."""
    found = {}
    todo = [os.fsencode(root)]
    while todo:
        full = todo.pop()
        path = os.path.relpath(full, os.fsencode(root))
        status = os.lstat(full)
        mode = stat.S_IMODE(status.st_mode) & 0o777
        if stat.S_ISLNK(status.st_mode):
            found[path] = os.readlink(full)
        elif stat.S_ISDIR(status.st_mode):
            found[path] = mode, None
            todo += [os.path.join(full, name) for name in os.listdir(full)]
        else:
            with open(full, "rb") as file:
                found[path] = mode, file.read()
    return found


def run_as_nobody(code, directory):
    """What a program prints that runs in a directory, as somebody else if we are root.

    Permissions do not apply to root. The program imports first, then calls `become_nobody()`,
    and keeps to relative paths: what is above its directory may be root's alone.
    """
    prelude = """
    import os

    def become_nobody():
        if os.geteuid() == 0:
            os.setegid(65534)
            os.seteuid(65534)
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(prelude) + textwrap.dedent(code)],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout
