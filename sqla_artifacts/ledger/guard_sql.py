"""The statements of guards; :mod:`.guard` fills in the names, and says why they are safe.

A percent sign is written twice for the drivers that take one for a parameter. Where it stands,
in a set of characters, twice is as good as once.
"""

from __future__ import annotations

GUARD_POSTGRESQL = {
    # One statement, since some drivers take no more.
    "create": """
DO $guard$
BEGIN
CREATE OR REPLACE FUNCTION {function}() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $body$
DECLARE
    reference text;
    own_schema text;
    own_table text;
    stored text := coalesce(current_setting({setting}, true), '');
    keeps_one_snapshot boolean := current_setting('transaction_isolation')
        NOT IN ('read committed', 'read uncommitted');
BEGIN
    IF CAST(NEW.{column} AS text) IS NOT DISTINCT FROM CAST(OLD.{column} AS text) THEN
        RETURN NULL;
    END IF;
    FOR reference IN
        SELECT DISTINCT CASE jsonb_typeof(item) WHEN 'string' THEN item #>> '{}' ELSE '' END
        FROM jsonb_path_query(to_jsonb(NEW.{column}), 'strict $.**') AS item
        WHERE jsonb_typeof(item) NOT IN ('array', 'null') ORDER BY 1
    LOOP
        IF reference !~
            '^&:(blob|file|tree):[0-9a-f]{64}:(0|[1-9][0-9]{0,17}):[%%A-Za-z0-9._~-]+$'
        THEN
            RAISE check_violation USING MESSAGE = {malformed};
        END IF;
        CONTINUE WHEN position(substr(reference, 8, 64) IN stored) > 0;
        IF keeps_one_snapshot THEN
            PERFORM FROM {ledger}.artifact_blob AS blob
            WHERE blob.store = (SELECT id FROM {ledger}.artifact_store WHERE name = {store_name})
                AND blob.digest = substr(reference, 8, 64)
                AND blob.state = 'live' AND blob.doom IS NULL
            FOR SHARE OF blob;
        ELSE
            PERFORM FROM {ledger}.artifact_blob AS blob
            WHERE blob.store = (SELECT id FROM {ledger}.artifact_store WHERE name = {store_name})
                AND blob.digest = substr(reference, 8, 64)
                AND blob.state = 'live' AND blob.doom IS NULL;
        END IF;
        IF NOT FOUND THEN
            UPDATE {ledger}.artifact_blob AS blob
            SET doom = NULL, horizon = NULL, doomed_at = NULL
            WHERE blob.store = (SELECT id FROM {ledger}.artifact_store WHERE name = {store_name})
                AND blob.digest = substr(reference, 8, 64) AND blob.state = 'live';
        END IF;
        IF NOT FOUND THEN
            RAISE foreign_key_violation USING MESSAGE = {unknown}, DETAIL = reference;
        END IF;
    END LOOP;
    IF reference IS NULL THEN -- an empty list
        RETURN NULL;
    END IF;
    SELECT class.relname, space.nspname INTO STRICT own_table, own_schema
    FROM pg_class AS class JOIN pg_namespace AS space ON space.oid = class.relnamespace
    WHERE class.oid = coalesce(pg_partition_root(TG_RELID), TG_RELID);
    PERFORM FROM {ledger}.artifact_column AS known
    WHERE known.store = (SELECT id FROM {ledger}.artifact_store WHERE name = {store_name})
        AND known.table_schema = own_schema AND known.table_name = own_table
        AND known.column_name = {column_name};
    IF NOT FOUND THEN
        BEGIN
            INSERT INTO {ledger}.artifact_column (store, table_schema, table_name, column_name)
            SELECT id, own_schema, own_table, {column_name}
            FROM {ledger}.artifact_store WHERE name = {store_name};
        EXCEPTION WHEN unique_violation OR serialization_failure THEN
            NULL; -- it was noted, and committed, after this transaction's snapshot
        END;
    END IF;
    RETURN NULL;
END
$body$;
CREATE TRIGGER {trigger} AFTER INSERT OR UPDATE OF {column} ON {relation}
FOR EACH ROW EXECUTE FUNCTION {function}();
END
$guard$
""",
    "drop": "DROP FUNCTION IF EXISTS {function}() CASCADE",
}

GUARD_SQLITE = {
    "insert": """
CREATE TRIGGER {on_insert} AFTER INSERT ON {table}
WHEN NEW.{column} IS NOT NULL
BEGIN{body}END
""",
    "update": """
CREATE TRIGGER {on_update} AFTER UPDATE OF {column} ON {table}
WHEN NEW.{column} IS NOT NULL AND NEW.{column} IS NOT OLD.{column}
BEGIN{body}END
""",
    "body": """
    SELECT RAISE(ABORT, {malformed}) WHERE NOT ({shape});
    SELECT RAISE(ABORT, {malformed}) FROM ({items}) WHERE NOT (
        typeof(item) = 'text' AND substr(item, 1, 7) IN ('&:blob:', '&:file:', '&:tree:')
        AND length(substr(item, 8, 64)) = 64 AND substr(item, 8, 64) NOT GLOB '*[^0-9a-f]*'
        AND substr(item, 72) GLOB ':[0-9]*:?*'
        AND substr(item, 73, instr(substr(item, 73), ':') - 1) NOT GLOB '*[^0-9]*'
        AND substr(item, 73 + instr(substr(item, 73), ':')) NOT GLOB '*[^%%A-Za-z0-9._~-]*'
    );
    SELECT RAISE(ABORT, {unknown}) FROM ({items}) WHERE NOT EXISTS (
        SELECT 1 FROM artifact_blob AS blob
        JOIN artifact_store AS store ON store.id = blob.store AND store.name = {store_name}
        WHERE blob.digest = substr(item, 8, 64) AND blob.state = 'live'
    );
    UPDATE artifact_blob SET doom = NULL, horizon = NULL, doomed_at = NULL
    WHERE store = (SELECT id FROM artifact_store WHERE name = {store_name})
        AND digest IN (SELECT substr(item, 8, 64) FROM ({items})) AND doom IS NOT NULL;
    INSERT INTO artifact_column (store, table_schema, table_name, column_name)
    SELECT id, {schema_name}, {table_name}, {column_name} FROM artifact_store AS store
    WHERE name = {store_name} AND EXISTS (SELECT 1 FROM ({items})) AND NOT EXISTS (
        SELECT 1 FROM artifact_column AS known
        WHERE known.store = store.id AND known.table_schema = {schema_name}
            AND known.table_name = {table_name} AND known.column_name = {column_name}
    );
""",
    "plain": "SELECT NEW.{column} AS item",
    "list": "SELECT value AS item FROM json_each(NEW.{column}) WHERE type <> 'null'",
    "plain_shape": "true",
    "list_shape": (
        "CASE WHEN json_valid(NEW.{column}) THEN json_type(NEW.{column}) ELSE '' END = 'array'"
    ),
    "drop_insert": "DROP TRIGGER IF EXISTS {on_insert}",
    "drop_update": "DROP TRIGGER IF EXISTS {on_update}",
}
