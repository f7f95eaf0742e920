import errno
import os
import pickle

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem

from sqla_artifacts.backends import open_backend
from sqla_artifacts.backends.generic import GenericBackend, _without_secrets
from sqla_artifacts.errors import UnknownProtocolError
from sqla_artifacts.testing.backends import KEY, keys, payload, staged


class CachedFileSystem(LocalFileSystem):
    """Remembers listings, as object stores' file systems do."""

    protocol = "cachedtest"

    @classmethod
    def _strip_protocol(cls, path):
        return "/" + path.removeprefix("cachedtest://").strip("/")

    def ls(self, path, detail=False, **options):
        path = self._strip_protocol(path)
        if path in self.dircache:
            entries = self.dircache[path]
        else:
            self.dircache[path] = entries = super().ls(path, detail=True, **options)
        return entries if detail else [entry["name"] for entry in entries]

    def info(self, path, **options):
        if isinstance(path, os.DirEntry):
            return super().info(path, **options)
        path = self._strip_protocol(path)
        parent = self._parent(path)
        for entry in self.dircache.get(parent, ()):
            if entry["name"] == path:
                return entry
        return super().info(path, **options)


class WholeURLFileSystem(LocalFileSystem):
    """Takes all of the URL for a path, as HTTP's does."""

    protocol = "wholetest"

    @classmethod
    def _strip_protocol(cls, path):
        return path


class HostFileSystem(LocalFileSystem):
    """Takes options from the URL, and needs a package that is not there."""

    protocol = "hosttest"

    def __init__(self, **options):
        raise ImportError("Install nothing to access it")


@pytest.fixture(autouse=True)
def protocols():
    for cls in (CachedFileSystem, WholeURLFileSystem, HostFileSystem):
        fsspec.register_implementation(cls.protocol, cls, clobber=True)


@pytest.fixture
def backend(tmp_path):
    return GenericBackend(f"local://{tmp_path}/store")


# -- URLs -----------------------------------------------------------------------------------------


def test_an_unknown_protocol_is_named():
    with pytest.raises(UnknownProtocolError, match="protocol 'nonesuch' of nonesuch://bucket/x"):
        open_backend("nonesuch://user:secret@bucket/x?token=secret")


def test_a_missing_package_is_named():
    with pytest.raises(UnknownProtocolError, match="Install nothing") as caught:
        GenericBackend("hosttest://user:secret@host/x?token=secret")
    assert isinstance(caught.value.__cause__, ImportError)
    assert str(caught.value).startswith("hosttest://host/x cannot be opened")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("local:///a b/100%?x#y", "local:///a b/100%?x#y"),
        ("memory://one/two@three", "memory://one/two@three"),
        ("memory://user:secret@one/two", "memory://one/two"),
        ("memory://one/two?token=secret", "memory://one/two"),
        ("simplecache::s3://key:secret@bucket/x", "simplecache::s3://bucket/x"),
    ],
)
def test_the_url_without_secrets(url, shown):
    assert "::".join(map(_without_secrets, url.split("::"))) == shown


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("abfs://container@account.example/path", "abfs://container@account.example/path"),
        ("abfs://user:secret@account.example/path", "abfs://account.example/path"),
        ("https://token@host/path", "https://host/path"),
    ],
)
def test_a_container_is_no_secret(url, shown):
    assert _without_secrets(url) == shown


@pytest.mark.parametrize("url", ["wholetest://user:secret@host/x", "wholetest://host/x?sig=secret"])
def test_a_secret_must_not_become_a_part_of_paths(url):
    with pytest.raises(ValueError, match="as keyword arguments") as caught:
        GenericBackend(url)
    assert "secret" not in str(caught.value)


def test_options_do_not_show(tmp_path):
    backend = GenericBackend(f"local://{tmp_path}", auto_mkdir=True)
    assert backend.url == f"local://{tmp_path}"
    assert "auto_mkdir" not in repr(backend)
    assert pickle.loads(pickle.dumps(backend))._fs.auto_mkdir is True


# -- writing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_file", [False, True], ids=["bytes", "staged"])
@pytest.mark.parametrize("method", ["upload", "move"])
def test_an_error_leaves_nothing(backend, tmp_path, monkeypatch, in_file, method):
    def fail(*_, **__):
        raise OSError(errno.ENOSPC, "full")

    if method == "move":
        monkeypatch.setattr(LocalFileSystem, "mv", fail)
    else:
        monkeypatch.setattr("shutil.copyfile", fail)
        monkeypatch.setattr("fsspec.implementations.local.LocalFileOpener.write", fail)
    with pytest.raises(OSError, match="full"):
        backend.put([(KEY, staged(backend, b"x") if in_file else payload(b"x"))])
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_an_error_of_the_tidying_does_not_hide_the_first(backend, monkeypatch):
    def fail(name):
        def method(*_, **__):
            raise OSError(errno.EIO, name)

        return method

    monkeypatch.setattr(LocalFileSystem, "mv", fail("first"))
    monkeypatch.setattr(LocalFileSystem, "rm_file", fail("second"))
    with pytest.raises(OSError, match="first"):
        backend.put([(KEY, payload(b"x"))])


def test_where_a_move_does_not_replace(backend, monkeypatch):
    def move(_, source, target):
        if os.path.exists(target):
            raise FileExistsError(target)
        os.rename(source, target)

    monkeypatch.setattr(LocalFileSystem, "mv", move)
    for data in (b"one", b"two"):
        backend.put([(KEY, payload(data))])
        assert backend.get(KEY) == data


def test_create_where_there_is_no_exclusive_mode(backend, tmp_path, monkeypatch):
    real = LocalFileSystem.open

    def open_without(self, path, mode="rb", **options):
        if "x" in mode:
            raise NotImplementedError(mode)
        return real(self, path, mode, **options)

    monkeypatch.setattr(LocalFileSystem, "open", open_without)
    assert backend.create("store.json", b"one") is True
    assert backend.create("store.json", b"two") is False
    assert backend.get("store.json") == b"one"
    assert keys(backend, "tmp/") == []


def test_create_that_fails_leaves_nothing(backend, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr("fsspec.implementations.local.LocalFileOpener.write", fail)
        with pytest.raises(OSError, match="full"):
            backend.create("store.json", b"one")
    assert backend.create("store.json", b"two") is True


# -- the file system ------------------------------------------------------------------------------


def test_listings_are_not_remembered(tmp_path):
    one = GenericBackend(f"cachedtest://{tmp_path}/store")
    two = GenericBackend(f"cachedtest://{tmp_path}/store")
    for n in range(3):
        one.put([(f"blobs/{n}", payload(b"x" * n))])
        assert keys(two, "blobs/") == [f"blobs/{m}" for m in range(n + 1)]
        assert two.size(f"blobs/{n}") == n
    one.put([("blobs/0", payload(b"replaced"))])
    assert two.size("blobs/0") == 8
    one.delete("blobs/0")
    assert keys(two, "") == ["blobs/1", "blobs/2"]
    assert two.create("blobs/0", b"again") is True


def test_instances_of_others_keep_their_caches(tmp_path):
    theirs = fsspec.filesystem("cachedtest")
    (tmp_path / "file").touch()
    assert theirs.ls(str(tmp_path)) == [str(tmp_path / "file")]
    backend = GenericBackend(f"cachedtest://{tmp_path}")
    backend.delete("file")
    assert keys(backend, "") == []
    assert theirs.ls(str(tmp_path)) == [str(tmp_path / "file")]
    theirs.invalidate_cache()
    CachedFileSystem.clear_instance_cache()


def test_a_forked_child_opens_it_anew(backend, monkeypatch):
    before = backend._fs
    assert backend._fs is before
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert backend._fs is not before
    assert keys(backend, "") == []
