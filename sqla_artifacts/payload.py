"""Payloads: bytes on their way to a store.

A payload knows its digest and size before anything is stored, and its bytes can no longer
change: they are ``bytes`` in memory, or a file that was copied into the store's staging
directory, or they lie in a store already and are read back only if that turns out to be
needed. A tree's payload is its manifest, with the packs and large members as its parts.

A staged file is removed with the payload that holds it, or when its stage is told to discard
what it has: after an error, a payload may live on in the frames of the traceback until the next
garbage collection.

The encoded bytes that wait in memory are limited: see :mod:`.share`. Past that a payload waits in
a staged file, whatever its size.
"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
import weakref
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO

from .copying import copy_and_hash
from .digest import CHUNK, Algorithm, digest_of, hasher
from .errors import InvalidValueError, SourceError
from .progress import report_of_storing
from .recent import Recent
from .share import Share

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Self

    from typing_extensions import Buffer

    from .stat_cache import StatCache


PACKS = 1 << 20
"""How many bytes of what packs were made last a store remembers: some thousands of them."""


class StagedFile:
    """A complete file of ours that a backend may link to its final place."""

    def __init__(self, path: Path, owner: object = None) -> None:
        self.path = path
        self._owner = owner
        self._remove = weakref.finalize(self, _unlink, os.fspath(path), os.getpid())

    def remove(self) -> None:
        """Remove the file now; again is harmless."""
        self._remove()


@dataclass(slots=True, eq=False)
class Payload:
    """Immutable bytes with their digest, and for a tree's manifest its parts.

    ``content`` is the bytes, a staged file, or a function that reads them back from the
    store where they already are; ``is_tree`` says that this will bring parts. ``share`` is held
    by bytes that wait in memory.
    """

    digest: str
    size: int
    content: bytes | StagedFile | Callable[[], Payload]
    parts: tuple[Payload, ...] = ()
    is_tree: bool = field(default=False, kw_only=True)
    share: Share | None = field(default=None, kw_only=True)

    def load(self) -> Payload:
        """Return this payload with its bytes at hand, read back if need be."""
        if not callable(self.content):
            return self
        loaded = self.content().load()
        return replace(loaded, parts=self.parts or loaded.parts)

    def open(self) -> BinaryIO:
        """Return a stream over the bytes."""
        if isinstance(self.content, bytes):
            return io.BytesIO(self.content)
        if isinstance(self.content, StagedFile):
            return self.content.path.open("rb")
        return self.load().open()


class Spool(io.RawIOBase):
    """A stream to write a payload to: in memory while it is small, then in a staged file.

    A small one goes to a file as well, if there is no room for it in memory.
    """

    LIMIT = 8 << 20
    """The largest payload in bytes that stays in memory."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._hasher = hasher(stage.algorithm)
        self._size = 0
        self._memory: io.BytesIO | None = io.BytesIO()
        self._file: BinaryIO | None = None
        self._staged: StagedFile | None = None

    def writable(self) -> bool:
        """Say that this stream writes."""
        return True

    def write(self, data: Buffer, /) -> int:
        """Take more bytes."""
        view = memoryview(data).cast("B")
        self._stage.check_size(self._size + len(view))
        self._hasher.update(view)
        self._size += len(view)
        self._stage.report(0, len(view))
        if self._memory is not None and self._size > self.LIMIT:
            self._file, self._staged = self._stage.new_file()
            self._file.write(self._memory.getbuffer())
            self._memory = None
        (self._memory or self._file).write(view)  # type: ignore[union-attr]
        return len(view)

    def close(self) -> None:
        """Close the staged file, if there is one."""
        if self._file is not None:
            self._file.close()
        super().close()

    def payload(self) -> Payload:
        """Return what was written, once the stream is closed."""
        self._stage.report(1, 0)
        content = self._staged or self._memory.getvalue()  # type: ignore[union-attr]
        return self._stage.keep(Payload(self._hasher.hexdigest(), self._size, content))


class Stage:
    """A directory where payloads wait to be stored.

    A local backend offers one on its own file system, so that storing is a link; for other
    backends it is the system's directory for temporary files. What is staged keeps ``owner``
    alive, with which the directory would go. ``limit`` is the most bytes that a value may have:
    nothing is read further than that. ``stat_cache`` knows files that need not be read, and
    ``packs`` the packs that were made last: by the digest of the first member, that of all members'
    digests and the pack's own. ``fast`` switches the platform's fast ways of copying. Thread-safe.
    A ``with`` block that is left by an error discards all that was staged.
    """

    limit: int | None = None
    stat_cache: StatCache | None = None

    def __init__(
        self,
        algorithm: Algorithm,
        directory: Path | None = None,
        *,
        owner: object = None,
        packs: Recent | None = None,
        fast: bool = True,
    ) -> None:
        self.algorithm = algorithm
        self.packs = Recent(PACKS) if packs is None else packs
        self._directory = directory
        self._owner = owner
        self._fast = fast
        self._files: weakref.WeakSet[StagedFile] = weakref.WeakSet()
        self._report = report_of_storing()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.discard()

    def expect(self, size: int | None) -> None:
        """Tell whoever listens that so many bytes will be staged; None if nobody knows."""
        if self._report is not None:
            self._report.expect("stage", size)

    def report(self, objects: int, size: int) -> None:
        """Tell whoever listens that so many objects and bytes have been staged."""
        if self._report is not None:
            self._report.add("stage", objects, size)

    def check_size(self, size: int) -> None:
        """Raise :class:`InvalidValueError` for a value of more than ``limit`` bytes."""
        if self.limit is not None and size > self.limit:
            msg = f"more bytes than the column's max_size of {self.limit}"
            raise InvalidValueError(msg)

    def data(self, data: bytes) -> Payload:
        """Make a payload of bytes in memory; nothing is copied."""
        self.expect(len(data))
        self.report(1, len(data))
        return Payload(digest_of(data, self.algorithm), len(data), data)

    def keep(self, payload: Payload) -> Payload:
        """Return a payload that may wait: its bytes in memory if there is room, or in a file."""
        if payload.share is not None or not isinstance(payload.content, bytes):
            return payload
        share = Share.take(payload.size)
        if share is not None:
            return replace(payload, share=share)
        with self.file() as (fp, staged):
            fp.write(payload.content)
        return replace(payload, content=staged)

    def chunks(self, chunks: Iterable[bytes | memoryview]) -> Payload:
        """Make a payload of a stream, in bounded memory."""
        self.expect(None)
        with Spool(self) as spool:
            for chunk in chunks:
                spool.write(chunk)
        return spool.payload()

    def stream(self, source: IO[bytes]) -> Payload:
        """Make a payload of an open binary file, from where it stands to its end."""
        return self.chunks(iter(lambda: source.read(CHUNK), b""))

    def copy(self, source: int, name: str) -> Payload:
        """Make a payload of a regular file that is open for reading.

        The digest is that of the copy, so a file that changes meanwhile cannot be stored
        under a digest that is not its own; one that is seen to change is refused with a
        :class:`SourceError` that gives ``name``.
        """
        before = os.fstat(source)
        self.check_size(before.st_size)
        with self.file() as (fp, staged):
            digest, size = copy_and_hash(
                source, fp.fileno(), self.algorithm, fast=self._fast, copied=partial(self.report, 0)
            )
        after = os.fstat(source)
        sizes = {size, before.st_size, after.st_size}
        if len(sizes) > 1 or before.st_mtime_ns != after.st_mtime_ns:
            msg = f"{name!r} changed while it was read: store it again when it is at rest"
            raise SourceError(msg)
        self.report(1, 0)
        return Payload(digest, size, staged)

    @contextlib.contextmanager
    def file(self) -> Iterator[tuple[BinaryIO, StagedFile]]:
        """Open a new staged file for writing; it is closed, not synced, at the end."""
        fp, staged = self.new_file()
        with fp:
            yield fp, staged

    def new_file(self) -> tuple[BinaryIO, StagedFile]:
        """Open a new staged file for writing; whoever asked for it closes it."""
        descriptor, name = tempfile.mkstemp(prefix="staged-", dir=self._directory)
        staged = StagedFile(Path(name), self._owner)
        self._files.add(staged)
        return os.fdopen(descriptor, "wb"), staged

    def discard(self) -> None:
        """Remove all files that were staged here: they have been stored, or never will be."""
        for staged in list(self._files):
            staged.remove()


def size_of(objects: Sequence[tuple[str, Payload]]) -> int:
    """Return how many bytes a backend is to put."""
    return sum(payload.size for _, payload in objects)


def counted(
    put: Callable[[Sequence[tuple[str, Payload]]], None], objects: Sequence[tuple[str, Payload]]
) -> Callable[[Sequence[tuple[str, Payload]]], None]:
    """Return a backend's ``put`` that tells whoever listens of each batch of these objects."""
    report = report_of_storing()
    if report is None:
        return put
    report.expect("put", size_of(objects))

    def put_and_tell(batch: Sequence[tuple[str, Payload]]) -> None:
        put(batch)
        report.add("put", len(batch), size_of(batch))

    return put_and_tell


def _unlink(path: str, pid: int) -> None:
    if pid != os.getpid():
        return  # a forked child: the file is its parent's
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # at interpreter exit pathlib may be gone
