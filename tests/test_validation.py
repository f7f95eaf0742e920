"""Validation: what a column refuses is refused before anything is stored."""

import io
import re
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sqlalchemy import func, insert, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from sqla_artifacts import (
    Artifact,
    Candidate,
    Encoded,
    FileDir,
    Lazy,
    LazyArtifact,
    LazyMapped,
    PathMapped,
    StoredPath,
)
from sqla_artifacts.errors import DecodeError, InvalidValueError
from sqla_artifacts.validation import HEAD, media_types_of, validate

from .models import make_store, staged


def is_finite(array):
    if not np.isfinite(array).all():
        msg = "NaN or infinity"
        raise ValueError(msg)


def has_a_readme(candidate: Candidate):
    return "README.md" in candidate.members


def is_a_haiku(candidate: Candidate):
    with candidate.open() as fp:
        return fp.read().count(b"\n") == 3


@pytest.fixture
def submission(engine, tmp_path):
    """(class, store): a model whose columns refuse much."""

    class Base(DeclarativeBase):
        pass

    class Submission(Base):
        __tablename__ = "submission"
        id: Mapped[int] = mapped_column(primary_key=True)
        photo: PathMapped[StoredPath | None] = mapped_column(
            FileDir(max_size=1000, media_types=["image/png", "image/jpeg"])
        )
        anything: PathMapped[StoredPath | None] = mapped_column(FileDir())
        text: PathMapped[StoredPath | None] = mapped_column(FileDir(media_types="text/*"))
        folder: PathMapped[StoredPath | None] = mapped_column(
            FileDir(max_size=100, media_types=["inode/directory"], validators=[has_a_readme])
        )
        poem: PathMapped[StoredPath | None] = mapped_column(FileDir(validators=[is_a_haiku]))
        weights: Mapped[np.ndarray | None] = mapped_column(
            Artifact("numpy", validators=[is_finite], max_size=1000)
        )
        lazy: LazyMapped[np.ndarray | None] = mapped_column(
            LazyArtifact("numpy", validators=[is_finite])
        )
        free: LazyMapped[np.ndarray | None] = mapped_column(LazyArtifact("numpy"))
        sound: Mapped[bytes | None] = mapped_column(Artifact("bytes", media_types=["audio/wav"]))

    store = make_store(tmp_path)
    store.attach(engine, metadata=Base.metadata)
    Base.metadata.create_all(engine)
    return Submission, store


def picture(format_, size=(8, 8)):
    fp = io.BytesIO()
    Image.new("RGB", size, (1, 2, 3)).save(fp, format_)
    return fp.getvalue()


def folder(path, files):
    for name, data in files.items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return path


def nothing_is_stored(engine, class_, store):
    with Session(engine) as session:
        assert session.scalar(select(func.count()).select_from(class_)) == 0
    assert not list(store.backend.list("blobs/"))
    assert not staged(store)


NAN = np.array([np.nan])
README = {"README.md": b"read me"}

REFUSED = {
    "a file that is too large": ("photo", ("a.png", picture("PNG") + bytes(1000)), "max_size"),
    "a stream that is too large": ("photo", ("a.png", io.BytesIO(bytes(5000))), "max_size"),
    "an executable under a picture's name": (
        "photo",
        ("a.png", b"MZ\x90\0" + bytes(99)),
        "content",
    ),
    "a picture of another format": ("photo", ("a.png", picture("GIF")), "image/gif"),
    "a picture under the name of a page": ("photo", ("a.html", picture("PNG")), "text/html"),
    "a picture under the name of an archive": ("photo", ("a.tar.gz", picture("PNG")), "gzip"),
    "an empty file": ("photo", ("a.png", b""), "octet-stream"),
    "bytes where text is taken": ("text", ("a.txt", b"ab\0c"), "octet-stream"),
    "a value that is too large": ("weights", np.zeros(1000), "max_size"),
    "a value that a validator refuses": ("weights", NAN, "is_finite: NaN"),
    "a lazy value that a validator refuses": ("lazy", NAN, "is_finite"),
    "a proxy whose value a validator refuses": ("lazy", Lazy(NAN), "is_finite"),
    "a file that a validator refuses": ("poem", ("poem.txt", b"one\ntwo\n"), "is_a_haiku"),
    "a value of another media type": ("sound", b"RIFF....AVI ", "audio/wav"),
}


@pytest.mark.parametrize(("column", "value", "message"), REFUSED.values(), ids=REFUSED)
def test_what_a_column_does_not_take_is_refused_and_not_stored(
    engine, submission, column, value, message
):
    class_, store = submission
    with Session(engine) as session:
        session.add(class_(**{column: value}))
        with pytest.raises(InvalidValueError, match=re.escape(message)) as caught:
            session.flush()
        assert caught.value.column == f"submission.{column}"
        session.rollback()
        nothing_is_stored(engine, class_, store)
        session.add(class_(anything=("later.txt", b"the session is usable")))
        session.commit()


def test_a_directory_is_measured_as_a_whole(engine, submission, tmp_path):
    class_, store = submission
    large = folder(tmp_path / "large", {**README, "a": bytes(60), "b": bytes(60)})
    bare = folder(tmp_path / "bare", {"main.py": b""})
    with Session(engine) as session:
        for path, message in ((large, "max_size"), (bare, "has_a_readme")):
            session.add(class_(folder=path))
            with pytest.raises(InvalidValueError, match=message):
                session.flush()
            session.rollback()
    nothing_is_stored(engine, class_, store)


def test_a_directory_is_no_picture_and_a_picture_no_directory(engine, submission, tmp_path):
    class_, store = submission
    with Session(engine) as session:
        for value in (
            {"photo": folder(tmp_path / "a.png", README)},
            {"folder": ("README.md", b"a file")},
        ):
            session.add(class_(**value))
            with pytest.raises(InvalidValueError, match="the content is"):
                session.flush()
            session.rollback()
    nothing_is_stored(engine, class_, store)


def test_what_a_column_takes_is_stored(engine, submission, tmp_path):
    class_, _ = submission
    with Session(engine) as session:
        session.add(
            class_(
                photo=("a.jpg", picture("JPEG")),
                text=("a.csv", b"a,b\n1,2\n"),
                folder=folder(tmp_path / "folder", {**README, "empty": b"", "a": bytes(93)}),
                poem=("poem", b"one\ntwo\nthree\n"),
                weights=np.ones(3),
                lazy=np.ones(3),
            )
        )
        session.commit()
        row = session.scalars(select(class_)).one()
        assert row.photo.open().read() == picture("JPEG")
        assert row.folder.members.keys() == {"README.md", "a", "empty"}


def test_no_more_of_a_stream_is_read_than_the_column_takes(engine, submission):
    class_, _ = submission

    class Endless(io.RawIOBase):
        given = 0

        def readable(self):
            return True

        def readinto(self, buffer):
            self.given += len(buffer)
            return len(buffer)

    endless = Endless()
    with Session(engine) as session:
        session.add(class_(photo=("zero", endless)))
        with pytest.raises(InvalidValueError, match="max_size"):
            session.flush()
    assert endless.given < 32 << 20


def test_a_stored_value_is_validated_when_it_goes_to_another_column(engine, submission):
    class_, _ = submission
    with Session(engine) as session:
        session.add(class_(free=NAN, anything=("a.txt", b"no picture")))
        session.commit()
        row = session.scalars(select(class_)).one()
        for column, value in (("lazy", row.free), ("photo", row.anything)):
            session.add(class_(**{column: value}))
            with pytest.raises(InvalidValueError):
                session.flush()
            session.rollback()
        row.free = row.anything = None
        session.commit()


def test_what_is_encoded_already_is_decoded_for_a_validator(engine, submission):
    class_, store = submission

    def npy(array):
        fp = io.BytesIO()
        np.save(fp, array)
        return fp.getvalue()

    with Session(engine) as session:
        for data, error in ((npy(NAN), InvalidValueError), (b"no array", DecodeError)):
            session.add(class_(weights=Encoded(data)))
            with pytest.raises(error):
                session.flush()
            session.rollback()
        nothing_is_stored(engine, class_, store)
        session.add(class_(weights=Encoded(npy(np.arange(3)))))
        session.commit()
        assert session.scalars(select(class_)).one().weights.tolist() == [0, 1, 2]


def test_comparing_and_rendering_do_not_validate(engine, submission):
    class_, _ = submission
    with Session(engine) as session:
        assert session.scalars(select(class_).where(class_.weights == NAN)).all() == []
    str(
        select(class_.id)
        .where(class_.weights == NAN)
        .compile(engine, compile_kwargs={"literal_binds": True})
    )


def test_columns_that_differ_in_their_rules_do_not_share_a_compiled_statement(engine, submission):
    class_, _ = submission
    table = class_.__table__
    with engine.begin() as connection:
        connection.execute(insert(table), {"free": NAN})
        with pytest.raises(InvalidValueError, match=r"submission\.lazy"):
            connection.execute(insert(table), {"lazy": NAN})
    keys = {
        Artifact("bytes", **rule)._static_cache_key
        for rule in (
            {},
            {"max_size": 1},
            {"max_size": 2},
            {"media_types": ["image/*"]},
            {"validators": [is_finite]},
            {"store": "other"},
            {"accepts": ["text"]},
        )
    }
    assert len(keys) == 7


def leak(value):
    raise ValueError(value.tobytes())


def test_an_error_of_a_validator_is_not_repeated_at_length():
    with pytest.raises(InvalidValueError) as caught:
        validate(np.zeros(500), (leak,))
    assert "refused by leak" in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "media_type", ["png", "image/", "/png", "*/png", "image/*png", "a/b/c", ""]
)
def test_a_media_type_that_is_none_is_refused_when_the_column_is_made(media_type):
    with pytest.raises(ValueError, match="media type"):
        FileDir(media_types=[media_type])


def zipped():
    fp = io.BytesIO()
    with zipfile.ZipFile(fp, "w") as archive:
        archive.writestr("a", "b")
    return fp.getvalue()


CONTENTS = {
    "image/png": picture("PNG"),
    "image/jpeg": picture("JPEG"),
    "image/gif": picture("GIF"),
    "image/webp": picture("WEBP"),
    "image/bmp": picture("BMP"),
    "image/tiff": picture("TIFF"),
    "application/pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n",
    "application/zip": zipped(),
    "application/gzip": b"\x1f\x8b\x08\0" + bytes(20),
    "audio/wav": b"RIFF\x24\0\0\0WAVEfmt " + bytes(24),
    "video/mp4": b"\0\0\0\x18ftypisom\0\0\2\0isomiso2mp41\0\0\0\x08free",
    "image/svg+xml": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"></svg>',
    "text/html": b"<!DOCTYPE html><html><script>alert(1)</script></html>",
    "text/plain": "Grüße".encode(),
    "application/octet-stream": bytes(100),
}


@pytest.mark.parametrize(("media_type", "content"), CONTENTS.items(), ids=CONTENTS)
def test_the_media_type_is_told_from_the_content(media_type, content):
    assert media_type in media_types_of(content[:HEAD])


def test_a_letter_that_is_cut_by_the_end_of_the_head_is_text_all_the_same():
    assert media_types_of(("a" + "ä" * HEAD).encode()[:HEAD]) == ("text/plain",)


@given(st.binary(max_size=200))
def test_any_bytes_have_a_media_type(head):
    assert media_types_of(head)
