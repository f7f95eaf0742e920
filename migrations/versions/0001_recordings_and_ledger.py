"""The recordings, and the ledger of their artifacts.

A revision says what was true when it was written, so it imports neither the application nor
sqla_artifacts: an artifact column is text, and the ledger's identity a plain INSERT. The database
makes up the id itself, so that two databases set up by one script (``--sql``) get two.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

NEW_ID = {
    "postgresql": "replace(CAST(gen_random_uuid() AS text), '-', '')",
    "sqlite": "lower(hex(randomblob(16)))",
}


def upgrade() -> None:
    make_ledger()
    op.create_table(
        "recording",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("title", sa.String(), nullable=False),
        sa.Column("transcript", sa.Text(), nullable=False),
        sa.Column("analysis", sa.Text()),
        sa.Column("audio", sa.Text(), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("recording")
    # With the ledger goes its identity: no later ledger may write to its stores.
    for name in ("trash", "store", "ledger", "edge", "column", "blob"):
        op.drop_table(f"artifact_{name}")


def make_ledger() -> None:
    op.create_table(
        "artifact_ledger",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("format", sa.Integer(), nullable=False),
    )
    new_id = NEW_ID[op.get_context().dialect.name]
    op.execute(f"INSERT INTO artifact_ledger (id, format) SELECT {new_id}, 1")
    op.create_table(
        "artifact_store",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("name", sa.String(255), nullable=False, unique=True),
    )
    op.create_table(
        "artifact_blob",
        sa.Column("store", sa.String(32), primary_key=True),
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(7), nullable=False),
        sa.Column("doom", sa.BigInteger()),
        sa.Column("horizon", sa.BigInteger()),
        sa.Column("doomed_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint("state IN ('pending', 'live', 'gone')", name="artifact_blob_state"),
    )
    op.create_table(
        "artifact_trash",
        sa.Column("store", sa.String(32), primary_key=True),
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("generation", sa.Integer(), primary_key=True),
        sa.Column("gone_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True)),
    )
    op.create_table(
        "artifact_edge",
        sa.Column("store", sa.String(32), primary_key=True),
        sa.Column("manifest", sa.String(64), primary_key=True),
        sa.Column("part", sa.String(64), primary_key=True, index=True),
    )
    op.create_table(
        "artifact_column",
        sa.Column("store", sa.String(32), primary_key=True),
        sa.Column("table_schema", sa.String(255), primary_key=True),
        sa.Column("table_name", sa.String(255), primary_key=True),
        sa.Column("column_name", sa.String(255), primary_key=True),
    )
