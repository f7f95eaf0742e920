"""peak FILE...: store archives; print the peak of memory after each, and what became of it.

The memory is in MiB. No file may become larger than 16 MiB meanwhile.
"""

import re
import resource
import sys
import tempfile
from pathlib import Path

from sqla_artifacts.archive import Archive
from sqla_artifacts.errors import ArtifactError
from sqla_artifacts.payload import Stage

MIB = 1 << 20


def peak():
    # Not getrusage, whose ru_maxrss a program has from whoever started it.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]) / 1024


def main(*paths):
    resource.setrlimit(resource.RLIMIT_FSIZE, (16 * MIB, 16 * MIB))
    with tempfile.TemporaryDirectory() as place:
        stage = Stage("blake3", place)
        for path in paths:
            try:
                Archive(path).stage(stage)
                result = "stored"
            except ArtifactError as error:
                result = f"{type(error).__name__}: {error}"
            print(f"{peak():.1f} {result}")  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
