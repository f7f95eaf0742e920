"""What zip and tar files say in ways of their own."""

import bz2
import gzip
import importlib
import io
import lzma
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib

import pytest

from sqla_artifacts.archive import Archive
from sqla_artifacts.directory import stage_directory
from sqla_artifacts.errors import InvalidValueError, SourceError
from sqla_artifacts.tree import parse_manifest

from .archives import hard_link, member, tar_of, zip_member, zip_of

MIB = 1 << 20


def modes(archive, stage):
    """The modes of an archive's members, without that of the root."""
    payload = Archive(archive).stage(stage)
    members = parse_manifest(payload.content).members[1:]
    return {member.path: f"{member.mode:o}" for member in members}


def test_archives_that_tell_no_permissions(stage):
    archive = zip_of(zip_member("a/b", b"b"), zip_member("c/"))
    assert modes(archive, stage) == {"a": "755", "a/b": "644", "c": "755"}


def test_nothing_is_less_than_readable_for_its_owner(stage):
    archive = tar_of(
        member("a", b"a", mode=0),
        member("b", type=tarfile.DIRTYPE, mode=0o022),
        member("b/c", b"c", mode=0o4711),
    )
    assert modes(archive, stage) == {"a": "400", "b": "522", "b/c": "711"}


def test_a_directory_that_is_told_after_its_members(stage):
    archive = tar_of(
        member("a/b/c", b"c", mode=0o600),
        member("a/b", type=tarfile.DIRTYPE, mode=0o500),
        member(".", type=tarfile.DIRTYPE, mode=0o700),
    )
    assert modes(archive, stage) == {"a": "755", "a/b": "500", "a/b/c": "600"}
    assert b"d 700 .\n" in Archive(archive).stage(stage).content


def test_a_hard_link_becomes_a_file(stage):
    archive = tar_of(member("a", b"content", mode=0o644), hard_link("b/c", "./a"))
    found = Archive(archive).stage(stage)
    assert found.total == 2 * len(b"content")
    assert b"f 644 7" in found.content
    assert found.content.count(b" b/c\n") == 1


def test_a_sparse_member(stage, tmp_path):
    if shutil.which("tar") is None:
        pytest.skip("no tar")
    with (tmp_path / "sparse").open("wb") as fp:
        fp.truncate(4 * MIB)
        fp.seek(2 * MIB)
        fp.write(b"middle")
    for tar_format in ("gnu", "posix"):
        command = ["tar", "cSf", "packed", f"--format={tar_format}", "sparse"]
        subprocess.run(command, cwd=tmp_path, check=True)
        assert (tmp_path / "packed").stat().st_size < MIB
        found = Archive(tmp_path / "packed").stage(stage)
        with found.parts[0].open() as fp:
            assert fp.read() == (tmp_path / "sparse").read_bytes()


def test_the_names_in_zip_files(stage):
    assert modes(zip_of(zip_member("ä€.txt")), stage) == {"ä€.txt": "644"}
    field = b"\x01" + zlib.crc32(b"caf\x82.txt").to_bytes(4, "little") + "€.txt".encode()
    extra = b"\x75\x70" + len(field).to_bytes(2, "little") + field
    for attributes, raw, name in [
        ({}, b"caf\x82.txt", "café.txt"),  # code page 437
        ({"create_system": 0}, b"caf\xc3\xa9.txt", "caf├⌐.txt"),
        ({"create_system": 3}, b"caf\xc3\xa9.txt", "café.txt"),  # zip on Linux says no more
        ({"extra": extra}, b"caf\x82.txt", "€.txt"),
        ({"extra": extra}, b"caf\x83.txt", "cafâ.txt"),  # of a name that was changed later
    ]:
        plain = "caf" + "?" * (len(raw) - 7) + ".txt"
        archive = zip_of(zip_member(plain, **attributes)).replace(plain.encode(), raw)
        assert modes(archive, stage) == {name: "644"}


def test_empty_archives(stage):
    empty = stage_directory_of(stage)
    for archive in (zip_of(), tar_of(), tar_of(mode="w:xz"), zip_of(zip_member("./"))):
        assert Archive(archive).stage(stage).digest == empty


def stage_directory_of(stage):
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        return stage_directory(place, stage).digest


def test_a_zip_file_behind_a_program_and_a_zip_file_in_a_tar_file(stage):
    packed = zip_of(zip_member("a"))
    assert modes(b"#!/bin/sh\n" * 100 + packed, stage) == {"a": "644"}
    inside = tar_of(member("a.zip", packed, mode=0o600))
    assert zipfile.is_zipfile(io.BytesIO(inside))
    assert modes(inside, stage) == {"a.zip": "600"}


def test_compressed_files_of_several_streams(stage):
    tar = tar_of(member("a", bytes(range(256)) * 100, mode=0o644))
    for compress in (gzip.compress, bz2.compress, lzma.compress):
        packed = compress(tar[:1000]) + compress(tar[1000:])
        assert modes(packed, stage) == {"a": "644"}
    assert modes(lzma.compress(tar[:7]) + bytes(8) + lzma.compress(tar[7:]), stage) == {"a": "644"}


def test_zstd_where_python_has_it(stage):
    tar = tar_of(member("a", b"content", mode=0o644))
    if sys.version_info >= (3, 14):
        packed = importlib.import_module("compression.zstd").compress(tar)
        assert modes(packed, stage) == {"a": "644"}
    else:
        with pytest.raises(SourceError, match=r"cannot read 'archive': .*Python 3.14 or later"):
            Archive(b"\x28\xb5\x2f\xfd" + tar).stage(stage)


def test_the_columns_own_limit_holds_while_an_archive_is_unpacked(stage):
    stage.limit = 10
    with pytest.raises(InvalidValueError, match="more bytes than the column's max_size of 10"):
        Archive(tar_of(member("a", bytes(6)), member("b", bytes(2000)))[:1600]).stage(stage)
    assert Archive(tar_of(member("a", bytes(10)))).stage(stage).total == 10


def test_a_deep_tree_is_stored_and_cleared_away(stage):
    deep = "/".join("x" * 1100)
    assert len(modes(tar_of(member(deep)), stage)) == 1100
