"""kill -9 at random moments of writing, unpacking, collecting, verifying, and filling a cache.

python -m tests.stress.kills --count 1000 --database postgresql --store s3

Two workers do all of it in turn, and are killed, one after the other. In the end every row that
was said to be committed is there and reads right, a last collection leaves exactly what the rows
need, and one more run of everything has left no temporary file. Prints what was being done at
the kills, and what was found, as JSON.
"""

import contextlib
import os
import random
import select as files
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter

from sqlalchemy import String, delete, insert, select, type_coerce
from sqlalchemy.exc import OperationalError

from sqla_artifacts import ArtifactStore, FileDir
from sqla_artifacts.errors import BlobNotFoundError, UnpackError
from sqla_artifacts.verify import verify

from ..programs.cache import Remote
from . import command
from .place import DIGESTS, is_tree, metadata, table

PATIENCE = 120
"""Seconds in which a worker says something, however busy the machine is."""

CACHE = 20_000
"""How many bytes a cache has: too few for all."""

STEPS = ["write", "unpack", "collect", "verify", "fill", "delete"]


class Worker:
    """Does a random step after another, every other time the one that is wanted, and says so."""

    def __init__(self, place, slot, seed, wanted="write", say=lambda *words: None):
        self.place = place
        self.slot = str(slot)
        self.chance = random.Random(seed)
        self.say = say
        tempfile.tempdir = str(place.directory / "tmp")
        self.engine = place.engine()
        self.store = place.store(self.engine)
        self.steps = [getattr(self, name) for name in STEPS]
        self.wanted = getattr(self, wanted)

    def run(self):
        parent = os.getppid()
        while os.getppid() == parent:
            self.do(self.chance.choice([self.wanted, self.chance.choice(self.steps)]))

    def do(self, step):
        self.say("begin", step.__name__)
        # Another worker's row or blob may have gone meanwhile. What must be there is checked last.
        with contextlib.suppress(BlobNotFoundError, UnpackError, OperationalError):
            step()
        self.say("end", step.__name__)

    def write(self):
        number = self.chance.randrange(DIGESTS)
        values = self.place.values(number)
        if is_tree(number) and self.chance.random() < 0.5:
            values["run"] = FileDir.from_archive(archive_of(self.place, number))
        with self.engine.begin() as connection:
            (row,) = connection.execute(insert(table).values(values)).inserted_primary_key
        self.say("committed", row, number)

    def delete(self):
        with self.engine.connect() as connection:
            ids = connection.scalars(select(table.c.id)).all()
        chosen = [row for row in ids if self.chance.random() < 0.3]
        self.say("deleting", *chosen)
        with self.engine.begin() as connection:
            connection.execute(delete(table).where(table.c.id.in_(chosen)))

    def unpack(self):
        """Make a shared checkout of a tree, and a copy of one's own."""
        trees = rows_of(self.engine, table.c.run)
        if trees:
            tree = self.chance.choice(trees)
            if self.chance.random() < 0.5:
                remove_checkout(tree)
            tree.unpack()
            own = self.place.directory / "copies" / self.slot
            shutil.rmtree(own / tree.name, ignore_errors=True)
            tree.unpack(own)

    def collect(self):
        self.place.collect(self.store, self.engine)

    def verify(self):
        return verify(self.store, self.engine, depth="content", metadata=metadata)

    def fill(self):
        """Read by way of a cache that is too small for everything."""
        store = ArtifactStore(
            self.store.url,
            memory=0,
            cache=self.place.directory / "cache",
            cache_size=CACHE,
            **self.place.options,
        )
        if not store.backend.is_remote:
            store.backend = Remote(store.backend)
        references = rows_of(self.engine, type_coerce(table.c.data, String))
        for reference in self.chance.sample(references, min(3, len(references))):
            store.get(reference)


class Child:
    """A worker in a process of its own, and what it has said."""

    def __init__(self, place, slot, seed, wanted):
        self.wanted = wanted
        self.step = "start"
        self.ended = 0
        self.took = None
        self.said = []
        self._reads, writes = os.pipe()
        self.pid = os.fork()
        if self.pid:
            os.close(writes)
            self._rest = b""
            return
        try:
            Worker(place, slot, seed, wanted, lambda *words: _say(writes, words)).run()
        except BaseException:  # noqa: BLE001 (for the parent to show)
            _say(writes, ["failed", traceback.format_exc().replace("\n", "|")])
        finally:
            os._exit(1)

    def hear(self, seconds):
        """Take in what has been said, or is within some time; say whether there was anything."""
        if not files.select([self._reads], [], [], seconds)[0]:
            return False
        data = os.read(self._reads, 1 << 16)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            word, *rest = line.decode().split(" ")
            if word == "begin":
                self.step, self._begun = rest[0], time.monotonic()
            elif word == "end":
                if self.step == self.wanted:
                    self.took = time.monotonic() - self._begun
                self.ended += 1
                self.step = "nothing"
            else:
                self.said.append((word, rest))
        return bool(data)

    def kill(self):
        """Kill it, and take in all that it has said."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        while self.hear(PATIENCE):
            pass
        os.close(self._reads)


class Kills:
    """One run of so many kills."""

    def __init__(self, place, asked):
        self.place = place
        self.seed = asked.seed
        self.chance = random.Random(asked.seed)
        self.moments = Counter()
        self.committed = {}
        self.deleting = set()
        self.found = []
        self.pace = dict.fromkeys(STEPS, 0.02)

    def go(self, count):
        started = time.monotonic()
        (self.place.directory / "tmp").mkdir()
        self.alone(self.prepare)
        children = [self.start(slot, slot) for slot in range(2)]
        for number in range(count):
            child = children[number % 2]
            self.let_work(child)
            self.end(child)
            children[number % 2] = self.start(number % 2, number + 2)
            if self.found:
                break
        for child in children:
            self.end(child)
        left = self.leftovers()
        self.alone(self.last_run)
        self.found += [f"left behind: {path}" for path in self.leftovers()]
        self.alone(self.check)
        return {
            "kills": sum(self.moments.values()),
            "moments": dict(self.moments),
            "committed": len(self.committed),
            "left by kills": len(left),
            "seed": self.seed,
            "seconds": round(time.monotonic() - started, 1),
            "found": self.found,
        }

    def start(self, slot, number):
        return Child(self.place, slot, f"{self.seed} {number}", STEPS[number % len(STEPS)])

    def let_work(self, child):
        """Wait for some steps, for the wanted one to begin, and then for a part of it."""
        steps = self.chance.randrange(3)
        while child.ended < steps or child.step != child.wanted:
            if not child.hear(PATIENCE):
                self.found.append("a worker has ended, or hangs")
                return
        if child.took is not None:
            self.pace[child.wanted] += 0.3 * (child.took - self.pace[child.wanted])
        until = time.monotonic() + self.chance.uniform(0, 1.2 * self.pace[child.wanted])
        while (left := until - time.monotonic()) > 0:
            child.hear(left)

    def end(self, child):
        child.kill()
        self.moments[child.step] += 1
        for word, rest in child.said:
            if word == "committed":
                row, number = map(int, rest)
                self.committed[row] = number
            elif word == "deleting":
                self.deleting.update(map(int, filter(None, rest)))
            else:
                self.found.append(" ".join(rest))

    # -- in a process of its own, since nothing that is open outlives a fork ---------------------

    def alone(self, function):
        child = os.fork()
        if not child:
            status = 1
            try:
                function()
                status = 0
            except BaseException:  # noqa: BLE001 (for whoever looks)
                traceback.print_exc()
            finally:
                os._exit(status)
        if os.waitpid(child, 0)[1]:
            self.found.append(f"{function.__name__} has failed, see above")

    def prepare(self):
        self.place.set_up()
        for number in filter(is_tree, range(DIGESTS)):
            folder = self.place.source(number)
            shutil.make_archive(str(folder), "zip", folder)

    def last_run(self):
        """Do everything once more, for each of those that were killed."""
        for slot in range(2):
            worker = Worker(self.place, slot, f"{self.seed} last {slot}")
            for number in filter(is_tree, range(DIGESTS)):
                with worker.engine.begin() as connection:
                    connection.execute(insert(table).values(self.place.values(number)))
                    archive = FileDir.from_archive(archive_of(self.place, number))
                    values = self.place.values(number) | {"run": archive}
                    connection.execute(insert(table).values(values))
            for step in (worker.unpack, worker.collect, worker.verify, worker.fill):
                step()
            for tree in rows_of(worker.engine, table.c.run):
                remove_checkout(tree)
                tree.unpack()

    def check(self):
        """What is committed is there and right, and nothing else is."""
        engine = self.place.engine()
        store = self.place.store(engine)
        with engine.connect() as connection:
            rows = dict(connection.execute(select(table.c.id, table.c.number)).all())
        kept = {row: n for row, n in self.committed.items() if row not in self.deleting}
        lost = {row: number for row, number in kept.items() if rows.get(row) != number}
        assert not lost, f"lost: {lost}"
        self.place.finish()
        verified = verify(store, engine, depth="content", metadata=metadata)
        assert not verified.findings, verified

    def leftovers(self):
        """The temporary files that are there, but for the locks of living processes."""
        here = self.place.directory
        places = [
            (here / "artifacts" / "tmp").rglob("*"),
            (here / "cache" / "sqla_artifacts" / "tmp").rglob("*"),
            (here / "tmp").rglob("*"),
            (here / "checkouts").rglob(".unpack-*"),
            (here / "copies").rglob(".unpack-*"),
        ]
        found = (path for paths in places for path in paths)
        return sorted(str(path) for path in found if is_temporary(path))


def is_temporary(path):
    return path.name.startswith(".unpack-") or (path.is_file() and path.name != "lock")


def remove_checkout(tree):
    """Remove the shared checkout of a tree, but not what is left beside it."""
    folder = tree.store.checkouts / f"tree-{tree.digest}"
    shutil.rmtree(folder / tree.name, ignore_errors=True)


def archive_of(place, number):
    return place.source(number).with_suffix(".zip")


def rows_of(engine, column):
    with engine.connect() as connection:
        return connection.scalars(select(column).where(column.is_not(None))).all()


def _say(descriptor, words):
    os.write(descriptor, (" ".join(map(str, words)) + "\n").encode())


def main(line=None):
    parser = command.parser(__doc__)
    parser.add_argument("--count", type=int, default=200)
    asked = parser.parse_args(line)
    return command.main("kills", asked, lambda place: Kills(place, asked).go(asked.count))


if __name__ == "__main__":
    sys.exit(main())
