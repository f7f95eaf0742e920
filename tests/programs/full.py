"""full URL PLACE SOURCES: store what does not fit on the disk of PLACE, and see that all is well."""

import sys
from pathlib import Path

from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from sqla_artifacts.errors import StoreWriteError

from .checks import refused
from .model import Sample, attach

MIB = 1 << 20


def main(url, place, sources):
    engine = create_engine(url)
    store = attach(engine, place)
    run = Path(sources) / "run"
    run.mkdir()
    (run / "large").write_bytes(bytes(9 * MIB))
    for number in range(9):
        (run / str(number)).write_bytes(bytes([number]) * (MIB - 1))
    rows = {
        "file": [Sample(file=run / "large")],
        "file, a tree": [Sample(file=run)],
        "model": [Sample(model=bytes(9 * MIB))],
        "data": [Sample(data=bytes(7 * MIB))],
        "data, many": [Sample(data=bytes([number]) * (MIB // 2)) for number in range(20)],
    }
    with Session(engine) as session:
        for name, samples in rows.items():
            message = f"sample.{name.partition(',')[0]}: cannot .*: .*No space left on device"
            refused(session, store, StoreWriteError, message, *samples)
            sys.stdout.write(f"refused {name}\n")
    engine.dispose()


main(*sys.argv[1:])
