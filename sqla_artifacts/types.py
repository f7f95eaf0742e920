"""The column types: ``Artifact``, ``LazyArtifact`` and ``FileDir``.

All three store text, a reference, and push the payload to the store of the engine that runs
the statement::

    image: Mapped[np.ndarray] = mapped_column(Artifact("numpy"))
    model: LazyMapped[Any]    = mapped_column(LazyArtifact("pickle"))
    run:   PathMapped[StoredPath] = mapped_column(FileDir())

``==``, ``!=``, ``in_`` and ``is_`` compare digests and store nothing; other operators have no
meaning for a reference and raise. ``Model.image.digest``, ``.size``, ``.kind``, ``.label_``
and ``.reference`` are SQL expressions. An index on the digest serves the comparisons::

    Index("ix_sample_image", Sample.image.digest)
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from .archive import MAX_MEMBERS, MAX_SIZE, Archive
from .datatypes import DataType, Encoded, resolve
from .errors import ComparisonError
from .lazy import EMPTY, Lazy, Loaded, Origin
from .reference import Reference
from .reference_type import ReferenceType
from .source import stage_source
from .stored_path import StoredPath

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sqlalchemy import Dialect

    from .archive import ArchiveSource
    from .payload import Payload, Stage
    from .validation import Candidate

# All that a row of a LazyArtifact column is asked: to parse it takes longer than to load it.
_FIRST, _LAST = "&:blob:", "&:blob;"


class Artifact(ReferenceType):
    """A value that is decoded when its row is loaded.

    ``datatype`` encodes and decodes it; ``accepts`` names further datatypes whose rows are
    read, but not written. ``store`` is the name under which the store was attached;
    ``max_size``, ``media_types`` and ``validators`` are those of :mod:`.validation`.
    """

    cache_ok = True
    kinds = frozenset({"blob"})
    is_eager = True

    # Not keyword-only: SQLAlchemy's cache key of a type leaves such parameters out.
    def __init__(  # noqa: PLR0917 (as said)
        self,
        datatype: str | DataType,
        accepts: Iterable[str | DataType] = (),
        store: str = "default",
        max_size: int | None = None,
        media_types: Iterable[str] = (),
        validators: Iterable[Callable[[Any], object]] = (),
    ) -> None:
        super().__init__(
            store=store, max_size=max_size, media_types=media_types, validators=validators
        )
        self.datatype = resolve(datatype)
        self.accepts = tuple(resolve(other) for other in accepts)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.datatype.identifier!r})"

    @property
    def _datatypes(self) -> tuple[DataType, ...]:
        return (self.datatype, *self.accepts)

    def _stage(self, value: Any, stage: Stage) -> tuple[Reference, Payload]:
        if isinstance(value, Lazy):
            if value.stored and not value.given:
                label = value.reference.label
                if any(datatype.identifier == label for datatype in self._datatypes):
                    return value.restage(stage)
            value = value.unpack()
        payload = self.datatype.encode(value, stage)
        return Reference("blob", payload.digest, payload.size, self.datatype.identifier), payload

    def _subject(self, value: Any, candidate: Candidate) -> Any:
        if isinstance(value, Lazy):
            return value.unpack()
        if isinstance(value, Encoded):
            with candidate.open() as fp:
                return self.datatype.decode_stream(fp, candidate.size)
        return value

    def _load(self, origin: Origin, reference: Reference, text: str) -> Any:
        return origin.decode(reference, text)

    def check_comparable(self, value: Any) -> None:
        """Refuse to compare by value unless the datatype is deterministic."""
        stored = isinstance(value, Reference) or (isinstance(value, Lazy) and value.stored)
        if not (stored or self.datatype.deterministic):
            msg = (
                f"datatype {self.datatype.identifier!r} may encode equal values differently, so a "
                "column of it cannot be compared with a value: compare with a loaded proxy, a "
                "Reference, or .digest"
            )
            error = ComparisonError(msg)
            error.column = self.column_name
            raise error


class LazyArtifact(Artifact):
    """A value that stays in the store until its proxy, a :class:`~.lazy.Lazy`, is unpacked."""

    cache_ok = True
    is_eager = False

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[str | None], Any]:
        """Return what puts a reference into a proxy, having looked at little more than its head."""
        checked = super().result_processor(dialect, coltype)
        make: Callable[[str], Lazy[Any]] | None = None

        def process(text: str | None) -> Any:
            nonlocal make
            if text.__class__ is not str or not _FIRST <= text < _LAST:
                return checked(text)
            if make is None:
                make = partial(Loaded, EMPTY, self._origin(self._store(dialect)))
            return make(text)

        return process

    def _load(self, origin: Origin, reference: Reference, text: str) -> Lazy[Any]:
        return Loaded(EMPTY, origin, text)

    def assigned(self, value: Any) -> Any:
        """Put an assigned value into a proxy."""
        return value if isinstance(value, Lazy) else Lazy(value)


class FileDir(ReferenceType):
    """A file or a directory, read as a :class:`~.stored_path.StoredPath`.

    Takes what :mod:`.source` lists.
    """

    cache_ok = True
    kinds = frozenset({"file", "tree"})

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    @staticmethod
    def from_archive(
        source: ArchiveSource,
        *,
        name: str | None = None,
        max_size: int = MAX_SIZE,
        max_members: int = MAX_MEMBERS,
    ) -> Archive:
        """Return a value for a column of files: what a zip or tar archive holds, as a directory.

        See :class:`~.archive.Archive`, which is read when it is flushed.
        """
        return Archive(source, name=name, max_size=max_size, max_members=max_members)

    def _stage(self, value: Any, stage: Stage) -> tuple[Reference, Payload]:
        if isinstance(value, StoredPath):
            return value.restage(stage)
        return stage_source(value, stage)

    def _subject(self, value: Any, candidate: Candidate) -> Any:
        return candidate

    def _load(self, origin: Origin, reference: Reference, text: str) -> StoredPath:
        return StoredPath(origin=origin, text=text)

    def assigned(self, value: Any) -> Any:
        """Put an assigned source into a proxy."""
        return value if isinstance(value, StoredPath) else StoredPath(value)
