"""Large Python objects, files and directories as SQLAlchemy columns."""

from __future__ import annotations

from . import errors, ledger
from .artifact_list import ArtifactList
from .datatypes import DataType, Encoded
from .errors import ArtifactError
from .lazy import EMPTY, Lazy
from .mapped import LazyMapped, PathMapped
from .progress import Progress, reporting
from .reference import Reference
from .rows import aunpack, aunpack_stream, unpack, unpack_stream
from .store import ArtifactStore
from .stored_member import StoredMember
from .stored_path import StoredPath
from .types import Artifact, FileDir, LazyArtifact
from .validation import Candidate

__all__ = [
    "EMPTY",
    "Artifact",
    "ArtifactError",
    "ArtifactList",
    "ArtifactStore",
    "Candidate",
    "DataType",
    "Encoded",
    "FileDir",
    "Lazy",
    "LazyArtifact",
    "LazyMapped",
    "PathMapped",
    "Progress",
    "Reference",
    "StoredMember",
    "StoredPath",
    "aunpack",
    "aunpack_stream",
    "errors",
    "ledger",
    "reporting",
    "unpack",
    "unpack_stream",
]
