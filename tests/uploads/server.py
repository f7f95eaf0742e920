"""An HTTP server in a thread, whose answers are given byte by byte, and the clients that ask it."""

import contextlib
import gzip
import http.client
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import requests


def head(*headers):
    return "\r\n".join(["HTTP/1.1 200 OK", "Connection: close", *headers, "", ""]).encode()


def announced(body, *headers, cut=False):
    """A response whose length is announced, all of it or half."""
    length = f"Content-Length: {len(body)}"
    return head(length, *headers) + (body[: len(body) // 2] if cut else body)


def chunked(body, *, cut=False):
    """A response in chunks, the only one of them whole or half."""
    chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
    return head("Transfer-Encoding: chunked") + (chunks[: len(chunks) // 2] if cut else chunks)


def zipped(body, *, cut=False):
    """A response whose content is encoded by gzip."""
    return announced(gzip.compress(body), "Content-Encoding: gzip", cut=cut)


def repeated(piece, count):
    """A response that is sent piece by piece."""
    return [head(f"Content-Length: {len(piece) * count}"), *[piece] * count]


@contextlib.contextmanager
def serving(answers):
    """Serve answers by their paths, and give the URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.close_connection = True
            with contextlib.suppress(ConnectionError):  # a client may not want all of it
                for piece in answers[self.path.partition("?")[0]]:
                    self.wfile.write(piece)

        def log_message(self, *args):
            pass

    answers = {
        path: [found] if isinstance(found, bytes) else found for path, found in answers.items()
    }
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def by_http_client(url):
    host, _, path = url.removeprefix("http://").partition("/")
    with contextlib.closing(http.client.HTTPConnection(host)) as connection:
        connection.request("GET", f"/{path}")
        with connection.getresponse() as response:
            yield response


def by_urllib(url):
    return urllib.request.urlopen(url)


def by_requests(url):
    return requests.get(url, stream=True, timeout=60)


@contextlib.contextmanager
def by_raw_requests(url):
    with by_requests(url) as response:
        yield response.raw


def by_requests_at_once(url):
    return requests.get(url, timeout=60)


def by_httpx(url):
    return httpx.stream("GET", url)


@contextlib.contextmanager
def by_httpx_at_once(url):
    yield httpx.get(url)


STREAMING = [by_http_client, by_urllib, by_requests, by_raw_requests, by_httpx]
CLIENTS = [*STREAMING, by_requests_at_once, by_httpx_at_once]
