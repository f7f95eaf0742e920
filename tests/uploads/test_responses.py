"""HTTP responses as sources: of every client, whole or cut off."""

import asyncio
import gzip
import tracemalloc

import httpx
import pytest
import requests
from sqlalchemy.orm import Session

from sqla_artifacts.errors import InvalidValueError, SourceError
from sqla_artifacts.source import stage_source

from ..programs.checks import refused
from ..programs.model import Sample, attach
from .server import (
    CLIENTS,
    STREAMING,
    announced,
    by_http_client,
    by_raw_requests,
    by_requests,
    by_requests_at_once,
    by_urllib,
    chunked,
    repeated,
    serving,
    zipped,
)

MIB = 1 << 20
LARGE = bytes(range(256)) * 12_000
ANSWERS = {
    "/a/cat.png": announced(LARGE),
    "/a/dog.png": chunked(LARGE),
    "/named": announced(b"named", 'Content-Disposition: attachment; filename="C:\\x\\a.png"'),
    "/empty": announced(b""),
    "/empty-chunked": chunked(b""),
    "/gzip": zipped(LARGE),
    "/gzip-longer": zipped(b"tiny"),
    "/cut": announced(LARGE, cut=True),
    "/cut-chunked": chunked(LARGE, cut=True),
    "/cut-gzip": zipped(LARGE, cut=True),
    "/huge": repeated(bytes(MIB), 64),
}


@pytest.fixture(scope="module")
def url():
    with serving(ANSWERS) as url:
        yield url


def staged(value, stage):
    """The name and the bytes of what would be stored."""
    reference, payload = stage_source(value, stage)
    with payload.open() as fp:
        return reference.name, fp.read()


def test_responses_of_every_client_are_stored(engine, tmp_path, url):
    store = attach(engine, tmp_path / "artifacts")
    for client in CLIENTS:
        with client(f"{url}/a/cat.png?size=1") as response, Session(engine) as session:
            sample = Sample(file=response)
            session.add(sample)
            session.commit()
            key = sample.id
        with Session(engine) as session:
            file = session.get_one(Sample, key).file
            named = "file" if client is by_http_client else "cat.png"
            assert (file.name, file.open().read()) == (named, LARGE), client
    assert store.get(file.reference) == LARGE


@pytest.mark.parametrize("path", ["/cut", "/cut-chunked", "/cut-gzip"])
def test_a_response_that_is_cut_off_is_refused(engine, tmp_path, url, path):
    store = attach(engine, tmp_path / "artifacts")
    for client in STREAMING:
        with client(f"{url}{path}") as response, Session(engine) as session:
            sample = Sample(file=("cat.png", response))
            refused(session, store, SourceError, "sample.file: .*'cat.png'.*", sample)


@pytest.mark.parametrize("client", CLIENTS)
def test_responses_in_chunks_empty_and_named_by_their_header(url, stage, client):
    for path, expected in {
        "/a/dog.png": ("dog.png", LARGE),
        "/empty": ("empty", b""),
        "/empty-chunked": ("empty-chunked", b""),
        "/named": ("a.png", b"named"),
    }.items():
        with client(url + path) as response:
            name, data = staged(response, stage)
        assert data == expected[1]
        assert name == expected[0] or (client is by_http_client and name == "file")


@pytest.mark.parametrize("client", CLIENTS)
def test_the_content_encoding_is_undone_by_clients_that_do(url, stage, client):
    undone = client not in {by_http_client, by_urllib, by_raw_requests}
    for path, content in {"/gzip": LARGE, "/gzip-longer": b"tiny"}.items():
        with client(url + path) as response:
            data = staged(response, stage)[1]
        assert (data if undone else gzip.decompress(data)) == content


@pytest.mark.parametrize("client", STREAMING)
@pytest.mark.parametrize("path", ["/a/cat.png", "/a/dog.png", "/gzip"])
def test_a_response_that_is_closed_is_refused(url, stage, client, path):
    with client(url + path) as response:
        pass
    with pytest.raises(SourceError, match=r"cannot read '.*(closed|Closed)"):
        stage_source(response, stage)


@pytest.mark.parametrize("client", STREAMING)
@pytest.mark.parametrize("path", ["/a/cat.png", "/a/dog.png", "/gzip"])
def test_a_response_is_not_stored_twice(url, stage, client, path):
    with client(url + path) as response:
        stage_source(response, stage)
        with pytest.raises(SourceError, match=r"(?i)(consumed|read before|cut off)"):
            stage_source(response, stage)


@pytest.mark.parametrize("client", [by_http_client, by_urllib, by_raw_requests])
def test_a_response_that_was_read_in_part_is_refused(url, stage, client):
    with client(f"{url}/a/cat.png") as response:
        response.read(10)
        with pytest.raises(SourceError, match=rf"read in part before: {len(LARGE) - 10} bytes of"):
            stage_source(response, stage)


def test_a_response_that_was_read_whole_is_stored_again_and_again(url, stage):
    with by_requests_at_once(f"{url}/a/cat.png") as response:
        for _ in range(2):
            assert staged(response, stage) == ("cat.png", LARGE)


def test_an_error_in_the_middle_of_a_response_of_another_kind(url, stage):
    response = requests.Response()
    response.raw = Broken()
    with pytest.raises(SourceError, match=r"cannot read 'file': .*lost"):
        stage_source(response, stage)


class Broken:
    def read(self, size):
        raise TimeoutError("lost")


async def asynchronous(url, use):
    async with httpx.AsyncClient() as client, client.stream("GET", url) as response:
        return await use(response)


def test_a_response_of_an_asynchronous_client_has_to_be_read_first(url, stage):
    async def store(response):
        stage_source(response, stage)

    async def read_and_store(response):
        await response.aread()
        return staged(response, stage)

    with pytest.raises(InvalidValueError, match=r"'cat\.png' can only be read with await"):
        asyncio.run(asynchronous(f"{url}/a/cat.png", store))
    found = asyncio.run(asynchronous(f"{url}/a/cat.png", read_and_store))
    assert found == ("cat.png", LARGE)


@pytest.mark.parametrize("client", STREAMING)
def test_a_response_of_64_mib_is_never_in_memory(url, stage, client):
    with client(f"{url}/huge") as response:
        tracemalloc.start()
        try:
            assert stage_source(response, stage)[1].size == 64 * MIB
            assert tracemalloc.get_traced_memory()[1] < 24 * MIB
        finally:
            tracemalloc.stop()


def test_the_test_of_memory_itself(url):
    tracemalloc.start()
    with by_requests(f"{url}/huge") as response:
        assert len(response.content) == 64 * MIB
    assert tracemalloc.get_traced_memory()[1] > 64 * MIB
    tracemalloc.stop()
