"""The SQL of a page of the documentation, for the tests of what the page claims."""

import re
from pathlib import Path

from sqlalchemy import text

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"


def sql_of(page, heading):
    """The SQL blocks below a heading of a page."""
    section = (HOW_TO / page).read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2]
    return re.findall(r"```sql\n(.*?)```", section.partition("\n## ")[0], re.DOTALL)


def run(engine, sql, **parameters):
    """Run statements in one transaction of the tables' owner."""
    with engine.begin() as connection:
        for statement in filter(str.strip, sql.split(";")):
            connection.execute(text(statement), parameters)


def identify(engine):
    """Give a copy of a database an identity of its own, as the page says."""
    postgresql, sqlite = sql_of("recovery.md", "Clone a production database for staging")
    run(engine, sqlite if engine.dialect.name == "sqlite" else postgresql)
