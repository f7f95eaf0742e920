"""Tensors come back with what their datatype keeps of them, and reading them runs no code."""

import io
import os
import pickle
import subprocess
import sys
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from sqla_artifacts.datatypes import BUILTIN
from sqla_artifacts.errors import DecodeError, InvalidValueError
from sqla_artifacts.payload import Stage
from sqla_artifacts.testing import DataTypeConformance

from ..optional import need

torch = need("torch")

SAFETENSORS, TORCH = BUILTIN["safetensors"], BUILTIN["torch"]
NUMPY_TYPES = ["?", *(f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)), "f2", "f4", "f8"]
TORCH_TYPES = [
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64,
    torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64,
    torch.float8_e4m3fn, torch.uint32,
]  # fmt: skip
SHAPES = npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


def encoded(datatype, value):
    with datatype.encode(value, Stage("blake3")).open() as fp:
        return fp.read()


def stored(datatype, value):
    return datatype.decode(encoded(datatype, value))


@st.composite
def tensors(draw, shapes=SHAPES, dtypes=TORCH_TYPES):
    shape, dtype = draw(shapes), draw(st.sampled_from(dtypes))
    seed = draw(st.integers(0, 100))
    made = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 100
    made = made.abs().to(dtype)
    return made.movedim(0, -1) if made.dim() and draw(st.booleans()) else made


def same_tensor(found, expected):
    about = (found.dtype, found.shape) == (expected.dtype, expected.shape)
    return about and bits(found) == bits(expected)


def bits(tensor):
    return (
        tensor.detach()
        .resolve_conj()
        .resolve_neg()
        .contiguous()
        .reshape(-1)
        .view(torch.uint8)
        .tolist()
    )


def same(found, expected):
    if isinstance(expected, torch.Tensor):
        return isinstance(found, torch.Tensor) and same_tensor(found, expected)
    if isinstance(expected, np.ndarray):
        about = (found.dtype, found.shape) == (expected.dtype, expected.shape)
        return about and found.tobytes() == expected.tobytes()
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(
            same(found[key], expected[key]) for key in expected
        )
    if isinstance(expected, list | tuple):
        return len(found) == len(expected) and all(map(same, found, expected))
    return type(found) is type(expected) and found == expected


ARRAYS = npst.arrays(st.sampled_from(NUMPY_TYPES), SHAPES)
NAMES = st.text(max_size=5)


class TestSafetensors(DataTypeConformance):
    datatype = SAFETENSORS
    values = (
        {},
        {"a": np.array(5.0), "b": np.zeros((0, 3), "i2"), "ü\0": np.array([True, False])},
        {"f": np.asfortranarray(np.arange(12.0).reshape(3, 4)), "v": np.arange(9)[::-2]},
        {"w": torch.randn(3, 4), "b": torch.zeros(4, dtype=torch.bfloat16)},
        {"s": torch.tensor(3), "t": torch.randn(3, 4).T, "e": torch.zeros(0, 2)},
        {"c": torch.tensor([1 + 2j]).conj(), "n": torch.ones(2)._neg_view()},
    )
    strategy = st.dictionaries(NAMES, ARRAYS, max_size=4) | st.dictionaries(
        NAMES, tensors(), max_size=4
    )
    refused = (
        [np.arange(3)],
        np.arange(3),
        {"a": 5},
        {5: np.arange(3)},
        {"__metadata__": np.arange(3)},
        {"a": np.array(["text of some length"])},
        {"a": np.array([1j])},
        {"a": np.array([object()])},
        {"a": np.arange(3), "b": torch.zeros(3)},
        {"a": torch.eye(3).to_sparse()},
        {"a": torch.zeros(3, device="meta")},
    )
    corrupt = (b"", b"garbage", b"\xff" * 8, encoded(SAFETENSORS, {"a": np.arange(9)})[:-1])

    def equal(self, found, expected):
        return same(found, expected)


class TestTorch(DataTypeConformance):
    datatype = TORCH
    values = (
        torch.randn(3, 4),
        {"w": torch.zeros(4, dtype=torch.bfloat16), "s": torch.tensor(3)},
        OrderedDict(torch.nn.Linear(3, 4).state_dict()),
        [1, 2.5, "text", None, True, (torch.float16, torch.Size([1, 2]))],
    )
    strategy = tensors() | st.dictionaries(NAMES, tensors(), max_size=3)
    refused = (
        torch.nn.Linear(2, 2),
        {"model": torch.nn.Linear(2, 2)},
        np.arange(3),
        object(),
        lambda: None,
    )
    corrupt = (b"", b"garbage", encoded(TORCH, torch.zeros(9))[:-100])

    def equal(self, found, expected):
        return same(found, expected)


def test_safetensors_are_files_of_the_library():
    from safetensors.numpy import load, save

    array = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(load(encoded(SAFETENSORS, {"a": array}))["a"], array)
    np.testing.assert_array_equal(SAFETENSORS.decode(save({"a": array}))["a"], array)


def test_equal_dictionaries_are_equal_safetensors():
    one = {name: np.arange(3) for name in "abcdefghij"}
    assert encoded(SAFETENSORS, one) == encoded(SAFETENSORS, dict(reversed(one.items())))


def test_tensors_that_share_memory_are_refused_as_safetensors_and_kept_by_torch():
    weight = torch.zeros(3)
    with pytest.raises(InvalidValueError, match=r"share memory.*'torch'"):
        encoded(SAFETENSORS, {"a": weight, "b": weight})
    found = stored(TORCH, {"a": weight, "b": weight})
    assert found["a"].data_ptr() == found["b"].data_ptr()


def test_what_is_read_as_safetensors_can_be_changed():
    for value in ({"a": np.arange(3)}, {"a": torch.arange(3)}):
        found = stored(SAFETENSORS, value)
        found["a"][0] = 9
        assert found["a"].tolist() == [9, 1, 2]


def test_a_file_of_safetensors_is_left_alone(tmp_path):
    path = tmp_path / "tensors"
    data = encoded(SAFETENSORS, {"a": torch.zeros(1000)})
    path.write_bytes(data)
    with path.open("rb") as fp:
        found = SAFETENSORS.decode_stream(fp, len(data))
    path.write_bytes(b"\xff" * len(data))
    assert found["a"].tolist() == [0] * 1000


def test_torch_keeps_strides_and_gradients():
    value = {
        "transposed": torch.randn(3, 4).T,
        "leaf": torch.randn(3, requires_grad=True),
        "parameter": torch.nn.Parameter(torch.zeros(2)),
        "sparse": torch.eye(3).to_sparse(),
        "conjugated": torch.tensor([1 + 2j]).conj(),
    }
    found = stored(TORCH, value)
    assert found["transposed"].stride() == (1, 4)
    assert found["leaf"].requires_grad
    assert type(found["parameter"]) is torch.nn.Parameter
    assert found["sparse"].is_sparse
    assert torch.equal(found["sparse"].to_dense(), torch.eye(3))
    assert found["conjugated"].tolist() == [1 - 2j]


def test_a_module_is_refused_with_what_to_do():
    with pytest.raises(InvalidValueError, match=r"'torch' cannot encode a Linear.*state_dict\(\)"):
        encoded(TORCH, torch.nn.Linear(2, 2))


class Bomb:
    def __reduce__(self):
        return print, ("executed",)


def bombs():
    """The file that torch.save makes of an object, whole and as the old format."""
    for new in (True, False):
        fp = io.BytesIO()
        torch.save({"a": Bomb()}, fp, _use_new_zipfile_serialization=new)
        yield fp.getvalue()
    yield pickle.dumps(Bomb())
    fp = io.BytesIO()
    with zipfile.ZipFile(fp, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Bomb(), 2))
        archive.writestr("archive/version", "3")
    yield fp.getvalue()


@pytest.mark.parametrize("number", range(4))
def test_code_in_the_bytes_is_not_run(number, capsys):
    with pytest.raises(DecodeError):
        TORCH.decode(list(bombs())[number])
    assert "executed" not in capsys.readouterr().out


def test_nor_where_the_environment_asks_torch_for_it(tmp_path):
    path = tmp_path / "bomb"
    path.write_bytes(next(bombs()))
    program = (
        "import sys; from pathlib import Path; from sqla_artifacts.datatypes import BUILTIN;"
        f"BUILTIN['torch'].decode(Path({str(path)!r}).read_bytes())"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "DecodeError" in run.stderr
    assert "executed" not in run.stdout


@given(st.dictionaries(NAMES, tensors(), max_size=3))
def test_safetensors_and_torch_agree(value):
    try:
        plain = stored(SAFETENSORS, value)
    except InvalidValueError:
        return
    assert same(stored(TORCH, value), plain)
