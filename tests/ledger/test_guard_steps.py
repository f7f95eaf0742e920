"""A guard beside the real collector: in every order of their steps nothing is lost."""

import datetime as dt
import itertools

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from sqla_artifacts import ledger
from sqla_artifacts.collect.postgresql import PostgreSQLCollector
from sqla_artifacts.collect.sqlite import SQLiteCollector
from sqla_artifacts.errors import BlobNotFoundError
from tests.collect.conftest import Collected
from tests.threads import run_in_thread  # noqa

ZERO = dt.timedelta(0)
INSERT = "INSERT INTO sample (data) VALUES (:data)"
