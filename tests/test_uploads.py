"""Uploads of web frameworks, and temporary files, in columns of files."""

import asyncio
import contextlib
import io
import os
import subprocess
import sys
import tempfile
import tracemalloc
from functools import partial
from pathlib import Path

import flask
import httpx
import pytest
from sqlalchemy.orm import Session
from starlette.applications import Starlette
from starlette.datastructures import Headers, UploadFile
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from werkzeug.datastructures import FileStorage

from sqla_artifacts.errors import InvalidValueError, SourceError
from sqla_artifacts.payload import Stage
from sqla_artifacts.source import stage_source
from sqla_artifacts.upload import chunks_of, is_upload

from .models import make_store
from .programs.checks import refused
from .programs.model import Base, Sample

ROOT = Path(__file__).parents[1]
MIB = 1 << 20
SMALL = b"small"
LARGE = bytes(range(256)) * 12_000
ROLLED_OVER = partial(tempfile.SpooledTemporaryFile, max_size=1)
TEMPORARY = [
    tempfile.NamedTemporaryFile,
    tempfile.TemporaryFile,
    tempfile.SpooledTemporaryFile,
    ROLLED_OVER,
]


@pytest.fixture
def store(engine, tmp_path):
    store = make_store(tmp_path)
    store.attach(engine, metadata=Base.metadata)
    Base.metadata.create_all(engine)
    return store


@pytest.fixture
def stage(tmp_path):
    return Stage("blake3", tmp_path)


def save(engine, value):
    """Store a file in a row of its own, and return the key."""
    with Session(engine) as session:
        sample = Sample(file=value)
        session.add(sample)
        session.commit()
        return sample.id


def load(engine, key):
    """The name and the bytes that a new session reads."""
    with Session(engine) as session:
        file = session.get_one(Sample, int(key)).file
        return file.name, file.open().read()


# -- frameworks --------------------------------------------------------------------------------


def test_flask(engine, store):
    app = flask.Flask(__name__)

    @app.post("/")
    def post():
        with contextlib.closing(flask.request.files["cat"]) as upload:
            return str(save(engine, upload))

    client = app.test_client()
    for data in (SMALL, LARGE, b""):  # in memory, and in a temporary file
        form = httpx.Request("POST", "http://test", files={"cat": ("../ä.png", data)})
        headers = {"Content-Type": form.headers["Content-Type"]}
        answer = client.post("/", data=form.read(), headers=headers)
        assert load(engine, answer.text) == ("ä.png", data)


def test_starlette(engine, store):
    async def post(request):
        async with request.form() as form:
            return PlainTextResponse(str(save(engine, form["cat"])))

    async def send(data):
        app = Starlette(routes=[Route("/", post, methods=["POST"])])
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.post("/", files={"cat": ("../ä.png", data)})

    for data in (SMALL, LARGE, b""):
        assert load(engine, asyncio.run(send(data)).text) == ("ä.png", data)


def test_django(database_url, tmp_path):
    program = [sys.executable, "-W", "error", "-m", "tests.uploads.django_upload"]
    command = [*program, database_url, tmp_path / "artifacts"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_a_form_whose_file_was_left_empty_is_refused(engine, store):
    message = "sample.file: the form's file field was left empty: .*assign None"
    with Session(engine) as session:
        for upload in (FileStorage(filename=""), UploadFile(io.BytesIO(), filename="")):
            refused(session, store, InvalidValueError, message, Sample(file=upload))
    assert load(engine, save(engine, FileStorage(io.BytesIO(SMALL), ""))) == ("file", SMALL)


def test_an_upload_that_is_cut_off_or_closed_is_refused(engine, store):
    announced = {"Content-Length": str(len(LARGE) + 1)}
    closed = io.BytesIO()
    closed.close()
    message = f"sample.file: 'a' is cut off.*: {len(LARGE)} bytes of {len(LARGE) + 1} came"
    cases = {
        message: [
            FileStorage(io.BytesIO(LARGE), "a", headers=announced),
            UploadFile(io.BytesIO(LARGE), filename="a", headers=Headers(announced)),
            UploadFile(io.BytesIO(LARGE), filename="a", size=len(LARGE) + 1),
        ],
        "sample.file: cannot read 'a': it is closed": [
            FileStorage(closed, "a"),
            UploadFile(closed, filename="a"),
        ],
    }
    with Session(engine) as session:
        for message, uploads in cases.items():
            for upload in uploads:
                refused(session, store, SourceError, message, Sample(file=upload))


# -- names and places --------------------------------------------------------------------------


def test_a_name_of_ones_own_takes_the_place_of_the_clients(engine, store):
    for upload in (
        FileStorage(io.BytesIO(SMALL), "client.png"),
        UploadFile(io.BytesIO(SMALL), filename="client.png"),
    ):
        assert load(engine, save(engine, ("mine.png", upload))) == ("mine.png", SMALL)


def uploads(fp):
    return [fp, FileStorage(fp, "a"), UploadFile(fp, filename="a")]


def test_uploads_are_read_from_their_start_and_put_back(stage):
    with ROLLED_OVER() as fp:
        fp.write(LARGE)
        fp.seek(1000)
        for upload in uploads(fp):
            assert stage_source(upload, stage)[1].size == len(LARGE)
            assert fp.tell() == 1000


def test_uploads_are_put_back_when_storing_fails(stage):
    stage.limit = len(LARGE) - 1
    with io.BytesIO(LARGE) as fp:
        fp.seek(1000)
        for upload in uploads(fp):
            with pytest.raises(InvalidValueError, match="max_size"):
                stage_source(upload, stage)
            assert fp.tell() == 1000


def test_chunks_are_read_when_they_are_asked_for_and_no_further(stage):
    with io.BytesIO(LARGE) as fp:
        fp.seek(1000)
        for upload in uploads(fp):
            chunks = chunks_of(upload)
            assert fp.tell() == 1000
            assert next(chunks) == LARGE[:MIB]
            assert fp.tell() == MIB
            chunks.close()
            assert fp.tell() == 1000
            assert b"".join(chunks_of(upload)) == LARGE


def test_temporary_files(engine, store):
    for make in TEMPORARY:
        with make() as fp:
            fp.write(LARGE)
            named = isinstance(fp.name, str)
            expected = os.path.basename(fp.name) if named else "file"
            assert load(engine, save(engine, fp)) == (expected, LARGE)
            assert load(engine, save(engine, ("a", fp))) == ("a", LARGE)
            assert fp.tell() == len(LARGE)


# -- what is none ------------------------------------------------------------------------------


class OnlyAsync:
    async def read(self, size=-1):
        return b""


@pytest.mark.parametrize("make", [*(partial(make, mode="w+") for make in TEMPORARY), io.StringIO])
def test_a_file_that_is_open_as_text_is_refused(stage, make):
    with make() as fp:
        for upload in uploads(fp):
            with pytest.raises(InvalidValueError, match=r"is open as text|it gives a str"):
                stage_source(upload, stage)


def test_what_can_only_be_read_with_await_is_refused(stage):
    message = r"'a' can only be read with await: do that first, and assign \(name, bytes\)"
    with pytest.raises(InvalidValueError, match=message):
        stage_source(("a", OnlyAsync()), stage)


@pytest.mark.parametrize("value", [None, 5, "text", b"bytes", [b"a"], iter([b"a"]), object])
def test_what_is_no_upload(value):
    assert not is_upload(value)
    assert chunks_of(value) is None


# -- memory ------------------------------------------------------------------------------------


def test_an_upload_of_64_mib_is_never_in_memory(stage):
    with tempfile.TemporaryFile() as fp:
        fp.truncate(64 * MIB)
        for upload in uploads(fp):
            tracemalloc.start()
            try:
                assert stage_source(upload, stage)[1].size == 64 * MIB
                assert tracemalloc.get_traced_memory()[1] < 24 * MIB
            finally:
                tracemalloc.stop()
