"""Copies of sparse files: the same bytes, and no holes copied."""

import contextlib
import os
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqla_artifacts.copying import copy, copy_and_hash
from sqla_artifacts.digest import CHUNK, digest_of

from ..test_copying import STEP, content, data_of, files, linux


@contextlib.contextmanager
def sparse(ranges, size):
    """A source of that size with bytes at these places only, and an empty target."""
    with files(b"") as (source, target):
        os.ftruncate(source, size)
        for at, length in ranges:
            os.pwrite(source, data_of(length), at)
        yield source, target


places = st.tuples(st.integers(0, 4 * STEP), st.integers(1, 2 * CHUNK))


@given(ranges=st.lists(places, max_size=4), size=st.integers(0, 6 * STEP), fast=st.booleans())
@settings(max_examples=40)
def test_a_copy_of_a_sparse_file_has_its_bytes(ranges, size, fast):
    size = max([size, *(at + length for at, length in ranges)])
    with sparse(ranges, size) as (source, target):
        os.lseek(source, 3, os.SEEK_SET)
        expected = content(source)
        found = copy_and_hash(source, target, "blake3", fast=fast)
        assert found == (digest_of(expected, "blake3"), size)
        assert content(target) == expected
        assert os.lseek(source, 0, os.SEEK_CUR) == 3


@linux
@pytest.mark.parametrize("way", [copy, partial(copy_and_hash, algorithm="blake3")])
@pytest.mark.parametrize("ranges", [[], [(0, CHUNK)], [(5 * STEP, CHUNK)], [(64 * CHUNK - 1, 1)]])
def test_holes_are_not_copied(ranges, way):
    with sparse(ranges, 64 * CHUNK) as (source, target):
        if os.fstat(source).st_blocks * 512 >= 64 * CHUNK:
            pytest.skip("no sparse files here")
        way(source, target)
        assert os.fstat(target).st_size == 64 * CHUNK
        assert os.fstat(target).st_blocks <= os.fstat(source).st_blocks + 8


@linux
def test_a_sparse_file_that_is_cut_meanwhile_ends(monkeypatch):
    real = os.lseek

    def cutting(descriptor, offset, what):
        if what == os.SEEK_HOLE:
            os.ftruncate(descriptor, 10)
        return real(descriptor, offset, what)

    with sparse([(3 * STEP, CHUNK)], 6 * STEP) as (source, target):
        monkeypatch.setattr(os, "lseek", cutting)
        assert copy(source, target) >= 10


@linux
def test_every_step_of_a_copy_is_told():
    for fast in (True, False):
        with sparse([(STEP, CHUNK)], 4 * STEP) as (source, target):
            steps = []
            copy_and_hash(source, target, "blake3", fast=fast, copied=steps.append)
            assert sum(steps) == 4 * STEP
            assert 4 <= len(steps) <= 40
