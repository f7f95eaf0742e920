"""A database reached by one of the five drivers, with a store whose requests are gauged."""

import asyncio

import pytest
from sqlalchemy import create_engine, make_url
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from sqla_artifacts import ArtifactStore

from .gauge import Gauge
from .models import Base

SYNC = {"sqlite3": "sqlite", "psycopg": "postgresql+psycopg"}
ASYNC = {
    "aiosqlite": "sqlite+aiosqlite",
    "asyncpg": "postgresql+asyncpg",
    "psycopg async": "postgresql+psycopg",
}

CONCURRENCY = 8


def only(drivers):
    """Mark a test as one of these drivers alone."""
    return pytest.mark.parametrize("driver", drivers, indirect=True)


class Place:
    """The tables on a fresh database, and engines on it: `plain` has its read hook off.

    So has `observer`, which is synchronous.
    """

    def __init__(self, driver, url, **store_options):
        self.driver = driver
        self.is_async = driver in ASYNC
        self._url = make_url(url)
        self._runner = asyncio.Runner() if self.is_async else None
        options = {"memory": 0, "max_concurrency": CONCURRENCY} | store_options
        self.store = ArtifactStore("memory://", **options)
        self.backend = self.store.backend = Gauge(self.store.backend)
        create = create_async_engine if self.is_async else create_engine
        self.engine, self.plain = (self._engine(create, (ASYNC | SYNC)[driver]) for _ in range(2))
        self.observer = self._engine(create_engine, self._url.drivername)
        self.engines = [self.engine, self.plain, self.observer]
        for engine in (self.plain, self.observer):
            self.hooks(engine).prefetch._off = True
        Base.metadata.create_all(self.observer)

    def _engine(self, create, drivername):
        engine = create(self._url.set(drivername=drivername))
        self.store.attach(engine, metadata=Base.metadata)
        return engine

    @staticmethod
    def sync(engine):
        """The synchronous engine under an asynchronous one, or the engine itself."""
        return getattr(engine, "sync_engine", engine)

    def hooks(self, engine):
        """The listeners of an engine."""
        return self.sync(engine).dialect._artifact_hooks

    def session(self, function, engine=None):
        """Call a function with a session, under an asynchronous driver within `run_sync`."""
        if self.is_async and engine is not self.observer:
            return self.awaited(AsyncSession, lambda session: session.run_sync(function), engine)
        with Session(engine or self.engine) as session:
            return function(session)

    def awaited(self, open_, function, engine=None):
        """Await a coroutine function of what is opened on an engine."""

        async def main():
            async with open_(engine or self.engine) as opened:
                return await function(opened)

        return self.run(main())

    def run(self, coroutine):
        """Run a coroutine, in the context of those before it."""
        return self._runner.run(coroutine)

    def close(self):
        """See that all connections are back in their pools, and dispose them."""
        for engine in self.engines:
            assert engine.pool.checkedout() == 0
            for writer in self.hooks(engine).writers.values():
                own = getattr(writer, "_own", None)
                assert own is None or own._engine is None or own._engine.pool.checkedout() == 0
            disposed = engine.dispose()
            if disposed is not None:
                self.run(disposed)
        if self._runner is not None:
            self._runner.close()
