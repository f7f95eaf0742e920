"""superduper URL PLACE HOW NUMBER: import what is in a folder of Superduper's.

HOW says what: `killed` imports rows in batches of two, and kills itself when NUMBER batches have
been committed and the next is about to be; `large` imports one blob of so many MiB.
"""

import hashlib
import os
import signal
import sys
from pathlib import Path

from sqlalchemy import MetaData, create_engine, event

from sqla_artifacts import ArtifactStore, DataType
from sqla_artifacts.ext.superduper import ArtifactFolder, Schema, import_rows

ROWS = 8
MIB = 1 << 20


def set_up(engine, place):
    """The table and the store for it."""
    data = DataType("data", lambda x, info: x, lambda x, info: x, encodable="lazy_artifact")
    metadata = MetaData()
    table = Schema("data", {"data": data}).table("imported", metadata)
    store = ArtifactStore(str(Path(place, "store")), checkouts=Path(place, "checkouts"))
    store.attach(engine, metadata=metadata)
    metadata.create_all(engine)
    return table, store


def folder_of(place):
    """Superduper's folder."""
    path = Path(place, "old")
    path.mkdir(exist_ok=True)
    return path


def make_rows(place):
    """Rows whose blobs are in the folder; two of them share one."""
    folder = folder_of(place)
    for number in range(ROWS):
        data = f"{number % 7}".encode() * 100_000
        name = hashlib.sha1(data).hexdigest()
        (folder / name).write_bytes(data)
        yield {"id": str(number), "data": f"&:blob:{name}"}


def make_large(place, size):
    """A row with a blob of so many MiB, sparse but for its ends."""
    path = folder_of(place) / "large"
    with path.open("wb") as fp:
        fp.write(b"start")
        fp.seek(size * MIB - 3)
        fp.write(b"end")
    with path.open("rb") as fp:
        name = hashlib.file_digest(fp, "sha1").hexdigest()
    path.rename(path.with_name(name))
    return {"id": str(size), "data": f"&:blob:{name}"}


def kill_before_commit(engine, number):
    """Kill this process before the commit that follows so many committed inserts."""
    statements = []

    def note(connection, cursor, statement, *rest):
        if statement.startswith("INSERT INTO imported "):
            statements.append(statement)

    def commit(connection):
        if len(statements) > number:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(engine, "before_cursor_execute", note)
    event.listen(engine, "commit", commit)


def main(url, place, how, number):
    engine = create_engine(url)
    table, _ = set_up(engine, place)
    if how == "killed":
        kill_before_commit(engine, int(number))
        rows = make_rows(place)
    else:
        rows = [make_large(place, int(number))]
    import_rows(rows, table, engine, ArtifactFolder(folder_of(place)), batch=2)
    engine.dispose()


if __name__ == "__main__":
    main(*sys.argv[1:])
