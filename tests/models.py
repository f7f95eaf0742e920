"""Small models with every column type, stores for them, and a backend that counts."""

import os
import threading
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import numpy as np
from sqlalchemy import Integer, TypeDecorator, event
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sqla_artifacts import (
    Artifact,
    ArtifactStore,
    FileDir,
    Lazy,
    LazyArtifact,
    LazyMapped,
    PathMapped,
    StoredPath,
)


class Natural(TypeDecorator):
    """An integer that cannot be bound if it is negative."""

    impl = Integer
    cache_ok = True

    def process_bind_param(self, value, dialect):
        if value is not None and value < 0:
            msg = "negative"
            raise ValueError(msg)
        return value


def make_models():
    """A fresh (Base, Sample); `name` is unique, and a negative `count` fails to bind."""

    class Base(DeclarativeBase):
        pass

    class Sample(Base):
        __tablename__ = "sample"
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str | None] = mapped_column(unique=True)
        count: Mapped[int | None] = mapped_column(Natural)
        data: Mapped[bytes | None] = mapped_column(Artifact("bytes"))
        text: Mapped[str | None] = mapped_column(Artifact("text"))
        doc: Mapped[Any | None] = mapped_column(Artifact("json"))
        image: Mapped[np.ndarray | None] = mapped_column(Artifact("numpy"))
        thing: Mapped[Any | None] = mapped_column(Artifact("pickle"))
        model: LazyMapped[Any | None] = mapped_column(LazyArtifact("pickle"))
        note: LazyMapped[str | None] = mapped_column(LazyArtifact("text"))
        run: PathMapped[StoredPath | None] = mapped_column(FileDir())

    return Base, Sample


def make_store(directory, name="artifacts", **options):
    """A store in a directory of its own, its checkouts beside it; it remembers nothing.

    It is under the URL that the environment names as STORES, if it names one.
    """
    path = directory / name
    options.setdefault("memory", 0)
    url = os.environ.get("STORES", "") + str(path)
    return ArtifactStore(url, checkouts=directory / f"{name}-checkouts", **options)


def set_up(engine, directory, **options):
    """(Sample, store): fresh models whose tables are there, and the store that is attached."""
    base, sample = make_models()
    store = make_store(directory, **options)
    store.attach(engine, metadata=base.metadata)
    base.metadata.create_all(engine)
    return sample, store


def staged(store):
    """What waits in the store's directory for staged files, or in that of the system."""
    root = getattr(store.backend, "root", None)
    return list((root / "tmp" if root else Path(gettempdir())).rglob("staged-*"))


class CountingBackend:
    """A backend that notes what is asked of the one beneath it, and on which thread."""

    def __init__(self, backend):
        self._backend = backend
        self.calls = []
        self.threads = set()

    def __getattr__(self, name):
        found = getattr(self._backend, name)
        if not callable(found):
            return found

        def call(*args, **kwargs):
            self.calls.append(name)
            self.threads.add(threading.get_ident())
            return found(*args, **kwargs)

        return call


def counting(store):
    """Have a store's backend count from now on, its store.json being known; return the counter."""
    _ = store.id
    store.backend = CountingBackend(store.backend)
    return store.backend


def statements_of(engine):
    """The SQL that an engine runs from now on, without the ledger's own."""
    seen = []

    def note(connection, cursor, statement, *rest):
        if "artifact_" not in statement and "pg_current_xact_id" not in statement:
            seen.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    return seen


def kind_of(value):
    """The type of a value; of a proxy that was loaded as well, `Lazy`."""
    return Lazy if isinstance(value, Lazy) else type(value)
