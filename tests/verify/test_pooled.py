"""The pool's connection as applications leave it: with a result that nobody has read to its end.

On SQLite its statement goes on, and some things cannot be done on the connection meanwhile.
"""

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from tests.ledger.scene import watched_store

from .conftest import Damaged


@pytest.fixture
def scene(make_engine, tmp_path):
    engine = make_engine("sqlite", pool_size=1, max_overflow=0)
    return Damaged(engine, watched_store(str(tmp_path / "store")))


def test_a_half_read_result_is_in_nobodys_way(scene):
    scene.commit(*(b"%d" % number for number in range(5)))
    scene.run("CREATE TABLE other (id INTEGER)")
    scene.run("DELETE FROM sample WHERE id = 2")
    with scene.engine.connect() as connection:
        result = connection.execute(select(scene.table.c.id))
        result.fetchone()
    with scene.engine.connect() as connection, pytest.raises(OperationalError, match="locked"):
        connection.exec_driver_sql("DROP TABLE other")
    assert scene.kinds("content") == []
    assert scene.collect().deleted.blobs == 1
    assert scene.kinds("content") == []
    assert result.fetchone() is not None
