"""move_objects DATABASE URL OPTIONS SOURCE TARGET: store a file in a bucket, and unpack it again.

Prints how many KiB of memory that took at most.
"""

import json
import resource
import sys
from pathlib import Path

from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from sqla_artifacts import ArtifactStore

from .model import Base, Sample


def main(database, url, options, source, target):
    engine = create_engine(database)
    store = ArtifactStore(url, checkouts=f"{target}-checkouts", **json.loads(options))
    store.attach(engine, metadata=Base.metadata)
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        sample = Sample(file=Path(source))
        session.add(sample)
        session.commit()
        number = sample.id
    with Session(engine) as session:
        session.get_one(Sample, number).file.unpack(target)
    engine.dispose()
    sys.stdout.write(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))


main(*sys.argv[1:])
