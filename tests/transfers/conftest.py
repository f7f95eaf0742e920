"""Places on each driver, and the matrix of what was seen there."""

import tempfile

import pytest

from .models import fill
from .places import ASYNC, SYNC, Place
from .watch import Watch


@pytest.fixture(params=[*SYNC, *ASYNC])
def driver(request):
    """Each of the five drivers; `only` has a test choose among them."""
    return request.param


@pytest.fixture
def make_place(request, driver):
    """Makes the driver's place; its connections have to be back at the end."""
    url = request.getfixturevalue("sqlite_url" if "sqlite" in driver else "postgres_url")
    places = []

    def make(**options):
        places.append(Place(driver, url, **options))
        return places[-1]

    yield make
    for place in places:
        place.close()


@pytest.fixture
def place(make_place):
    """The place of each driver."""
    return make_place()


@pytest.fixture
def filled(place):
    """A place with rows to load."""
    place.session(fill)
    return place


@pytest.fixture
def watch(place):
    """What the cursors of the place are given from now on."""
    return Watch(place)


@pytest.fixture
def staged(tmp_path, monkeypatch):
    """`staged()`: the files that wait to be stored; not the lock of the process's directory."""
    path = tmp_path / "staging"
    path.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(path))
    return lambda: [file for file in path.rglob("*") if file.is_file() and file.name != "lock"]


class Matrix(dict):
    """How many requests ran at once, group by group, by path and driver."""

    def note(self, path, driver, seen):
        shown = "+".join(map(str, seen[:4])) + ("+..." if len(seen) > 4 else "")
        self.setdefault(path, {})[driver] = shown

    def __str__(self):
        drivers = [each for each in (*SYNC, *ASYNC) if any(each in row for row in self.values())]
        wide = max(map(len, self), default=0)
        lines = [" " * wide + "".join(f"{driver:>15}" for driver in drivers)]
        lines += [
            f"{path:{wide}}" + "".join(f"{row.get(driver, ''):>15}" for driver in drivers)
            for path, row in self.items()
        ]
        return "\n".join(lines)


@pytest.fixture(scope="module")
def matrix(request):
    """The module's matrix, printed at its end: `pytest -s`."""
    matrix = Matrix()
    yield matrix
    print(f"\n{request.node.name}: requests at once\n{matrix}")  # noqa: T201 (what it is for)
