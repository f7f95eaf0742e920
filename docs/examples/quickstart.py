"""Stores an array, an object, an image file and a directory with SQLite, and reads them back.

Makes ``app.db`` and ``artifacts/`` in the working directory. Run it again: each run adds a row,
and nothing to the store, for the same bytes are the same blob.
"""

from __future__ import annotations

import json
import sqlite3
import struct
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import create_engine, func, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from sqla_artifacts import (
    Artifact,
    ArtifactStore,
    FileDir,
    LazyArtifact,
    LazyMapped,
    PathMapped,
    StoredPath,
    ledger,
)

LAYER_SIZE = 3_000_000


class Base(DeclarativeBase):
    pass


class Sample(Base):
    __tablename__ = "sample"
    id: Mapped[int] = mapped_column(primary_key=True)
    signal: Mapped[np.ndarray] = mapped_column(Artifact("numpy"))  # decoded when the row is loaded
    model: LazyMapped[Any] = mapped_column(LazyArtifact("pickle"))  # fetched by .unpack()
    image: PathMapped[StoredPath] = mapped_column(FileDir())  # a file
    run: PathMapped[StoredPath] = mapped_column(FileDir())  # a directory


def main() -> None:
    engine = create_engine("sqlite:///app.db")
    store = ArtifactStore("filesystem://./artifacts")
    store.attach(engine, metadata=Base.metadata)  # the ledger's tables join Base.metadata
    Base.metadata.create_all(engine)

    signal = np.sin(np.linspace(0, 100, 1_000_000))
    model = {"kind": "threshold", "levels": [0.25, 0.5, 0.75], "labels": ("low", "high")}
    with tempfile.TemporaryDirectory() as directory, Session(engine) as session:
        blobs = count_blobs(session)
        image = Path(directory, "gradient.png")
        image.write_bytes(png(256, 256))
        run = Path(directory, "run-7")
        write_run(run)
        sample = Sample(signal=signal, model=model, image=image, run=run)
        session.add(sample)
        session.commit()
        number = sample.id
        added = count_blobs(session) - blobs
    print(f"Stored row {number}: an array, an object, an image and a directory.")
    print(f"New blobs in {store.url}: {added}")

    print("\nThe row as the database holds it:")
    with sqlite3.connect("app.db") as connection:
        cursor = connection.execute("SELECT * FROM sample WHERE id = ?", [number])
        for (column, *_), value in zip(cursor.description, cursor.fetchone(), strict=True):
            print(f"  {column:7} {value}")
    connection.close()

    print("\nRead back:")
    with tempfile.TemporaryDirectory() as directory, Session(engine) as session:
        sample = session.get_one(Sample, number)
        assert np.array_equal(sample.signal, signal)
        print(f"  signal  {sample.signal.size:,} numbers, equal to those stored")
        print(f"  model   {sample.model!r}")
        assert sample.model.unpack() == model
        print(f"          {sample.model!r}, equal to the one stored")
        assert sample.image.open().read() == png(256, 256)
        print(f"  image   {sample.image.name}, {sample.image.size:,} bytes, equal to those stored")
        copy = sample.run.unpack(directory)
        assert json.loads((copy / "metrics.json").read_text()) == {"accuracy": 0.97}
        assert (copy / "weights" / "layer-0.bin").stat().st_size == LAYER_SIZE
        files = [path for path, member in sample.run.members.items() if member.kind == "file"]
        print(f"  run     {sample.run.name}/ with {' and '.join(files)}")
        same = session.scalars(select(Sample.id).where(Sample.signal == signal)).all()
        print(f"\nRows whose signal equals this one, found by digest: {same}")


def count_blobs(session: Session) -> int:
    """Ask the ledger, whose tables may be queried like any others."""
    return session.scalar(select(func.count()).select_from(ledger.Blob)) or 0


def write_run(directory: Path) -> None:
    (directory / "weights").mkdir(parents=True)
    (directory / "metrics.json").write_text(json.dumps({"accuracy": 0.97}))
    (directory / "weights" / "layer-0.bin").write_bytes(bytes(LAYER_SIZE))


def png(width: int, height: int) -> bytes:
    """Return an image: a gradient in shades of grey."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    line = b"\0" + bytes(256 * x // width for x in range(width))
    pixels = zlib.compress(line * height)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", pixels), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


if __name__ == "__main__":
    main()
