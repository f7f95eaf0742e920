import pickle

import pytest

from sqla_artifacts.backends import open_backend
from sqla_artifacts.testing.backends import KEY, keys, payload


def test_each_is_a_store_of_its_own():
    one, two = open_backend("memory://"), open_backend("memory://")
    one.put([(KEY, payload(b"x"))])
    assert keys(one, "") == [KEY]
    assert keys(two, "") == []


def test_it_cannot_be_pickled():
    with pytest.raises(TypeError, match="memory:// store lives in one process"):
        pickle.dumps(open_backend("memory://"))
