"""Arrays: every kind comes back as it was, on the bytes that were read, and read-only."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as npst

from sqla_artifacts.datatypes import resolve
from sqla_artifacts.errors import DecodeError

from .test_datatypes import encoded, round_trip

DTYPES = (
    npst.scalar_dtypes()
    | npst.byte_string_dtypes(min_len=1)
    | npst.unicode_string_dtypes(min_len=1)
    | npst.nested_dtypes(max_leaves=4)
)
ARRAYS = npst.arrays(
    DTYPES.filter(lambda dtype: not dtype.hasobject),
    npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
)


def same(found, expected):
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    assert found.tobytes() == expected.tobytes()


@given(ARRAYS)
def test_an_array_comes_back(array):
    found = round_trip("numpy", array)
    same(found, array)
    assert type(found) is np.ndarray
    assert not found.flags.writeable


@pytest.mark.parametrize("dtype", ["f8", [("名前", "i4"), ("b", "S3")]])
def test_the_layout_of_an_array_in_memory_is_not_stored(dtype):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    layouts = [
        np.asfortranarray(array),
        np.ascontiguousarray(array.T).T,
        np.ascontiguousarray(array[::-1, :, ::-1])[::-1, :, ::-1],
        np.repeat(array, 2, axis=1)[:, ::2],
        np.broadcast_to(array, (1, *array.shape))[0],
    ]
    assert {encoded("numpy", layout) for layout in layouts} == {encoded("numpy", array)}


@pytest.mark.parametrize("inner", ["f8", [("c", "i1"), ("d", "f4", (2,))]])
def test_what_lies_between_fields_is_not_stored(inner):
    dtype = np.dtype([("a", "i1"), ("b", np.dtype(inner, align=True), (2,))], align=True)
    found = set()
    for rubbish in (0, 7):
        array = np.full(3 * dtype.itemsize, rubbish, np.uint8).view(dtype)
        for field in fields(array):
            field[...] = 1
        found.add(encoded("numpy", array))
    assert len(found) == 1


def fields(array):
    """Every field that has no others in it."""
    if array.dtype.names is None:
        return [array]
    return [field for name in array.dtype.names for field in fields(array[name])]


ARRAYS_BY_NAME = {
    "0-d": np.array(5.0),
    "empty": np.empty((0, 3)),
    "empty in the middle": np.empty((2, 0, 3), "i2"),
    "F order": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "big-endian": np.arange(5, dtype=">i4"),
    "structured": np.array([(1, 2.5, b"x")], dtype=[("a", "<i4"), ("b", ">f8"), ("c", "S3")]),
    "nested": np.zeros(2, dtype=[("a", [("b", "i2"), ("c", "f4", (2, 2))])]),
    "aligned": np.zeros(2, dtype=np.dtype([("a", "i1"), ("b", "f8")], align=True)),
    "unicode field names": np.zeros(2, dtype=[("größe", "i4"), ("名前", "U3")]),
    "many fields": np.zeros(1, dtype=[(f"field{i}", "i4") for i in range(1000)]),
    "very many fields": np.zeros(1, dtype=[(f"field{i}", "i4") for i in range(5000)]),
    "datetime64": np.array(["2024-02-29T12:00:00.5", "NaT"], "datetime64[ms]"),
    "timedelta64": np.array([1, -1], "timedelta64[25s]"),
    "text": np.array(["a", "ünï", ""]),
    "zero-width text": np.array(["", ""], dtype="U0"),
    "void": np.zeros(2, "V5"),
    "bool": np.array([[True], [False]]),
    "half": np.array([1, np.inf, np.nan, -0.0], "f2"),
    "complex": np.array([1 + 2j], "c16"),
    "one element": np.ones((1,) * 32, "i1"),
}


@pytest.mark.parametrize("name", ARRAYS_BY_NAME)
def test_every_kind_of_array_comes_back(name):
    array = ARRAYS_BY_NAME[name]
    found = round_trip("numpy", array)
    same(found, array)
    assert not found.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        found[...] = array


def test_an_array_is_not_copied_a_second_time():
    array = np.arange(100_000)
    data = encoded("numpy", array)
    found = resolve("numpy").decode(data)
    assert np.shares_memory(found, np.frombuffer(data, np.uint8))


def test_the_bytes_of_an_array_are_a_numpy_file(tmp_path):
    path = tmp_path / "array.npy"
    path.write_bytes(encoded("numpy", ARRAYS_BY_NAME["structured"]))
    np.testing.assert_array_equal(np.load(path), ARRAYS_BY_NAME["structured"])


def test_numpy_files_of_other_programs_are_read():
    for version in ((1, 0), (2, 0), (3, 0)):
        for array in (ARRAYS_BY_NAME["F order"], ARRAYS_BY_NAME["structured"]):
            fp = io.BytesIO()
            np.lib.format.write_array(fp, array, version=version)
            found = resolve("numpy").decode(fp.getvalue())
            same(found, array)
            assert not found.flags.writeable


def test_an_array_of_objects_is_never_read(tmp_path):
    path = tmp_path / "array.npy"
    np.save(path, np.array([print, 1], dtype=object), allow_pickle=True)
    with pytest.raises(DecodeError, match="object"):
        resolve("numpy").decode(path.read_bytes())
