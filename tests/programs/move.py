"""move URL PLACE SOURCE HOW TARGET: store a file, and unpack it again.

HOW says what is assigned: its `path`, a `stream` that cannot seek, or its `directory`.
"""

import io
import sys
from pathlib import Path

from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from .model import Sample, attach


class Stream(io.RawIOBase):
    """What comes from a socket, say: it reads, and no more."""

    def __init__(self, fp):
        self._fp = fp

    def readable(self):
        return True

    def readinto(self, buffer):
        return self._fp.readinto(buffer)


def main(url, place, source, how, target):
    engine = create_engine(url)
    attach(engine, place)
    source = Path(source)
    with source.open("rb") as fp, Session(engine) as session:
        stream = (source.name, Stream(fp))
        values = {"path": source, "stream": stream, "directory": source.parent}
        sample = Sample(file=values[how])
        session.add(sample)
        session.commit()
        number = sample.id
    with Session(engine) as session:
        session.get_one(Sample, number).file.unpack(target)
    engine.dispose()


main(*sys.argv[1:])
