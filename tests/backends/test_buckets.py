"""Buckets of S3, Google Cloud Storage and Azure, by obstore and by fsspec's own packages."""

import pickle
import uuid

import pytest

from sqla_artifacts.backends.generic import GenericBackend
from sqla_artifacts.backends.objects import ObjectBackend
from sqla_artifacts.testing import BackendConformance
from tests.optional import need


def place(server):
    """The URL of an empty place, of which every part has to be kept as it is."""
    return f"{server.url}/a b+ü/~{uuid.uuid4().hex}"


class Bucket(BackendConformance):
    @pytest.fixture
    def make_backend(self, server):
        url = place(server)
        return lambda: ObjectBackend(url, **server.options)


class TestS3(Bucket):
    @pytest.fixture
    def server(self, s3):
        return s3


class TestAzure(Bucket):
    @pytest.fixture
    def server(self, azure):
        return azure


class TestFaultyS3(Bucket):
    """The server for the tests of faults is an S3 while there are none."""

    @pytest.fixture
    def server(self, faulty_s3):
        return faulty_s3


class TestGoogle(BackendConformance):
    """The fake-gcs-server does not speak what obstore speaks to Google; this one does."""

    @pytest.fixture
    def make_backend(self, faulty_s3):
        url = place(faulty_s3).replace("s3://", "gs://")
        return lambda: ObjectBackend(url, **faulty_s3.google_options)


class Generic(BackendConformance):
    @pytest.fixture
    def make_backend(self, server):
        url = f"{server.url}/{uuid.uuid4().hex}"
        return lambda: GenericBackend(url, **server.fsspec_options)

    @pytest.fixture
    def shared(self, backend):
        return pickle.loads(pickle.dumps(backend))


@pytest.mark.slow
class TestGenericS3(Generic):
    @pytest.fixture
    def server(self, s3):
        return s3


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")  # gcsfs does
class TestGenericGoogle(Generic):
    @pytest.fixture
    def server(self, google):
        need("gcsfs")
        return google
