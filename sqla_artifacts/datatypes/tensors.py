"""Tensors: ``safetensors`` for plain dictionaries of them, ``torch`` for what else torch saves.

``safetensors`` keeps names, shapes, types and values, and whether they were numpy's or torch's;
not strides, byte order, ``requires_grad`` or the order of names. Tensors that share memory are
refused: each would come back by itself.

``torch`` keeps strides, shared memory and ``requires_grad``, sparse tensors, and the
containers, numbers and texts around them. It is read with ``weights_only=True``, which runs no
code; what that cannot read back, a module for one, is refused when it is stored. A tensor that is
a view brings all of the memory that it looks at: ``clone()`` a small part of a large one.

What comes back is in the CPU's memory.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
import tempfile
from typing import TYPE_CHECKING, Any, BinaryIO

from ..copying import has_descriptor
from .datatype import DataType, expected, extra

if TYPE_CHECKING:
    from .datatype import Info

FRAMEWORK = "format"
"""The key of the file's metadata that names the framework, "np" or "pt", as is usual."""


def _safetensors(value: Any, info: Info) -> bytes:
    with extra("safetensors"):
        import safetensors  # noqa: F401 (before all, so that it is what is missing)

    if not isinstance(value, dict):
        raise TypeError(expected("a dict of numpy arrays or torch tensors", value))
    if "__metadata__" in value or not all(isinstance(key, str) for key in value):
        msg = "the names of tensors are texts, and '__metadata__' is none"
        raise TypeError(msg)
    torch = sys.modules.get("torch")  # where it was not imported, there are no tensors of it
    if value and torch and all(isinstance(each, torch.Tensor) for each in value.values()):
        return _torch_tensors(value)
    return _numpy_arrays(value)


def _numpy_arrays(value: dict[str, Any]) -> bytes:
    with extra("numpy"):
        import numpy as np
    from safetensors.numpy import save

    for each in value.values():
        if type(each) is not np.ndarray:
            raise TypeError(expected("numpy arrays alone, or torch tensors alone", each))
    # The library takes the memory of an array in the order in which it lies there.
    arrays = {name: np.asarray(each, order="C") for name, each in value.items()}
    return save(arrays, {FRAMEWORK: "np"})


def _torch_tensors(value: dict[str, Any]) -> bytes:
    import torch
    from safetensors.torch import save

    for each in value.values():
        if type(each) not in {torch.Tensor, torch.nn.Parameter}:
            raise TypeError(expected("plain tensors", each))
    # The library takes the memory of a tensor, in which it is not negated or conjugated yet.
    tensors = {
        name: each.detach().resolve_conj().resolve_neg().contiguous()
        for name, each in value.items()
    }
    try:
        return save(tensors, {FRAMEWORK: "pt"})
    except RuntimeError as error:
        if "share memory" not in str(error):
            raise
        msg = "some tensors share memory, and would not when read: name the datatype 'torch'"
        raise ValueError(msg) from error


def _from_safetensors(data: bytes, info: Info) -> dict[str, Any]:
    with extra("safetensors"):
        import safetensors  # noqa: F401 (as above)

    length = int.from_bytes(data[:8], "little")
    if _framework(data[8 : 8 + length]) == "pt":
        with extra("torch"):
            from safetensors.torch import load
    else:
        with extra("numpy"):
            from safetensors.numpy import load  # type: ignore[assignment]
    return load(bytes(data))


def _load_safetensors(fp: BinaryIO, info: Info) -> dict[str, Any]:
    """Have the library map a file, where one can be opened by its descriptor."""
    with extra("safetensors"):
        from safetensors import safe_open

    path = f"/dev/fd/{fp.fileno()}" if has_descriptor(fp) else ""
    if not os.path.exists(path):
        return _from_safetensors(fp.read(), info)
    length = int.from_bytes(fp.read(8), "little")
    framework = _framework(fp.read(min(length, _HEADER)))
    with extra("torch" if framework == "pt" else "numpy"), safe_open(path, framework) as tensors:
        found = {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118
    # Those of torch would lie in the mapped file, for as long as they live.
    return {name: each.clone() for name, each in found.items()} if framework == "pt" else found


_HEADER = 100_000_000  # the library's own limit


def _framework(header: bytes) -> str:
    import json

    return "pt" if json.loads(header).get("__metadata__", {}).get(FRAMEWORK) == "pt" else "np"


def _dump_torch(value: Any, fp: BinaryIO, info: Info) -> None:
    """Write it to a temporary file first: only reading it tells whether it can be read."""
    with extra("torch"):
        import torch

    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "value")
        torch.save(value, path)
        try:
            torch.load(path, map_location="cpu", mmap=True, weights_only=True)
        except Exception as error:
            msg = (
                "torch.load(weights_only=True) could not read it back: store a module's "
                "state_dict(), or name the datatype 'pickle'"
            )
            raise ValueError(msg) from error
        with open(path, "rb") as file:
            shutil.copyfileobj(file, fp, 1 << 20)


def _torch(value: Any, info: Info) -> bytes:
    fp = io.BytesIO()
    _dump_torch(value, fp, info)
    return fp.getvalue()


def _load_torch(fp: BinaryIO, info: Info) -> Any:
    with extra("torch"):
        import torch

    return torch.load(fp, map_location="cpu", weights_only=True)


def _from_torch(data: bytes, info: Info) -> Any:
    return _load_torch(io.BytesIO(data), info)


SAFETENSORS = DataType(
    "safetensors", _safetensors, _from_safetensors, load=_load_safetensors, deterministic=True
)
TORCH = DataType("torch", _torch, _from_torch, dump=_dump_torch, load=_load_torch)
