"""The stress: writers, collectors and readers, killed and cut off at random.

python -m tests.stress.run --seconds 60 --database postgresql --isolation SERIALIZABLE

Prints what was done, as JSON, and what was found, and ends with 1 if anything was. With --broken
a step of the protocol is broken, and the run ends as soon as that is found.
"""

import logging
import mmap
import os
import random
import signal
import sys
import time
import traceback

from . import command
from .broken import BROKEN
from .parts import Collecting, Reader, Writer, end_prepared, terminate_one

WORDS = ["stop", "commits", "rollbacks", "prepared", "savepoints", "errors", "taken", "spared"]
WORDS += ["deleted", "strays", "reads", "killed writers", "killed collectors", "cut"]
SLOTS = 64

# What each run has to come to, and how many seconds more there are for it on a busy machine.
DONE = ["commits", "rollbacks", "savepoints", "reads", "taken", "deleted"]
DONE += ["killed writers", "killed collectors"]
ON_POSTGRESQL = ["prepared", "cut"]
PATIENCE = 120


class Board:
    """Numbers that all processes share; each process counts in a slot of its own."""

    def __init__(self):
        self._memory = mmap.mmap(-1, 8 * SLOTS * len(WORDS))
        self._numbers = memoryview(self._memory).cast("Q")
        self.slot = 0
        self.seen = set()

    def __getitem__(self, word):
        at = WORDS.index(word)
        return sum(self._numbers[at :: len(WORDS)])

    def count(self, word, number=1):
        self._numbers[self.slot * len(WORDS) + WORDS.index(word)] += number

    def note(self, error):
        """Show an error that is expected, once of its kind, to those who want to see them."""
        kind = type(getattr(error, "orig", None) or error).__name__
        if "STRESS_ERRORS" in os.environ and kind not in self.seen:
            self.seen.add(kind)
            sys.stderr.write(f"{kind}: {error}\n")


class Child:
    """A process that plays a part; again with another seed after it was killed."""

    def __init__(self, make, board, slot, findings, name=""):
        self.make = make
        self.board = board
        self.slot = slot
        self.name = name
        self.findings = findings
        self.times = 0
        self.start()

    def start(self):
        self.times += 1
        self.pid = os.fork()
        if self.pid:
            return
        status = 1
        try:
            logging.disable()  # of connections that were cut
            self.board.slot = self.slot
            self.make(self.times)
            status = 0
        except BaseException:  # noqa: BLE001 (for the parent to show)
            with self.findings.open("a") as file:
                file.write(traceback.format_exc())
        finally:
            os._exit(status)

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        self.wait()

    def stop_for(self, seconds):
        """Have it do nothing for some time, whatever it was doing."""
        os.kill(self.pid, signal.SIGSTOP)
        time.sleep(seconds)
        os.kill(self.pid, signal.SIGCONT)

    def wait(self):
        os.waitpid(self.pid, 0)


class Run:
    """One run in a place."""

    def __init__(self, place, asked):
        self.place = place
        self.seed = asked.seed
        self.broken = asked.broken
        self.board = Board()
        self.findings = place.directory / "findings"
        self.findings.touch()
        self.chance = random.Random(self.seed)

    @property
    def has_failed(self):
        return self.findings.stat().st_size > 0

    def go(self, seconds):
        """Let all parts play; return what was done and found, and how long that took."""
        self.alone(self.place.set_up)
        started = time.monotonic()
        writers, collectors = (2, 1) if self.place.is_sqlite else (8, 2)
        parts = [Writer] * writers + [Collecting] * collectors + [Reader]
        children = [self.child(part, slot) for slot, part in enumerate(parts, 1)]
        while not (self.has_failed or self.is_over(started + seconds)):
            self.wait_for_work(started + seconds, 7 * writers)
            self.disturb(children[:-1])
        took = time.monotonic() - started
        self.board.count("stop")
        for child in children:
            child.wait()
        self.alone(lambda: end_prepared(self.place.engine(), self.chance))
        if not self.has_failed:
            self.alone(self.place.finish)
        found = self.findings.read_text()
        if not found and self.missing:
            found = f"never came to: {', '.join(self.missing)}"
        done = {word: self.board[word] for word in WORDS[1:]}
        return done | {"seed": self.seed, "seconds": round(took, 1), "found": found}

    @property
    def missing(self):
        """What has to be done, and was not."""
        wanted = DONE if self.place.is_sqlite else DONE + ON_POSTGRESQL
        return [word for word in wanted if not self.board[word]]

    def is_over(self, deadline):
        late = time.monotonic() - deadline
        return late > PATIENCE or (late > 0 and not self.missing)

    def child(self, part, slot):
        def play(times):
            if self.broken:
                BROKEN[self.broken]()
            part(self.place, self.board, f"{self.seed} {slot} {times}").run()

        return Child(play, self.board, slot, self.findings, part.name)

    def alone(self, function):
        """Do something in a process of its own, since nothing that is open outlives a fork."""
        Child(lambda times: function(), self.board, 0, self.findings).wait()

    def wait_for_work(self, deadline, most):
        """Wait until some transactions have ended, however long that takes on this machine."""
        enough = self.ended + self.chance.uniform(0, most)
        while self.ended < enough and not (self.has_failed or self.is_over(deadline)):
            time.sleep(0.01)
        time.sleep(self.chance.uniform(0, 0.02))

    @property
    def ended(self):
        return sum(self.board[word] for word in ("commits", "rollbacks", "prepared"))

    def disturb(self, children):
        """Kill a writer or a collector, stop it for a while, or cut a session off."""
        name, what = self.chance.choice(["writer", "collector"]), self.chance.random()
        child = self.chance.choice([child for child in children if child.name == name])
        if what < 0.4:
            child.kill()
            child.start()
            self.board.count(f"killed {child.name}s")
        elif what < 0.6:
            child.stop_for(self.chance.uniform(0, 0.3))
        elif not self.place.is_sqlite:
            self.alone(lambda: terminate_one(self.place.engine(), self.chance))
            self.board.count("cut")


def main(line=None):
    parser = command.parser(__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--broken", choices=BROKEN)
    asked = parser.parse_args(line)
    return command.main("run", asked, lambda place: Run(place, asked).go(asked.seconds))


if __name__ == "__main__":
    sys.exit(main())
