"""The table that rows are imported into, and rows to import."""

import pickle

from sqlalchemy import MetaData, select
from sqlalchemy.orm import Session

from sqla_artifacts import DataType
from sqla_artifacts.ext.superduper import Document, Schema

from ..models import make_store


def my_artifact(encodable="artifact", **options):
    """The guide's datatype, lambdas and all."""
    return DataType(
        "my-artifact",
        encoder=lambda x, info: pickle.dumps(x),
        decoder=lambda x, info: pickle.loads(x),
        encodable=encodable,
        **options,
    )


def set_up(engine, directory, primary_id="id", **fields):
    """A table in the database, with a field for a value and one for a file, and its store."""
    given = {"x": my_artifact("lazy_artifact"), "f": DataType("my-file", encodable="file")}
    schema = Schema("my-schema", fields={**given, **fields})
    metadata = MetaData()
    table = schema.table("my_collection", metadata, primary_id=primary_id)
    store = make_store(directory)
    store.attach(engine, metadata=metadata)
    metadata.create_all(engine)
    return table, store


def unpacked(engine, table):
    """The table's rows, unpacked, in the order of their keys."""
    with Session(engine) as session:
        rows = session.execute(select(table).order_by(*table.primary_key)).mappings()
        return [Document(row).unpack() for row in rows]


def make_files(directory):
    """A file with two dots in its name, and a directory."""
    file = directory / "made" / "model.v1__final.bin"
    folder = directory / "made" / "checkpoint.d"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "part").write_bytes(b"part")
    (folder / "config.json").write_text("{}")
    file.write_bytes(b"weights")
    return file, folder
