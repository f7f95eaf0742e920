"""A large collection, beside the plain SQL and the plain deletes that it cannot do without.

    python -m tests.benchmarks.collect [--blobs N] [--database sqlite|postgresql] [--files N]

A ledger of N blobs, with 5 N references to four fifths of them and none to the rest, is made by
SQL, in three sizes. "collect" runs to the last delete, on a backend that only counts
them. "plain" is one anti-join that lists the orphans and one UPDATE of them, on the same tables.
"files" are real: the same with N orphans in a local store, beside a loop of `os.unlink` over
equal files. Memory is the growth of the peak of a fresh process.
"""

import argparse
import datetime as dt
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sqlalchemy import Column, Integer, MetaData, Table, create_engine, text

from sqla_artifacts import Artifact, ArtifactStore
from sqla_artifacts.collect import collect
from sqla_artifacts.location import key_of
from tests.postgres import FAST, PostgresServer, find_binaries

ZERO = dt.timedelta(0)
LIMIT = 200


class Counting:
    """A backend without blobs that counts its deletes."""

    def __init__(self, backend):
        self._backend = backend
        self.deletes = 0

    def __getattr__(self, name):
        return getattr(self._backend, name)

    def list(self, prefix):
        return iter(())

    def delete(self, key):
        self.deletes += 1


def make_scene(url, store):
    engine = create_engine(url)
    metadata = MetaData()
    table = Table(
        "sample",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("data", Artifact("bytes")),
    )
    store.attach(engine, metadata=metadata)
    metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(table.insert(), [{"data": b"first"}])  # claims the store
    return engine


def fill(engine, store, blobs):
    """Give the ledger its blobs, and all but every fifth one its references."""
    # The digests are spread like real ones.
    if engine.dialect.name == "sqlite":
        series = (
            "(WITH RECURSIVE counted(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted "
            "WHERE n < :n) SELECT n FROM counted) AS series"
        )
        digest = "printf('%08x%056d', (n * 2654435761) % 4294967296, n)"
    else:
        series = "generate_series(1, CAST(:n AS bigint)) AS series (n)"
        digest = "lpad(to_hex((n * 2654435761) % 4294967296), 8, '0') || lpad(n::text, 56, '0')"
        digest = digest.replace(":", r"\:")
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO artifact_blob (store, digest, generation, size, state) "
                f"SELECT :store, {digest}, 0, 4096, 'live' FROM {series}"
            ),
            {"n": blobs, "store": store.id},
        )
        references = (
            rf"INSERT INTO sample (data) SELECT '&\:blob\:' || {digest} || '\:4096\:bytes' "
            f"FROM {series} WHERE n % 5 <> 0"
        )
        for more in ["", "", "", "", "", "", " AND n % 4 = 0"]:
            connection.execute(text(references + more), {"n": blobs})
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))


def peak():
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024


def plain(engine):
    """An anti-join and an update, rolled back."""
    begun = time.perf_counter()
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            orphans = (
                "digest NOT IN (SELECT substr(data, 8, 64) FROM sample WHERE data IS NOT NULL)"
            )
        else:
            orphans = (
                "NOT EXISTS (SELECT FROM sample WHERE substr(data, 8, 64) = artifact_blob.digest)"
            )
        changed = connection.execute(
            text(f"UPDATE artifact_blob SET doom = 1 WHERE state = 'live' AND {orphans}")
        ).rowcount
        connection.rollback()
    return time.perf_counter() - begun, changed


def measure(url, directory, blobs):
    store = ArtifactStore(str(directory / "store"))
    engine = make_scene(url, store)
    fill(engine, store, blobs)
    store.backend = counting = Counting(store.backend)
    by_hand, orphans = plain(engine)
    before = peak()
    begun = time.perf_counter()
    steps = []

    def note(progress):
        steps.append((progress.step, time.perf_counter() - begun))

    report = collect(
        store, engine, dry_run=False, grace=ZERO, retention=ZERO, limit_share=1, progress=note
    )
    took = time.perf_counter() - begun
    assert counting.deletes == report.deleted.blobs == orphans, (counting.deletes, orphans)
    ends = dict(steps)
    print(
        f"{engine.dialect.name:10} {blobs:>9,} blobs {5 * blobs:>9,} references "
        f"{orphans:>7,} orphans: collect {took:6.2f} s ({1e6 * took / blobs:5.1f} us a blob), "
        f"plain {by_hand:5.2f} s, memory +{peak() - before:.0f} MiB (limit +{LIMIT})",
        {step: round(when, 2) for step, when in ends.items()},
        flush=True,
    )


def measure_files(url, directory, files):
    store = ArtifactStore(str(directory / "store"))
    engine = make_scene(url, store)
    peer = directory / "peer"
    keys = []
    with engine.begin() as connection:
        rows = []
        for number in range(files):
            digest = f"{(number * 2654435761) % 2**32:08x}{number:056d}"
            rows.append({"store": store.id, "digest": digest, "n": 0, "size": 4096})
            keys.append(key_of(digest))
        connection.execute(
            text(
                "INSERT INTO artifact_blob (store, digest, generation, size, state) "
                "VALUES (:store, :digest, :n, :size, 'live')"
            ),
            rows,
        )
    for root in (store.backend.root, peer):
        for key in keys:
            path = root / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x" * 4096)
    os.sync()
    begun = time.perf_counter()
    for key in keys:
        os.unlink(peer / key)
    by_hand = time.perf_counter() - begun
    os.sync()
    before = peak()
    begun = time.perf_counter()
    report = collect(store, engine, dry_run=False, grace=ZERO, retention=ZERO, limit_share=1)
    took = time.perf_counter() - begun
    assert report.deleted.blobs == files
    print(
        f"{engine.dialect.name:10} {files:,} files: collect {took:.2f} s, unlink alone "
        f"{by_hand:.2f} s, memory +{peak() - before:.0f} MiB (limit +{LIMIT})"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--blobs", type=int, default=1_000_000)
    parser.add_argument("--files", type=int, default=200_000)
    parser.add_argument("--database", choices=["sqlite", "postgresql"])
    parser.add_argument("--directory", type=Path, default=None)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        url, what = arguments.one
        with tempfile.TemporaryDirectory(dir=arguments.directory) as name:
            url = url.replace("DIR", name)
            if what == "files":
                measure_files(url, Path(name), arguments.files)
            else:
                measure(url, Path(name), int(what))
        return
    sizes = [arguments.blobs // 4, arguments.blobs // 2, arguments.blobs]
    for database in [arguments.database] if arguments.database else ["sqlite", "postgresql"]:
        for what in [*map(str, sizes), "files"]:
            run(database, what, arguments)


def run(database, what, arguments):
    """Measure in a fresh process, and on PostgreSQL on a fresh server."""
    command = [sys.executable, __file__, "--files", str(arguments.files)]
    if arguments.directory:
        command += ["--directory", str(arguments.directory)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    if database == "sqlite":
        subprocess.run([*command, "--one", "sqlite:///DIR/a.db", what], check=True, env=environment)
        return
    server = PostgresServer(find_binaries(), **FAST)
    try:
        url = f"postgresql+psycopg://postgres@/postgres?host={server.host}"
        subprocess.run([*command, "--one", url, what], check=True, env=environment)
    finally:
        server.close()


if __name__ == "__main__":
    main()
