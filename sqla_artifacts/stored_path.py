"""Stored paths: the proxies of files and directories.

::

    row.run.unpack()                    # the shared checkout: a local path, read-only
    row.run.unpack("dest")              # dest/<name>, a private copy
    row.run.members                     # what a directory holds, without downloading it
    row.run.open("metrics.json")        # one file of it, only what is read of it
    row.run / "weights" / "layer0.bin"  # the same as a path: see stored_member
    open(row.log)                       # a file, as with any path

What is asked of a directory's members needs its manifest, which is fetched once and kept with the
proxy. The manifest of 10,000 files has about 1 MB.
"""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from .checkout import check_out, unpack_to
from .digest import verify
from .errors import ArtifactError, BlobNotFoundError
from .payload import Payload
from .proxy import Proxy
from .source import Source, name_of, stage_source
from .stored_member import Difference, Members, StoredMember
from .tree import Manifest, Member, parse_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import PurePath

    from .lazy import Origin
    from .payload import Stage
    from .progress import OnProgress
    from .reference import Reference
    from .store import ArtifactStore


class StoredPath(Proxy, os.PathLike[str]):
    """The proxy of a file or directory of a ``FileDir`` column.

    An ``os.PathLike``: whatever wants a path gets that of the shared, read-only checkout.
    """

    __slots__ = ("__weakref__", "_manifest", "_origin", "_source", "_text")

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
        self._manifest: tuple[str, Manifest] | None = None

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

    # -- what is in a directory ------------------------------------------------------------------

    def __truediv__(self, path: str | PurePath) -> StoredMember:
        return self._top / path

    @property
    def members(self) -> Mapping[str, Member]:
        """The members of a directory by their paths; of a file, none. Fetches the manifest."""
        return self._top.members if self.is_dir else {}

    def iterdir(self) -> Iterator[StoredMember]:
        """Return what is in a directory, in order, as :meth:`.StoredMember.iterdir` does."""
        return self._top.iterdir()

    def glob(self, pattern: str) -> Iterator[StoredMember]:
        """Return the members that a pattern matches, in order: ``"**/*.bin"``, say.

        See :mod:`.selection` for patterns. Raises ``ValueError`` for what is none.
        """
        return self._top.glob(pattern)

    def diff(self, other: StoredPath | StoredMember) -> Difference:
        """Say what ``other`` has and this directory has not, what it lacks, and what differs.

        Members differ in kind, mode, content, or where a link leads. From the manifests alone.
        """
        return self._top.diff(other)

    def manifest(self) -> Manifest:
        """Return a directory's manifest, fetched the first time it is asked for."""
        origin, text = self._stored
        if self._manifest is None or self._manifest[0] != text:
            with origin.naming_column():
                reference = self.reference
                if reference.kind != "tree":
                    code = errno.ENOTDIR
                    raise NotADirectoryError(code, os.strerror(code), reference.name)
                self._manifest = text, parse_manifest(self.store.get(reference))
        return self._manifest[1]

    # -- its bytes -------------------------------------------------------------------------------

    def unpack(
        self,
        to: str | os.PathLike[str] | None = None,
        members: Members | None = None,
        *,
        progress: OnProgress | None = None,
    ) -> Path:
        """Return a local path that ends in the original name.

        Without ``to`` it is the shared checkout: made once, verified, read-only. With ``to``
        it is a private, writable copy inside that directory, which is made if it is not there.
        Neither is ever half-written, and writing to either leaves the store as it is.

        ``members`` is a pattern, ``"weights/*"``, or several paths: then the copy is a directory
        with these alone, what is below those that are directories, and what links among them
        lead to. Only what they need is fetched. The shared checkout is whole, so this needs ``to``.

        ``progress`` is told of the step ``"unpack"`` by whatever thread works, never twice at once:
        objects are files. A shared checkout that is there already has none.

        Raises :class:`~sqla_artifacts.errors.UnpackError` where there is something of that
        name already, ``FileNotFoundError`` for members that are not there, and what
        ``ArtifactStore.get`` raises.
        """
        if members is not None:
            return self._top.unpack(to, members, progress=progress)
        with self.naming():
            if to is None:
                return check_out(self.store, self.reference, progress)
            return unpack_to(self.store, self.reference, Path(to), progress)

    async def aunpack(
        self,
        to: str | os.PathLike[str] | None = None,
        members: Members | None = None,
        *,
        progress: OnProgress | None = None,
    ) -> Path:
        """Return what :meth:`unpack` does, without holding up the event loop."""
        return await self.store.pool.off_loop(self.unpack, to, members, progress=progress)

    def open(self, member: str | PurePath | None = None) -> BinaryIO:
        """Open the file, or a member of the directory, as a seekable stream, from the store.

        Of a member only what is read is fetched; see :meth:`.StoredMember.open`.
        """
        if member is not None or self.is_dir:
            return (self._top if member is None else self / member).open()
        with self.naming():
            return self.store.open(self.reference)

    def read_bytes(self) -> bytes:
        """Return the file's bytes, verified."""
        if self.is_dir:
            return self._top.read_bytes()
        with self.naming():
            return self.store.get(self.reference)

    def read_text(self, encoding: str = "utf-8") -> str:
        """Return the file's text, verified."""
        return self.read_bytes().decode(encoding)

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

    # -- for its members -------------------------------------------------------------------------

    def sibling(self, reference: Reference) -> StoredPath:
        """Return the proxy of something else that this column's store holds."""
        return StoredPath(origin=self._origin, text=str(reference))

    def naming(self) -> contextlib.AbstractContextManager[None]:
        """Have errors say which column's value they are about."""
        return self._stored[0].naming_column()

    @contextlib.contextmanager
    def finding(self) -> Iterator[None]:
        """Have errors about paths say what they are paths in."""
        try:
            with self.naming():
                yield
        except ArtifactError:
            raise
        except OSError as error:
            column = self._stored[0].column or "a column"
            about = f"{error.strerror} in {self.name!r} of {column}, {self._text}"
            raise OSError(error.errno, about, error.filename) from None

    @property
    def _top(self) -> StoredMember:
        return StoredMember(self, ".")


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
