"""Rows and stores that somebody has tampered with: each a clear error, and nothing out of place."""

import itertools
import random
import shutil

import pytest
from sqlalchemy import select, text, type_coerce
from sqlalchemy.orm import Session, defer

from sqla_artifacts import errors, unpack
from sqla_artifacts.digest import digest_of
from sqla_artifacts.store import key_of

from .programs import hostile
from .programs.checks import blob_files, check_usable, temporary_files
from .programs.hostile import DIGEST
from .programs.model import Sample, attach

COLUMNS = ("data", "model", "file")


@pytest.fixture
def store(engine, tmp_path):
    return attach(engine, tmp_path / "artifacts")


@pytest.fixture
def session(engine, store):
    with Session(engine) as session:
        yield session


def put_reference(session, column, reference):
    """Write a reference by plain SQL; return the number of the row."""
    sql = f"INSERT INTO sample ({column}) VALUES (:reference) RETURNING id"
    number = session.execute(text(sql), {"reference": reference}).scalar_one()
    session.commit()
    return number


def check_refused(session, error, message, function, *arguments):
    """Check that reading is refused by this very error, and that the session works on."""
    with pytest.raises(error, match=message) as caught:
        function(*arguments)
    assert type(caught.value) is error
    assert len(str(caught.value)) < 1000
    session.rollback()
    check_usable(session)


def fetch(session, query):
    return session.execute(query).all()


def use(session, query):
    """Load rows, and unpack what is in them: a proxy looks at its reference no earlier."""
    return unpack(fetch(session, query))


# -- references --------------------------------------------------------------------------------


@pytest.mark.parametrize("column", COLUMNS)
def test_what_is_no_reference(session, subtests, column):
    attribute = getattr(Sample, column)
    queries = select(Sample), select(attribute), select(type_coerce(attribute, attribute.type))
    message = rf"^sample.{column}: .*(is not a reference|expected a reference to a)"
    for what, reference in hostile.references(column).items():
        if "\0" in reference and session.bind.dialect.name == "postgresql":
            continue  # whose text has no NUL
        number = put_reference(session, column, reference)
        for query in queries:
            with subtests.test(what, query=str(query)):
                ours = query.where(Sample.id == number)
                error = errors.InvalidReferenceError
                check_refused(session, error, message, use, session, ours)


def test_a_datatype_that_the_column_does_not_accept(session, store, subtests):
    data = b"cos\nsystem\n(S'false'\ntR."  # what a pickle could do
    digest = digest_of(data, "blake3")
    store.backend.put([(key_of(digest), store.stage.data(data))])
    for label in ("nosuch", "pickle", "numpy"):
        with subtests.test(label):
            number = put_reference(session, "data", f"&:blob:{digest}:{len(data)}:{label}")
            message = (
                f"^sample.data: the row was written with datatype '{label}', .* accepts 'bytes'"
            )
            error = errors.UnknownDataTypeError
            check_refused(session, error, message, session.get, Sample, number)


def test_a_datatype_that_the_lazy_column_does_not_accept(session):
    number = put_reference(session, "model", f"&:blob:{DIGEST}:5:bytes")
    sample = session.get(Sample, number)
    message = "^sample.model: the row was written with datatype 'bytes', .* accepts 'pickle'"
    check_refused(session, errors.UnknownDataTypeError, message, sample.model.unpack)


# -- blobs -------------------------------------------------------------------------------------


def emptied(data):
    return b""


def truncated(data):
    return data[:-1]


def longer(data):
    return data + b"\0"


def one_bit_flipped(data):
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def missing(data):
    return None


DAMAGES = (missing, emptied, truncated, longer, one_bit_flipped)


def write(path, data):
    """Put these bytes in the place of a blob's; None for none."""
    path.unlink(missing_ok=True)
    if data is not None:
        path.write_bytes(data)


def lazily(session, number):
    """A row whose eager column is not read."""
    query = select(Sample).options(defer(Sample.data)).where(Sample.id == number)
    return session.scalars(query).one()


def read(stream):
    with stream:
        return stream.read()


# The blob that is damaged, and a way to meet it.
READERS = {
    "data": ("data", lambda session, to: session.get(Sample, 101)),
    "model": ("model", lambda session, to: lazily(session, 101).model.unpack()),
    "model, its bytes": ("model", lambda session, to: lazily(session, 101).model.read_bytes()),
    "model, as a stream": ("model", lambda session, to: read(lazily(session, 101).model.open())),
    "file": ("file", lambda session, to: lazily(session, 102).file.unpack(to)),
    "file, shared": ("file", lambda session, to: lazily(session, 102).file.unpack()),
    "file, as a stream": ("file", lambda session, to: read(lazily(session, 102).file.open())),
    "manifest": ("manifest", lambda session, to: lazily(session, 101).file.unpack(to)),
    "manifest, shared": ("manifest", lambda session, to: lazily(session, 101).file.unpack()),
    "manifest, listed": ("manifest", lambda session, to: lazily(session, 101).file.members),
    "pack": ("pack", lambda session, to: lazily(session, 101).file.unpack(to)),
    "pack, shared": ("pack", lambda session, to: lazily(session, 101).file.unpack()),
    "pack, as a stream": (
        "pack",
        lambda session, to: read(lazily(session, 101).file.open("small")),
    ),
    "large": ("large", lambda session, to: lazily(session, 101).file.unpack(to)),
    "large, shared": ("large", lambda session, to: lazily(session, 101).file.unpack()),
    "large, as a stream": (
        "large",
        lambda session, to: read(lazily(session, 101).file.open("large")),
    ),
}


@pytest.fixture
def stored(session, store, tmp_path):
    """Rows with something in every column; the paths of their blobs, by what these are."""
    small, large = b"small", random.Random(1).randbytes(2 << 20)
    run = tmp_path / "run"
    run.mkdir()
    (run / "large").write_bytes(large)
    (run / "small").write_bytes(small)
    first = Sample(id=101, data=b"data" * 1000, model=["model"] * 1000, file=run)
    second = Sample(id=102, file=("name", b"file" * 1000))
    session.add_all([first, second])
    session.commit()
    digests = {
        "data": digest_of(first.data, "blake3"),
        "model": first.model.digest,
        "manifest": first.file.digest,
        "file": second.file.digest,
        "pack": digest_of(small, "blake3"),
        "large": digest_of(large, "blake3"),
    }
    session.expunge_all()
    paths = blob_files(store.backend.root)
    return {what: paths[digest] for what, digest in digests.items()}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_blob_that_is_missing_or_damaged(session, stored, tmp_path, subtests, damage):
    to, checkouts = tmp_path / "copy", tmp_path / "artifacts-checkouts"
    for name, (what, reader) in READERS.items():
        if damage is longer and (what == "pack" or name == "large, as a stream"):
            continue  # they read what is theirs, and no further
        path = stored[what]
        column = what if what in COLUMNS else "file"
        if damage is missing:
            error, message = errors.BlobNotFoundError, f"^sample.{column}: blob {path.name} is not"
        else:
            # Who reads a stream knows whose it is.
            named = "" if name.endswith("stream") else f"^sample.{column}: "
            error = errors.BlobCorruptedError
            message = f"{named}.*(blob {path.name} is corrupt|bytes of 'small' in its pack do not)"
        with subtests.test(name):
            good = path.read_bytes()
            write(path, damage(good))
            check_refused(session, error, message, reader, session, to)
            assert files_in(to, checkouts) == []
            write(path, good)
            reader(session, to)
            session.rollback()
            for place in (to, checkouts):
                shutil.rmtree(place, ignore_errors=True)


def files_in(*places):
    """All that is no directory below these."""
    found = itertools.chain.from_iterable(place.rglob("*") for place in places)
    return [path for path in found if path.is_symlink() or not path.is_dir()]


# -- manifests ---------------------------------------------------------------------------------


def test_a_manifest_that_leads_out_of_its_directory(session, store, tmp_path, subtests):
    outside, to = tmp_path / "outside", tmp_path / "inside" / "copy"
    outside.mkdir()
    check_usable(session)
    for what, (manifest, said) in hostile.manifests(outside).items():
        data = manifest.encode()
        digest = digest_of(data, "blake3")
        blobs = [(digest, data), (DIGEST, b"hello")]
        store.backend.put([(key_of(name), store.stage.data(blob)) for name, blob in blobs])
        number = put_reference(session, "file", f"&:tree:{digest}:5:run")
        file = session.get(Sample, number).file
        places = {path.name for path in tmp_path.iterdir()}
        with subtests.test(what):
            for function, *arguments in (
                (file.unpack,),
                (file.unpack, to),
                (file.open, "evil"),
                (getattr, file, "members"),
            ):
                message = f"^sample.file: .*manifest.*{said}"
                check_refused(session, errors.InvalidTreeError, message, function, *arguments)
            assert files_in(outside, to.parent, tmp_path / "artifacts-checkouts") == []
            assert {path.name for path in tmp_path.iterdir()} - places <= {
                "inside",
                store.checkouts.name,
            }


# -- stores ------------------------------------------------------------------------------------


def test_a_store_that_is_damaged_or_not_ours(make_engine, database_url, tmp_path, subtests):
    place = tmp_path / "artifacts"
    with Session(make_engine(database_url)) as session:
        attach(session.bind, place)
        session.add(Sample(id=101, data=b"hello", file=("name", b"hello")))
        session.commit()
    for what, (key, content, error, message) in hostile.stores().items():
        with subtests.test(what):
            good = (place / key).read_bytes()
            write(place / key, content.encode())
            # Another process, which has not seen the store as it was.
            engine = make_engine(database_url)
            attach(engine, place)
            with Session(engine) as session:
                check_bad_store(session, place, key, error, message)
                assert (place / key).read_text() == content
                write(place / key, good)
                check_usable(session)
                assert session.get(Sample, 101).data == b"hello"


def check_bad_store(session, place, key, error, message):
    """Check that nothing is written to a store, nor, if it is damaged, read from it."""
    before = blob_files(place)
    for column, value in (("data", b"new"), ("file", ("new", b"new"))):
        session.add(Sample(**{column: value}))
        with pytest.raises(error, match=f"^sample.{column}: {message}"):
            session.commit()
        session.rollback()
    assert session.scalar(text("SELECT count(*) FROM sample")) == 1
    if key == "store.json":
        with pytest.raises(error, match=f"^sample.data: {message}"):
            session.get(Sample, 101)
    else:  # reading needs no owner
        assert session.get(Sample, 101).data == b"hello"
    session.rollback()
    assert blob_files(place) == before
    assert temporary_files(place) == []
