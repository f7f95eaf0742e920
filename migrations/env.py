"""Alembic's environment. Nothing here needs a store: a revision makes tables.

The database is that of `-x url=…`, or the engine that a test hands over.
"""

from alembic import context
from sqlalchemy import NullPool, create_engine

from migrations.example.models import Base
from sqla_artifacts.ext.alembic import render_item

url = context.get_x_argument(as_dictionary=True).get("url", "sqlite:///app.db")
options = {
    "target_metadata": Base.metadata,
    "render_item": render_item,
    "compare_server_default": True,
}

if context.is_offline_mode():
    options |= {"literal_binds": True, "dialect_opts": {"paramstyle": "named"}}
    context.configure(url=url, **options)
    with context.begin_transaction():
        context.run_migrations()
else:
    given = context.config.attributes.get("connection")
    engine = given or create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        context.configure(connection=connection, **options)
        with context.begin_transaction():
            context.run_migrations()
