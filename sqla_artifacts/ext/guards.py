"""Alembic's operations for guards of columns: ``op.guard_artifacts``, ``op.unguard_artifacts``.

They are there once ``env.py`` has imported :mod:`~sqla_artifacts.ext.alembic`::

    def upgrade():
        op.guard_artifacts("sample", "image")


    def downgrade():
        op.unguard_artifacts("sample", "image")

Autogenerate writes none of them. They work online and as SQL scripts. What a guard does is said
in :mod:`sqla_artifacts.ledger.guard`.
"""

from __future__ import annotations

from alembic.operations import MigrateOperation, Operations

from ..ledger.guard import Guard, Guarded


class _GuardOp(MigrateOperation):
    def __init__(self, guarded: Guarded) -> None:
        self.guard = Guard.of(guarded)


@Operations.register_operation("guard_artifacts")
class GuardOp(_GuardOp):
    """Makes the guard of a column."""

    @classmethod
    def guard_artifacts(
        cls,
        operations: Operations,
        table_name: str,
        column_name: str,
        *,
        schema: str | None = None,
        store: str = "default",
        is_list: bool = False,
        ledger_schema: str | None = None,
    ) -> None:
        """Refuse references in a column that the ledger does not know as live.

        Args:
            operations: Given by Alembic.
            table_name: The table.
            column_name: The column, of artifacts.
            schema: The table's schema.
            store: The name under which the column's store is attached.
            is_list: Whether the column is an ``ArtifactList``; PostgreSQL knows by itself.
            ledger_schema: The schema of the ledger's tables.
        """
        guarded = Guarded(schema, table_name, column_name, store, is_list, ledger_schema)
        operations.invoke(cls(guarded))

    def reverse(self) -> UnguardOp:
        """Return what undoes it."""
        return UnguardOp(self.guard.create.guarded)


@Operations.register_operation("unguard_artifacts")
class UnguardOp(_GuardOp):
    """Removes the guard of a column."""

    @classmethod
    def unguard_artifacts(
        cls, operations: Operations, table_name: str, column_name: str, *, schema: str | None = None
    ) -> None:
        """Remove the guard of a column, if it has one."""
        guarded = Guarded(schema, table_name, column_name, "", is_list=False, ledger_schema=None)
        operations.invoke(cls(guarded))


@Operations.implementation_for(GuardOp)
def _guard(operations: Operations, operation: GuardOp) -> None:
    operations.execute(operation.guard.create)


@Operations.implementation_for(UnguardOp)
def _unguard(operations: Operations, operation: UnguardOp) -> None:
    operations.execute(operation.guard.drop)
