"""Stored paths: the proxies of files and directories.

::

    row.run.unpack()                    # the shared checkout: a local path, read-only
    row.run.unpack("dest")              # dest/<name>, a private copy
    row.run.members                     # what a directory holds, without downloading it
    row.run.open("metrics.json")        # one file of it, only what is read of it
    open(row.log)                       # a file, as with any path
"""

from __future__ import annotations

import os
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from .checkout import check_out, open_member, unpack_to
from .digest import verify
from .errors import BlobNotFoundError
from .payload import Payload
from .proxy import Proxy
from .source import Source, name_of, stage_source
from .tree import Member, parse_manifest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .lazy import Origin
    from .payload import Stage
    from .reference import Reference
    from .store import ArtifactStore


class StoredPath(Proxy, os.PathLike[str]):
    """The proxy of a file or directory of a ``FileDir`` column.

    An ``os.PathLike``: whatever wants a path gets that of the shared, read-only checkout.
    """

    __slots__ = ("__weakref__", "_origin", "_source", "_text")

    def __init__(
        self,
        source: Source | None = None,
        *,
        origin: Origin | None = None,
        text: str | None = None,
    ) -> None:
        self._origin = origin
        self._text = text
        self._source = source

    def __repr__(self) -> str:
        about = "not flushed" if self._text is None else f"{self.reference.kind} {self.size} bytes"
        return f"<StoredPath {self.name!r} {about}>"

    def __reduce__(self) -> tuple[Any, ...]:
        if self._text is None:
            return (StoredPath, (self._source,))
        return (_stored_path, (self._origin, self._text))

    def __fspath__(self) -> str:
        return os.fspath(self.unpack())

    @property
    def given(self) -> bool:
        """Whether it was assigned, and did not come from a store."""
        return self._source is not None

    @property
    def name(self) -> str:
        """The name of the file or directory."""
        if self._text is None:
            return name_of(cast("Source", self._source)) or "file"
        return self.reference.name

    @property
    def is_dir(self) -> bool:
        """Whether it is a directory."""
        return self.reference.kind == "tree"

    @property
    def members(self) -> Mapping[str, Member]:
        """The members of a directory by their paths; of a file, none. Fetches the manifest."""
        if not self.is_dir:
            return {}
        with self._stored[0].naming_column():
            manifest = parse_manifest(self.store.get(self.reference))
        return {member.path: member for member in manifest.members if member.path != "."}

    def unpack(self, to: str | os.PathLike[str] | None = None) -> Path:
        """Return a local path that ends in the original name.

        Without ``to`` it is the shared checkout: made once, verified, read-only. With ``to``
        it is a private, writable copy inside that directory, which is made if it is not there.
        Neither is ever half-written, and writing to either leaves the store as it is.

        Raises :class:`~sqla_artifacts.errors.UnpackError` where there is something of that
        name already, and what ``ArtifactStore.get`` raises.
        """
        with self._stored[0].naming_column():
            if to is None:
                return check_out(self.store, self.reference)
            return unpack_to(self.store, self.reference, Path(to))

    async def aunpack(self, to: str | os.PathLike[str] | None = None) -> Path:
        """Return what :meth:`unpack` does, without holding up the event loop."""
        return await self.store.pool.off_loop(self.unpack, to)

    def restage(self, stage: Stage) -> tuple[Reference, Payload]:
        """Prepare the file or directory to be stored, its bytes read only if need be."""
        if self._text is None:
            return stage_source(cast("Source", self._source), stage)
        reference = self.reference
        if self.store.algorithm == stage.algorithm:
            content = partial(_read_back, self.store, reference, self._source)
            is_tree = reference.kind == "tree"
            return reference, Payload(reference.digest, -1, content, is_tree=is_tree)
        with tempfile.TemporaryDirectory() as directory:
            return stage_source(self.unpack(directory), stage)

    def open(self, member: str | None = None) -> BinaryIO:
        """Open the file, or a member of the directory, as a seekable stream, from the store."""
        with self._stored[0].naming_column():
            if member is None and not self.is_dir:
                return self.store.open(self.reference)
            return open_member(self.store, self.reference, member)


def _stored_path(origin: Origin, text: str) -> StoredPath:
    return StoredPath(origin=origin, text=text)


def _read_back(store: ArtifactStore, reference: Reference, source: Source | None) -> Payload:
    """Read a file, or a tree's manifest, back from the store that holds it."""
    try:
        payload = store.payload(reference.digest)
    except BlobNotFoundError:
        if source is None:
            raise
        # The flush that gave the reference may have failed before anything was stored.
        staged, payload = stage_source(source, store.stage)
        verify(staged.digest, reference.digest)
        return payload
    if reference.kind == "tree":
        with payload.open() as stream:
            manifest = parse_manifest(stream.read())
        payload.parts = tuple(
            Payload(part.digest, part.size, partial(store.payload, part.digest))
            for part in manifest.parts
        )
    return payload
