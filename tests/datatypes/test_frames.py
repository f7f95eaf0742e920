"""Tables and frames come back as the same kind, with their types, and run no code."""

import datetime as dt
import io
import pickle
import sys
import warnings
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sqla_artifacts.datatypes import BUILTIN
from sqla_artifacts.errors import DecodeError, InvalidValueError
from sqla_artifacts.payload import Stage
from sqla_artifacts.testing import DataTypeConformance

from ..optional import need

pa = need("pyarrow")
pd = need("pandas")
pl = need("polars")
feather = need("pyarrow.feather")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from polars.testing import parametric

ARROW = BUILTIN["arrow"]


def encoded(value):
    with ARROW.encode(value, Stage("blake3")).open() as fp:
        return fp.read()


def stored(value):
    return ARROW.decode(encoded(value))


def pair(values):
    return st.tuples(st.text(), values)


def struct(inner):
    fields = {f"field {number}": each for number, each in enumerate(inner)}
    types = pa.struct([(name, each[0]) for name, each in fields.items()])
    return types, st.fixed_dictionaries({name: each[1] for name, each in fields.items()})


SIMPLE = st.sampled_from(
    [
        (pa.int8(), st.integers(-128, 127)),
        (pa.uint64(), st.integers(0, 2**64 - 1)),
        (pa.float64(), st.floats(allow_nan=False)),
        (pa.bool_(), st.booleans()),
        (pa.string(), st.text()),
        (pa.large_string(), st.text()),
        (pa.string_view(), st.text()),
        (pa.binary(3), st.binary(min_size=3, max_size=3)),
        (pa.timestamp("us", "Europe/Berlin"), st.integers(0, 2**40)),
        (pa.decimal128(20, 2), st.integers(0, 10**9).map(Decimal)),
        (pa.dictionary(pa.int8(), pa.string()), st.sampled_from("abc")),
        (pa.null(), st.none()),
    ]
)
TYPES = st.recursive(
    SIMPLE,
    lambda inner: (
        inner.map(lambda of: (pa.list_(of[0]), st.lists(of[1] | st.none(), max_size=3)))
        | inner.map(lambda of: (pa.map_(pa.string(), of[0]), st.lists(pair(of[1]), max_size=3)))
        | st.lists(inner, min_size=1, max_size=3).map(struct)
    ),
    max_leaves=4,
)


@st.composite
def tables(draw):
    count = draw(st.integers(0, 5))
    columns = draw(st.lists(TYPES, max_size=4))
    arrays = [
        pa.array(draw(st.lists(values | st.none(), min_size=count, max_size=count)), kind)
        for kind, values in columns
    ]
    table = pa.table(arrays, names=[f"column {number}" for number in range(len(arrays))])
    assume(valid(table))
    return table


def valid(table):
    """Whether pyarrow itself takes what it has made."""
    try:
        table.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


class TestArrow(DataTypeConformance):
    datatype = ARROW
    values = (
        pa.table({"a": [1, None, 3], "b": ["x", "", None]}),
        pa.table({"a": [[1], None, []]}, metadata={"mine": "kept"}),
        pa.table({"a": pa.array([], pa.int8())}),
        pa.table({}),
        pa.record_batch({"a": [1.5, 2.5], "b": [{"c": 1}, {"c": None}]}),
    )
    strategy = tables()
    refused = (
        b"bytes",
        [1, 2],
        pa.table({"a": [1]}).select([]),
        {"a": [1]},
        pa.array([1]),
        pd.Series([1]),
        pl.Series([1]),
    )
    corrupt = (b"", b"garbage", encoded(pa.table({"a": [1]}))[:-9])

    def equal(self, found, expected):
        return type(found) is type(expected) and found.equals(expected, check_metadata=True)


def test_the_metadata_of_a_schema_is_the_users_alone():
    for metadata in (None, {b"mine": b"kept"}):
        for kind in (pa.table, pa.record_batch):
            found = stored(kind({"a": [1]}, metadata=metadata))
            assert found.schema.metadata == metadata


def test_a_file_of_another_program_is_a_table():
    fp = io.BytesIO()
    table = pa.table({"a": [1, 2]})
    feather.write_feather(table, fp, compression="zstd")
    assert ARROW.decode(fp.getvalue()).equals(table)


def test_a_dictionary_that_changes_from_chunk_to_chunk_is_kept():
    chunks = [pa.array(list(text)).dictionary_encode() for text in ("ab", "cb")]
    table = pa.table({"a": pa.chunked_array(chunks)})
    assert stored(table).to_pydict() == table.to_pydict()


def test_a_table_that_arrow_would_not_read_is_refused():
    indices = pa.DictionaryArray.from_arrays(pa.array([5], pa.int8()), ["a"], safe=False)
    with pytest.raises(InvalidValueError, match="'arrow' cannot encode a Table: ArrowInvalid"):
        encoded(pa.table({"a": indices}))


def test_a_table_is_not_copied():
    data = encoded(pa.table({"a": np.arange(100_000)}))
    found = ARROW.decode(data).column("a").chunk(0).buffers()[1].address
    start = pa.py_buffer(data).address
    assert start <= found < start + len(data)


# -- pandas --------------------------------------------------------------------------------------

FRAMES = {
    "range": pd.DataFrame({"a": [1, 2]}),
    "empty": pd.DataFrame(),
    "named index": pd.DataFrame({"a": [1.5]}, index=pd.Index(["k"], name="key")),
    "two levels": pd.DataFrame(
        {"a": [1]}, index=pd.MultiIndex.from_tuples([(1, "a")], names=["x", None])
    ),
    "categories": pd.DataFrame({"c": pd.Categorical(["a", "b"], ["b", "a", "z"], ordered=True)}),
    "time zone": pd.DataFrame({"t": pd.date_range("2020", periods=2, tz="Europe/Berlin")}),
    "seconds": pd.DataFrame({"t": np.array([1, 2], "datetime64[s]")}),
    "timedelta": pd.DataFrame({"t": pd.to_timedelta([1, 2])}),
    "Int64": pd.DataFrame({"i": pd.array([1, None], dtype="Int64")}),
    "boolean": pd.DataFrame({"b": pd.array([True, None], dtype="boolean")}),
    "text": pd.DataFrame({"s": ["a", None]}),
    "columns of numbers": pd.DataFrame([[1, 2]]),
    "columns of two levels": pd.DataFrame(
        [[1, 2]], columns=pd.MultiIndex.from_tuples([("a", 1), ("b", 2)])
    ),
    "periods": pd.DataFrame({"p": pd.period_range("2020", periods=2, freq="M")}),
    "intervals": pd.DataFrame({"p": pd.interval_range(0, 2)}),
    "dates": pd.DataFrame({"d": [dt.date(2020, 1, 1), None]}),
    "decimals": pd.DataFrame({"d": [Decimal("1.50")]}),
    "None among booleans": pd.DataFrame({"b": pd.Series([True, None], dtype=object)}),
    "half": pd.DataFrame({"c": np.array([1], "f2")}),
}


@pytest.mark.parametrize("name", FRAMES)
def test_a_pandas_frame_comes_back(name):
    found = stored(FRAMES[name])
    assert type(found) is pd.DataFrame
    pd.testing.assert_frame_equal(found, FRAMES[name])


def test_a_pandas_frame_can_be_changed_when_it_is_back():
    found = stored(pd.DataFrame({"a": [1.5, 2.5]}))
    found.loc[0, "a"] = 9.0
    assert found["a"].tolist() == [9.0, 2.5]


def test_the_attributes_of_a_pandas_frame_are_kept():
    frame = pd.DataFrame({"a": [1]})
    frame.attrs["source"] = "somewhere"
    assert stored(frame).attrs == {"source": "somewhere"}


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"o": pd.Series([1, 2], dtype=object)}),
        pd.DataFrame({"o": [1, "a"]}),
        pd.DataFrame({"c": [1j]}),
        pd.DataFrame([[1, 2]], columns=["a", "a"]),
        pd.DataFrame([[1, 2]], columns=[1, "a"]),
        pd.DataFrame({"s": pd.arrays.SparseArray([0, 1])}),
        pd.DataFrame({"o": [object()]}),
    ],
)
def test_a_pandas_frame_that_would_change_is_refused(frame):
    with pytest.raises(InvalidValueError, match="'arrow' cannot encode a DataFrame: "):
        encoded(frame)


# -- polars --------------------------------------------------------------------------------------


@given(
    parametric.dataframes(
        excluded_dtypes=[pl.Object, pl.Int128, pl.UInt128, pl.Categorical], max_size=5
    )
)
def test_a_polars_frame_comes_back(frame):
    found = stored(frame)
    assert type(found) is pl.DataFrame
    assert found.schema == frame.schema
    assert found.equals(frame)


def test_nested_columns_of_a_polars_frame_come_back():
    frame = pl.DataFrame(
        {
            "struct": [{"a": 1, "b": [None, "x"]}, {"a": None, "b": []}],
            "categories": pl.Series(["x", "y"], dtype=pl.Categorical),
            "enum": pl.Series(["x", "y"], dtype=pl.Enum(["y", "x", "z"])),
            "list of enum": pl.Series([["x"], ["y"]], dtype=pl.List(pl.Enum(["x", "y"]))),
            "array": pl.Series([[1, 2], [3, 4]], dtype=pl.Array(pl.Int8, 2)),
        }
    )
    found = stored(frame)
    assert found.schema == frame.schema
    assert found.equals(frame)


@pytest.mark.parametrize("dtype", [pl.Object, pl.Int128])
def test_a_polars_frame_that_arrow_cannot_hold_is_refused(dtype):
    with pytest.raises(InvalidValueError, match="'arrow' cannot encode a DataFrame: "):
        encoded(pl.DataFrame({"o": pl.Series([1], dtype=dtype)}))


def test_a_lazy_frame_is_refused():
    with pytest.raises(InvalidValueError, match="not a LazyFrame"):
        encoded(pl.LazyFrame({"a": [1]}))


# -- reading -------------------------------------------------------------------------------------


@pytest.mark.parametrize("frame", [pd.DataFrame({"a": [1]}), pl.DataFrame({"a": [1]})])
def test_a_frame_needs_its_library_to_be_read(monkeypatch, frame):
    library = type(frame).__module__.partition(".")[0]
    data = encoded(frame)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(DecodeError, match=f"frame of {library}, which is not installed"):
        ARROW.decode(data)


class Bomb:
    def __reduce__(self):
        return print, ("executed",)


def test_an_extension_type_that_is_a_pickle_is_not_loaded(capsys):
    metadata = {
        "ARROW:extension:name": "arrow.py_extension_type",
        "ARROW:extension:metadata": pickle.dumps(Bomb()),
    }
    field = pa.field("a", pa.int64(), metadata=metadata)
    fp = io.BytesIO()
    with pa.ipc.new_file(fp, pa.schema([field])) as writer:
        writer.write(pa.record_batch([pa.array([5])], schema=pa.schema([field])))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = ARROW.decode(fp.getvalue())
    assert found.column("a").to_pylist() == [5]
    assert capsys.readouterr().out == ""


def test_indices_that_point_outside_are_refused():
    table = pa.table({"a": ["one", "two", "three"]})
    data = encoded(table)
    offsets = np.array([0, 3, 6, 11], "<i4").tobytes()
    assert data.count(offsets) == 1
    changed = data.replace(offsets, np.array([0, 3, 2**30, 11], "<i4").tobytes())
    with pytest.raises(DecodeError):
        ARROW.decode(changed)
