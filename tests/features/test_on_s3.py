"""The column types again, on PostgreSQL with the store in a bucket.

The tests of the modules that are imported here run here as well, with these fixtures around theirs:
`pytest tests/features/test_on_s3.py::test_lazy`.
"""

import re
import tempfile

import pytest

from tests import (  # noqa: F401 (collected: see conftest.py)
    test_assignment,
    test_asyncio,
    test_comparison,
    test_lazy,
    test_moving,
    test_pickling,
    test_scenarios,
    test_stored_path,
    test_uploads,
)
from tests.datatypes import test_builtin, test_encoded, test_mapped_values, test_streams  # noqa: F401

from . import (  # noqa: F401
    test_arrays,
    test_lists,
    test_loading,
    test_session,
    test_several,
    test_statements,
)

LEFT_OUT = re.compile(
    # These damage or map the store's own files, or look into its directory.
    "test_damage_is_not_copied|test_a_corrupt_blob_is_not_mapped"
    "|test_a_mapped_array_outlives_its_blob|test_a_local_blob_is_mapped"
    "|test_an_upload_that_is_cut_off|test_a_form_whose_file_was_left_empty"
    # These make a store of their own, in a directory.
    "|test_a_pickled_path_has_no_options|test_a_pickled_proxy_has_no_credentials|test_django"
    # This one looks at what is left of a batch; a bucket is given one object at a time.
    "|store_fails_in_the_middle"
    # The other database.
    "|sqlite|legacy-|begin-|autocommit_false-"
)


@pytest.fixture
def database_url(postgres_url):
    """The only database here."""
    return postgres_url


@pytest.fixture(autouse=True)
def bucket(s3, tmp_path, monkeypatch):
    """Has stores made in the bucket, which other processes find, too, and files staged alone."""
    monkeypatch.setenv("STORES", s3.url)
    for name, value in s3.options.items():
        monkeypatch.setenv(f"AWS_{name.upper()}", value)
    staging = tmp_path / "staging"
    staging.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(staging))
