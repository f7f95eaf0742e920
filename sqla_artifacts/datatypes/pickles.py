"""Pickles of three kinds: whoever can write to the store can run code where they are read.

``cloudpickle`` and ``dill`` take what ``pickle`` does not: lambdas, functions and classes of
``__main__``, closures. They need the same Python version where they are read.
"""

from __future__ import annotations

import io
import pickle
from typing import TYPE_CHECKING, Any, BinaryIO

from .datatype import DataType, extra

if TYPE_CHECKING:
    from .datatype import Info


def _dump_pickle(value: Any, fp: BinaryIO, info: Info) -> None:
    pickle.dump(value, fp, protocol=5)


def _pickle(value: Any, info: Info) -> bytes:
    return pickle.dumps(value, protocol=5)


def _load_pickle(fp: BinaryIO, info: Info) -> Any:
    return pickle.load(fp)


def _from_pickle(data: bytes, info: Info) -> Any:
    return pickle.loads(data)


def _dump_cloudpickle(value: Any, fp: BinaryIO, info: Info) -> None:
    with extra("cloudpickle"):
        import cloudpickle

    cloudpickle.dump(value, fp, protocol=5)


def _cloudpickle(value: Any, info: Info) -> bytes:
    with extra("cloudpickle"):
        import cloudpickle

    data: bytes = cloudpickle.dumps(value, protocol=5)
    return data


def _load_cloudpickle(fp: BinaryIO, info: Info) -> Any:
    with extra("cloudpickle"):
        import cloudpickle

    return cloudpickle.load(fp)


def _from_cloudpickle(data: bytes, info: Info) -> Any:
    with extra("cloudpickle"):
        import cloudpickle

    return cloudpickle.loads(data)


def _dump_dill(value: Any, fp: BinaryIO, info: Info) -> None:
    with extra("dill"):
        import dill

    dill.dump(value, fp, protocol=5, recurse=True)


def _dill(value: Any, info: Info) -> bytes:
    fp = io.BytesIO()
    _dump_dill(value, fp, info)
    return fp.getvalue()


def _load_dill(fp: BinaryIO, info: Info) -> Any:
    with extra("dill"):
        import dill

    return dill.load(fp)


def _from_dill(data: bytes, info: Info) -> Any:
    return _load_dill(io.BytesIO(data), info)


PICKLE = DataType("pickle", _pickle, _from_pickle, dump=_dump_pickle, load=_load_pickle)
CLOUDPICKLE = DataType(
    "cloudpickle",
    _cloudpickle,
    _from_cloudpickle,
    dump=_dump_cloudpickle,
    load=_load_cloudpickle,
)
DILL = DataType("dill", _dill, _from_dill, dump=_dump_dill, load=_load_dill)
