"""Datatypes: what goes in comes back, and everything else is refused with the reason."""

import math
import pickle

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sqla_artifacts import EMPTY, Artifact, DataType, FileDir, LazyArtifact
from sqla_artifacts.datatypes import BUILTIN, resolve
from sqla_artifacts.errors import DecodeError, InvalidValueError, UnknownDataTypeError
from sqla_artifacts.lazy import Loaded, Origin
from sqla_artifacts.payload import Spool, Stage, StagedFile
from sqla_artifacts.reference import Reference

from .models import make_store

STAGE = Stage("blake3")


def encoded(datatype, value):
    payload = resolve(datatype).encode(value, STAGE)
    with payload.open() as stream:
        data = stream.read()
    assert payload.size == len(data)
    return data


def round_trip(datatype, value):
    return resolve(datatype).decode(encoded(datatype, value))


@given(st.binary())
def test_bytes_come_back(value):
    for given_as in (value, bytearray(value), memoryview(value)):
        assert encoded("bytes", given_as) == value
        assert round_trip("bytes", given_as) == value
        assert type(round_trip("bytes", given_as)) is bytes


def test_a_memoryview_of_any_shape_is_its_bytes():
    view = memoryview(np.arange(6, dtype="<u2").reshape(2, 3))
    assert encoded("bytes", view) == bytes(view)
    assert encoded("bytes", view[::-1]) == bytes(view[::-1])


@given(st.text())
@example("\0")
@example("a\r\nb")
@example("\ufeffbom")
def test_text_comes_back(value):
    assert round_trip("text", value) == value


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)  # fmt: skip


@given(JSON)
def test_json_comes_back(value):
    assert round_trip("json", value) == value


@given(st.dictionaries(st.text(), st.integers()))
def test_json_of_equal_values_is_equal(value):
    assert encoded("json", value) == encoded("json", dict(reversed(value.items())))


@given(JSON | st.tuples(st.binary(), st.sets(st.integers()), st.complex_numbers(allow_nan=False)))
def test_pickle_comes_back(value):
    assert round_trip("pickle", value) == value


class Subarray(np.ndarray):
    pass


REFUSED = {
    "bytes": ["text", 5, None, [1], object()],
    "text": [b"bytes", 5, None, "\ud800"],
    "json": [{1, 2}, b"bytes", math.nan, math.inf, object(), {(1, 2): 3}],
    "pickle": [lambda: None, (i for i in ())],
    "numpy": [
        [1, 2],
        5.0,
        np.float64(5),
        np.array([object()]),
        np.array([("a", 1)], dtype=[("a", "O"), ("b", "i4")]),
        np.ma.masked_array([1, 2], [True, False]),
        np.arange(3).view(Subarray),
        np.array(["a"], dtype=np.dtypes.StringDType()),
    ],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in REFUSED.items() for value in values]
)
def test_a_value_of_another_kind_is_refused(name, value):
    with pytest.raises(InvalidValueError) as caught:
        encoded(name, value)
    assert f"datatype {name!r} cannot encode a {type(value).__qualname__}: " in str(caught.value)


def test_json_with_keys_that_are_no_text_is_refused_or_comes_back_as_text():
    assert round_trip("json", {1: "a"}) == {"1": "a"}
    with pytest.raises(InvalidValueError):
        encoded("json", {1: "a", "b": 2})


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("text", b"\xff"),
        ("json", b"{"),
        ("pickle", b"garbage"),
        ("pickle", b""),
        ("numpy", b""),
        ("numpy", b"garbage"),
        ("numpy", encoded("numpy", np.arange(9))[:-1]),
        ("numpy", encoded("numpy", np.arange(9))[:60]),
        ("numpy", encoded("pickle", np.arange(9))),
    ],
)
def test_bytes_that_are_no_such_value_are_a_decode_error(name, data):
    with pytest.raises(DecodeError, match=f"datatype '{name}' cannot decode {len(data)} bytes: "):
        resolve(name).decode(data)


# -- datatypes of one's own ----------------------------------------------------------------------


def scale(value, info):
    return str(value * info["factor"]).encode()


def unscale(data, info):
    return int(data) // info["factor"]


def dump_lines(value, fp, info):
    fp.writelines(f"{line}\n".encode() for line in value)


def load_lines(data, info):
    return data.decode().splitlines()


def refuse(*args):
    msg = "I never do"
    raise RuntimeError(msg)


SCALED = DataType("scaled-1.0_x", scale, unscale, info={"factor": 3}, media_type="x/y")
LINES = DataType("lines", refuse, load_lines, dump=dump_lines)


def test_info_goes_to_the_encoder_and_the_decoder():
    assert encoded(SCALED, 5) == b"15"
    assert round_trip(SCALED, 5) == 5


def test_what_an_encoder_returns_has_to_be_bytes():
    for make in (bytearray, memoryview, bytes):
        datatype = DataType("x", lambda value, info, make=make: make(value), load_lines)
        assert encoded(datatype, b"abc") == b"abc"
    for result in ("text", 5, None, [1]):
        datatype = DataType("x", lambda value, info, result=result: result, load_lines)
        with pytest.raises(InvalidValueError, match=f"gave a {type(result).__name__}, not bytes"):
            encoded(datatype, b"abc")


def test_a_bytearray_that_the_encoder_reuses_is_copied():
    buffer = bytearray(b"abc")
    payload = DataType("x", lambda value, info: buffer, load_lines).encode(None, STAGE)
    buffer[:] = b"xyz"
    with payload.open() as stream:
        assert stream.read() == b"abc"


def test_dump_takes_the_place_of_the_encoder_and_streams(tmp_path, monkeypatch):
    monkeypatch.setattr(Spool, "LIMIT", 100)
    small = LINES.encode(["a"], STAGE)
    large = LINES.encode((str(i) for i in range(100)), Stage("blake3", tmp_path))
    assert isinstance(small.content, bytes)
    assert isinstance(large.content, StagedFile)
    assert large.content.path.parent == tmp_path
    with large.open() as stream:
        assert LINES.decode(stream.read()) == [str(i) for i in range(100)]
    del large
    assert list(tmp_path.iterdir()) == []


def test_whatever_goes_wrong_says_which_datatype_and_why():
    with pytest.raises(
        InvalidValueError, match="'x' cannot encode a int: RuntimeError: I never do"
    ):
        encoded(DataType("x", refuse, refuse), 5)
    with pytest.raises(DecodeError, match="'x' cannot decode 2 bytes: RuntimeError: I never do"):
        DataType("x", refuse, refuse).decode(b"ab")
    with pytest.raises(InvalidValueError, match="'x' cannot encode a int: RuntimeError"):
        encoded(DataType("x", scale, unscale, dump=refuse), 5)


def test_the_message_never_quotes_a_large_value():
    def echo(value, info):
        raise ValueError(value)

    with pytest.raises(InvalidValueError) as caught:
        encoded(DataType("x", echo, refuse), "secret" * 100)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("identifier", ["", "a b", "a:b", "-a", ".", "ä", "a" * 65, "a\n", "a/b"])
def test_an_identifier_has_to_fit_into_a_reference(identifier):
    with pytest.raises(ValueError, match="identifier"):
        DataType(identifier, scale, unscale)


def test_an_unknown_name_is_refused_with_the_known_ones():
    for column_type in (Artifact, LazyArtifact):
        with pytest.raises(UnknownDataTypeError, match=r"'npy'.*bytes, text, .*numpy"):
            column_type("npy")
        with pytest.raises(UnknownDataTypeError, match="'npy'"):
            column_type("numpy", accepts=["npy"])


def test_column_type_is_what_encodable_names():
    def made(encodable, **options):
        return DataType("x", scale, unscale, encodable=encodable).column_type(**options)

    assert type(made("artifact")) is Artifact
    assert type(made("lazy_artifact", accepts=["pickle"], store="other")) is LazyArtifact
    assert made("lazy_artifact", store="other").store == "other"
    assert type(made("file")) is FileDir
    with pytest.raises(ValueError, match="encodable"):
        made("lazy")


def test_a_datatype_is_pickled_by_name_or_by_its_functions(tmp_path):
    for datatype in BUILTIN.values():
        assert pickle.loads(pickle.dumps(datatype)) is datatype
    copy = pickle.loads(pickle.dumps(SCALED))
    assert vars(copy) == vars(SCALED)
    assert encoded(copy, 5) == b"15"
    assert "scaled" in repr(copy)


def test_a_proxy_of_a_datatype_of_ones_own_is_pickled(tmp_path):
    store = make_store(tmp_path)
    payload = SCALED.encode(5, store.stage)
    store.put([(payload, 0)])
    reference = Reference("blob", payload.digest, payload.size, SCALED.identifier)
    proxy = Loaded(EMPTY, Origin(store, (SCALED,), "t.c"), str(reference))
    assert pickle.loads(pickle.dumps(proxy)).unpack() == 5
    assert proxy.media_type == "x/y"
