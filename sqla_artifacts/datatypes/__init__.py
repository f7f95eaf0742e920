"""Datatypes: how a value becomes bytes, and bytes a value.

A column names the datatype that it trusts, ``Artifact("numpy")``; none is implied, so that
pickle is always a choice. A row says which datatype wrote it, but never chooses the decoder:
a column reads what was written by the datatypes that it names, and nothing else.

=========== ============= ========= ======== ==== ===============================================
identifier  deterministic streaming mappable safe takes
=========== ============= ========= ======== ==== ===============================================
bytes       yes           no        no       yes  ``bytes`` and the like, open files, uploads
text        yes           no        no       yes  ``str``
json        yes           no        no       yes  what ``json.dumps`` takes, but NaN
pickle      no            yes       no       no   what ``pickle`` takes
cloudpickle no            yes       no       no   functions and classes, too
dill        no            yes       no       no   functions and classes, too
numpy       yes           out       yes      yes  ``numpy.ndarray`` without objects
image       no            no        no       yes  ``PIL.Image.Image``
arrow       no            out       yes      yes  tables, record batches; pandas, polars frames
safetensors yes           in        no       yes  dicts of numpy arrays or of torch tensors
torch       no            yes       no       yes  tensors, and state dicts or the like with them
=========== ============= ========= ======== ==== ===============================================

*Deterministic*: equal values always give equal bytes, which is what comparing a column with a
value needs. *Streaming*: a large value is not in memory a second time while it is stored
(out), while it is read (in), or both (yes). *Mappable*: ``unpack(mmap=True)`` works. *Safe*:
reading runs no code of whoever wrote the bytes. What each gives back is said in its module.
Every column takes an :class:`Encoded` in place of a value.

A datatype of one's own is a :class:`DataType` in a module of one's own::

    wav = DataType("wav", encoder=to_wav, decoder=from_wav, media_type="audio/wav")

A package can offer it by name, under the entry point group ``sqla_artifacts.datatypes``::

    [project.entry-points."sqla_artifacts.datatypes"]
    wav = "my_package.audio:wav"
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import TYPE_CHECKING

from ..errors import UnknownDataTypeError
from .arrays import NUMPY
from .datatype import DataType, Encoded
from .frames import ARROW
from .images import IMAGE
from .pickles import CLOUDPICKLE, DILL, PICKLE
from .plain import BYTES, JSON, TEXT
from .tensors import SAFETENSORS, TORCH

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["BUILTIN", "GROUP", "DataType", "Encoded", "resolve"]

GROUP = "sqla_artifacts.datatypes"
"""The entry point group in which packages offer datatypes by name."""

BUILTIN: Mapping[str, DataType] = MappingProxyType(
    {
        datatype.identifier: datatype
        for datatype in (
            *(BYTES, TEXT, JSON),
            *(PICKLE, CLOUDPICKLE, DILL),
            *(NUMPY, IMAGE, ARROW, SAFETENSORS, TORCH),
        )
    }
)
"""The datatypes that a name alone stands for; each imports its library on first use."""


def resolve(datatype: str | DataType) -> DataType:
    """Return the datatype of that identifier, or the datatype itself.

    Built-in ones come first, then entry points. Raises :class:`UnknownDataTypeError`.
    """
    if isinstance(datatype, DataType):
        return datatype
    return resolved(datatype) or _offered(datatype)


def resolved(identifier: str) -> DataType | None:
    """Return the datatype that :func:`resolve` gives for a name, if it need not be looked for."""
    return BUILTIN.get(identifier) or _loaded.get(identifier)


_loaded: dict[str, DataType] = {}


def _offered(identifier: str) -> DataType:
    offered = tuple(entry_points(group=GROUP, name=identifier))
    if not offered:
        msg = (
            f"no datatype {identifier!r}; built in are {', '.join(BUILTIN)}; "
            "pass a DataType for one of your own"
        )
        raise UnknownDataTypeError(msg)
    if len(offered) > 1:
        sources = ", ".join(sorted(point.value for point in offered))
        msg = f"datatype {identifier!r} is offered more than once: {sources}; pass the DataType"
        raise UnknownDataTypeError(msg)
    return _loaded.setdefault(identifier, _load(offered[0]))


def _load(point: EntryPoint) -> DataType:
    try:
        loaded = point.load()
    except Exception as error:
        msg = f"the entry point {point.value!r} of datatype {point.name!r} cannot be loaded: "
        raise UnknownDataTypeError(f"{msg}{type(error).__name__}: {error}") from error
    if not isinstance(loaded, DataType) or loaded.identifier != point.name:
        msg = f"the entry point {point.value!r} is no DataType with identifier {point.name!r}"
        raise UnknownDataTypeError(msg)
    return loaded
