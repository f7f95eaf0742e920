"""writers URL PLACE SOURCES: for each line `<first id> <rows>` on stdin, a writer of those.

It is forked, so that it starts at once, and it says `pid <pid>`, then each id once it is committed,
and `ended` when it is over, however that came.
"""

import os
import random
import sys
from pathlib import Path

from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from .model import Sample, attach


def data_of(number):
    """The bytes of a row's first column; rows share them, so that writers meet in one blob."""
    return random.Random(number % 7).randbytes(50_000)


def files_of(number):
    """The files of a row's directory; the largest is a blob of its own."""
    generator = random.Random(number)
    sizes = {"a": 10, "b/large": 1 << 20, "b/small": 20_000}
    return {name: generator.randbytes(size) for name, size in sizes.items()}


def make(number, sources):
    """A row: with a file from memory, one from a path, and a directory in turn."""
    files = files_of(number)
    folder = sources / str(number)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    file = (("a", files["a"]), folder / "b" / "large", folder)[number % 3]
    return Sample(id=number, data=data_of(number), model={"number": number}, file=file)


def check(sample, copies):
    """Raise AssertionError unless everything of a row reads back right."""
    assert sample.data == data_of(sample.id)
    assert sample.model.unpack() == {"number": sample.id}
    copy = sample.file.unpack(copies / str(sample.id))
    files = files_of(sample.id)
    if copy.is_dir():
        assert {
            path.relative_to(copy).as_posix() for path in copy.rglob("*") if path.is_file()
        } == {*files}
        assert all((copy / name).read_bytes() == content for name, content in files.items())
    else:
        assert copy.read_bytes() == files["a" if copy.name == "a" else "b/large"]


def say(text):
    os.write(sys.stdout.fileno(), f"{text}\n".encode())


def write(url, place, sources, first, rows):
    engine = create_engine(url)
    attach(engine, place)
    say(f"pid {os.getpid()}")
    for number in range(first, first + rows):
        with Session(engine) as session:
            session.add(make(number, Path(sources)))
            session.commit()
        say(number)
    engine.dispose()


def main(url, place, sources):
    for line in sys.stdin:
        if os.fork() == 0:
            write(url, place, sources, *map(int, line.split()))
            return
        os.wait()
        say("ended")


if __name__ == "__main__":
    main(*sys.argv[1:])
