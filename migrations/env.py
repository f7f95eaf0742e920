"""Alembic's environment for the example application.

The database's URL comes from ``-x url=…``. Nothing here needs a store: a revision makes tables,
and an artifact column is a text column to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from alembic import context
from sqlalchemy import create_engine

from migrations.example.models import Base
from sqla_artifacts import Artifact, FileDir

if TYPE_CHECKING:
    from alembic.autogenerate.api import AutogenContext


def render_item(kind: str, item: Any, _: AutogenContext) -> str | Literal[False]:
    """Write artifact columns into new revisions as the text columns that they are."""
    if kind == "type" and isinstance(item, Artifact | FileDir):
        return "sa.Text()"
    return False


options: dict[str, Any] = {"target_metadata": Base.metadata, "render_item": render_item}
url = context.get_x_argument(as_dictionary=True).get("url", "sqlite:///app.db")

if context.is_offline_mode():
    context.configure(url=url, literal_binds=True, **options)
    with context.begin_transaction():
        context.run_migrations()
else:
    engine = create_engine(url)
    with engine.connect() as connection:
        context.configure(connection=connection, **options)
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()
