"""A part of a directory is unpacked, and no more than that is fetched."""

import os
import stat
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqla_artifacts.digest import digest_of
from sqla_artifacts.errors import InvalidTreeError, UnpackError
from sqla_artifacts.member import Member
from sqla_artifacts.tree import Manifest, Part
from sqla_artifacts.unpacking import fillings, requests, split

from ..models import counting
from ..trees import build, listing

MIB = 1 << 20
ENTRIES = [
    (b".", 0o755, None),
    (b"config.json", 0o640, b"{}"),
    (b"current", b"v2"),
    (b"run.sh", 0o755, b"#!/bin/sh\n"),
    (b"v1", 0o755, None),
    (b"v1/empty", 0o500, None),
    (b"v1/model.bin", 0o644, b"1" * MIB),
    (b"v1/vocabulary", 0o644, b"a b"),
    (b"v2", 0o750, None),
    (b"v2/model.bin", 0o644, b"2" * MIB),
    (b"v2/none", 0o600, b""),
    (b"v2/nowhere", b"not/there"),
    (b"v2/vocabulary", b"../v1/vocabulary"),
]
V1 = ["v1", "v1/empty", "v1/model.bin", "v1/vocabulary"]
V2 = ["v2", "v2/model.bin", "v2/none", "v2/nowhere", "v2/vocabulary"]


@pytest.fixture
def versions(stored, tmp_path):
    """A stored directory of two versions of a model, with links; and what it holds."""
    source = build(tmp_path / "models", ENTRIES)
    return *stored(source), listing(source)


SELECTIONS = [
    ("config.json", ["config.json"]),
    (["config.json"], ["config.json"]),
    (["v1"], V1),
    ("v1/*", V1),
    ([PurePosixPath("v1") / "vocabulary", "run.sh"], ["run.sh", "v1", "v1/vocabulary"]),
    (["./v1//vocabulary", "v1/vocabulary"], ["v1", "v1/vocabulary"]),
    ("**/model.bin", ["v1", "v1/model.bin", "v2", "v2/model.bin"]),
    ("v1/*/", ["v1", "v1/empty"]),
    # A link brings what it leads to.
    (["current"], ["current", "v1", "v1/vocabulary", *V2]),
    (["current/none"], ["current", "v2", "v2/none"]),
    (["v2/vocabulary"], ["v1", "v1/vocabulary", "v2", "v2/vocabulary"]),
    ("v2/no*", ["v2", "v2/none", "v2/nowhere"]),
    (["v2/nowhere"], ["v2", "v2/nowhere"]),
    (["v1/../config.json"], ["config.json", "v1"]),
    (["."], ["config.json", "current", "run.sh", *V1, *V2]),
    ([], []),
]


@pytest.mark.parametrize(("members", "expected"), SELECTIONS, ids=lambda value: str(value)[:30])
def test_what_is_asked_for_is_there_and_nothing_else(versions, tmp_path, members, expected):
    models, _, content = versions
    path = models.unpack(tmp_path / "to", members=members)
    assert path == tmp_path / "to" / "models"
    found = listing(path)
    assert sorted(map(os.fsdecode, found)) == sorted([".", *expected])
    assert found == {name: content[name] for name in found}


def test_members_are_given_as_they_were_found(versions, tmp_path):
    models, _, content = versions
    path = models.unpack(tmp_path / "to", members=models.glob("v1/m*"))
    assert set(listing(path)) == {b".", b"v1", b"v1/model.bin"}
    part = (models / "v1").unpack(tmp_path / "part", members=(models / "v1").glob("m*"))
    assert part == tmp_path / "part" / "v1"
    assert listing(part) == {b".": content[b"v1"], b"model.bin": content[b"v1/model.bin"]}
    with pytest.raises(ValueError, match="is not in"):
        (models / "v1").unpack(tmp_path / "other", members=[models / "run.sh"])


def test_a_directory_inside_is_unpacked_by_itself(versions, tmp_path):
    models, _, content = versions
    path = (models / "v1").unpack(tmp_path)
    assert path == tmp_path / "v1"
    assert listing(path) == {
        name.removeprefix(b"v1/") if name != b"v1" else b".": value
        for name, value in content.items()
        if name.startswith(b"v1")
    }
    with pytest.raises(InvalidTreeError, match=r"^sample\.run: a link in 'v2' leads out of it"):
        (models / "v2").unpack(tmp_path)
    assert not (tmp_path / "v2").exists()


def test_a_file_is_unpacked_by_itself_with_its_mode(versions, tmp_path):
    models, _, _ = versions
    for member, name, mode in (
        ("run.sh", "run.sh", 0o755),
        ("current/model.bin", "model.bin", 0o644),
    ):
        path = (models / member).unpack(tmp_path / "to")
        assert path == tmp_path / "to" / name
        assert stat.S_IMODE(path.stat().st_mode) == mode
        assert path.read_bytes() == (models / member).read_bytes()
    with pytest.raises(UnpackError, match=r"^sample\.run: .*File exists"):
        (models / "run.sh").unpack(tmp_path / "to")


def test_what_is_not_there_is_refused_before_anything_is_made(versions, tmp_path):
    models, _, _ = versions
    for members in (["nothing"], ["config.json", "v1/nothing"], "*.zip", ["v2/nowhere/x"]):
        with pytest.raises(FileNotFoundError, match=r"sample\.run, &:tree:"):
            models.unpack(tmp_path / "to", members=members)
    with pytest.raises(NotADirectoryError):
        models.unpack(tmp_path / "to", members=["config.json/x"])
    assert not (tmp_path / "to").exists()


def test_a_shared_checkout_is_whole(versions):
    models, store, _ = versions
    for path in (models, models / "v1"):
        with pytest.raises(ValueError, match="say where"):
            path.unpack(members="*")
    assert not store.checkouts.exists()


def test_only_the_blobs_of_what_is_asked_for_are_opened(versions, tmp_path):
    models, store, _ = versions
    backend = counting(store)
    models.unpack(tmp_path / "to", members=["v2/model.bin"])
    assert backend.calls == ["get", "open"]
    models.unpack(tmp_path / "other", members="v2/n*")  # without any bytes
    assert backend.calls == ["get", "open"]


# -- ranges --------------------------------------------------------------------------------------


def manifest_of(sizes):
    """A manifest of files of these sizes, in one pack or by themselves."""
    members = [Member(".", "directory", 0o755)]
    for number, size in enumerate(sizes):
        # A digest that begins so ends no pack.
        digest = f"{'f' * 16}{digest_of(b'%d' % number, 'blake3')[16:]}"
        members.append(Member(f"f{number:03}", "file", 0o644, size, digest))
    packed = sum(size for size in sizes if size < MIB)
    packs = (Part("a" * 64, packed),) if packed else ()
    return Manifest(tuple(members), packs)


SIZES = st.lists(
    st.sampled_from([1, 1000, 100_000, 900_000, MIB, 5 * MIB]), min_size=1, max_size=40
)


@given(SIZES, st.data())
def test_the_ranges_hold_every_file_once_where_it_lies(sizes, data):
    manifest = manifest_of(sizes)
    files = {each.path: each for each in manifest.members if each.kind == "file"}
    paths = data.draw(st.sets(st.sampled_from(sorted(files)), min_size=1))
    chosen = {path: files[path] for path in paths}
    wanted = list(fillings(manifest, chosen))
    gap, size = data.draw(st.sampled_from([0, 1000, 10**6])), data.draw(st.sampled_from([0, MIB]))
    pieces = [piece for filling in wanted for piece in split(filling, gap=gap, size=size)]
    for ranges in (wanted, pieces, requests(wanted, data.draw(st.integers(1, 9)))):
        found = [(each.blob.digest, at, file) for each in ranges for at, file in each.files]
        assert sorted(file.path for *_, file in found) == sorted(paths)
        for digest, at, file in found:
            place = manifest.place(file.path)
            assert (place.digest, place.offset) == (digest, at)
        for each in ranges:
            assert 0 <= each.start <= each.files[0][0]
            assert max(at + file.size for at, file in each.files) <= each.end <= each.blob.size
    for piece in pieces:
        if not piece.is_large:
            ends = [piece.start, *(at + file.size for at, file in piece.files)]
            assert all(at - end <= gap for end, (at, _) in zip(ends, piece.files, strict=False))
            assert piece.size <= size or len(piece.files) == 1


def test_neighbours_are_one_request_and_no_more_requests_are_made_than_run_at_once():
    manifest = manifest_of([1000, *[200_000] * 300])
    files = {each.path: each for each in manifest.members if each.kind == "file"}
    spread = {path: files[path] for path in list(files)[::10]}
    neighbours = {path: files[path] for path in list(files)[100:120]}
    (few,) = requests(fillings(manifest, neighbours), 8)
    assert few.size == 20 * 200_000
    # A gap of 1.8 MB is more than a request costs.
    assert len(requests(fillings(manifest, spread), 8)) == 31
    dense = {path: files[path] for number, path in enumerate(files) if number % 90 in {0, 3}}
    assert len(requests(fillings(manifest, dense), 32)) == 8
    assert len(requests(fillings(manifest, dense), 4)) == 4
