"""A stat cache: the digests of files that have not changed since they were last read.

``ArtifactStore(url, stat_cache="./stat-cache.db")`` has one, for directories and large files that
are stored again and again: of a file whose size, inode, and times of modification and of change
are still what they were, the digest is remembered, and the file is not read. Nor is a pack whose
members all are. If it turns out that the store does not have the bytes, they are read after all,
and checked: a :class:`~.errors.SourceError` says if they are no longer those of the digest.

*When a file is remembered.* A file that changes twice within one tick of the file system's clock
shows the same times before and after, so its digest is remembered only if both of its times lay
more than ``TICK`` before it was read; until then it is read each time. (Git keeps its index right
in the same way. It calls such files "racily clean".) This asks of a network file system that its
clock be less than that behind. What no time shows is missed: a program that writes through a
memory map shows it when the system writes the pages out, or when it is done.

*The file.* It is a SQLite database, which any number of processes and stores share; kill -9 leaves
it as it was before or after. A row is a directory's: the states and digests of its files. Rows
that nobody asked for in ``DAYS`` days go. Whoever may write the file decides which digests are
believed, so it belongs where the sources are: with the user who stores them. It may be removed at
any time. Where it cannot be read or written, everything is read, and the logger
``sqla_artifacts.stat_cache`` gets one warning.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .digest import Algorithm

TICK = 2_000_000_000
"""The coarsest clock of a file system, in nanoseconds: that of FAT."""

DAYS = 90
"""How long a directory is remembered that nobody stores."""

_DAY = 24 * 60 * 60 * 10**9
_TIMEOUT = 5.0
_FORMAT = 1
_TABLES = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS directory (
    path BLOB, algorithm TEXT, day INTEGER NOT NULL, files BLOB NOT NULL,
    PRIMARY KEY (path, algorithm)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pack (
    members TEXT, algorithm TEXT, day INTEGER NOT NULL, digest TEXT NOT NULL,
    PRIMARY KEY (members, algorithm)) WITHOUT ROWID;
PRAGMA user_version = {_FORMAT};
COMMIT;
"""
_SQL = {
    "directory": "SELECT day, files FROM directory WHERE path = ? AND algorithm = ?",
    "pack": "SELECT day, digest FROM pack WHERE members = ? AND algorithm = ?",
    "keep directory": "REPLACE INTO directory VALUES (?, ?, ?, ?)",
    "keep pack": "REPLACE INTO pack VALUES (?, ?, ?, ?)",
    "drop directory": "DELETE FROM directory WHERE day < ?",
    "drop pack": "DELETE FROM pack WHERE day < ?",
}

_logger = logging.getLogger(__name__)


class State(NamedTuple):
    """What shows that a file has changed."""

    size: int
    mtime: int
    ctime: int
    inode: int


def state_of(status: os.stat_result) -> State:
    """Return what is compared of a file's status."""
    return State(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


# By the names' bytes, which need not be text.
_Files = dict[bytes, tuple[State, str]]
_decode = msgspec.msgpack.Decoder(_Files).decode
_encode = msgspec.msgpack.Encoder().encode


class StatCache:
    """The digests of files, kept in the SQLite database ``path``; made when first needed.

    Thread-safe. Errors of the database are logged, and never raised.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        if not os.fspath(path):
            msg = "stat_cache='' cannot be a file: name one, such as './stat-cache.db'"
            raise ValueError(msg)
        self.path = os.path.abspath(path)
        self._has_warned = False

    def __repr__(self) -> str:
        return f"<StatCache {self.path}>"

    @contextlib.contextmanager
    def session(self, algorithm: Algorithm) -> Iterator[Sightings]:
        """Begin to look at files; what was seen is kept unless the block raises."""
        begun = time.time_ns()
        with contextlib.ExitStack() as opened:
            connection = self._connect()
            if connection is not None:
                opened.enter_context(contextlib.closing(connection))
            seen = Sightings(self, connection, algorithm, begun)
            yield seen
            seen.keep()

    def warn(self, error: Exception) -> None:
        """Log what keeps this from working, once."""
        if not self._has_warned:
            self._has_warned = True
            _logger.warning("the stat cache %s is not used: %s", self.path, error)

    def _connect(self) -> sqlite3.Connection | None:
        connection = None
        try:
            connection = sqlite3.connect(self.path, timeout=_TIMEOUT, isolation_level=None)
            if connection.execute("PRAGMA user_version").fetchone() != (_FORMAT,):
                connection.executescript(_TABLES)
        except sqlite3.Error as error:
            self.warn(error)
            if connection is not None:
                connection.close()
            return None
        return connection


class Sightings:
    """What was known of files when somebody began to read them, and what he has seen since.

    For one thread. ``begun`` is that moment.
    """

    def __init__(
        self,
        cache: StatCache,
        connection: sqlite3.Connection | None,
        algorithm: Algorithm,
        begun: int,
    ) -> None:
        self._cache = cache
        self._connection = connection
        self._algorithm = algorithm
        self._settled = begun - TICK
        self._day = begun // _DAY
        self._directories: list[tuple[bytes, str, int, bytes]] = []
        self._packs: dict[str, str] = {}

    def enter(self, directory: str) -> Directory:
        """Return what is known of the files in a directory; of a file, under the name ``b""``."""
        path = os.fsencode(os.path.abspath(directory))
        known: _Files = {}
        day, files = self._ask("directory", path) or (0, b"")
        if files:
            with contextlib.suppress(msgspec.MsgspecError):
                known = _decode(files)
        return Directory(path, known, self._settled, is_fresh=day == self._day)

    def leave(self, directory: Directory) -> None:
        """Note what was seen of a directory's files."""
        if directory.is_changed:
            row = (directory.path, self._algorithm, self._day, _encode(directory.seen))
            self._directories.append(row)

    def pack(self, members: str) -> str | None:
        """Return the digest of the pack whose members' digests have this digest."""
        day, digest = self._ask("pack", members) or (0, None)
        if digest is not None and day != self._day:
            self._packs[members] = digest
        return digest

    def note_pack(self, members: str, digest: str) -> None:
        """Note a pack's digest."""
        self._packs[members] = digest

    def keep(self) -> None:
        """Write down what is new."""
        if self._connection is None or not (self._directories or self._packs):
            return
        packs = [(key, self._algorithm, self._day, pack) for key, pack in self._packs.items()]
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for table, rows in (("directory", self._directories), ("pack", packs)):
                self._connection.executemany(_SQL[f"keep {table}"], rows)
                self._connection.execute(_SQL[f"drop {table}"], (self._day - DAYS,))
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._cache.warn(error)

    def _ask(self, table: str, key: bytes | str) -> tuple[int, Any] | None:
        if self._connection is None:
            return None
        try:
            row: tuple[int, Any] | None
            row = self._connection.execute(_SQL[table], (key, self._algorithm)).fetchone()
        except sqlite3.Error as error:
            self._cache.warn(error)
            return None
        return row


class Directory:
    """The files in one directory: what was known of them, and what was seen now."""

    def __init__(self, path: bytes, known: _Files, settled: int, *, is_fresh: bool) -> None:
        self.path = path
        self.seen: _Files = {}
        self._known = known
        self._settled = settled
        self._is_fresh = is_fresh

    @property
    def is_changed(self) -> bool:
        """Whether there is something to write down."""
        if self.seen != self._known:
            return True
        return bool(self.seen) and not self._is_fresh

    def digest(self, name: bytes, status: os.stat_result) -> str | None:
        """Return the digest of a file that has not changed, or None."""
        known = self._known.get(name)
        if known is None or known[0] != state_of(status):
            return None
        self.seen[name] = known
        return known[1]

    def note(self, name: bytes, status: os.stat_result, digest: str) -> None:
        """Note the digest of a file that was read, unless it may have changed in the same tick."""
        if max(status.st_mtime_ns, status.st_ctime_ns) < self._settled:
            self.seen[name] = state_of(status), digest
