"""The ledger's own connections to PostgreSQL.

What they write is committed at once, whatever becomes of the user's transaction. They come
from a pool of their own: with the user's, a session that holds its last connection would
wait for itself.
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from ..errors import LedgerBusyError, NoLedgerError

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCK_TIMEOUT = "10s"
"""How long to wait for a lock: DDL on the ledger in the user's transaction would hold one."""

_LOCK_NOT_AVAILABLE = "55P03"
_UNDEFINED_TABLE = "42P01"

# For this transaction alone: behind a pooler, the session belongs to others as well.
_SETTINGS = text("""
    SELECT set_config('lock_timeout', :lock_timeout, true),
        set_config('synchronous_commit', :commit, true)
    """)


class OwnConnections:
    """A pool made like the engine's, READ COMMITTED at each checkout. Thread-safe."""

    def __init__(self, engine: Engine) -> None:
        self._like = engine
        self._engine: Engine | None = None
        self._pid = os.getpid()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def begin(self, *, durable: bool = True, snapshot: bool = False) -> Iterator[Connection]:
        """Open a transaction that is committed at the end.

        Not ``durable``, it may be lost in a crash of the server, together with all that was
        committed after it. With ``snapshot`` all its statements see what was committed when it
        began. Raises :class:`~sqla_artifacts.errors.LedgerBusyError` if a lock
        cannot be had, and :class:`~sqla_artifacts.errors.NoLedgerError` if the tables are not
        committed yet.
        """
        try:
            with contextlib.ExitStack() as stack:
                connection = stack.enter_context(self._pooled().connect())
                if snapshot:
                    connection.execution_options(isolation_level="REPEATABLE READ")
                stack.enter_context(connection.begin())
                commit = "on" if durable else "off"
                connection.execute(_SETTINGS, {"lock_timeout": LOCK_TIMEOUT, "commit": commit})
                yield connection
        except DBAPIError as error:
            state = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)
            if state == _UNDEFINED_TABLE:
                msg = (
                    "the ledger's tables are there for this connection alone: the transaction that "
                    "makes them has to commit before anything is stored"
                )
                raise NoLedgerError(msg) from error
            if state != _LOCK_NOT_AVAILABLE:
                raise
            msg = (
                f"the ledger's tables were locked for {LOCK_TIMEOUT}: a transaction that changes "
                "them (create_all, a revision) has to commit before anything is stored"
            )
            raise LedgerBusyError(msg) from error

    def renew(self) -> None:
        """Drop the connections; in a forked child without closing the parent's."""
        with self._lock:
            if self._engine is not None:
                self._engine.dispose(close=self._pid == os.getpid())
                self._engine = None

    def _pooled(self) -> Engine:
        with self._lock:
            if self._engine is None:
                like = self._like
                engine = Engine(like.pool.recreate(), like.dialect, like.url)
                self._engine = engine.execution_options(isolation_level="READ COMMITTED")
                self._pid = os.getpid()
            return self._engine
