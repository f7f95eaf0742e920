"""Salvage: where the bytes of a digest may be found outside of its key."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from .digest import CHUNK, hasher
from .directory import stage_directory
from .errors import ArtifactError, BlobCorruptedError
from .store import ArtifactStore
from .tree import Manifest, parse_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .payload import Payload

Source: TypeAlias = "ArtifactStore | str | os.PathLike[str] | Callable[[str], bytes | None]"
"""What may have the bytes of a digest."""

Finder: TypeAlias = "Callable[[str], Payload | None]"
"""What stages the bytes of a digest, if it has them; they are not verified yet."""


def finders(store: ArtifactStore, sources: Sequence[Source]) -> list[Finder]:
    """Return what looks for a digest in a store itself, and then in each source."""
    found: list[Finder] = [
        partial(_asked, store, lambda digest: store.recent([digest])[0]),
        partial(_read, store, store),
    ]
    for source in sources:
        if isinstance(source, ArtifactStore):
            found.append(partial(_read, store, source))
        elif callable(source):
            found.append(partial(_asked, store, source))
        else:
            found.append(_Local(store, Path(source)))
    return found


def _asked(store: ArtifactStore, ask: Callable[[str], bytes | None], digest: str) -> Payload | None:
    data = ask(digest)
    return None if data is None else store.stage.data(data)


def _read(store: ArtifactStore, source: ArtifactStore, digest: str) -> Payload:
    """Read a blob back, to the stage of the store: the source may not be writable."""
    try:
        with source.open_blob(digest) as blob:
            return store.stage.stream(blob)
    except BlobCorruptedError:
        with source.open_sound(digest) as blob:
            return store.stage.stream(blob)


class _Local:
    """A file or directory, which is read whole when it is first asked for something."""

    def __init__(self, store: ArtifactStore, path: Path) -> None:
        self._store = store
        self._path = path
        self._files: dict[str, Path] | None = None
        self._staged: dict[str, Payload] | None = None

    def __call__(self, digest: str) -> Payload | None:
        if self._files is None:
            self._files = {self._digest_of(path): path for path in _files(self._path)}
        path = self._files.get(digest)
        if path is not None:
            with path.open("rb") as fp:
                return self._store.stage.stream(fp)
        if self._staged is None:
            self._staged = {}
            for tree in self._trees():
                self._stage(tree)
        return self._staged.get(digest)

    def _trees(self) -> Iterator[Path]:
        """Yield what may be an unpacked tree: the directory, or those in one of checkouts."""
        if self._path.is_dir():
            yield self._path
            yield from (path for path in self._path.glob("tree-*/*") if path.is_dir())

    def _stage(self, tree: Path) -> None:
        staged = self._staged = self._staged or {}
        try:
            payload = stage_directory(tree, self._store.stage)
        except (ArtifactError, OSError):
            return  # no tree, or somebody is changing it
        with payload.open() as stream:
            manifest = parse_manifest(stream.read())
        # A shared checkout is without write permission, which most files had.
        members = (m._replace(mode=m.mode | 0o200) if m.size else m for m in manifest.members)
        writable = self._store.stage.data(Manifest(tuple(members), manifest.packs).format())
        staged.update((each.digest, each) for each in (payload, writable, *payload.parts))

    def _digest_of(self, path: Path) -> str:
        check = hasher(self._store.algorithm)
        with path.open("rb") as fp:
            while data := fp.read(CHUNK):
                check.update(data)
        return check.hexdigest()


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    for folder, _, names in os.walk(path):
        for name in names:
            file = Path(folder, name)
            if file.is_file() and os.access(file, os.R_OK):
                yield file
