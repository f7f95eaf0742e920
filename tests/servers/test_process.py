"""A server ends with the process that has started it, however that one ends."""

import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from .process import Server, free_ports

PROGRAM = """
import time
from tests.servers.test_process import Files
server = Files()
print(server.port, server.directory, flush=True)
time.sleep(60)
"""


class Files(Server):
    name = "files"

    def command(self):
        (self.port,) = free_ports(1)
        return [sys.executable, "-m", "http.server", str(self.port), "--bind", "127.0.0.1"]

    def is_ready(self):
        return answers(self.port)


class Fails(Server):
    name = "fails"

    def command(self):
        return ["/bin/sh", "-c", "echo it is broken"]

    def is_ready(self):
        return False


def answers(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=5) as answer:
        return answer.status == 200


def gone(port, directory):
    deadline = time.monotonic() + 20
    while Path(directory).exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with pytest.raises(OSError, match="refused"):
        answers(port)
    return True


def test_a_server_that_is_closed_is_gone():
    server = Files()
    assert answers(server.port)
    server.close()
    assert gone(server.port, server.directory)


def test_a_server_of_a_killed_process_is_gone():
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE) as process:
        port, directory = process.stdout.readline().decode().split()
        assert answers(port)
        process.kill()
    assert gone(port, directory)


def test_a_server_that_does_not_start_shows_its_log(monkeypatch):
    monkeypatch.setattr("tests.servers.process.PATIENCE", 0.5)
    monkeypatch.setattr("tests.servers.process.TRIES", 1)
    with pytest.raises(RuntimeError, match="fails does not start; its log:\nit is broken"):
        Fails()
