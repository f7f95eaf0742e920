"""Large Python objects, files and directories as SQLAlchemy columns."""

from __future__ import annotations

from . import errors, ledger
from .datatypes import DataType
from .errors import ArtifactError
from .lazy import EMPTY, Lazy, aunpack, unpack
from .mapped import LazyMapped, PathMapped
from .reference import Reference
from .store import ArtifactStore
from .stored_path import StoredPath
from .types import Artifact, FileDir, LazyArtifact

__all__ = [
    "EMPTY",
    "Artifact",
    "ArtifactError",
    "ArtifactStore",
    "DataType",
    "FileDir",
    "Lazy",
    "LazyArtifact",
    "LazyMapped",
    "PathMapped",
    "Reference",
    "StoredPath",
    "aunpack",
    "errors",
    "ledger",
    "unpack",
]
