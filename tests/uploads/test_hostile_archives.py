"""Archives that are refused: as a whole, and before anything is stored."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session
from werkzeug.datastructures import FileStorage

from sqla_artifacts.archive import Archive
from sqla_artifacts.errors import ArtifactError, InvalidTreeError, SourceError
from sqla_artifacts.payload import Stage
from sqla_artifacts.tree import parse_manifest

from ..programs.checks import blob_files, check_usable, ledger_of, temporary_files
from ..programs.model import Sample, attach
from ..trees import listing
from .archives import link, member, tar_of, zip_link, zip_member, zip_of
from .hostile import HOSTILE


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_archive_is_refused_and_writes_nothing(tmp_path, what):
    error, data = HOSTILE[what]
    for name in ("stage", "canary"):
        (tmp_path / name).mkdir()
    (tmp_path / "canary" / "file").write_bytes(b"canary")
    (tmp_path / "evil.zip").write_bytes(data)
    before = listing(tmp_path)
    for source in (data, tmp_path / "evil.zip"):
        with (
            Stage("blake3", tmp_path / "stage") as stage,
            pytest.raises(error, match=r"'(archive|evil.zip|.*/evil.zip)'") as caught,
        ):
            Archive(source).stage(stage)
        assert type(caught.value) is error
        assert len(str(caught.value)) < 600
        stage.discard()
        assert listing(tmp_path) == before


def test_hostile_archives_store_nothing(engine, tmp_path):
    store = attach(engine, tmp_path / "artifacts")
    with Session(engine) as session:
        for error, data in HOSTILE.values():
            session.add_all([Sample(data=b"good"), Sample(file=Archive(data))])
            with pytest.raises(error, match=r"^sample\.file: "):
                session.commit()
            session.rollback()
        assert session.query(Sample).count() == 0
        assert ledger_of(session) == set()
        assert temporary_files(store.backend.root) == []
        assert blob_files(store.backend.root) == {}
        check_usable(session)


def test_the_error_names_the_archive_and_the_member(stage):
    message = r"the archive 'a' is refused for its member '\.\./x': '\.\.' is not a name of"
    archive = Archive(FileStorage(io.BytesIO(tar_of(member("../x"))), "a"), name="b")
    with pytest.raises(InvalidTreeError, match=message):
        archive.stage(stage)


def test_the_error_says_that_an_archive_is_encrypted(stage):
    with pytest.raises(SourceError, match=r"^the archive 'archive' is encrypted: decrypt it first"):
        Archive(HOSTILE["zip: encrypted"][1]).stage(stage)


SEEDS = [
    *(
        tar_of(member("a/b", b"content" * 20), link("c", "a/b"), member("d"), mode=mode)
        for mode in ("w", "w:gz", "w:bz2", "w:xz")
    ),
    *(
        zip_of(zip_member("a/b", b"content" * 20), zip_link("c", "a/b"), compression=method)
        for method in (0, 8, 12, 14)
    ),
]


@st.composite
def mutated(draw):
    """An archive of which a few bytes are others, too many or missing."""
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        change = draw(st.sampled_from(["replace", "flip", "insert", "delete", "cut", "double"]))
        if change == "replace":
            new = draw(st.binary(min_size=1, max_size=8))
            data[at : at + len(new)] = new
        elif change == "flip" and at < len(data):
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif change == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=8))
        elif change == "delete":
            del data[at : at + draw(st.integers(1, 600))]
        elif change == "double":
            data[at:at] = data[at : at + draw(st.integers(1, 600))]
        elif change == "cut":
            del data[at:]
    return bytes(data)


def is_a_tree_or_an_error(data):
    try:
        payload = Archive(data, max_size=1 << 20, max_members=100).stage(Stage("blake3"))
    except ArtifactError:
        return
    parse_manifest(payload.content)


@settings(max_examples=400)
@given(mutated())
def test_a_mutated_archive_is_a_tree_or_an_error(data):
    is_a_tree_or_an_error(data)


@pytest.mark.slow
@settings(max_examples=20_000)
@given(mutated())
def test_many_mutated_archives_are_trees_or_errors(data):
    is_a_tree_or_an_error(data)


@given(st.binary(), st.sampled_from([seed[:20] for seed in SEEDS]))
def test_random_bytes_are_no_archive(data, start):
    for hostile in (data, start + data):
        is_a_tree_or_an_error(hostile)
