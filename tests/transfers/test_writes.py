"""Every way of storing: blobs before rows, together what can be together, each blob once."""

from tests.check import check

from .models import STORING
from .writes import WRITES, expected_of, rows_of


def check_write(place, watch, path, rows):
    """Store rows in this way, and return the puts."""
    puts = place.backend.puts
    place.session(lambda session: path.prepare(session, rows))
    puts.expect(*path.puts)
    watch.seen.clear()
    place.session(lambda session: path.store(session, rows))
    assert watch.too_early == []
    assert len(watch.seen) >= 3 * len(rows)
    assert len({*puts.keys}) == puts.count
    found = place.session(lambda session: path.read(session, rows), place.observer)
    assert found == expected_of(rows)
    return puts


def test_every_way_of_storing(place, watch, matrix, tmp_path, subtests):
    for name, path in WRITES.items():
        with subtests.test(name):
            puts = check_write(place, watch, path, rows_of(name, tmp_path))
            matrix.note(name, place.driver, puts.met)
            assert (puts.met, puts.top) == (path.puts, max(path.puts))
    check(place.observer, place.store, *STORING)
