"""A backend that shows which requests run at once, fails when it is told to, and counts."""

import contextlib
import threading

DEADLINE = 10
"""Seconds that a request waits for those that should come with it; only a failing test does."""


class Requests:
    """The requests of one kind: which ones came, and how many ran at once."""

    def __init__(self):
        self._lock = threading.Lock()
        self.expect()

    def expect(self, *together):
        """Begin anew: each group of so many requests is held until it is complete.

        What comes after the last group is not held.
        """
        self.keys = []
        self.top = self.running = 0
        self._met = []
        self._meetings = [
            meeting for size in together for meeting in [threading.Barrier(size)] * size
        ]
        self._failures = {}

    def fail(self, number, failure):
        """Call a function at the request of that number, from 0 on, before anything is done."""
        self._failures[number] = failure

    @property
    def count(self):
        """How many requests there were."""
        return len(self.keys)

    @property
    def met(self):
        """The sizes of the groups that were complete, and 1 for each request beyond."""
        groups = list(dict.fromkeys(meeting for meeting in self._met if not meeting.broken))
        sizes = [group.parties for group in groups]
        return (*sizes, *[1] * (self.count - sum(sizes)))

    def _wait(self, meeting):
        try:
            meeting.wait(DEADLINE)
        except threading.BrokenBarrierError:
            self._meetings = []  # the test has failed, and need not wait for the others

    @contextlib.contextmanager
    def noted(self, key):
        """Take part in a request."""
        with self._lock:
            number = len(self.keys)
            self.keys.append(key)
            self.running += 1
            self.top = max(self.top, self.running)
            meeting = self._meetings[number] if number < len(self._meetings) else None
            if meeting is not None:
                self._met.append(meeting)
        try:
            if meeting is not None:
                self._wait(meeting)
            if number in self._failures:
                self._failures[number]()
            yield
        finally:
            with self._lock:
                self.running -= 1


class Gauge:
    """A remote backend, with the requests that it was asked."""

    is_remote = True

    def __init__(self, backend):
        self._backend = backend
        self.gets = Requests()
        self.puts = Requests()

    def __getattr__(self, name):
        return getattr(self._backend, name)

    def get(self, key):
        with self.gets.noted(key):
            return self._backend.get(key)

    def put(self, objects):
        ((key, _),) = objects  # a remote backend is given one at a time
        with self.puts.noted(key):
            self._backend.put(objects)

    def open(self, key):
        with self.gets.noted(key):
            return self._backend.open(key)
