"""store URL PLACE SOURCES: store something of each kind, saying when each begins and has ended.

Before the word `begin <kind>`, and after `end <kind>`, nothing of that kind is written.
"""

import sys
from pathlib import Path

from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from .model import Sample, attach


def main(url, place, sources):
    engine = create_engine(url)
    attach(engine, place)
    sources = Path(sources)
    rows = {
        "small": [Sample(data=b"small")],
        "batch": [Sample(data=b"batch %d" % n, model=("batch", n)) for n in range(10)],
        "large": [Sample(file=sources / "large.bin")],
        "tree": [Sample(file=sources / "tree")],
    }
    for kind, samples in rows.items():
        with Session(engine) as session:
            sys.stderr.write(f"begin {kind}\n")
            session.add_all(samples)
            session.commit()
            sys.stderr.write(f"end {kind}\n")
            sys.stdout.write(f"{kind} {' '.join(str(sample.id) for sample in samples)}\n")
    engine.dispose()


main(*sys.argv[1:])
