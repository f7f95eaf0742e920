"""Packs that begin like one that was made before are only hashed, until they turn out to differ."""

import pytest

from sqla_artifacts.contents import Contents
from sqla_artifacts.digest import digest_of
from sqla_artifacts.directory import stage_directory
from sqla_artifacts.errors import SourceError
from sqla_artifacts.payload import StagedFile

from .sources import make, stage_of, write

FILES = 12


@pytest.fixture
def source(tmp_path):
    return make(tmp_path / "source", small=FILES, large=0)


@pytest.fixture
def stage(tmp_path):
    return stage_of(tmp_path / "stage")


def staged_packs(tree):
    """The parts that lie in files of their own."""
    return [part for part in tree.parts if isinstance(part.content, StagedFile)]


def parts_of(tree, algorithm="blake3"):
    """The bytes of each part, by its digest, which is that of the bytes."""
    found = {}
    for part in tree.parts:
        with part.open() as fp:
            found[part.digest] = fp.read()
        assert digest_of(found[part.digest], algorithm) == part.digest
    return found


def test_what_was_made_before_is_hashed_and_not_written(source, stage):
    first = stage_directory(source, stage)
    assert len(staged_packs(first)) == len(first.parts) == 1
    second = stage_directory(source, stage)
    assert (second.content, staged_packs(second)) == (first.content, [])
    assert parts_of(second) == parts_of(first)


@pytest.mark.parametrize("name", ["0/0.txt", "1/4.txt", "2/11.txt", "3/more.txt"])
def test_what_differs_after_all_is_written(source, stage, tmp_path, name):
    stage_directory(source, stage)
    write(source / name, b"other content")
    found = stage_directory(source, stage)
    expected = stage_directory(source, stage_of(tmp_path / "fresh"))
    assert found.content == expected.content
    assert len(staged_packs(found)) == 1
    assert parts_of(found) == parts_of(expected)


def test_what_changes_before_it_is_read_a_second_time_is_refused(source, stage, monkeypatch):
    stage_directory(source, stage)
    write(source / "2/11.txt", b"other content")
    read = Contents.read

    def changed(self, folder, member, room):
        write(source / "1/4.txt", b"changed meanwhile")
        read(self, folder, member, room)

    with monkeypatch.context() as patched:
        patched.setattr(Contents, "read", changed)
        with pytest.raises(SourceError, match=r"1/4\.txt.* changed"):
            stage_directory(source, stage)
    assert parts_of(stage_directory(source, stage))


def test_what_changed_before_a_store_turns_out_to_need_it_is_refused(source, stage):
    stage_directory(source, stage)
    again = stage_directory(source, stage)
    write(source / "1/4.txt", b"changed meanwhile")
    with pytest.raises(SourceError, match="changed"):
        again.parts[0].open()
