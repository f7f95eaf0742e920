"""A folder of Superduper's gives what a reference names, and nothing from outside of it."""

import os
import re

import pytest

from sqla_artifacts.errors import (
    BlobCorruptedError,
    BlobNotFoundError,
    InvalidReferenceError,
    SourceError,
    UnknownProtocolError,
)
from sqla_artifacts.ext.superduper import ArtifactFolder

from ..programs.checks import mere_user
from .writers import Writer, sha1

SOUND = sha1(b"sound")


@pytest.fixture
def old(tmp_path):
    return tmp_path / "artifacts"


@pytest.fixture
def writer(old):
    writer = Writer(old)
    writer.put_bytes(b"sound", SOUND)
    return writer


@pytest.mark.parametrize("url", ["filesystem://{}", "file://{}", "{}"])
def test_a_folder_is_named_by_its_url(old, writer, url):
    assert ArtifactFolder(url.format(old)).blob(f"&:blob:{SOUND}") == old / SOUND


def test_a_folder_is_relative_to_the_working_directory(old, writer, monkeypatch):
    monkeypatch.chdir(old.parent)
    folder = ArtifactFolder("filesystem://./artifacts")
    monkeypatch.chdir("/")
    assert folder.blob(f"&:blob:{SOUND}").read_bytes() == b"sound"


def test_blobs_and_files_may_have_folders_of_their_own(tmp_path, old):
    writer = Writer(old, blobs="b", files="f")
    writer.put_bytes(b"sound", SOUND)
    writer.put_file(__file__, "id")
    folder = ArtifactFolder(old, blobs="b", files="f")
    assert folder.blob(f"&:blob:{SOUND}") == old / "b" / SOUND
    assert folder.file("&:file:id") == old / "f" / "id" / os.path.basename(__file__)


@pytest.mark.parametrize("url", ["", "filesystem://", "no/such", "nul\0", "filesystem://no/such"])
def test_a_folder_that_is_not_there_is_refused(url):
    with pytest.raises(SourceError, match=f"^{re.escape(repr(url))} is no artifact folder"):
        ArtifactFolder(url)


def test_another_kind_of_store_is_refused():
    with pytest.raises(UnknownProtocolError, match="on this machine, not mongodb://"):
        ArtifactFolder("mongodb://localhost/_filesystem")


@pytest.mark.parametrize("identifier", [SOUND, "a" * 64, "0x7f3a", "-0x7f3a", "my.model_1"])
def test_every_form_of_id_is_found(old, writer, identifier):
    writer.put_bytes(b"sound", identifier)
    assert ArtifactFolder(old).blob(f"&:blob:{identifier}") == old / identifier


def test_a_blob_is_verified_by_the_sha1_of_its_bytes(old, writer):
    writer.put_bytes(b"rotten", SOUND)
    with pytest.raises(BlobCorruptedError, match=f"'&:blob:{SOUND}' is corrupt"):
        ArtifactFolder(old).blob(f"&:blob:{SOUND}")


@pytest.mark.parametrize(
    ("uri", "digest", "sound"),
    [(None, None, False), ("http://x", None, True), ("http://x", SOUND, False), (None, "?", False)],
)
def test_a_leaf_with_a_uri_is_verified_only_by_its_own_sha1(old, writer, uri, digest, sound):
    """Its id is the SHA-1 of the URI."""
    name = sha1(b"http://x")
    writer.put_bytes(b"of another digest", name)
    leaf = {"leaf_type": "artifact", "file_id": name, "sha1": digest, "uri": uri, "bytes": None}
    folder = ArtifactFolder(old)
    if sound:
        assert folder.blob({"_content": leaf}) == old / name
    else:
        with pytest.raises(BlobCorruptedError):
            folder.blob({"_content": leaf})


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("a.b.c", "a__b__c"),
        ("a__b", "a__b"),
        ("a.b__c", "a__b__c"),
        (".hidden", "__hidden"),
        ("with: colons:1", "with: colons:1"),
        ("new\nline.ü", "new\nline__ü"),
    ],
)
def test_a_file_is_found_by_a_name_that_superduper_garbled(tmp_path, old, writer, name, reference):
    (tmp_path / name).write_text(name)
    writer.put_file(tmp_path / name, "id")
    folder = ArtifactFolder(old)
    assert folder.file(f"&:file:{reference}:id") == old / "id" / name
    assert folder.file("&:file:id") == old / "id" / name
    leaf = {"leaf_type": "lazy_file", "file_id": f"id/{name}"}
    assert folder.file({"_content": leaf}) == old / "id" / name
    assert folder.file({"_content": leaf | {"file_id": "id"}}) == old / "id" / name


@pytest.mark.parametrize("reference", ["&:file:id", "&:file:a__b:id"])
def test_a_name_that_may_be_two_files_is_refused(tmp_path, old, writer, reference):
    for name in ("a.b", "a__b", "c"):
        (tmp_path / name).write_text(name)
        writer.put_file(tmp_path / name, "id")
    assert ArtifactFolder(old).file("&:file:c:id").name == "c"
    with pytest.raises(InvalidReferenceError, match=r"may be any of 'a\.b', 'a__b'"):
        ArtifactFolder(old).file(reference)


HOSTILE = [
    "",
    "&:",
    "&:blob:",
    "&:file:",
    "&:file::",
    "&:blob:.",
    "&:blob:..",
    "&:file:..",
    "&:blob:../secret",
    "&:blob:../../secret",
    "&:blob:/etc/passwd",
    "&:file:/etc",
    "&:file:passwd:/etc",
    "&:file:secret:..",
    "&:file:secret:../outside",
    "&:blob:artifacts/../../secret",
    "&:blob:nul\0",
    "&:blob:..\\secret",
    "&:blob:C:secret",
    "&:blob:name:id",
    "&:blob:new\nline",
    "&:blob:" + "a" * 256,
    "&:tree:id",
    "&:component:model:id",
    "&:file:http://localhost/secret",
    "?:blob:id",
    "../secret",
    "/etc/passwd",
    None,
    b"&:blob:id",
    7,
    {},
    {"_content": None},
    {"_content": {"leaf_type": "artifact"}},
    {"_content": {"leaf_type": "artifact", "file_id": None}},
    {"_content": {"leaf_type": "artifact", "file_id": "../secret"}},
    {"_content": {"leaf_type": "artifact", "file_id": "id/name"}},
    {"_content": {"leaf_type": "file", "file_id": "../outside"}},
    {"_content": {"leaf_type": "file", "file_id": "/etc/passwd"}},
]


@pytest.mark.parametrize("kind", ["blob", "file"])
@pytest.mark.parametrize("reference", HOSTILE, ids=str)
def test_what_is_no_reference_into_the_folder_is_refused(tmp_path, old, writer, reference, kind):
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    with pytest.raises(InvalidReferenceError) as caught:
        getattr(ArtifactFolder(old), kind)(reference)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("name", ["..", ".", "../secret", "/etc/passwd", "nul\0", "sub/part"])
def test_the_name_of_a_file_leads_nowhere_else(tmp_path, old, writer, name):
    (tmp_path / "secret").write_text("secret")
    (old / "id" / "sub").mkdir(parents=True)
    (old / "id" / "sub" / "part").write_text("part")
    leaf = {"leaf_type": "file", "file_id": f"id/{name}"}
    for reference in (f"&:file:{name}:id", {"_content": leaf}):
        with pytest.raises(BlobNotFoundError, match="is not in"):
            ArtifactFolder(old).file(reference)


def test_links_and_what_superduper_never_makes_are_refused(tmp_path, old, writer):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    (old / "link").symlink_to(tmp_path / "outside" / "secret")
    (old / "linked").symlink_to(tmp_path / "outside")
    (old / "inside").mkdir()
    (old / "inside" / "link").symlink_to(tmp_path / "outside")
    (old / "dangling").symlink_to("nowhere")
    os.mkfifo(old / "fifo")
    folder = ArtifactFolder(old)
    for name in ("link", "linked", "dangling", "fifo", "inside"):
        with pytest.raises(SourceError, match="is a link, or of another kind"):
            folder.blob(f"&:blob:{name}")
    for name in ("link", "linked", "dangling", "fifo", "inside", SOUND):
        with pytest.raises(SourceError, match="is a link, or of another kind"):
            folder.file(f"&:file:{name}")


def test_the_folder_itself_may_be_a_link(tmp_path, old, writer):
    (tmp_path / "link").symlink_to(old)
    assert ArtifactFolder(tmp_path / "link").blob(f"&:blob:{SOUND}").read_bytes() == b"sound"


def test_what_may_not_be_read_is_named(old, writer):
    (old / SOUND).chmod(0)
    with mere_user(), pytest.raises(SourceError, match=f"cannot read '&:blob:{SOUND}': Permission"):
        ArtifactFolder(old).blob(f"&:blob:{SOUND}")
