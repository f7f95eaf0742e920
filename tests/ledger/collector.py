"""Collectors made by hand of the protocol's steps, for writers to be tested against.

    mark    G1  what no row needs is doomed, with the collector's transaction id
    stamp   G2  a later transaction stamps its own id on it, the horizon
    take    G3  once every transaction before the horizon is over, a last look, and it is gone
    delete  G4  the keys of what is gone are deleted

The grace and the retention time are nothing. On SQLite all of it holds the write lock, so that
there is nothing to wait for, and what the store holds without a row is taken as well.
"""

from sqlalchemy import text

from sqla_artifacts.store import key_of

XID = "CAST(CAST(pg_current_xact_id() AS text) AS bigint)"
XMIN = "CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint)"


class Collector:
    """A collector on PostgreSQL, with connections of its own."""

    def __init__(self, scene, engine):
        self._scene = scene
        self._engine = engine

    def collect(self):
        """All steps; returns the digests that were taken."""
        self.mark()
        self.stamp()
        taken = self.take()
        self.delete()
        return taken

    def columns(self):
        """The columns that may hold references."""
        query = "SELECT table_schema, table_name, column_name FROM artifact_column"
        return [tuple(row) for row in self._run(query)]

    def mark(self):
        """G1: doom what is not referenced."""
        self._run(f"""
            WITH k AS (
                SELECT digest FROM artifact_blob AS blob
                WHERE store = :store AND state <> 'gone' AND horizon IS NULL
                    AND NOT {self._referenced(self.columns())}
                ORDER BY digest FOR NO KEY UPDATE SKIP LOCKED)
            UPDATE artifact_blob AS blob SET doom = {XID}, doomed_at = now()
            FROM k WHERE blob.store = :store AND blob.digest = k.digest AND state <> 'gone'
            """)

    def stamp(self):
        """G2: stamp the horizon on what is doomed, in a transaction that begins after G1's."""
        self._run(f"""
            WITH k AS (
                SELECT digest FROM artifact_blob
                WHERE store = :store AND doom IS NOT NULL AND horizon IS NULL
                ORDER BY digest FOR NO KEY UPDATE SKIP LOCKED)
            UPDATE artifact_blob AS blob SET horizon = {XID}
            FROM k WHERE blob.store = :store AND blob.digest = k.digest AND horizon IS NULL
            """)

    def take(self, columns=None):
        """G3: take what every transaction that may have seen it live is over for."""
        referenced = self._referenced(self.columns() if columns is None else columns)
        condition = f"store = :store AND state <> 'gone' AND horizon < {XMIN}"
        taken = self._run(f"""
            WITH k AS (
                SELECT digest FROM artifact_blob WHERE {condition}
                ORDER BY digest FOR NO KEY UPDATE SKIP LOCKED),
            x AS (
                UPDATE artifact_blob AS blob SET state = 'gone', doom = NULL, horizon = NULL
                FROM k WHERE blob.digest = k.digest AND {condition} AND NOT {referenced}
                RETURNING blob.store, blob.digest, generation)
            INSERT INTO artifact_trash (store, digest, generation, gone_at)
            SELECT store, digest, generation, now() FROM x RETURNING digest
            """)
        self._run(f"""
            UPDATE artifact_blob AS blob SET doom = NULL, horizon = NULL, doomed_at = NULL
            WHERE store = :store AND doom IS NOT NULL AND {referenced}
            """)
        return {digest for (digest,) in taken}

    def seize(self, value):
        """Take a blob whatever a writer may do, as no collector does before its horizon."""
        condition = "store = :store AND digest = :digest AND state <> 'gone'"
        self._run(
            f"""
            WITH x AS (
                UPDATE artifact_blob SET state = 'gone', doom = NULL, horizon = NULL
                WHERE {condition} RETURNING store, digest, generation)
            INSERT INTO artifact_trash (store, digest, generation, gone_at)
            SELECT store, digest, generation, now() FROM x RETURNING digest
            """,
            digest=self._scene.digest(value),
        )

    def delete(self):
        """G4: delete the keys of what is gone, and the edges of manifests among it."""
        rows = self._run("SELECT digest, generation FROM artifact_trash WHERE deleted_at IS NULL")
        for digest, generation in rows:
            self._scene.store.backend.delete(key_of(digest, generation))
        self._run("""
            WITH k AS (
                SELECT digest FROM artifact_blob WHERE state = 'gone'
                ORDER BY digest FOR NO KEY UPDATE)
            DELETE FROM artifact_edge USING k WHERE manifest = k.digest
            """)
        self._run("UPDATE artifact_trash SET deleted_at = now() WHERE deleted_at IS NULL")

    def _run(self, sql, **parameters):
        with self._engine.begin() as connection:
            parameters |= {"store": self._scene.store.id}
            bound = {name: value for name, value in parameters.items() if f":{name}" in sql}
            result = connection.execute(text(sql), bound)
            return result.all() if result.returns_rows else None

    def _referenced(self, columns):
        return _referenced(columns)


class SQLiteCollector:
    """A collector on SQLite, with a connection of its own."""

    def __init__(self, scene, engine):
        self._scene = scene
        self._engine = engine

    def collect(self):
        """All steps; returns the digests that were taken."""
        self.mark()
        taken = self.take()
        self.delete()
        return taken

    def mark(self):
        """Doom what is not referenced."""
        with self._engine.begin() as connection:
            self._lock(connection)
            referenced = self._referenced(connection)
            connection.execute(
                text(f"""
                    UPDATE artifact_blob AS blob SET doom = 1, horizon = 1
                    WHERE store = :store AND state <> 'gone' AND NOT {referenced}
                    """),
                {"store": self._scene.store.id},
            )

    def take(self):
        """Take what is doomed and not referenced, and keys that have no row."""
        entries = self._scene.store.backend.list("blobs/")
        with self._engine.begin() as connection:
            self._lock(connection)
            referenced = self._referenced(connection)
            ours = {"store": self._scene.store.id}
            condition = f"store = :store AND doom IS NOT NULL AND NOT {referenced}"
            query = text(f"SELECT digest, generation FROM artifact_blob AS blob WHERE {condition}")
            taken = {tuple(row) for row in connection.execute(query, ours)}
            known = set(connection.scalars(text("SELECT digest FROM artifact_blob")))
            names = (entry.key.rpartition("/")[2].partition("~") for entry in entries)
            taken |= {(name, int(g or 0)) for name, _, g in names if name not in known}
            update = "UPDATE artifact_blob AS blob SET state = 'gone', doom = NULL, horizon = NULL"
            connection.execute(text(f"{update} WHERE {condition}"), ours)
            insert = text("""
                INSERT INTO artifact_trash (store, digest, generation, gone_at)
                VALUES (:store, :digest, :generation, '2000-01-01 00:00:00')
                ON CONFLICT DO NOTHING
                """)
            for digest, generation in taken:
                row = {"digest": digest, "generation": generation}
                connection.execute(insert, ours | row)
        return {digest for digest, _ in taken}

    def delete(self):
        """Delete the keys of what is gone."""
        with self._engine.begin() as connection:
            self._lock(connection)
            query = "SELECT digest, generation FROM artifact_trash WHERE deleted_at IS NULL"
            keys = [key_of(*row) for row in connection.execute(text(query))]
            gone = "SELECT digest FROM artifact_blob WHERE state = 'gone'"
            connection.execute(text(f"DELETE FROM artifact_edge WHERE manifest IN ({gone})"))
            connection.execute(text("UPDATE artifact_trash SET deleted_at = '2000-01-01 00:00:00'"))
        for key in keys:
            self._scene.store.backend.delete(key)

    def _lock(self, connection):
        connection.execute(text("UPDATE artifact_blob SET digest = digest WHERE digest = ''"))

    def _referenced(self, connection):
        query = "SELECT table_schema, table_name, column_name FROM artifact_column"
        return _referenced(connection.execute(text(query)).all())


def _referenced(columns):
    """SQL that says whether a row of a column, or a tree that is not gone, names a blob."""
    places = [
        f'SELECT 1 FROM "{schema}"."{table}" WHERE substr("{column}", 8, 64) = blob.digest'
        for schema, table, column in columns
    ]
    places.append(
        "SELECT 1 FROM artifact_edge AS edge JOIN artifact_blob AS manifest "
        "ON manifest.store = edge.store AND manifest.digest = edge.manifest "
        "WHERE edge.store = blob.store AND edge.part = blob.digest AND manifest.state <> 'gone'"
    )
    return "(" + " OR ".join(f"EXISTS ({place})" for place in places) + ")"
