"""A small S3 server in this process that fails on demand.

It does what obstore asks of an S3: objects, ranges, conditional PUTs, multipart uploads, listings
by pages, and deletions, one or many. It checks no signatures, and remembers what was asked.
"""

import contextlib
import json
import random
import socket
import struct
import threading
import time
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from .bucket import Bucket, refusal

CORRUPT = "corrupt"  # done, and one byte of the answer's body is another one
FAULTS = (
    "delay",  # a moment late
    "error",  # 500, nothing was done
    "slow_down",  # 503, nothing was done
    "reset",  # the connection is reset, nothing was done
    "error_after",  # 500, and yet it was done
    "lost",  # done, and the connection is closed without an answer
    "truncate",  # done, and half of the answer's body arrives
    "repeat",  # done twice, as after a proxy's retry; the second answer arrives
    CORRUPT,
)
MILLISECOND = timedelta(milliseconds=1)
RETRY = {
    "max_retries": 3,
    "backoff": {"init_backoff": MILLISECOND, "max_backoff": 5 * MILLISECOND, "base": 2},
}

CONFLICT = "conflict"  # 409, as S3 answers while another conditional write is on its way
SILENT = "silent"  # done, and no answer until the server is healed: for tests of time-outs


class Asked(NamedTuple):
    """A request as it came, and which fault it met."""

    method: str
    key: str
    query: dict
    fault: str | None


class FaultyS3(ThreadingHTTPServer):
    """The server; use it as a context. `.options` is what obstore has to be told.

    `plan` says which fault a request meets: a function of method, key and query that returns a
    name or None. `script` and `seed` make such plans, and `heal` ends them all.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    url = "s3://tests"

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.bucket = Bucket()
        self.endpoint = f"http://127.0.0.1:{self.server_port}"
        self.asked = []
        self.latency = 0.0
        self._lock = threading.Lock()
        self.healed = threading.Event()
        self.heal()

    @property
    def options(self):
        """What obstore has to be told: quick retries, few of them."""
        return {
            "endpoint": self.endpoint,
            "access_key_id": "key",
            "secret_access_key": "secret",
            "retry_config": RETRY,
        }

    @property
    def google_options(self):
        """What obstore has to be told to take it for Google Cloud Storage."""
        account = {"client_email": "", "private_key": "", "private_key_id": ""}
        key = {**account, "disable_oauth": True, "gcs_base_url": self.endpoint}
        return {"service_account_key": json.dumps(key), "retry_config": RETRY}

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.heal()
        self.shutdown()
        self.server_close()

    def handlerefusal(self, request, client_address):
        """Say nothing: a client that is gone is what these tests are about."""

    # -- faults ---------------------------------------------------------------------------------

    def heal(self):
        """Let every request succeed from now on."""
        self.plan = lambda method, key, query: None
        self.healed.set()
        self.healed = threading.Event()

    def script(self, *faults, method=None, key=""):
        """Let the next requests of a method, with keys that contain `key`, meet these faults."""
        waiting = list(faults)

        def plan(asked_method, asked_key, query):
            if waiting and method in {None, asked_method} and key in asked_key:
                return waiting.pop(0)
            return None

        self.plan = plan

    def always(self, fault, *, method=None, key=""):
        """Let all requests of a method, with keys that contain `key`, meet a fault."""
        self.plan = lambda m, k, query: fault if method in {None, m} and key in k else None

    def seed(self, seed, rate, faults=FAULTS):
        """Let requests meet faults by chance, `rate` of them.

        Only blobs are corrupted: nothing else has a digest.
        """
        chance = random.Random(seed)

        def plan(method, key, query):
            if chance.random() >= rate:
                return None
            return chance.choice([f for f in faults if f != CORRUPT or "blobs/" in key])

        self.plan = plan

    def fault(self, method, key, query):
        """Note a request, and say what it meets."""
        with self._lock:
            fault = self.plan(method, key, query)
            self.asked.append(Asked(method, key, query, fault))
            return fault


class Handler(BaseHTTPRequestHandler):
    """One connection: reads a request, meets its fault, answers."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 60

    def log_message(self, *_):
        """Say nothing."""

    def _serve(self):
        url = urlsplit(self.path)
        key = unquote(url.path).removeprefix("/").partition("/")[2]  # of whichever bucket
        query = {k: v[0] for k, v in parse_qs(url.query, keep_blank_values=True).items()}
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        healed = self.server.healed
        fault = self.server.fault(self.command, key, query)
        time.sleep(self.server.latency + (0.05 if fault == "delay" else 0))
        if fault == "reset":
            return self._reset()
        if fault == "error":
            return self._send(refusal(500, "InternalError"))
        if fault == CONFLICT:
            return self._send(refusal(409, "ConditionalRequestConflict"))
        if fault == "slow_down":
            return self._send(refusal(503, "SlowDown"))
        answer = self.server.bucket.answer(self.command, key, query, self.headers, body)
        if fault == "repeat":
            answer = self.server.bucket.answer(self.command, key, query, self.headers, body)
        if fault == "error_after":
            answer = refusal(500, "InternalError")
        if fault == CORRUPT and answer.body:
            middle = len(answer.body) // 2
            flipped = bytes([answer.body[middle] ^ 1])
            answer = answer._replace(
                body=answer.body[:middle] + flipped + answer.body[middle + 1 :]
            )
        if fault == SILENT:
            healed.wait(60)
        if fault in {SILENT, "lost"}:
            self.close_connection = True
            return None
        return self._send(answer, truncate=fault == "truncate")

    do_DELETE = do_GET = do_HEAD = do_POST = do_PUT = _serve  # noqa: N815 (http.server's names)

    def _send(self, answer, *, truncate=False):
        self.send_response(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        if answer.status != 204:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        body = b"" if self.command == "HEAD" else answer.body
        self.wfile.write(body[: len(body) // 2] if truncate else body)
        self.close_connection = truncate or self.close_connection

    def _reset(self):
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.close()
