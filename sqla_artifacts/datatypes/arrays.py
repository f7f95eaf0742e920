"""NumPy arrays, in NumPy's own NPY format."""

from __future__ import annotations

import io
import threading
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from .datatype import DataType, expected, extra

if TYPE_CHECKING:
    import numpy as np

    from .datatype import Info


def _dump_numpy(value: Any, fp: BinaryIO, info: Info) -> None:
    """Write the NPY format, version 1.0 or later, in C order.

    Source of the format: ``numpy.lib.format``. One order for all arrays is what makes equal
    arrays equal bytes.
    """
    with extra("numpy"):
        import numpy as np

    if type(value) is not np.ndarray:
        raise TypeError(expected("a numpy.ndarray", value))
    if value.dtype.hasobject:
        msg = "an array of Python objects would need pickle; name the datatype 'pickle' for it"
        raise TypeError(msg)
    array = np.asarray(value, order="C")
    if _has_gaps(array.dtype):
        array = np.zeros(value.shape, value.dtype)
        _copy_fields(value, array)
    header = {**np.lib.format.header_data_from_array_1_0(array), "fortran_order": False}
    try:
        np.lib.format.write_array_header_1_0(fp, header)
    except ValueError:  # a long header, or field names beyond Latin-1
        np.lib.format.write_array(fp, array, version=(3, 0), allow_pickle=False)
        return
    if array.nbytes:
        fp.write(array.reshape(-1).view(np.uint8).data)


def _has_gaps(dtype: np.dtype[Any]) -> bool:
    """Say whether there are bytes between fields, which hold whatever was in memory before."""
    if dtype.names is None:
        return dtype.subdtype is not None and _has_gaps(dtype.base)
    inner = [dtype[name] for name in dtype.names]
    return sum(each.itemsize for each in inner) < dtype.itemsize or any(map(_has_gaps, inner))


def _copy_fields(source: np.ndarray[Any, Any], target: np.ndarray[Any, Any]) -> None:
    if source.dtype.names is None:
        target[...] = source
        return
    for name in source.dtype.names:
        _copy_fields(source[name], target[name])


def _numpy(value: Any, info: Info) -> bytes:
    fp = io.BytesIO()
    _dump_numpy(value, fp, info)
    return fp.getvalue()


def _from_numpy(data: bytes, info: Info) -> np.ndarray[Any, Any]:
    """Map the array onto the bytes themselves: no copy, and therefore read-only."""
    with extra("numpy"):
        import numpy as np

    head = io.BytesIO(data[: 1 << 16])
    if np.lib.format.read_magic(head) != (1, 0):
        return _unusual(data)
    with _parsing:
        # What was stored is read: NumPy's own limit is for headers that nobody vouches for.
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(
            head, max_header_size=len(data)
        )
    if dtype.hasobject:
        msg = "an array of Python objects is never read"
        raise ValueError(msg)
    order: Literal["C", "F"] = "F" if fortran_order else "C"
    return np.ndarray(shape, dtype, data, head.tell(), order=order)


def _unusual(data: bytes) -> np.ndarray[Any, Any]:
    """Read a version of the format whose header only NumPy's reader of whole files knows."""
    import numpy as np

    with _parsing:
        array = np.lib.format.read_array(
            io.BytesIO(data), allow_pickle=False, max_header_size=len(data)
        )
    array.setflags(write=False)
    return array


# A header is a Python literal, and Python 3.11 cannot parse two at a time.
_parsing = threading.Lock()

NUMPY = DataType("numpy", _numpy, _from_numpy, dump=_dump_numpy, deterministic=True, mappable=True)
