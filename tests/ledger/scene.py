"""What the ledger's tests happen in: an engine, a store whose backend is watched, and a table."""

from sqlalchemy import Column, Integer, MetaData, String, Table, insert, select, type_coerce

from sqla_artifacts import Artifact, ArtifactStore, FileDir, ledger
from sqla_artifacts.digest import digest_of
from tests.check import check


class WatchedBackend:
    """Notes the keys that are put; `before_put` and `after_put` may do anything."""

    def __init__(self, backend):
        self._backend = backend
        self.puts = []
        self.before_put = self.after_put = lambda keys: None

    def __getattr__(self, name):
        return getattr(self._backend, name)

    def put(self, objects):
        keys = [key for key, _ in objects]
        self.before_put(keys)
        self._backend.put(objects)
        self.puts += keys
        self.after_put(keys)


def watched_store(url="memory://", **options):
    options.setdefault("memory", 0)
    store = ArtifactStore(url, **options)
    store.backend = WatchedBackend(store.backend)
    return store


def make_table(metadata, name="sample", **options):
    return Table(
        name,
        metadata,
        Column("id", Integer, primary_key=True),
        Column("data", Artifact("bytes")),
        Column("run", FileDir()),
        **options,
    )


class Scene:
    """An attached engine with its ledger, and a table `sample` of bytes and files."""

    def __init__(self, engine, store=None, *, ledger_schema=None):
        self.engine = engine
        self.store = store or watched_store()
        self.ledger_schema = ledger_schema
        self.metadata = MetaData()
        self.table = make_table(self.metadata)
        self.store.attach(engine, metadata=self.metadata, schema=ledger_schema)
        self.metadata.create_all(engine)

    @property
    def puts(self):
        """The keys that were put, in order."""
        return self.store.backend.puts

    def put(self, connection, *values, column="data"):
        """Insert a row for each value."""
        connection.execute(insert(self.table), [{column: value} for value in values])

    def commit(self, *values, column="data"):
        with self.engine.begin() as connection:
            self.put(connection, *values, column=column)

    def roll_back(self, *values, column="data"):
        """Leave blobs in the store that no row names, live in PostgreSQL's ledger."""
        with self.engine.connect() as connection:
            self.put(connection, *values, column=column)

    def values(self):
        """The committed values of `data`, sorted."""
        with self.engine.connect() as connection:
            return sorted(connection.scalars(select(self.table.c.data)))

    def check(self):
        """Check every committed row; return the keys of blobs that none needs."""
        return check(self.engine, self.store, self.table, ledger_schema=self.ledger_schema)

    def digest(self, value):
        return digest_of(value, self.store.algorithm)

    def blob(self, value):
        """The ledger's row of a value's blob, or None."""
        table = ledger.Blob.__table__
        with self.engine.connect() as connection:
            query = select(table).where(table.c.digest == self.digest(value))
            return connection.execute(query).one_or_none()

    def columns(self):
        """The registered columns: (schema, table, column)."""
        table = ledger.Column.__table__
        with self.engine.connect() as connection:
            rows = connection.execute(select(table.c[1:])).all()
        return {tuple(row) for row in rows}

    def references(self):
        """What the rows hold in `data`."""
        with self.engine.connect() as connection:
            return connection.scalars(select(type_coerce(self.table.c.data, String))).all()
