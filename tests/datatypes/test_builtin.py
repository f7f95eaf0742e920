"""The built-in datatypes: what the documents say of them, and what a missing library says."""

import re
import sys
from pathlib import Path

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from sqla_artifacts import Artifact, LazyArtifact, LazyMapped, datatypes
from sqla_artifacts.datatypes import BUILTIN
from sqla_artifacts.errors import DecodeError, InvalidValueError

from ..models import make_store, staged

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "datatypes.md"
UNSAFE = {"pickle", "cloudpickle", "dill"}
EXTRAS = {
    "cloudpickle": "cloudpickle", "dill": "dill", "numpy": "numpy", "image": "image",
    "arrow": "arrow", "safetensors": "safetensors", "torch": "torch",
}  # fmt: skip
LIBRARIES = EXTRAS | {"image": "PIL", "arrow": "pyarrow"}


def streaming(datatype):
    forms = (datatype.dump is not None, datatype.load is not None)
    return {(True, True): "yes", (True, False): "out", (False, True): "in"}.get(forms, "no")


def facts():
    """What there is to say of each datatype."""
    return {
        name: (
            "yes" if datatype.deterministic else "no",
            streaming(datatype),
            "yes" if datatype.mappable else "no",
            "no" if name in UNSAFE else "yes",
        )
        for name, datatype in BUILTIN.items()
    }


def test_the_table_of_the_module_is_true():
    rows = re.findall(
        r"^(\w+) +(yes|no) +(\w+) +(yes|no) +(yes|no) ", datatypes.__doc__, re.MULTILINE
    )
    assert {name: tuple(row) for name, *row in rows} == facts()
    assert [row[0] for row in rows] == list(BUILTIN)


def test_the_table_of_the_guide_is_true():
    pattern = r"^\| `(\w+)` +\|.*?\|.*?\| (\w+) +\| (\w+) +\| (\w+) +\| (\w+) +\| (.*?) +\|$"
    rows = re.findall(pattern, PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert {name: tuple(row[:4]) for name, *row in rows} == facts()
    extras = {name: row[-1].strip("`") for name, *row in rows}
    assert {name: extra for name, extra in extras.items() if extra} == EXTRAS


@pytest.mark.parametrize("name", EXTRAS)
def test_a_missing_library_says_which_extra_has_it(name, monkeypatch, engine, tmp_path):
    class Base(DeclarativeBase):
        pass

    class Sample(Base):
        __tablename__ = "sample"
        id: Mapped[int] = mapped_column(primary_key=True)
        value: Mapped[object | None] = mapped_column(Artifact(name))

    make_store(tmp_path).attach(engine, metadata=Base.metadata)
    Base.metadata.create_all(engine)
    monkeypatch.setitem(sys.modules, LIBRARIES[name], None)
    hint = rf'^sample\.value: .*pip install "sqla_artifacts\[{EXTRAS[name]}\]"$'
    with Session(engine) as session:
        session.add(Sample(value={"a": 1}))
        with pytest.raises(InvalidValueError, match=hint):
            session.flush()
        session.rollback()
        session.add(Sample(value=datatypes.Encoded(b"\x10\0\0\0\0\0\0\0{}")))
        session.commit()
        with pytest.raises(DecodeError, match=hint):
            session.scalars(select(Sample.value)).all()


WRONG = {
    "bytes": "text", "text": b"bytes", "json": {1, 2}, "pickle": lambda: None,
    "cloudpickle": (i for i in ()), "dill": (i for i in ()), "numpy": [1, 2], "image": b"bytes",
    "arrow": {"a": [1]}, "safetensors": {"a": 5}, "torch": object(),
}  # fmt: skip


@pytest.mark.parametrize("name", BUILTIN)
def test_a_value_of_another_kind_is_refused_and_nothing_stored(name, engine, tmp_path):
    if name in EXTRAS:
        pytest.importorskip(LIBRARIES[name])

    class Base(DeclarativeBase):
        pass

    class Sample(Base):
        __tablename__ = "sample"
        id: Mapped[int] = mapped_column(primary_key=True)
        value: Mapped[object | None] = mapped_column(Artifact(name))
        lazy: LazyMapped[object | None] = mapped_column(LazyArtifact(name))

    store = make_store(tmp_path)
    store.attach(engine, metadata=Base.metadata)
    Base.metadata.create_all(engine)
    wrong = WRONG[name]
    with Session(engine) as session:
        for column in ("value", "lazy"):
            session.add(Sample(**{column: wrong}))
            message = (
                rf"^sample\.{column}: datatype '{name}' cannot encode a {type(wrong).__name__}"
            )
            with pytest.raises(InvalidValueError, match=message):
                session.flush()
            session.rollback()
        session.add(Sample())
        session.commit()
        assert session.scalar(text("SELECT count(*) FROM sample")) == 1
    assert list(store.backend.list("blobs/")) == []
    assert staged(store) == []
