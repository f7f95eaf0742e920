"""Nothing that is damaged is served, or kept."""

import os

import pytest

from sqla_artifacts.checkout import unpack_to
from sqla_artifacts.directory import stage_directory
from sqla_artifacts.errors import BlobCorruptedError
from sqla_artifacts.fetching import open_member
from sqla_artifacts.location import key_of
from sqla_artifacts.reference import Reference
from sqla_artifacts.tree import parse_manifest

from ..programs.cache import (
    DATA,
    DIGEST,
    LARGEST,
    MIB,
    TEXT,
    UNCHECKED,
    WAYS,
    content,
    copies,
    damage,
    only_copy,
    put,
)
from ..programs.checks import temporary_files
from ..test_bad_store import emptied, longer, one_bit_flipped, truncated


@pytest.mark.parametrize("read", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("how", [emptied, truncated, longer, one_bit_flipped])
def test_a_damaged_copy_is_replaced(store, read, how):
    put(store, DATA)
    read(store, TEXT)
    damage(only_copy(store), how)
    assert read(store, TEXT) == DATA
    assert only_copy(store).read_bytes() == DATA


def test_a_damaged_copy_is_discarded_though_there_is_no_other(store):
    put(store, DATA)
    for look in (store.cache.get, store.cache.open):
        store.get(TEXT)
        damage(only_copy(store), truncated)
        assert look(DIGEST, "blake3") is None
        assert copies(store.cache.path) == {}


@pytest.mark.parametrize("how", [emptied, truncated, longer, one_bit_flipped])
def test_a_directory_is_unpacked_and_read_over_damaged_copies(store, tmp_path, how):
    source = tmp_path / "source"
    source.mkdir()
    files = {"small": DATA, "other": content(4), "large": os.urandom(2 * MIB)}
    for name, data in files.items():
        (source / name).write_bytes(data)
    store.prepare()
    payload = stage_directory(source, store.stage)
    store.put([(each, 0) for each in (payload, *payload.parts)])
    tree = Reference("tree", payload.digest, sum(map(len, files.values())), "source")
    unpack_to(store, tree, tmp_path / "once")
    assert len(copies(store.cache.path)) == 3
    for path in copies(store.cache.path).values():
        damage(path, how)
    there = unpack_to(store, tree, tmp_path / "again")
    assert {path.name: path.read_bytes() for path in there.iterdir()} == files
    for path in copies(store.cache.path).values():
        damage(path, how)
    for name, data in files.items():
        with open_member(store, parse_manifest(store.get(tree)), name) as stream:
            assert stream.read() == data


@pytest.mark.parametrize("how", [truncated, longer, one_bit_flipped])
def test_a_damaged_copy_that_is_too_large_to_check_first_fails_once(store, monkeypatch, how):
    put(store, DATA)
    store.get(TEXT)
    damage(only_copy(store), how)
    monkeypatch.setattr("sqla_artifacts.cache.SMALL", LARGEST - 2)
    with store.open(TEXT) as stream, pytest.raises(BlobCorruptedError, match="read it again"):
        stream.read()
    with store.open(TEXT) as stream:
        assert stream.read() == DATA


@pytest.mark.parametrize("read", WAYS.values(), ids=WAYS)
def test_what_is_damaged_in_the_store_is_not_kept(store, read):
    put(store, DATA)
    store.backend.put([(key_of(DIGEST), store.stage.data(DATA[:-1]))])
    with pytest.raises(BlobCorruptedError):
        read(store, TEXT)
    assert copies(store.cache.path) == {}
    store.put([(store.stage.data(DATA), 1)])
    assert read(store, TEXT) == DATA
    assert only_copy(store).read_bytes() == DATA


def test_an_error_of_the_store_is_raised_and_leaves_nothing(store, monkeypatch, caplog):
    text = put(store, bytes(MIB))
    plain = store.backend.range

    def broken(key, start, length):
        if start:
            raise ConnectionResetError("lost")
        return plain(key, start, length)

    monkeypatch.setattr(store.backend, "range", broken)
    for read in (UNCHECKED, WAYS["open_sound"], WAYS["payload"]):
        with pytest.raises(ConnectionResetError, match="lost"):
            read(store, text)
    assert copies(store.cache.path) == {}
    assert temporary_files(store.cache.path / "sqla_artifacts") == []
    assert caplog.records == []
