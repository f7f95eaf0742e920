"""Datatypes that installed packages offer by name."""

import os
import pickle
import subprocess
import sys
import textwrap

import pytest
from sqlalchemy import select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from sqla_artifacts import Artifact, LazyArtifact, LazyMapped
from sqla_artifacts.datatypes import BUILTIN, resolve
from sqla_artifacts.errors import UnknownDataTypeError

from ..models import make_store

MODULE = """
    from sqla_artifacts import DataType

    def to_bytes(value, info):
        return value[::-1].encode()

    def from_bytes(data, info):
        return data.decode()[::-1]

    reversed_text = DataType({name!r}, lambda *args: to_bytes(*args), from_bytes)
    bytes_again = DataType("bytes", to_bytes, from_bytes)
    nothing = None
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs a distribution that offers a datatype, and returns where."""
    site = tmp_path / "site"

    def install(name, target, *, package, source=MODULE):
        site.mkdir(exist_ok=True)
        about = site / f"{package}-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text(
            f"[sqla_artifacts.datatypes]\n{name} = {package}:{target}\n"
        )
        (site / f"{package}.py").write_text(textwrap.dedent(source).format(name=name))
        monkeypatch.syspath_prepend(site)
        return site

    return install


def test_a_column_names_a_datatype_of_an_installed_package(install, engine, tmp_path):
    name = f"entry-{engine.dialect.name}"
    site = install(name, "reversed_text", package=f"offers_{engine.dialect.name}")

    class Base(DeclarativeBase):
        pass

    class Sample(Base):
        __tablename__ = "sample"
        id: Mapped[int] = mapped_column(primary_key=True)
        eager: Mapped[str] = mapped_column(Artifact(name))
        lazy: LazyMapped[str] = mapped_column(LazyArtifact(name))

    make_store(tmp_path).attach(engine, metadata=Base.metadata)
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(Sample(eager="one", lazy="two"))
        session.commit()
        row = session.scalars(select(Sample)).one()
        assert (row.eager, row.lazy.read_bytes()) == ("one", b"owt")
        assert row.lazy.reference.label == name
        pickled = pickle.dumps(row.lazy)
    assert resolve(name) is resolve(name)
    assert pickle.loads(pickle.dumps(resolve(name))) is resolve(name)
    run = subprocess.run(
        [sys.executable, "-c", "import pickle, sys; print(pickle.load(sys.stdin.buffer).unpack())"],
        input=pickled,
        env=os.environ | {"PYTHONPATH": str(site)},
        capture_output=True,
        check=False,
    )
    assert run.stdout.decode().strip() == "two", run.stderr


def test_a_name_that_two_packages_offer_is_refused(install):
    install("entry-twice", "reversed_text", package="offers_one")
    install("entry-twice", "reversed_text", package="offers_two")
    with pytest.raises(
        UnknownDataTypeError,
        match="more than once: offers_one:reversed_text, offers_two:reversed_text",
    ):
        Artifact("entry-twice")


@pytest.mark.parametrize("target", ["nothing", "bytes_again"])
def test_what_is_no_datatype_of_that_name_is_refused(install, target):
    install("entry-other", target, package=f"offers_{target}")
    message = f"'offers_{target}:{target}' is no DataType with identifier 'entry-other'"
    with pytest.raises(UnknownDataTypeError, match=message):
        Artifact("entry-other")


def test_a_built_in_datatype_cannot_be_replaced(install):
    install("bytes", "bytes_again", package="offers_bytes")
    assert Artifact("bytes").datatype is BUILTIN["bytes"]


@pytest.mark.parametrize(
    ("source", "target", "cause"),
    [
        ("import no_such_package", "any", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("1 / 0", "any", "ZeroDivisionError"),
        ("", "missing", "AttributeError"),
    ],
)
def test_a_package_that_cannot_be_imported_says_why(install, source, target, cause):
    package = f"offers_{cause.partition(':')[0]}"
    install("entry-broken", target, package=package, source=source)
    message = (
        f"entry point '{package}:{target}' of datatype 'entry-broken' cannot be loaded: {cause}"
    )
    with pytest.raises(UnknownDataTypeError, match=message):
        Artifact("entry-broken")
