"""The writers' statements, ``{ledger}`` standing for the ledger's quoted schema."""

from __future__ import annotations

POSTGRESQL = {
    "begin": """
        SELECT CAST(pg_current_xact_id() AS text) AS xid,
            current_setting('transaction_isolation') AS isolation,
            to_regclass(CAST(:ledger AS text)) IS NOT NULL AS installed,
            space.nspname AS schema, class.relname AS relation,
            CAST(class.relkind AS text) AS relkind,
            CAST(class.relpersistence AS text) AS persistence
        FROM (SELECT to_regclass(CAST(:relation AS text)) AS oid) AS asked
        LEFT JOIN pg_catalog.pg_class AS class ON class.oid = asked.oid
        LEFT JOIN pg_catalog.pg_namespace AS space ON space.oid = class.relnamespace
        """,
    # For guards, which cannot see in the user's snapshot what is stored now: see guard.py.
    "xid": """
        SELECT CAST(pg_current_xact_id_if_assigned() AS text), set_config(
            :setting, coalesce(nullif(:stored, ''), current_setting(:setting, true), ''), true)
        """,
    # A tree's manifest without edges was stored as a mere file: its parts may not be there.
    "look": """
        SELECT CAST(pg_current_xact_id_if_assigned() AS text),
            (SELECT id FROM {ledger}.artifact_ledger),
            (SELECT name FROM {ledger}.artifact_store WHERE id = :store),
            ARRAY(
                SELECT CAST(column_name AS text) FROM {ledger}.artifact_column
                WHERE store = :store AND table_schema = :schema AND table_name = :table),
            ARRAY(
                SELECT CAST(digest AS text) FROM {ledger}.artifact_blob AS blob
                WHERE store = :store AND digest = ANY(CAST(:digests AS text[]))
                    AND state = 'live' AND doom IS NULL
                    AND (digest <> ALL(CAST(:trees AS text[])) OR EXISTS (
                        SELECT FROM {ledger}.artifact_edge AS edge
                        WHERE edge.store = :store AND edge.manifest = blob.digest)))
        """,
    "note": """
        INSERT INTO {ledger}.artifact_column (store, table_schema, table_name, column_name)
        SELECT :store, :schema, :table, name FROM unnest(CAST(:columns AS text[])) AS name
        ORDER BY name ON CONFLICT DO NOTHING
        """,
    "intend": """
        INSERT INTO {ledger}.artifact_blob AS blob (store, digest, generation, size, state)
        SELECT :store, asked.digest, 0, asked.size, 'pending'
        FROM unnest(CAST(:digests AS text[]), CAST(:sizes AS bigint[])) AS asked (digest, size)
        ORDER BY asked.digest
        ON CONFLICT (store, digest) DO UPDATE SET doom = NULL, horizon = NULL, doomed_at = NULL,
            generation = blob.generation + CAST(blob.state = 'gone' AS integer),
            size = excluded.size,
            state = CASE blob.state WHEN 'live' THEN 'live' ELSE 'pending' END
        RETURNING blob.digest, blob.generation, blob.state
        """,
    "edges": """
        INSERT INTO {ledger}.artifact_edge (store, manifest, part)
        SELECT :store, asked.manifest, asked.part
        FROM unnest(CAST(:manifests AS text[]), CAST(:parts AS text[])) AS asked (manifest, part)
        ORDER BY asked.manifest, asked.part ON CONFLICT DO NOTHING
        """,
    "confirm": """
        SELECT count(*) FROM {ledger}.artifact_blob
        WHERE store = :store AND digest = ANY(CAST(:digests AS text[]))
            AND state = 'live' AND doom IS NULL
        """,
    "settle": """
        WITH written AS (
            SELECT blob.digest FROM {ledger}.artifact_blob AS blob
            JOIN unnest(CAST(:digests AS text[]), CAST(:generations AS integer[]))
                AS asked (digest, generation)
                ON blob.digest = asked.digest AND blob.generation = asked.generation
            WHERE blob.store = :store AND blob.state IN ('pending', 'live')
            ORDER BY blob.digest FOR NO KEY UPDATE OF blob
        )
        UPDATE {ledger}.artifact_blob AS blob
        SET state = 'live', doom = NULL, horizon = NULL, doomed_at = NULL
        FROM written WHERE blob.store = :store AND blob.digest = written.digest
        RETURNING blob.digest
        """,
    "identity": "SELECT id FROM {ledger}.artifact_ledger",
    "database": "SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()",
    "may": "SELECT has_function_privilege('pg_catalog.pg_control_system()', 'execute')",
    "system": "SELECT CAST(system_identifier AS text) FROM pg_catalog.pg_control_system()",
    "name": """
        INSERT INTO {ledger}.artifact_store (id, name) VALUES (:store, :name)
        ON CONFLICT DO NOTHING
        """,
    "names": "SELECT id, name FROM {ledger}.artifact_store WHERE id = :store OR name = :name",
}

SQLITE = {
    "lock": "UPDATE {ledger}.artifact_blob SET digest = digest WHERE store = '' AND digest = ''",
    "identity": "SELECT id FROM {ledger}.artifact_ledger",
    # A temporary table hides the one that it is named like.
    "relation": """
        SELECT 'temporary ' || type FROM sqlite_temp_master
        WHERE coalesce(lower(:schema), 'temp') = 'temp' AND type IN ('table', 'view')
            AND lower(name) = lower(:table)
        UNION ALL
        SELECT type FROM {schema}.sqlite_master
        WHERE type IN ('table', 'view') AND lower(name) = lower(:table)
        """,
    "names": "SELECT id, name FROM {ledger}.artifact_store WHERE id = :store OR name = :name",
    "name": "INSERT INTO {ledger}.artifact_store (id, name) VALUES (:store, :name)",
    "column": """
        INSERT INTO {ledger}.artifact_column (store, table_schema, table_name, column_name)
        VALUES (:store, :schema, :table, :column) ON CONFLICT DO NOTHING
        """,
    # What is not live is to be written under a generation that was never taken.
    "look": """
        SELECT asked.value AS digest, blob.doom IS NOT NULL AS doomed,
            coalesce(blob.state, '') = 'live' AND (
                asked.value NOT IN (SELECT value FROM json_each(:trees))
                OR EXISTS (
                    SELECT 1 FROM {ledger}.artifact_edge AS edge
                    WHERE edge.store = :store AND edge.manifest = asked.value)
            ) AS live, CASE
            WHEN blob.state = 'live' THEN blob.generation
            ELSE max(
                coalesce(blob.generation + (blob.state = 'gone'), 0),
                coalesce((
                    SELECT max(trash.generation) + 1 FROM {ledger}.artifact_trash AS trash
                    WHERE trash.store = :store AND trash.digest = asked.value
                ), 0)
            ) END AS generation
        FROM json_each(:digests) AS asked
        LEFT JOIN {ledger}.artifact_blob AS blob
            ON blob.store = :store AND blob.digest = asked.value
        """,
    "live": """
        INSERT INTO {ledger}.artifact_blob (store, digest, generation, size, state)
        VALUES (:store, :digest, :generation, :size, 'live')
        ON CONFLICT (store, digest) DO UPDATE SET generation = excluded.generation,
            size = excluded.size, state = 'live', doom = NULL, horizon = NULL, doomed_at = NULL
        """,
    "edge": """
        INSERT INTO {ledger}.artifact_edge (store, manifest, part)
        VALUES (:store, :manifest, :part) ON CONFLICT DO NOTHING
        """,
    "spare": """
        UPDATE {ledger}.artifact_blob SET doom = NULL, horizon = NULL, doomed_at = NULL
        WHERE store = :store AND doom IS NOT NULL
            AND digest IN (SELECT value FROM json_each(:digests))
        """,
}


def stored_setting(store_name: str) -> str:
    """Return the name of the transaction's setting that says what was just stored."""
    return f"sqla_artifacts.stored_{store_name.encode().hex()}"
