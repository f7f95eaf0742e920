"""full URL PLACE SOURCES: store what does not fit on the disk of PLACE, of 6 MiB."""

import io
import sys
from pathlib import Path

from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from sqla_artifacts.errors import StoreWriteError

from .checks import refused
from .model import Sample, attach

MIB = 1 << 20
LARGE = 9 * MIB  # more than what waits in memory


def rows(sources):
    """Rows with files of more than 4 MiB, and 6 in all: staged, packed, in memory, among others."""
    run, packs = sources / "run", sources / "packs"
    run.mkdir()
    packs.mkdir()
    (run / "large").write_bytes(bytes(LARGE))
    for number in range(LARGE // MIB):
        (packs / str(number)).write_bytes(bytes([number]) * (MIB - 1))
    return {
        "file": [Sample(file=run / "large")],
        "file, a stream": [Sample(file=("large", io.BytesIO(bytes(LARGE))))],
        "file, a tree": [Sample(file=run)],
        "file, a pack": [Sample(file=packs)],
        "model": [Sample(model=bytes(LARGE))],
        "data": [Sample(data=bytes(7 * MIB))],
        "data, many": [Sample(data=bytes([number]) * 5 * MIB) for number in range(20)],
    }


def main(url, place, sources):
    engine = create_engine(url)
    store = attach(engine, place)
    with Session(engine) as session:
        for name, samples in rows(Path(sources)).items():
            message = f"sample.{name.partition(',')[0]}: cannot .*: .*No space left on device"
            refused(session, store, StoreWriteError, message, *samples)
    engine.dispose()


if __name__ == "__main__":
    main(*sys.argv[1:])
