"""A store across a network, for benchmarks: each of its requests takes 20 ms."""

import io
import time

from sqla_artifacts.backends.ranges import RangeStream

DELAY = 0.02


class Slow:
    """A backend each of whose requests takes its time."""

    is_remote = True

    def __init__(self, backend):
        self._backend = backend

    def __getattr__(self, name):
        return getattr(self._backend, name)

    def get(self, key):
        time.sleep(DELAY)
        return self._backend.get(key)

    def put(self, objects):
        time.sleep(DELAY)
        self._backend.put(objects)

    def open(self, key):
        def read(start, length):
            data = self.get(key)
            return memoryview(data)[start : start + length], len(data)

        return io.BufferedReader(RangeStream(read), 256 << 10)
