"""A server program that ends with the test process, however that one ends."""

import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

# Starts the program, then waits for the pipe from the test process to close, which the kernel does
# however that process ends, kill -9 included.
GUARD = """
directory=$1; shift
"$@" < /dev/null > "$directory/log" 2>&1 &
read _
kill -9 $!
wait
rm -rf "$directory"
"""

PATIENCE = 60  # a machine may be busy; each of these takes a second or two

TRIES = 3


def free_ports(count):
    """Ports that were free a moment ago, all different."""
    with ExitStack() as sockets:
        found = [sockets.enter_context(socket.socket()) for _ in range(count)]
        for each in found:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in found]


class Server:
    """A program with a directory of its own; a subclass says which, and how to tell it is ready."""

    name = "server"

    def __init__(self):
        for tries_left in reversed(range(TRIES)):
            try:
                self._start()
                break
            except RuntimeError:  # somebody else has got one of the ports
                if not tries_left:
                    raise

    def command(self):
        """The program and its arguments; called once for each try, to choose its ports."""
        raise NotImplementedError

    def is_ready(self):
        """Whether it does what the tests want of it; may raise OSError while it does not."""
        raise NotImplementedError

    def _start(self):
        # In /tmp: the path of a socket may have about 100 bytes.
        self.directory = Path(tempfile.mkdtemp(prefix=f"{self.name}-", dir="/tmp"))
        command = ["/bin/sh", "-c", GUARD, "sh", self.directory, *self.command()]
        self._guard = subprocess.Popen(
            command,
            cwd=self.directory,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for pytest, which then ends the server
        )
        try:
            self._wait()
        except BaseException:
            self.close()
            raise

    def _wait(self):
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            if time.monotonic() > deadline:
                log = (self.directory / "log").read_text(errors="replace")
                raise RuntimeError(f"{self.name} does not start; its log:\n{log[-4000:]}")
            time.sleep(0.02)

    def _answers(self):
        try:
            return self.is_ready()
        except OSError:
            return False

    def close(self):
        """End as after a kill, by way of the guard, so that this way is always a tested one."""
        self._guard.communicate(b"\n", timeout=30)
        shutil.rmtree(self.directory, ignore_errors=True)
