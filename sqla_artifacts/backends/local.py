"""A store in a directory of this machine, or of a file system mounted on it.

Every object is written to a temporary file on the same file system, flushed, and renamed
onto its key; then the directory that names it is flushed. A reader sees all of an object or
nothing, and what :meth:`LocalBackend.put` has returned for survives a power failure.

The flushes cost far more than the writes, so a batch shares them. A large one takes two
flushes of the whole file system in all, one before the renames and one after.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from ..durable import Directories, opened_for_syncfs
from . import Entry
from .keys import TEMPORARY, checked, folder_of, is_listed
from .scratch import Scratch
from .temporaries import NO_LINKS, Temporaries, write_new

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..payload import Payload, StagedFile

# From here on, two flushes of the whole file system take less time than one for every file and
# directory: on an idle disk from 3 objects, but they wait for other programs' writes, too.
_MANY = 8

# One process makes one scratch directory for a backend; a fork waits until it is made.
_making = threading.Lock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_making.acquire, after_in_parent=_making.release, after_in_child=_making.release
    )


class LocalBackend:
    """The directory ``path``, made by the first write.

    ``path`` is taken as it is, relative to the working directory of this moment. ``fast=False``
    keeps to calls that every platform has.

    A pickled backend opens the same directory elsewhere.
    """

    is_remote = False

    def __init__(self, path: str | os.PathLike[str], *, fast: bool = True) -> None:
        name = os.fspath(path)
        if not name or "\0" in name:
            msg = f"{name!r} cannot be the directory of a store"
            raise ValueError(msg)
        self.root = Path(name).absolute()
        self.url = f"file://{self.root}"
        self._root = str(self.root)
        self._fast = fast
        self._scratch: Scratch | None = None
        self._numbers = itertools.count()
        # Directories whose own entry, in the directory above, is known to be durable.
        self._settled: set[str] = set()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._root!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return (_reopen, (self._root, self._fast))

    @property
    def staging(self) -> Path | None:
        """A directory of this process's own on the store's file system; made if need be."""
        return Path(self._own_scratch())

    # -- writing --------------------------------------------------------------------------------

    def put(self, objects: Sequence[tuple[str, Payload]]) -> None:
        """Store payloads under their keys, all of them durable on return.

        An object that is there already is replaced. An error leaves no temporary file, though
        part of the batch may be stored by then. Staged files are linked, not moved away.
        """
        work = [(self._path(key), payload) for key, payload in objects]
        if not work:
            return
        scratch = self._own_scratch()
        directories = Directories(self._root, self._settled)
        many = self._fast and len(work) >= _MANY
        with (
            opened_for_syncfs(scratch) if many else contextlib.nullcontext() as sync_all,
            Temporaries(scratch, self._numbers, sync_all, fast=self._fast) as temporaries,
        ):
            for target, payload in work:
                directories.make(os.path.dirname(target))
                temporaries.write(target, cast("bytes | StagedFile", payload.content))
            temporaries.flush()
            temporaries.move(directories)
            directories.settle(sync_all)

    def create(self, key: str, data: bytes) -> bool:
        """Store a few bytes durably if the key is free; say whether it was.

        Of any number of callers, in any process, one is told that it was. On a file system
        without hard links the bytes are written in place: alone there, a reader may see part
        of them, and a crash may leave part of them.
        """
        target = self._path(key)
        scratch = self._own_scratch()
        directories = Directories(self._root, self._settled)
        directories.make(os.path.dirname(target))
        with Temporaries(scratch, self._numbers) as temporaries:
            temporary = temporaries.write(target, data)
            temporaries.flush()
            try:
                os.link(temporary, target)
                created = True
            except FileExistsError:
                created = False
            except OSError as error:
                if error.errno not in NO_LINKS:
                    raise
                created = write_new(target, data)
        # For a key that was taken, too: who took it may have crashed before this.
        directories.settle()
        return created

    def delete(self, key: str) -> None:
        """Remove an object, if it is there. The directories stay."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(self._path(key))

    # -- reading --------------------------------------------------------------------------------

    def get(self, key: str) -> bytes:
        """Return an object's bytes."""
        with _missing(key), open(self._path(key), "rb", buffering=0) as fp:
            return fp.read()

    def open(self, key: str) -> BinaryIO:
        """Return a seekable stream over an object's bytes."""
        with _missing(key):
            return open(self._path(key), "rb")

    def size(self, key: str) -> int:
        """Return an object's size in bytes."""
        with _missing(key):
            status = os.stat(self._path(key))
            if not stat.S_ISREG(status.st_mode):
                raise IsADirectoryError
        return status.st_size

    def list(self, prefix: str) -> Iterator[Entry]:
        """Yield the objects whose keys start with ``prefix``; only its directory is read."""
        pending = [folder_of(prefix)]
        while pending:
            folder = pending.pop()
            for entry in _entries(os.path.join(self._root, folder)):
                key = f"{folder}/{entry.name}" if folder else entry.name
                with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                    if entry.is_dir():
                        if is_listed(f"{key}/", prefix):
                            pending.append(key)
                    elif is_listed(key, prefix) and entry.is_file():
                        yield Entry(key, entry.stat().st_size)

    def _path(self, key: str) -> str:
        return os.path.join(self._root, checked(key))

    def _own_scratch(self) -> str:
        with _making:
            scratch = self._scratch
            # Another process's after a fork; gone if somebody has cleaned up by hand.
            if scratch is None or scratch.pid != os.getpid() or not os.path.isdir(scratch.path):
                self._settled.clear()
                parent = os.path.join(self._root, TEMPORARY)
                directories = Directories(self._root, self._settled)
                directories.make(parent)
                directories.settle()
                self._scratch = scratch = Scratch(parent)
            return scratch.path


def _entries(directory: str) -> list[os.DirEntry[str]]:
    # Read at once: a listing that is given up half way leaves nothing open.
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []


@contextlib.contextmanager
def _missing(key: str) -> Iterator[None]:
    """Turn what a path says of an object that is not there into one kind of error."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), key) from None


def _reopen(path: str, fast: bool) -> LocalBackend:  # noqa: FBT001 - by pickle
    return LocalBackend(path, fast=fast)
