"""A small `verify`: what must hold of every committed row, whatever else was rolled back."""

from sqlalchemy import String, select, type_coerce

from sqla_artifacts import ledger
from sqla_artifacts.digest import digest_of
from sqla_artifacts.reference import parse
from sqla_artifacts.reference_type import ReferenceType
from sqla_artifacts.store import key_of
from sqla_artifacts.tree import parse_manifest


def check(engine, store, *tables, ledger_schema=None):
    """Check every committed row of some tables.

    Each of its references resolves to a blob with the right bytes, which the ledger says is
    live; so does each part of a tree, and the ledger knows the tree's edges. The column is
    registered. Returns the keys of the blobs that no row needs, a collector's work.
    """
    with engine.connect() as connection:
        ledgers = _Ledger(connection, store.id, ledger_schema)
        needed = set()
        for table in tables:
            for column in table.columns:
                if isinstance(column.type, ReferenceType):
                    for text in connection.scalars(select(type_coerce(column, String))):
                        if text is not None:
                            assert (table.name, column.name) in ledgers.columns
                            needed.update(_check_reference(store, ledgers, parse(text)))
    return {entry.key for entry in store.backend.list("blobs/")} - needed


def _check_reference(store, ledgers, reference):
    """Check a blob and its parts, and return their keys."""
    data = store.get(reference)
    digests = {reference.digest}
    if reference.kind == "tree":
        manifest = parse_manifest(data)
        assert manifest.size == reference.size
        parts = {part.digest for part in manifest.parts}
        assert ledgers.edges.get(reference.digest, set()) == parts
        digests |= parts
    else:
        assert len(data) == reference.size
    return {_check_blob(store, ledgers.blobs.get(digest), digest) for digest in digests}


def _check_blob(store, row, digest):
    """Check a blob's bytes and its row in the ledger, and return its key."""
    assert row is not None, f"the ledger does not know {digest}"
    assert row.state == "live"
    key = key_of(digest, row.generation)
    data = store.backend.get(key)
    assert digest_of(data, store.algorithm) == digest
    assert len(data) == row.size
    with store.open_blob(digest) as stream:
        assert stream.read() == data
    return key


class _Ledger:
    """What the ledger says of a store."""

    def __init__(self, connection, store, schema):
        def rows(entity):
            statement = select(entity.__table__).where(entity.store == store)
            options = {"schema_translate_map": {None: schema}}
            return connection.execute(statement, execution_options=options)

        self.blobs = {row.digest: row for row in rows(ledger.Blob)}
        self.columns = {(row.table_name, row.column_name) for row in rows(ledger.Column)}
        self.edges = {}
        for row in rows(ledger.Edge):
            self.edges.setdefault(row.manifest, set()).add(row.part)
