"""`Archive`: a zip or tar file that is stored as the directory in it."""

import io
import os
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session
from starlette.datastructures import UploadFile
from werkzeug.datastructures import FileStorage

from sqla_artifacts.archive import Archive
from sqla_artifacts.directory import stage_directory
from sqla_artifacts.errors import InvalidValueError, SourceError
from sqla_artifacts.payload import Stage
from sqla_artifacts.source import name_of, stage_source
from sqla_artifacts.tree import parse_manifest

from ..programs.model import Sample, attach
from ..test_tree import names
from ..trees import GOLDEN, build, listing
from .archives import (
    COMPRESSIONS,
    pack_tar,
    pack_zip,
    zip_of,
)
from .server import CLIENTS, announced, serving

MIB = 1 << 20
ZIPS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
TAR_FORMATS = [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]


@pytest.fixture
def golden(tmp_path):
    """A directory with one of everything that a tree can hold."""
    (tmp_path / "golden").mkdir()
    return build(tmp_path / "golden", GOLDEN)


# -- the tree is that of the directory ---------------------------------------------------------


@pytest.mark.parametrize("mode", COMPRESSIONS.values())
def test_a_tar_file_has_the_digest_of_its_directory(golden, stage, mode):
    expected = stage_directory(golden, stage)
    for tar_format in TAR_FORMATS:
        found = Archive(pack_tar(golden, mode, tar_format)).stage(stage)
        assert (found.digest, found.total) == (expected.digest, expected.total)


@pytest.mark.parametrize("compression", ZIPS)
def test_a_zip_file_has_the_digest_of_its_directory(golden, stage, compression):
    expected = stage_directory(golden, stage)
    found = Archive(pack_zip(golden, compression)).stage(stage)
    assert (found.digest, found.total) == (expected.digest, expected.total)


@pytest.mark.parametrize(
    "command",
    [
        "tar cf {} -C golden .",
        "tar czf {} -C golden .",
        "tar cf {} -C golden --format=ustar .",
        "cd golden && zip -qry {} .",
    ],
)
def test_what_other_programs_pack(golden, stage, tmp_path, command):
    if shutil.which(command.split("&& ")[-1].split()[0]) is None:
        pytest.skip("no such program")
    packed = tmp_path / "packed"
    run = subprocess.run(command.format(packed), shell=True, cwd=tmp_path, check=False)
    packed = packed if packed.exists() else tmp_path / "packed.zip"
    assert run.returncode == 0
    found = parse_manifest(Archive(packed).stage(stage).content).members
    expected = parse_manifest(stage_directory(golden, stage).content).members
    assert found[1:] == expected[1:]  # zip leaves out the root


FILES = st.tuples(st.integers(0o400, 0o777).map(lambda mode: mode | 0o400), st.binary(max_size=20))
LINKS = st.sampled_from(["a", "a/b", "not/there", "..", "../a"])
TREES = st.recursive(
    FILES | LINKS, lambda below: st.dictionaries(names(60), below, max_size=4), max_leaves=12
)


def entries(node, path=b""):
    """What `build` takes of a drawn tree; links that would lead out are left out."""
    for name, below in node.items():
        here = path + name
        if isinstance(below, dict):
            yield here, 0o755, None
            yield from entries(below, here + b"/")
        elif isinstance(below, tuple):
            yield here, *below
        elif below.count("..") <= here.count(b"/"):
            yield here, os.fsencode(below)


def storable(node):
    """Say whether an archive may hold a drawn tree: no backslashes, and nothing like a drive."""
    return all(
        b"\\" not in name
        and not (len(name) == 2 and name[1:] == b":")
        and (not isinstance(below, dict) or storable(below))
        for name, below in node.items()
    )


def is_utf8(path):
    try:
        path.decode()
    except UnicodeDecodeError:
        return False
    return True


@settings(max_examples=40)
@given(st.dictionaries(names(), TREES, max_size=4).filter(storable), st.data())
def test_any_directory_has_the_same_digest_out_of_an_archive(tree, data):
    stage = Stage("blake3")
    with tempfile.TemporaryDirectory() as place:
        root = Path(place, "root")
        root.mkdir()
        found = list(entries(tree))
        build(root, found)
        expected = stage_directory(root, stage).digest
        mode = data.draw(st.sampled_from(sorted(COMPRESSIONS.values())))
        archives = [pack_tar(root, mode, data.draw(st.sampled_from(TAR_FORMATS)))]
        if all(is_utf8(path) for path, *_ in found):
            archives.append(pack_zip(root, data.draw(st.sampled_from(ZIPS))))
        for archive in archives:
            assert Archive(archive).stage(stage).digest == expected


# -- sources and names -------------------------------------------------------------------------


def test_archives_of_every_source_are_stored(engine, tmp_path, golden):
    store = attach(engine, tmp_path / "artifacts")
    packed = pack_tar(golden, "w:gz")
    path = tmp_path / "run-7.tar.gz"
    path.write_bytes(packed)
    expected = {**listing(golden), b"run.sh": (0o755, b"#!/bin/sh\n")}
    with path.open("rb") as fp:
        fp.seek(3)
        sources = [
            path,
            str(path),
            fp,
            FileStorage(io.BytesIO(packed), "../run-7.tgz"),
            UploadFile(io.BytesIO(packed), filename="C:\\run-7.TAR.GZ"),
        ]
        with Session(engine) as session:
            samples = [Sample(file=Archive(source)) for source in sources]
            samples.append(Sample(file=Archive(packed, name="run-7")))
            session.add_all(samples)
            session.commit()
            keys = [sample.id for sample in samples]
        assert fp.tell() == 3
    with Session(engine) as session:
        for key in keys:
            file = session.get_one(Sample, key).file
            assert (file.name, file.is_dir) == ("run-7", True)
            assert listing(file.unpack(tmp_path / str(key))) == expected
        assert store.get(file.reference).startswith(b"sqla_artifacts tree 1\n")


def test_archives_in_responses_of_every_client(golden, stage):
    packed = pack_zip(golden)
    expected = stage_directory(golden, stage).digest
    with serving({"/run.zip": announced(packed), "/cut.zip": announced(packed, cut=True)}) as url:
        for client in CLIENTS:
            with client(f"{url}/run.zip") as response:
                assert Archive(response).stage(stage).digest == expected


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("runs/7.zip", "7"),
        ("7.tar", "7"),
        ("7.tar.gz", "7"),
        ("7.tar.zst", "7"),
        ("7.TGZ", "7"),
        ("a.b-1.2.tar.bz2", "a.b-1.2"),
        ("v1.2", "v1.2"),
        ("a.zip.zip", "a.zip"),
        ("torch-2.0-py3-none-any.whl", "torch-2.0-py3-none-any"),
        (".zip", ".zip"),
        (".tar.gz", ".tar.gz"),
        ("run", "run"),
    ],
)
def test_the_trees_name_is_the_archives_without_its_suffix(path, name):
    for source in (
        path,
        FileStorage(io.BytesIO(), path),
    ):
        assert Archive(source).name == name_of(Archive(source)) == name
    assert Archive(path, name="mine").name == "mine"


def test_the_name_of_bytes_is_archive(stage):
    archive = Archive(zip_of())
    assert stage_source(archive, stage)[0].name == "archive"
    assert repr(archive) == "<Archive 'archive'>"


def test_a_name_that_no_directory_can_have_is_refused(stage):
    with pytest.raises(InvalidValueError, match=r"'a/b' is no name for a file"):
        stage_source(Archive(zip_of(), name="a/b"), stage)


@pytest.mark.parametrize("source", [None, 5, ("name", b"bytes"), ["a"]])
def test_what_is_no_source_is_refused_at_once(source):
    with pytest.raises(InvalidValueError, match=r"an archive is given as a path, .*not as a"):
        Archive(source)


def test_what_is_no_regular_file_is_refused(stage, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo"):
        with pytest.raises(SourceError, match=r"is no regular file, so it is no archive"):
            Archive(path).stage(stage)
    with pytest.raises(SourceError, match=r"cannot read '.*missing': No such file"):
        Archive(tmp_path / "missing").stage(stage)
