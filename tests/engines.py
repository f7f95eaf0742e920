"""Engines for the suite: SQLite in each of the ways in which pysqlite handles transactions."""

import itertools
import sqlite3
import sys
from typing import NamedTuple

import pytest
from sqlalchemy import create_engine, event
from sqlalchemy.engine import make_url


class SqliteMode(NamedTuple):
    """How pysqlite handles transactions, and how SQLite journals them.

    - `legacy`: pysqlite's default; it begins before INSERT, UPDATE and DELETE only, and a first
      savepoint stands outside of any transaction;
    - `begin`: SQLAlchemy's documented recipe, the driver in autocommit and our own BEGIN;
    - `autocommit_false`: the transactions of PEP 249, from Python 3.12 on.
    """

    transactions: str
    journal: str

    def __str__(self):
        return f"{self.transactions}-{self.journal}"


SQLITE_MODES = tuple(
    itertools.starmap(
        SqliteMode, itertools.product(("legacy", "begin", "autocommit_false"), ("delete", "wal"))
    )
)


def sqlite_engine(url, mode, **options):
    """An engine on a SQLite file in that mode; skips the test where Python does not have it."""
    if mode.transactions == "autocommit_false":
        if sys.version_info < (3, 12):
            pytest.skip("sqlite3.connect(autocommit=False) is new in Python 3.12")
        options["connect_args"] = {"autocommit": False} | options.get("connect_args", {})
    _set_journal(make_url(url).database, mode.journal)
    engine = create_engine(url, **options)
    if mode.transactions == "begin":
        event.listen(engine, "connect", _driver_autocommit)
        event.listen(engine, "begin", _emit_begin)
    return engine


def _set_journal(path, journal):
    """Set the journal mode, of which the file keeps WAL; inside a transaction it would fail."""
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA journal_mode={journal}")
    connection.close()


def _driver_autocommit(dbapi_connection, record):
    dbapi_connection.isolation_level = None


def _emit_begin(connection):
    connection.exec_driver_sql("BEGIN")
