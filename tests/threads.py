"""Threads for tests about concurrency, in which a deadlock fails rather than hangs."""

import threading
import time
from concurrent.futures import Future

DEADLINE = 60
"""Seconds for what takes a few; only a deadlock comes near it."""


def together(*functions):
    """Run each function in a thread of its own, and return their results in order."""
    futures = [start(function) for function in functions]
    return [future.result(DEADLINE) for future in futures]


def start(function):
    """Run a function in a thread, and return the future of its result."""
    future = Future()

    def run():
        try:
            future.set_result(function())
        except BaseException as error:  # noqa: BLE001 (for the one who waits)
            future.set_exception(error)

    # A daemon, so that one that hangs does not keep the process from ending.
    threading.Thread(target=run, daemon=True).start()
    return future


def barrier(parties):
    """A barrier at which nobody waits for ever."""
    return threading.Barrier(parties, timeout=DEADLINE)


def until(condition):
    """Wait for what nothing else announces."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
