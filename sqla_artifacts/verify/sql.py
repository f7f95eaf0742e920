"""The statements of verify, repair and erase, in the words of the collector's."""

from __future__ import annotations

LIVE = """
    SELECT blob.digest, blob.generation, blob.size FROM {ledger}.artifact_blob AS blob
    WHERE blob.store = :store AND blob.state = 'live' AND blob.digest > :after {share}
    ORDER BY blob.digest LIMIT :limit
    """

# What is live is complete: a tree's parts have to be live, too.
INCOMPLETE = """
    SELECT blob.digest, blob.generation, blob.size FROM {ledger}.artifact_blob AS blob
    WHERE blob.store = :store AND blob.state = 'live' AND blob.digest > :after
        AND blob.digest IN (
            SELECT edge.manifest FROM {ledger}.artifact_edge AS edge
            LEFT JOIN {ledger}.artifact_blob AS part
                ON part.store = edge.store AND part.digest = edge.part
            WHERE edge.store = :store AND coalesce(part.state, '') <> 'live')
    ORDER BY blob.digest LIMIT :limit
    """

STILL = """
    SELECT asked.digest, asked.number, asked.size FROM {asked}
    {join} {ledger}.artifact_blob AS blob ON blob.store = :store
        AND blob.digest = asked.digest AND blob.generation = asked.number AND blob.state = 'live'
    """

# A listed key: the size that it should have, -1 if nothing needs it, or -2 if it waits to be
# deleted, or is being written.
LISTED = """
    SELECT asked.digest, asked.number, CASE
        WHEN blob.state = 'live' AND blob.generation = asked.number THEN blob.size
        WHEN blob.digest IS NULL
            OR blob.state = 'live' AND blob.generation < asked.number
            OR (blob.state = 'gone' OR blob.generation > asked.number) AND NOT EXISTS (
                SELECT 1 FROM {ledger}.artifact_trash AS trash
                WHERE trash.store = :store AND trash.digest = asked.digest
                    AND trash.generation = asked.number AND trash.deleted_at IS NULL)
            THEN -1
        ELSE -2 END AS size
    FROM {asked}
    LEFT JOIN {ledger}.artifact_blob AS blob
        ON blob.store = :store AND blob.digest = asked.digest
    """

# How often a column names a blob, by itself or through a tree.
NAMED = """
    SELECT named.digest, {number} AS number, count(*) AS size FROM (
        {select}
        UNION ALL
        SELECT edge.part FROM ({select}) AS tree
        JOIN {ledger}.artifact_edge AS edge
            ON edge.store = :store AND edge.manifest = tree.digest
            AND edge.part IN (SELECT asked.digest FROM {asked})
    ) AS named
    WHERE named.digest IN (SELECT asked.digest FROM {asked}) GROUP BY named.digest
    """

COLUMNS = """
    SELECT table_schema, table_name, column_name FROM {ledger}.artifact_column
    WHERE store = :store
    """

# -- marking ---------------------------------------------------------------------------------------

LOCK_LIVE = """
    SELECT asked.digest, asked.number, asked.size FROM {asked}
    {join} {ledger}.artifact_blob AS blob
        ON blob.store = :store AND blob.digest = asked.digest AND blob.generation = asked.number
    WHERE blob.state = 'live' {wait}
    """

CONDEMN = """
    UPDATE {ledger}.artifact_blob AS blob
    SET state = 'gone', doom = NULL, horizon = NULL, doomed_at = NULL
    WHERE store = :store AND state = 'live'
        AND (digest, generation) IN (SELECT asked.digest, asked.number FROM {asked})
    RETURNING {returned}
    """

# The trees that need what is asked, or that are asked themselves.
LOCK_TREES = """
    SELECT blob.digest, blob.generation, blob.size FROM {ledger}.artifact_blob AS blob
    WHERE blob.store = :store AND blob.state = 'live' AND blob.digest IN (
        SELECT edge.manifest FROM {ledger}.artifact_edge AS edge
        LEFT JOIN {ledger}.artifact_blob AS part
            ON part.store = edge.store AND part.digest = edge.part
        WHERE edge.store = :store AND coalesce(part.state, '') <> 'live'
            AND (edge.part IN (SELECT asked.digest FROM {asked})
                OR edge.manifest IN (SELECT asked.digest FROM {asked})))
    {wait}
    """

SUSPEND = """
    UPDATE {ledger}.artifact_blob AS blob SET state = 'pending'
    WHERE store = :store AND state = 'live'
        AND (digest, generation) IN (SELECT asked.digest, asked.number FROM {asked})
    RETURNING {returned}
    """

# -- repair and erase ------------------------------------------------------------------------------

KNOWN = """
    SELECT blob.digest, blob.generation, CASE blob.state WHEN 'live' THEN blob.size ELSE -1 END
    FROM {asked} {join} {ledger}.artifact_blob AS blob
        ON blob.store = :store AND blob.digest = asked.digest
    """

# Trees that wait for one of these parts.
TREES = """
    SELECT blob.digest, blob.generation, blob.size FROM {ledger}.artifact_blob AS blob
    WHERE blob.store = :store AND blob.state = 'pending' AND blob.digest IN (
        SELECT edge.manifest FROM {ledger}.artifact_edge AS edge
        WHERE edge.store = :store AND edge.part IN (SELECT asked.digest FROM {asked}))
    """

# Generations whose bytes are still there, of blobs that are live under a later one.
OUTLIVED = """
    SELECT trash.digest, trash.generation FROM {ledger}.artifact_trash AS trash
    JOIN {ledger}.artifact_blob AS blob
        ON blob.store = trash.store AND blob.digest = trash.digest
        AND blob.generation > trash.generation AND blob.state = 'live'
    WHERE trash.store = :store AND trash.deleted_at IS NULL
    ORDER BY trash.digest, trash.generation
    """

# The trees that need a blob, and are not taken.
NEEDING = """
    SELECT blob.digest, blob.generation, blob.size FROM {ledger}.artifact_edge AS edge
    JOIN {ledger}.artifact_blob AS blob
        ON blob.store = edge.store AND blob.digest = edge.manifest AND blob.state <> 'gone'
    WHERE edge.store = :store AND edge.part IN (SELECT asked.digest FROM {asked})
    ORDER BY blob.digest
    """

MANIFESTS = """
    SELECT blob.digest, blob.generation, blob.size FROM {ledger}.artifact_blob AS blob
    WHERE blob.store = :store AND blob.state <> 'gone' AND blob.digest > :after
        AND blob.digest IN (
            SELECT edge.manifest FROM {ledger}.artifact_edge AS edge WHERE edge.store = :store)
    ORDER BY blob.digest LIMIT :limit
    """

LOCK_ANY = """
    SELECT blob.digest, blob.generation, blob.size FROM {ledger}.artifact_blob AS blob
    WHERE blob.store = :store AND blob.digest IN (SELECT asked.digest FROM {asked}) {wait}
    """

TAKE_ANY = """
    UPDATE {ledger}.artifact_blob AS blob
    SET state = 'gone', doom = NULL, horizon = NULL, doomed_at = NULL
    WHERE store = :store
        AND (digest, generation) IN (SELECT asked.digest, asked.number FROM {asked})
    RETURNING {returned}
    """
