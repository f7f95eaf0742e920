"""A write that fails half-way: no row without its blobs, and all that it used works on."""

import pytest
from sqlalchemy.exc import StatementError

from sqla_artifacts import pending
from sqla_artifacts.errors import StoreWriteError
from tests.check import check

from .models import STORING
from .places import SYNC, only
from .writes import WRITES, expected_of, rows_of


def unbindable(place, rows):
    """The last row of all cannot be bound, and its artifacts or others are by then."""
    return [*rows[:-1], rows[-1] | {"count": -1}]


def refused(error):
    """The third put of all fails."""

    def fail(place, rows):
        def put():
            raise error

        place.backend.puts.fail(2, put)
        return rows

    return fail


@pytest.fixture
def check_failures(place, watch, staged, tmp_path, subtests):
    """`check_failures(fail, error)`: in each way, fail, and then do it again on that session."""

    def check_failure(path, rows, fail, error):
        def store(session):
            path.prepare(session, rows)
            place.backend.puts.expect()
            failing = fail(place, rows)
            with pytest.raises(error):
                path.write(session, failing)
            assert not pending._PENDING.get()
            assert staged() == []
            session.rollback()
            place.backend.puts.expect()
            path.store(session, rows)

        place.session(store)
        assert staged() == []
        assert watch.too_early == []
        assert place.engine.pool.checkedout() == 0
        found = place.session(lambda session: path.read(session, rows), place.observer)
        assert found == expected_of(rows)

    def check_all(fail, error):
        for name, path in WRITES.items():
            with subtests.test(name):
                check_failure(path, rows_of(name, tmp_path), fail, error)
        check(place.observer, place.store, *STORING)

    return check_all


def test_a_value_that_cannot_be_bound(check_failures):
    check_failures(unbindable, StatementError)


def test_a_store_that_fails(check_failures):
    check_failures(refused(OSError("no space left")), StoreWriteError)


@only(SYNC)
def test_an_interrupt(check_failures):
    check_failures(refused(KeyboardInterrupt()), KeyboardInterrupt)
