"""Values that cannot be stored: each a clear error, after which the session works on."""

import io
import os
import resource
import socket
import subprocess
import threading
from pathlib import Path

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from sqla_artifacts import ArtifactStore, errors
from sqla_artifacts.ledger import install
from sqla_artifacts.payload import Stage

from .programs.checks import blob_files, check_usable, mere_user, refused, run, temporary_files
from .programs.full import LARGE, MIB, rows
from .programs.model import Base, Sample, attach


@pytest.fixture
def store(engine, tmp_path):
    return attach(engine, tmp_path / "artifacts")


@pytest.fixture
def session(engine, store):
    with Session(engine) as session:
        yield session


def refuses(session, error, message, **values):
    """Check that a row of these values is refused, as itself and among good ones."""
    store = session.bind.dialect._artifact_stores["default"]
    refused(session, store, error, message, Sample(**values))
    good = Sample(data=b"before"), Sample(data=bytes(LARGE))
    refused(session, store, error, message, good[0], Sample(**values), good[1])


# -- values ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"data": 5}, r"sample.data: datatype 'bytes' cannot encode a int: .*expected bytes"),
        (
            {"model": lambda: 0},
            r"sample.model: datatype 'pickle' cannot encode a function: .*pickle",
        ),
        (
            {"model": [bytes(LARGE), threading.Lock()]},
            r"sample.model: datatype 'pickle' cannot encode a list: .*lock",
        ),
    ],
    ids=["of another type", "that does not pickle", "that stops pickling half-way"],
)
def test_an_object_that_does_not_encode(session, values, message):
    refuses(session, errors.InvalidValueError, message, **values)


# -- files -------------------------------------------------------------------------------------


def test_a_missing_path(session, tmp_path):
    path = tmp_path / "missing"
    message = rf"sample.file: cannot read '{path}': No such file"
    refuses(session, errors.SourceError, message, file=path)
    refuses(session, errors.SourceError, message, file=str(path))
    path.symlink_to("nowhere")
    refuses(session, errors.SourceError, message, file=path)


def test_a_path_below_a_file(session, tmp_path):
    (tmp_path / "file").touch()
    refuses(
        session,
        errors.SourceError,
        "sample.file: cannot read .*file/below': Not a directory",
        file=tmp_path / "file" / "below",
    )


def special_files(place):
    """One of each kind of file that holds no bytes of its own."""
    os.mkfifo(place / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(place)  # the path of a socket may have about 100 bytes
        server.bind("socket")
        os.chdir(here)
    return [place / "fifo", place / "socket", Path(os.devnull)]


def test_a_fifo_a_socket_a_device(session, tmp_path):
    for path in special_files(tmp_path):
        message = rf"sample.file: '{path}' is neither a regular file nor a directory"
        refuses(session, errors.SourceError, message, file=path)


def test_a_directory_that_holds_a_fifo(session, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "a").write_bytes(bytes(2 * MIB))
    os.mkfifo(tmp_path / "run" / "fifo")
    message = "sample.file: .*run/fifo' cannot be stored: it is neither a file nor"
    refuses(session, errors.InvalidTreeError, message, file=tmp_path / "run")


def test_a_link_that_leads_out_of_its_directory(session, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "link").symlink_to("../secret")
    message = "sample.file: .*run/link' cannot be stored: .*may lead out"
    refuses(session, errors.InvalidTreeError, message, file=tmp_path / "run")


def test_a_file_open_as_text(session, tmp_path):
    path = tmp_path / "text"
    path.write_text("text")
    message = "sample.file: '.*text' is open as text"
    with path.open() as fp:
        refuses(session, errors.InvalidValueError, message, file=fp)
    refuses(session, errors.InvalidValueError, message, file=("text", io.StringIO("text")))


def test_a_closed_file(session, tmp_path):
    with (tmp_path / "closed").open("wb+") as fp:
        pass
    refuses(session, errors.SourceError, "sample.file: cannot read .*closed", file=fp)


@pytest.mark.parametrize("value", [b"bytes", 5, ("name",), ("name", 5), (b"name", b"bytes")])
def test_what_is_no_file(session, value):
    refuses(session, errors.InvalidValueError, "sample.file: .*(bytes|stream)", file=value)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/", "a\0b", "x" * 256])
def test_a_name_that_no_file_can_have(session, name):
    message = "sample.file: .* is no name for a file"
    refuses(session, errors.InvalidValueError, message, file=(name, b"bytes"))


def test_a_path_without_a_name_or_with_a_nul(session):
    for path, name in {"/": "''", "a\0b": r"'a\\x00b'"}.items():
        message = f"sample.file: {name} is no name for a file"
        refuses(session, errors.InvalidValueError, message, file=path)


class Stream(io.RawIOBase):
    """A stream that fails once it has given so many bytes."""

    def __init__(self, size, error):
        self._left = size
        self._error = error

    def readable(self):
        return True

    def readinto(self, buffer):
        if self._left <= 0:
            raise self._error("lost")
        self._left -= len(buffer)
        return len(buffer)


@pytest.mark.parametrize("size", [0, LARGE])
@pytest.mark.parametrize("error", [OSError, RuntimeError, EOFError])
def test_a_stream_that_fails_half_way(session, size, error):
    for _ in range(2):
        store = session.bind.dialect._artifact_stores["default"]
        sample = Sample(file=("name", Stream(size, error)))
        message = "sample.file: cannot read 'name': .*lost"
        refused(session, store, errors.SourceError, message, sample)


@pytest.mark.parametrize("folder", [True, False], ids=["in a directory", "alone"])
@pytest.mark.parametrize("change", [-MIB, MIB], ids=["shrinks", "grows"])
def test_a_file_that_changes_while_it_is_read(engine, tmp_path, folder, change):
    path = tmp_path / "run" / "file"
    path.parent.mkdir()

    class Interrupted(Stage):
        def new_file(self):
            # The source has been opened, and its size taken.
            if path.exists() and path.stat().st_size == LARGE:
                os.truncate(path, LARGE + change)
            return super().new_file()

    class Interrupting(ArtifactStore):
        @property
        def stage(self):
            return Interrupted(self.algorithm, self.backend.staging)

    store = Interrupting(str(tmp_path / "artifacts"))
    store.attach(engine, metadata=Base.metadata)
    Base.metadata.create_all(engine)
    path.write_bytes(bytes(LARGE))
    message = rf"sample.file: '{path}' changed while it was read"
    sample = Sample(file=path.parent if folder else path)
    with Session(engine) as session:
        refused(session, store, errors.SourceError, message, sample)


# -- places that refuse ------------------------------------------------------------------------


def test_what_may_not_be_read(session, tmp_path):
    file, folder, member = tmp_path / "file", tmp_path / "folder", tmp_path / "run" / "member"
    folder.mkdir()
    member.parent.mkdir()
    file.touch()
    member.touch()
    for path in (file, folder, member):
        path.chmod(0)
    check_usable(session)  # by now it is connected
    with mere_user():
        for path in (file, folder, folder / "below"):
            message = f"sample.file: .*'{path}'.*: Permission denied"
            refuses(session, errors.SourceError, message, file=path)
        message = f"sample.file: '{member}' cannot be read: Permission denied"
        refuses(session, errors.SourceError, message, file=member.parent)


def test_a_store_that_may_not_be_written_to(session, store, tmp_path):
    check_usable(session)
    folder = tmp_path / "artifacts" / "blobs"
    folder.chmod(0o555)
    with mere_user():
        sample = Sample(data=b"hello")
        session.add(sample)
        message = "^sample.data: cannot write to the store .*Permission denied"
        with pytest.raises(errors.StoreWriteError, match=message):
            session.commit()
        session.rollback()
    folder.chmod(0o755)
    check_usable(session)


def test_files_that_may_not_become_so_large(session, store, tmp_path):
    for name, samples in rows(tmp_path).items():
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4 * MIB, limits[1]))
        try:
            message = f"sample.{name.partition(',')[0]}: cannot .*: .*File too large"
            refused(session, store, errors.StoreWriteError, message, *samples)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk(database_url, tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    unshare = ["unshare", "--mount", *(() if os.geteuid() == 0 else ("--map-root-user",))]
    mount = 'mount -t tmpfs -o size=6m tmpfs "$0"'
    works = subprocess.run([*unshare, "sh", "-c", mount, place], capture_output=True, check=False)
    if works.returncode:
        pytest.skip(f"no file system can be mounted here: {works.stderr.decode()}")
    before = [*unshare, "sh", "-c", f'{mount} && exec "$@"', place]
    run("full", database_url, place / "artifacts", tmp_path, before=before)


# -- engines without what they need ------------------------------------------------------------


def test_no_store(engine, tmp_path):
    Sample.__table__.create(engine)
    with Session(engine) as session:
        session.add(Sample(data=b"hello"))
        message = r"^sample.data: no store 'default' .*attach\(engine\)"
        with pytest.raises(errors.NotAttachedError, match=message):
            session.commit()
        session.rollback()
        reference = f"&:blob:{'0' * 64}:0:bytes"
        session.execute(text(f"INSERT INTO sample (id, data) VALUES (1, '{reference}')"))
        with pytest.raises(errors.NotAttachedError, match=message):
            session.scalars(select(Sample)).all()
        session.rollback()
        attach(engine, tmp_path / "artifacts")
        check_usable(session)


def test_no_ledger(engine, tmp_path):
    store = ArtifactStore(str(tmp_path / "artifacts"))
    store.attach(engine)
    Sample.__table__.create(engine)
    with Session(engine) as session:
        session.add(Sample(file=("name", b"hello")))
        message = r"^sample.file: the ledger's tables are missing: .*install\(Base.metadata\)"
        with pytest.raises(errors.NoLedgerError, match=message):
            session.commit()
        session.rollback()
        assert session.scalars(select(Sample)).all() == []
        assert blob_files(store.backend.root) == {}
        assert temporary_files(store.backend.root) == []
        install(Base.metadata)
        Base.metadata.create_all(engine)
        check_usable(session)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nosuch://place", "the protocol 'nosuch' of nosuch://place"),
        ("lakefs://place", "lakefs://place cannot be opened: .*[Ii]nstall lakefs"),
    ],
)
def test_a_store_that_nothing_here_can_open(url, message):
    with pytest.raises(errors.UnknownProtocolError, match=message):
        ArtifactStore(url)
