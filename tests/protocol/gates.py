"""A thread that stops before each step until it is told to go on."""

import queue

from sqlalchemy.exc import DBAPIError

from sqla_artifacts.errors import ArtifactError
from tests.threads import DEADLINE, start, until

BLOCKED, OVER = "blocked", "over"


class Failure(Exception):  # noqa: N818 (what a step is made to end with, nobody's error)
    """A statement raises, or a collector's process dies."""


class Gates:
    """A thread that stops before each step until it is told to go on."""

    def __init__(self, is_blocked):
        self._is_blocked = is_blocked
        self._arrivals, self._permits = queue.Queue(), queue.Queue()
        self._thread = None
        self.at = OVER
        self.made = []
        self.error = None

    def start(self, function):
        """Run a function up to its first gate."""

        def run():
            try:
                function()
            except (Failure, ArtifactError, DBAPIError) as error:
                self.error = error
            finally:
                self._arrivals.put(OVER)

        self.made, self.error = [], None
        self._thread = start(run)
        self._wait()

    def stop(self, name):
        """In the thread: be at a step, and make it when told to."""
        self._arrivals.put(name)
        failure = self._permits.get(timeout=DEADLINE)
        if failure is not None:
            raise failure
        self.made.append(name)

    def go(self, failure=None):
        """Let it make the step that it is at, or fail instead, and go on to the next."""
        if self.at not in {BLOCKED, OVER}:
            self._permits.put(failure)
        if self.at != OVER:
            self._wait()

    def go_to(self, *names):
        """Let it go on until it is at one of these steps, over, or blocked; say if it is there."""
        while self.at not in {*names, OVER}:
            self.go()
            if self.at == BLOCKED:
                return False
        return self.at in names

    def finish(self):
        return self.go_to(OVER)

    def settle(self):
        """If it was blocked, and is not any more, let it come to its next step."""
        if self.at == BLOCKED:
            self._wait()

    def _wait(self):
        """Wait until it is at a step, over, or waits for another's lock."""

        def has_arrived():
            try:
                self.at = self._arrivals.get(timeout=0.02)
            except queue.Empty:
                self.at = BLOCKED
                return self._is_blocked()
            return True

        until(has_arrived)
        if self.at == OVER:
            self._thread.result(DEADLINE)
