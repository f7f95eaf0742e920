"""kill -9 at random moments of writing, unpacking, collecting, verifying, and filling a cache.

python -m tests.stress.kills --count 1000 --database postgresql --store s3

Two workers do all of it in turn, and are killed, one after the other; now and then both at once,
which shows what they leave. In the end every row that was said to be committed is there and reads
right, a last collection leaves exactly what the rows need, and one more run of everything has left
no temporary file. Prints what was being done at the kills, how many temporary files they left, and
what was found, as JSON.
"""

import itertools
import os
import random
import select as files
import shutil
import signal
import sys
import time
import traceback
from collections import Counter

from sqlalchemy import insert, select

from sqla_artifacts import FileDir
from sqla_artifacts.verify import verify

from . import command
from .broken import BROKEN
from .place import DIGESTS, is_tree, metadata, table
from .worker import STEPS, Worker, archive_of, remove_checkout, rows_of

BOTH = 0.5
"""How often both are killed."""

PATIENCE = 120
"""Seconds in which a worker says something, however busy the machine is."""


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
        self.numbers = itertools.count()
        self.moments = Counter()
        self.committed = {}
        self.deleting = set()
        self.left = set()
        self.found = []
        self.pace = dict.fromkeys(STEPS, 0.02)

    def go(self, count):
        started = time.monotonic()
        (self.place.directory / "tmp").mkdir()
        self.alone(self.prepare)
        children = [self.start(slot) for slot in range(2)]
        for slot in itertools.cycle(range(2)):
            self.let_work(children[slot])
            self.end(children[slot])
            if self.chance.random() < BOTH:
                self.end(children[1 - slot])
                self.left.update(self.leftovers())
                children[1 - slot] = self.start(1 - slot)
            children[slot] = self.start(slot)
            if self.found or sum(self.moments.values()) > count - 2:
                break
        for child in children:
            self.end(child)
        self.left.update(self.leftovers())
        self.alone(self.last_run)
        self.found += [f"left behind: {path}" for path in self.leftovers()]
        self.alone(self.check)
        return {
            "kills": sum(self.moments.values()),
            "moments": dict(self.moments),
            "committed": len(self.committed),
            "left by kills": len(self.left),
            "seed": self.seed,
            "seconds": round(time.monotonic() - started, 1),
            "found": self.found,
        }

    def start(self, slot):
        """Start a worker that is to be killed in what was least often cut short so far."""
        number = next(self.numbers)
        wanted = min(STEPS, key=lambda step: self.moments[step])
        return Child(self.place, slot, f"{self.seed} {number}", wanted)

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


def _say(descriptor, words):
    os.write(descriptor, (" ".join(map(str, words)) + "\n").encode())


def main(line=None):
    parser = command.parser(__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--broken", choices=BROKEN)
    asked = parser.parse_args(line)
    if asked.broken:
        BROKEN[asked.broken]()
    return command.main("kills", asked, lambda place: Kills(place, asked).go(asked.count))


if __name__ == "__main__":
    sys.exit(main())
