"""References: one way to write each, and every other string is refused."""

import os
import pickle
import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from sqla_artifacts import Reference, unpack
from sqla_artifacts.errors import (
    InvalidReferenceError,
    InvalidValueError,
    UnknownDataTypeError,
)
from sqla_artifacts.reference import label_of, parse

from .models import counting, set_up

DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
NUMPY = f"&:blob:{DIGEST}:1048576:numpy"

digests = st.text("0123456789abcdef", min_size=64, max_size=64)
sizes = st.integers(0, 10**18 - 1)
identifiers = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)
raw_names = (
    st.binary(min_size=1, max_size=255)
    .map(lambda raw: raw.replace(b"/", b"_").replace(b"\0", b"_"))
    .filter(lambda raw: raw not in {b".", b".."})
)
names = raw_names.map(os.fsdecode)
references = st.builds(Reference, st.just("blob"), digests, sizes, identifiers) | st.builds(
    Reference, st.sampled_from(["file", "tree"]), digests, sizes, names.map(label_of)
)


@given(references)
@example(Reference("file", DIGEST, 0, label_of("ä" * 127)))
def test_a_reference_is_read_as_it_was_written(reference):
    written = str(reference)
    assert parse(written) == reference
    assert type(parse(written)) is Reference
    assert written.isascii()
    assert written[7:71] == reference.digest
    assert pickle.loads(pickle.dumps(reference)) == reference


@given(names)
@example("a" * 255)
@example("100%")
@example("..a")
@example("a:b &")
@example(os.fsdecode(b"\xff" * 255))
def test_every_name_of_a_file_is_kept(name):
    reference = Reference("file", DIGEST, 1, label_of(name))
    assert parse(str(reference)).name == name


@given(raw_names, raw_names)
def test_different_names_have_different_labels(one, other):
    labels = label_of(os.fsdecode(one)), label_of(os.fsdecode(other))
    assert (labels[0] == labels[1]) == (one == other)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/", "a\0", "\0", "a" * 256, "ä" * 128])
def test_what_is_no_name_is_refused(name):
    with pytest.raises(InvalidValueError, match="name"):
        label_of(name)


def mutations(text, data):
    """A string that differs from a reference in one place, or in a few."""
    place = data.draw(st.integers(0, len(text)))
    piece = data.draw(st.text(max_size=3) | st.text(string.hexdigits + ":&%./~", max_size=3))
    removed = data.draw(st.integers(0, 3))
    return text[:place] + piece + text[place + removed :]


@given(references, st.data())
def test_a_changed_reference_is_refused_or_another_one(reference, data):
    changed = mutations(str(reference), data)
    try:
        found = parse(changed)
    except InvalidReferenceError:
        return
    assert str(found) == changed
    assert parse(str(found)) == found


@given(st.text())
def test_any_other_text_is_refused(text):
    with pytest.raises(InvalidReferenceError):
        parse(text)
    with pytest.raises(InvalidReferenceError):
        parse(f"&:blob:{text}")


TAMPERED = {
    "path": "&:blob:../x",
    "absolute path": "/etc/passwd",
    "path as digest": f"&:blob:{'../' * 21}x:1:numpy",
    "empty": "",
    "short digest": NUMPY.replace("9f86", "9f8", 1),
    "long digest": NUMPY.replace("9f86", "9f860", 1),
    "upper-case digest": NUMPY.replace("9f86", "9F86", 1),
    "digest of other digits": NUMPY.replace("9f86", "\uff19f86", 1),
    "NUL": NUMPY + "\0",
    "newline": NUMPY + "\n",
    "space": " " + NUMPY,
    "another kind": NUMPY.replace("blob", "blab"),
    "another sign": NUMPY.replace("&", "$"),
    "no size": NUMPY.replace("1048576", ""),
    "negative size": NUMPY.replace("1048576", "-1"),
    "signed size": NUMPY.replace("1048576", "+1"),
    "size of other digits": NUMPY.replace("1048576", "\u0661"),
    "leading zero": NUMPY.replace("1048576", "01"),
    "large size": NUMPY.replace("1048576", "9" * 19),
    "no label": NUMPY.replace("numpy", ""),
    "another field": NUMPY + ":x",
    "label that is no identifier": NUMPY.replace("numpy", "~numpy"),
    "encoded identifier": NUMPY.replace("numpy", "n%75mpy"),
    "long identifier": NUMPY.replace("numpy", "n" * 65),
    "path as name": f"&:file:{DIGEST}:1:..%2Fx",
    "parent as name": f"&:file:{DIGEST}:1:..",
    "encoded parent as name": f"&:file:{DIGEST}:1:%2E%2E",
    "this as name": f"&:tree:{DIGEST}:1:.",
    "NUL in the name": f"&:file:{DIGEST}:1:a%00",
    "slash in the name": f"&:file:{DIGEST}:1:a/b",
    "encoded letter": f"&:file:{DIGEST}:1:%61",
    "lower-case escape": f"&:file:{DIGEST}:1:%c3%a4",
    "half an escape": f"&:file:{DIGEST}:1:a%2",
    "long name": f"&:file:{DIGEST}:1:{'a' * 256}",
    "a million characters": f"&:file:{DIGEST}:1:{'a' * 1_000_000}",
    "a million digits": f"&:file:{DIGEST}:{'1' * 1_000_000}:a",
}


@pytest.mark.parametrize("how", TAMPERED)
def test_a_tampered_reference_is_refused(how):
    with pytest.raises(InvalidReferenceError) as caught:
        parse(TAMPERED[how])
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("value", [None, 5, NUMPY.encode(), parse(NUMPY), ["a"]])
def test_what_is_no_text_is_refused(value):
    with pytest.raises(InvalidReferenceError):
        parse(value)


def test_a_tampered_row_names_the_column_and_does_no_io(engine, tmp_path):
    sample, store = set_up(engine, tmp_path)
    columns = (sample.data, sample.model, sample.run)
    with Session(engine) as session:
        session.add(sample(data=b"x", model=[1], run=("a", b"x")))
        session.commit()
        backend = counting(store)
        for tampered in (*TAMPERED.values(), NUMPY.encode()):
            if engine.dialect.name == "postgresql" and (
                isinstance(tampered, bytes) or "\0" in tampered
            ):
                continue  # which refuses that by itself
            values = {"data": tampered, "model": tampered, "run": tampered}
            session.execute(text("UPDATE sample SET data=:data, model=:model, run=:run"), values)
            for column in columns:
                with pytest.raises(InvalidReferenceError) as caught:
                    unpack(session.scalars(select(column)).all())
                assert str(caught.value).startswith(f"sample.{column.key}: ")
                assert len(str(caught.value)) < 300
        assert backend.calls == []
        session.rollback()
        assert session.scalars(select(sample.data)).all() == [b"x"]


def test_a_row_of_another_kind_or_datatype_is_refused(engine, tmp_path):
    sample, store = set_up(engine, tmp_path)
    with Session(engine) as session:
        session.add(sample(data=b"x", thing=["x"], run=("a", b"x")))
        session.commit()
        backend = counting(store)
        session.execute(text("UPDATE sample SET data = thing, note = run, run = thing"))
        with pytest.raises(
            UnknownDataTypeError, match=r"^sample\.data: .*'pickle'.*accepts 'bytes'"
        ):
            session.scalars(select(sample.data)).all()
        for column in (sample.note, sample.run):
            with pytest.raises(InvalidReferenceError, match=f"^sample.{column.key}: expected"):
                session.scalars(select(column)).all()
        assert backend.calls == []
