"""The collector's statements, written once for both databases.

What they say differently is in :data:`POSTGRESQL` and :data:`SQLITE`. ``{asked}`` is a batch of
rows ``(digest, number, size)`` that the collector brings along, the number a generation or a doom;
``{by_digest}``, ``{by_doom}``, ``{by_generation}`` are the rows of the ledger that it is about.
These are said so that a database where nobody ran ANALYZE finds them by their keys, too, and does
not go through the ledger for each. ``{references}`` is the SELECT of
:mod:`~sqla_artifacts.inventory`, and ``{old}`` the condition that every transaction is over that
may have seen a doomed blob without its doom.
"""

from __future__ import annotations

_DIGESTS = "digest = ANY(CAST(:digests AS text[]))"
_PAIRS = "(digest, {column}) IN (SELECT asked.digest, asked.number FROM {{asked}})"
_BY_DOOM = _PAIRS.format(column="doom")
_BY_GENERATION = _PAIRS.format(column="generation")

POSTGRESQL = {
    "by_digest": _DIGESTS,
    "by_manifest": "manifest = ANY(CAST(:digests AS text[]))",
    "by_doom": f"{_DIGESTS} AND {_BY_DOOM}",
    "by_generation": f"{_DIGESTS} AND {_BY_GENERATION}",
    "asked": (
        "unnest(CAST(:digests AS text[]), CAST(:numbers AS bigint[]), CAST(:sizes AS bigint[])) "
        "AS asked (digest, number, size)"
    ),
    "join": "JOIN",
    "lock": "ORDER BY blob.digest FOR NO KEY UPDATE OF blob SKIP LOCKED",
    "wait": "ORDER BY blob.digest FOR NO KEY UPDATE OF blob",
    "now": "now()",
    "ago": "now() - make_interval(secs => CAST(:seconds AS double precision))",
    "old": ("blob.horizon < CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint)"),
    "unnamed": "NOT EXISTS (SELECT FROM ({references}) AS named WHERE named.digest = blob.digest)",
    "named": "EXISTS (SELECT FROM ({references}) AS named WHERE named.digest = blob.digest)",
    # No clock of its own: the id of a transaction is never given twice.
    "token": "SELECT CAST(CAST(pg_current_xact_id() AS text) AS bigint)",
    "stamped": "NULL",
    "returned": "blob.digest, blob.generation, blob.size",
    "day": "CAST(CAST(trash.gone_at AS date) AS text)",
}

SQLITE = {
    "by_digest": "digest IN (SELECT asked.digest FROM {asked})",
    "by_manifest": "manifest IN (SELECT asked.digest FROM {asked})",
    "by_doom": _BY_DOOM,
    "by_generation": _BY_GENERATION,
    "asked": (
        "(SELECT json_extract(value, '$[0]') AS digest, json_extract(value, '$[1]') AS number, "
        "json_extract(value, '$[2]') AS size FROM json_each(:asked)) AS asked"
    ),
    "join": "CROSS JOIN",
    "lock": "",
    "wait": "",
    "now": "strftime('%Y-%m-%d %H:%M:%f000', 'now')",
    "ago": "strftime('%Y-%m-%d %H:%M:%f000', 'now', '-' || :seconds || ' seconds')",
    "old": "blob.horizon IS NOT NULL",
    "unnamed": (
        "blob.digest NOT IN (SELECT digest FROM ({references}) AS named WHERE digest IS NOT NULL)"
    ),
    "named": "blob.digest IN (SELECT digest FROM ({references}) AS named)",
    "token": "SELECT abs(random() / 2)",
    "stamped": ":token",
    "returned": "digest, generation, size",
    "day": "date(trash.gone_at)",
}

EDGES = """
    SELECT edge.part AS digest FROM {ledger}.artifact_edge AS edge
    JOIN {ledger}.artifact_blob AS manifest
        ON manifest.store = edge.store AND manifest.digest = edge.manifest
    WHERE edge.store = :store AND manifest.state <> 'gone'
    """
"""The parts of manifests that are not taken."""

ROOTED_EDGES = """
    SELECT edge.part AS digest FROM {ledger}.artifact_edge AS edge
    WHERE edge.store = :store AND edge.manifest || '' IN ({rows})
    """
"""The parts of the manifests that rows name: enough to doom by, not to take by.

Without the empty string SQLite would look for the edges of every row, not for every edge's row.
"""

FIND = {
    # G1. What a crash left doomed without a horizon is doomed again.
    "orphans": """
        SELECT blob.digest, blob.generation AS number, blob.size
        FROM {ledger}.artifact_blob AS blob
        WHERE blob.store = :store AND blob.state <> 'gone' AND blob.horizon IS NULL AND {unnamed}
        """,
    # G3
    "doomed": """
        SELECT blob.digest, blob.doom AS number, blob.size FROM {ledger}.artifact_blob AS blob
        WHERE blob.store = :store AND blob.state <> 'gone' AND {old}
            AND blob.doomed_at <= {ago} AND {unnamed}
        """,
    "wanted": """
        SELECT blob.digest, blob.doom AS number, blob.size FROM {ledger}.artifact_blob AS blob
        WHERE blob.store = :store AND blob.state <> 'gone' AND {old} AND {named}
        """,
    # G4. A taken generation that is not the last one of its digest needs no look: a reference
    # is served by the later one, or by what becomes of that.
    "copied": """
        SELECT blob.digest, blob.generation AS number, blob.size
        FROM {ledger}.artifact_trash AS trash
        JOIN {ledger}.artifact_blob AS blob
            ON blob.store = trash.store AND blob.digest = trash.digest
            AND blob.generation = trash.generation
        WHERE trash.store = :store AND trash.deleted_at IS NULL AND blob.state = 'gone'
            AND trash.gone_at <= {ago} AND {named}
        """,
    # An older generation may be all that is sound of a blob that was found damaged.
    "due": """
        SELECT trash.digest, trash.generation AS number, blob.size
        FROM {ledger}.artifact_trash AS trash
        JOIN {ledger}.artifact_blob AS blob
            ON blob.store = trash.store AND blob.digest = trash.digest
            AND blob.generation >= trash.generation
        WHERE trash.store = :store AND trash.deleted_at IS NULL AND blob.state = 'gone'
            AND trash.gone_at <= {ago} AND {unnamed}
        UNION ALL
        SELECT trash.digest, trash.generation AS number, blob.size
        FROM {ledger}.artifact_trash AS trash
        JOIN {ledger}.artifact_blob AS blob
            ON blob.store = trash.store AND blob.digest = trash.digest
            AND blob.generation > trash.generation
        WHERE trash.store = :store AND trash.deleted_at IS NULL AND blob.state = 'live'
            AND trash.gone_at <= {ago}
        """,
    # Listed keys that no writer of this ledger relies on.
    "stray": """
        SELECT asked.digest, asked.number, asked.size FROM {asked}
        LEFT JOIN {ledger}.artifact_blob AS blob
            ON blob.store = :store AND blob.digest = asked.digest
        WHERE blob.digest IS NULL
            OR (blob.state = 'gone' OR blob.generation > asked.number) AND NOT EXISTS (
                SELECT 1 FROM {ledger}.artifact_trash AS trash
                WHERE trash.store = :store AND trash.digest = asked.digest
                    AND trash.generation = asked.number AND trash.deleted_at IS NULL)
        """,
    # For verify: what rows name, or their trees need, and the ledger does not have as live. The
    # number is 0 for what it does not know, 1 for what is pending, 2 for what is gone.
    "unmet": """
        SELECT named.digest, CASE blob.state WHEN 'gone' THEN 2 WHEN 'pending' THEN 1 ELSE 0 END
            AS number, coalesce(blob.size, 0) AS size
        FROM (SELECT DISTINCT digest FROM ({references}) AS named WHERE digest IS NOT NULL)
            AS named
        LEFT JOIN {ledger}.artifact_blob AS blob
            ON blob.store = :store AND blob.digest = named.digest
        WHERE coalesce(blob.state, '') <> 'live'
        """,
}

CHANGE = {
    # Marks from a time that has not come yet: the database is a restored one.
    "unmark": """
        UPDATE {ledger}.artifact_blob SET doom = NULL, horizon = NULL, doomed_at = NULL
        WHERE store = :store AND (doom >= :token OR horizon >= :token)
        """,
    "unmark_all": """
        UPDATE {ledger}.artifact_blob SET doom = NULL, horizon = NULL, doomed_at = NULL
        WHERE store = :store AND doom IS NOT NULL
        """,
    "lock_unmarked": """
        SELECT blob.digest, blob.generation, blob.size FROM {ledger}.artifact_blob AS blob
        WHERE store = :store AND {by_digest} AND state <> 'gone' AND horizon IS NULL {lock}
        """,
    "mark": """
        UPDATE {ledger}.artifact_blob AS blob
        SET doom = :token, horizon = {stamped}, doomed_at = {now}
        WHERE store = :store AND {by_digest} AND state <> 'gone' AND horizon IS NULL
        RETURNING {returned}
        """,
    "lock_unstamped": """
        SELECT blob.digest, blob.generation, blob.size FROM {ledger}.artifact_blob AS blob
        WHERE blob.store = :store AND blob.doom = :token AND blob.horizon IS NULL
            AND blob.digest > :after ORDER BY blob.digest LIMIT :limit
        FOR NO KEY UPDATE SKIP LOCKED
        """,
    "stamp": """
        UPDATE {ledger}.artifact_blob AS blob
        SET horizon = CAST(CAST(pg_current_xact_id() AS text) AS bigint)
        WHERE store = :store AND {by_digest} AND doom = :token AND horizon IS NULL
        """,
    # The doom is the one that was seen with the references: nobody lifted it since.
    "lock_doomed": """
        SELECT blob.digest, blob.doom, blob.size FROM {ledger}.artifact_blob AS blob
        WHERE store = :store AND {by_doom} AND state <> 'gone' {lock}
        """,
    "take": """
        UPDATE {ledger}.artifact_blob AS blob
        SET state = 'gone', doom = NULL, horizon = NULL, doomed_at = NULL
        WHERE store = :store AND {by_doom} AND state <> 'gone'
        RETURNING {returned}
        """,
    "trash": """
        INSERT INTO {ledger}.artifact_trash (store, digest, generation, gone_at)
        SELECT :store, asked.digest, asked.number, {now} FROM {asked} WHERE true
        ON CONFLICT (store, digest, generation) DO UPDATE SET deleted_at = NULL
        """,
    "spare": """
        UPDATE {ledger}.artifact_blob AS blob
        SET doom = NULL, horizon = NULL, doomed_at = NULL
        WHERE store = :store AND {by_doom}
        RETURNING {returned}
        """,
    # The generation of a key that is there is never given to a writer.
    "bury": """
        INSERT INTO {ledger}.artifact_blob AS blob (store, digest, generation, size, state)
        SELECT :store, asked.digest, max(asked.number), max(asked.size), 'gone' FROM {asked}
        WHERE true GROUP BY asked.digest ORDER BY asked.digest
        ON CONFLICT (store, digest) DO UPDATE SET generation = excluded.generation
        WHERE blob.state = 'gone' AND blob.generation < excluded.generation
        """,
    "lock_gone": """
        SELECT blob.digest, blob.generation, blob.size FROM {ledger}.artifact_blob AS blob
        WHERE store = :store AND {by_generation} AND state = 'gone' {wait}
        """,
    "unlink": """
        DELETE FROM {ledger}.artifact_edge
        WHERE store = :store AND {by_manifest}
        """,
    "deleted": """
        UPDATE {ledger}.artifact_trash SET deleted_at = {now}
        WHERE store = :store AND {by_generation} AND deleted_at IS NULL
        """,
    # A day is long past anything that is still on its way; the blob's row keeps the generation.
    "forget": """
        DELETE FROM {ledger}.artifact_trash
        WHERE store = :store AND deleted_at <= {ago}
        """,
    "forget_column": """
        DELETE FROM {ledger}.artifact_column
        WHERE table_schema = :schema AND table_name = :table AND column_name = :column
        """,
    "forget_declaration": """
        DELETE FROM {ledger}.artifact_declaration
        WHERE (table_schema = :schema OR table_schema = '')
            AND table_name = :table AND column_name = :column
        """,
}

ASK = {
    "store": "SELECT name FROM {ledger}.artifact_store WHERE id = :store",
    "format": "SELECT format FROM {ledger}.artifact_ledger",
    "parts": """
        SELECT edge.part, blob.size FROM {ledger}.artifact_edge AS edge
        JOIN {ledger}.artifact_blob AS blob
            ON blob.store = edge.store AND blob.digest = edge.part
        WHERE edge.store = :store AND edge.manifest = :digest
        """,
    "edges": "SELECT 1 FROM {ledger}.artifact_edge WHERE store = :store LIMIT 1",
    "totals": """
        SELECT count(*), coalesce(sum(size), 0), count(blob.doom),
            coalesce(sum(CASE WHEN blob.doom IS NULL THEN 0 ELSE size END), 0)
        FROM {ledger}.artifact_blob AS blob WHERE store = :store AND state <> 'gone'
        """,
    "garbage": """
        SELECT count(*), coalesce(sum(blob.size), 0) FROM {ledger}.artifact_blob AS blob
        WHERE blob.store = :store AND blob.state <> 'gone' AND {unnamed}
        """,
    "due": """
        SELECT count(*), coalesce(sum(blob.size), 0)
        FROM {ledger}.artifact_trash AS trash JOIN {ledger}.artifact_blob AS blob
            ON blob.store = trash.store AND blob.digest = trash.digest
        WHERE trash.store = :store AND trash.deleted_at IS NULL AND trash.gone_at <= {ago}
        """,
    "schedule": """
        SELECT {day}, count(*), coalesce(sum(blob.size), 0)
        FROM {ledger}.artifact_trash AS trash JOIN {ledger}.artifact_blob AS blob
            ON blob.store = trash.store AND blob.digest = trash.digest
        WHERE trash.store = :store AND trash.deleted_at IS NULL
        GROUP BY {day} ORDER BY 1
        """,
    "held": """
        SELECT 'transaction of process ' || pid
                || coalesce(', ' || nullif(application_name, ''), '')
                || coalesce(' (' || usename || ')', ''), xact_start
        FROM pg_catalog.pg_stat_activity
        WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid()
        UNION ALL
        SELECT 'prepared transaction ' || quote_literal(gid), prepared
        FROM pg_catalog.pg_prepared_xacts
        ORDER BY 2 LIMIT 5
        """,
}
