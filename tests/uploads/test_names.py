"""The names of uploads and responses, which a client or a server has chosen."""

import io
import os
import tempfile
from email.message import Message
from pathlib import Path
from urllib.response import addinfourl

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import UploadFile
from werkzeug.datastructures import FileStorage

from sqla_artifacts.reference import Reference, label_of, parse
from sqla_artifacts.upload import name_of

HOSTILE = {
    "cat.png": "cat.png",
    "/etc/passwd": "passwd",
    "../../cat.png": "cat.png",
    r"C:\Users\me\cat.png": "cat.png",
    r"..\../mixed\cat.png": "cat.png",
    "": "file",
    ".": "file",
    "..": "file",
    "../..": "file",
    "folder/": "file",
    "\\": "file",
    "cat.png\0.exe": "cat.png_.exe",
    "\0": "_",
    "\ud800.png": "_.png",
    "x" * 300 + ".png": "x" * 251 + ".png",
    "ä" * 300 + ".tar": "ä" * 125 + ".tar",
    "." + "x" * 300: "." + "x" * 254,
    "a." + "x" * 300: "a." + "x" * 253,
    " ": " ",
    "-rf": "-rf",
    ".htaccess": ".htaccess",
    "a\nb%2F:.png": "a\nb%2F:.png",
    "<svg>": "<svg>",
}


@pytest.mark.parametrize(("given_name", "stored"), HOSTILE.items())
def test_what_is_made_of_a_clients_name(given_name, stored):
    for upload in (
        FileStorage(io.BytesIO(), given_name, name="field"),
        UploadFile(io.BytesIO(), filename=given_name),
    ):
        assert name_of(upload) == stored


@given(st.text() | st.text("./\\\0\ud800aä", max_size=600) | st.binary().map(os.fsdecode))
def test_whatever_a_client_sends_a_file_can_have_that_name(sent):
    name = name_of(UploadFile(io.BytesIO(), filename=sent))
    assert "/" not in name
    assert "\\" not in name
    reference = Reference("file", "0" * 64, 0, label_of(name))
    assert parse(str(reference)).name == name


def response(url=None, disposition=None):
    """A response as urllib makes one."""
    headers = Message()
    if disposition is not None:
        headers["content-disposition"] = disposition
    return addinfourl(io.BytesIO(), headers, url)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://example.org/a/cat.png", "cat.png"),
        ("https://example.org/a/cat.png?name=/b#/c", "cat.png"),
        ("https://example.org/%C3%BC%20%2e.png", "ü ..png"),
        ("https://example.org/a%2Fb%5Cc%00.png", "c_.png"),
        ("https://example.org/%2e%2e", "file"),
        ("https://example.org/%ff", "\ufffd"),
        ("https://example.org", "file"),
        ("https://example.org/", "file"),
        ("https://example.org?x=/y", "file"),
        ("file:///home/me/cat.png", "cat.png"),
        ("data:text/plain;base64,c2VjcmV0/c2VjcmV0", "file"),
        ("//[", "["),
        ("", "file"),
        (None, "file"),
    ],
)
def test_the_name_from_a_url(url, name):
    assert name_of(response(url)) == name


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ('attachment; filename="cat.png"', "cat.png"),
        ("attachment; filename=cat.png", "cat.png"),
        ('attachment; FILENAME="a \\"cat\\".png"', 'a "cat".png'),
        ('inline; filename="C:\\dir\\cat.png"', "cat.png"),
        ('attachment; filename="../../cat.png"', "cat.png"),
        ("attachment; filename=\"EUR.txt\"; filename*=UTF-8''%e2%82%ac.txt", "€.txt"),
        ("attachment; filename*=UTF-8''%e2%82%ac.txt; filename=EUR.txt", "€.txt"),
        ("attachment; filename*=UTF-8''..%2F..%2Fcat.png", "cat.png"),
        ("attachment; filename*=iso-8859-1''%fc.txt", "ü.txt"),
        ('attachment; filename="\xc3\xbc.txt"', "ü.txt"),  # UTF-8, as http.client reads it
        ('attachment; filename="\xfc.txt"', "ü.txt"),
        ("attachment", "url.png"),
        ("attachment; filename=", "url.png"),
        ('attachment; filename=".."', "url.png"),
        ('attachment; name="cat.png"', "url.png"),
        (";;;=", "url.png"),
        ("attachment; filename*=nonsense", "nonsense"),
        ("attachment; filename*=nonsense''%fc.txt", "ü.txt"),
    ],
)
def test_the_name_from_content_disposition(header, name):
    assert name_of(response("https://example.org/url.png", header)) == name


@given(st.text() | st.text("filename*0=;'\"% utf-8\\\n\xfc\udcfc", max_size=100))
def test_whatever_the_header_says(header):
    for disposition in (header, f"attachment; filename{header}", f'x; filename="{header}"'):
        label_of(name_of(response(None, disposition)))


def test_the_names_of_files_here(tmp_path):
    path = tmp_path / "back\\slash"
    path.touch()
    with path.open("rb") as fp, open(os.fsencode(path), "rb") as raw:
        assert name_of(fp) == name_of(raw) == "back\\slash"
        assert name_of(FileStorage(fp)) == "slash"
    with tempfile.NamedTemporaryFile() as fp:
        assert name_of(fp) == Path(fp.name).name
    with tempfile.TemporaryFile() as fp:
        assert name_of(fp) == "file"
    with tempfile.SpooledTemporaryFile() as fp:
        assert name_of(fp) == "file"
        fp.rollover()
        assert name_of(fp) == "file"
    assert name_of(io.BytesIO()) == "file"


def test_the_form_field_is_no_name():
    assert name_of(FileStorage(io.BytesIO(), name="field")) == "file"
