"""The database and the store of the state machine, one after the other's, empty each time."""

from pathlib import Path

from sqlalchemy import text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sqla_artifacts import (
    Artifact,
    ArtifactStore,
    FileDir,
    LazyArtifact,
    LazyMapped,
    PathMapped,
    StoredPath,
)

# Small, and one with a large part. The pack of the first is a value of the other columns, too.
TREES = {
    "small": {"a": b"a"},
    "two": {"a": b"a", "b": b"b"},
    "large": {"b": b"b", "large": bytes(1 << 20)},
}


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "item"
    id: Mapped[int] = mapped_column(primary_key=True)
    data: Mapped[bytes | None] = mapped_column(Artifact("bytes"))
    other: LazyMapped[bytes | None] = mapped_column(LazyArtifact("bytes"))
    run: PathMapped[StoredPath | None] = mapped_column(FileDir())

    def values(self):
        """What the row holds, a tree by its name."""
        run = self.run and self.run.name
        if run:
            assert {name: read(self.run, name) for name in self.run.members} == TREES[run]
        return {"data": self.data, "other": self.other.unpack(), "run": run}


def read(tree, name):
    with tree.open(name) as stream:
        return stream.read()


class World:
    """A database and a store that one machine after the other begins with, empty each time."""

    def __init__(self, make_engine, directory):
        self._make_engine = make_engine
        self._directory = Path(directory)
        for name, files in TREES.items():
            folder = self._directory / "trees" / name
            folder.mkdir(parents=True)
            for file, content in files.items():
                (folder / file).write_bytes(content)
        self.open()
        Base.metadata.create_all(self.engine)

    def open(self):
        self.engine = self._make_engine()
        self.store = ArtifactStore(f"{self._directory}/artifacts", memory=0)
        self.store.attach(self.engine, metadata=Base.metadata)

    def restart(self):
        self.engine.dispose()
        self.open()

    def empty(self):
        tables = ["item", "artifact_edge", "artifact_blob", "artifact_trash", "artifact_column"]
        with self.engine.begin() as connection:
            for table in tables:
                connection.execute(text(f"DELETE FROM {table}"))
        for entry in self.store.backend.list("blobs/"):
            self.store.backend.delete(entry.key)

    def given(self, values):
        """What to assign for the values of a row: for a tree its directory."""
        run = values.get("run")
        return values | {"run": self._directory / "trees" / run} if run else values

    def set_the_clock(self, hours):
        """Have the clock jump, by moving what the ledger says of the time the other way."""
        moved = f"{{column}} - make_interval(hours => {hours})"
        if self.engine.dialect.name == "sqlite":
            moved = f"strftime('%Y-%m-%d %H:%M:%f000', {{column}}, '{-hours:+} hours')"
        times = [("blob", "doomed_at"), ("trash", "gone_at"), ("trash", "deleted_at")]
        with self.engine.begin() as connection:
            for table, column in times:
                new = moved.format(column=column)
                connection.execute(text(f"UPDATE artifact_{table} SET {column} = {new}"))
