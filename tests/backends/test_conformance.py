import pickle

import pytest

from sqla_artifacts.backends import open_backend
from sqla_artifacts.backends.generic import GenericBackend
from sqla_artifacts.backends.local import LocalBackend
from sqla_artifacts.backends.memory import MemoryBackend

from .conformance import BackendConformance


class TestLocal(BackendConformance):
    @pytest.fixture
    def backend(self, tmp_path):
        return LocalBackend(tmp_path / "store")

    @pytest.fixture
    def shared(self, backend):
        return open_backend(backend.url)


class TestLocalPlain(BackendConformance):
    @pytest.fixture
    def backend(self, tmp_path):
        return LocalBackend(tmp_path / "store", fast=False)

    @pytest.fixture
    def shared(self, backend):
        return pickle.loads(pickle.dumps(backend))


class TestMemory(BackendConformance):
    @pytest.fixture
    def backend(self):
        return MemoryBackend()


class TestGenericMemory(BackendConformance):
    @pytest.fixture
    def backend(self, request):
        # fsspec has one memory file system for the whole process.
        backend = GenericBackend(f"memory://{request.node.name.replace('/', '-')}")
        yield backend
        for entry in list(backend.list("")):
            backend.delete(entry.key)

    @pytest.fixture
    def shared(self, backend):
        return GenericBackend(backend.url)


class TestGenericLocal(BackendConformance):
    @pytest.fixture
    def backend(self, tmp_path):
        return GenericBackend(f"local://{tmp_path}/store")

    @pytest.fixture
    def shared(self, backend):
        return pickle.loads(pickle.dumps(backend))
