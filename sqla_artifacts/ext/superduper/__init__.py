"""Superduper: its schemas and documents, and the import of its rows and artifact folders.

::

    schema = Schema("my-schema", fields={"txt": "str", "n": int, "x": my_datatype})
    table = schema.table("my_collection", metadata)
    Document(session.execute(select(table)).mappings().one()).unpack()

    old = ArtifactFolder("filesystem://./artifacts")
    for key, error in check_rows(rows, table, old):
        print(key, error)
    import_rows(rows, table, engine, old)
"""

from __future__ import annotations

from .folder import ArtifactFolder
from .rows import Imported, check_rows, import_rows
from .schema import Document, Schema

__all__ = ["ArtifactFolder", "Document", "Imported", "Schema", "check_rows", "import_rows"]
