"""Add numbered blobs to a store and a database, or verify them in a process of its own."""

import resource
import sys

from sqlalchemy import MetaData, create_engine, insert, text

from sqla_artifacts import ArtifactStore, ledger
from sqla_artifacts.digest import digest_of
from sqla_artifacts.location import key_of
from sqla_artifacts.verify import verify
from tests.ledger.scene import make_table

BATCH = 5_000


def fill(engine, store, table, first, count):
    """Leave rows, ledger and files as a writer does, but all at once."""
    with engine.begin() as connection:
        connection.execute(insert(table).values(data=b"-1"))  # notes the column
    for start in range(first, count, BATCH):
        contents = [b"%d" % number for number in range(start, min(start + BATCH, count))]
        digests = [digest_of(content, store.algorithm) for content in contents]
        rows = [
            {"store": store.id, "digest": digest, "generation": 0, "size": len(content)}
            for digest, content in zip(digests, contents, strict=True)
        ]
        with engine.begin() as connection:
            connection.execute(insert(ledger.Blob), [row | {"state": "live"} for row in rows])
            references = [f"&:blob:{row['digest']}:{row['size']}:bytes" for row in rows]
            statement = text("INSERT INTO sample (data) VALUES (:data)")
            connection.execute(statement, [{"data": reference} for reference in references])
        for digest, content in zip(digests, contents, strict=True):
            path = store.backend.root / key_of(digest)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def main(url, directory, first="", count=""):
    engine = create_engine(url)
    store = ArtifactStore(directory, memory=0)
    metadata = MetaData()
    table = make_table(metadata)
    store.attach(engine, metadata=metadata)
    metadata.create_all(engine)
    if count:
        fill(engine, store, table, int(first), int(count))
    else:
        report = verify(store, engine, depth="content", metadata=metadata)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        sys.stdout.write(f"{report.counts.total()} {report.hashed.blobs} {peak}")


if __name__ == "__main__":
    main(*sys.argv[1:])
