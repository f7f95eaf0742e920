import pickle

import pytest

from sqla_artifacts.backends import open_backend
from sqla_artifacts.backends.generic import GenericBackend
from sqla_artifacts.backends.local import LocalBackend
from sqla_artifacts.backends.memory import MemoryBackend
from sqla_artifacts.testing import BackendConformance


class TestLocal(BackendConformance):
    @pytest.fixture
    def make_backend(self, tmp_path):
        return lambda: LocalBackend(tmp_path / "store")

    @pytest.fixture
    def shared(self, backend):
        return open_backend(backend.url)


class TestLocalPlain(BackendConformance):
    @pytest.fixture
    def make_backend(self, tmp_path):
        return lambda: LocalBackend(tmp_path / "store", fast=False)

    @pytest.fixture
    def shared(self, backend):
        return pickle.loads(pickle.dumps(backend))


class TestMemory(BackendConformance):
    @pytest.fixture
    def make_backend(self):
        backend = MemoryBackend()
        return lambda: backend


class TestGenericMemory(BackendConformance):
    @pytest.fixture
    def make_backend(self, request):
        # fsspec has one memory file system for the whole process.
        url = f"memory://{request.node.name.replace('/', '-')}"
        yield lambda: GenericBackend(url)
        backend = GenericBackend(url)
        for entry in list(backend.list("")):
            backend.delete(entry.key)


class TestGenericLocal(BackendConformance):
    @pytest.fixture
    def make_backend(self, tmp_path):
        return lambda: GenericBackend(f"local://{tmp_path}/store")

    @pytest.fixture
    def shared(self, backend):
        return pickle.loads(pickle.dumps(backend))
