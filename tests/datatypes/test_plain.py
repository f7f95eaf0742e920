"""Bytes, text, JSON, pickles and arrays keep what every datatype promises."""

import functools
import math

import numpy as np
from hypothesis import strategies as st

from sqla_artifacts.datatypes import BUILTIN
from sqla_artifacts.testing import DataTypeConformance

from ..test_datatypes import JSON, REFUSED
from ..test_numpy import ARRAYS, ARRAYS_BY_NAME

NESTED = [None, 5, "text", {"a": [1, 2.5, None], "b": {"c": "ünï"}}, list(range(1000))]


class TestBytes(DataTypeConformance):
    datatype = BUILTIN["bytes"]
    values = (b"", b"one", bytes(range(256)) * 100)
    strategy = st.binary()
    refused = REFUSED["bytes"]


class TestText(DataTypeConformance):
    datatype = BUILTIN["text"]
    values = ("", "one", "ünï\0\r\n" * 1000)
    strategy = st.text()
    refused = (b"a secret of some length", 5, "\ud800 a secret of some length")
    corrupt = (b"\xff", b"\xed\xa0\x80")


class TestJson(DataTypeConformance):
    datatype = BUILTIN["json"]
    values = NESTED
    strategy = JSON
    refused = ({"a secret of some length"}, math.nan, object())
    corrupt = (b"", b"{", b"\xff", b"[1] 2")


class TestPickle(DataTypeConformance):
    datatype = BUILTIN["pickle"]
    values = (*NESTED, {1, 2}, (b"bytes", 1j))
    strategy = JSON | st.sets(st.integers())
    refused = (lambda: None, (i for i in ()))
    corrupt = (b"", b"garbage", b"\x80\x05.")
    safe = False


def adder(number):
    return lambda other: other + number


class TestCloudpickle(DataTypeConformance):
    datatype = BUILTIN["cloudpickle"]
    values = (*NESTED, adder(5), functools.partial(adder(1), 2))
    strategy = JSON
    refused = ((i for i in ()),)
    corrupt = (b"", b"garbage")
    safe = False

    def equal(self, found, expected):
        if isinstance(expected, functools.partial):
            return found() == expected()
        return found(3) == expected(3) if callable(expected) else found == expected


class TestDill(TestCloudpickle):
    datatype = BUILTIN["dill"]


class TestNumpy(DataTypeConformance):
    datatype = BUILTIN["numpy"]
    values = tuple(ARRAYS_BY_NAME.values())
    strategy = ARRAYS
    refused = REFUSED["numpy"]
    corrupt = (b"", b"garbage", BUILTIN["numpy"].encoder(np.arange(9), None)[:-1])

    def equal(self, found, expected):
        same = (found.dtype, found.shape) == (expected.dtype, expected.shape)
        return same and not found.flags.writeable and found.tobytes() == expected.tobytes()
