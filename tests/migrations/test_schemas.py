"""The ledger and the models in schemas of their own."""

import pytest
from sqlalchemy import event, inspect, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from sqla_artifacts import Artifact, FileDir, LazyArtifact, LazyMapped, ledger

from ..models import make_store
from .project import KEY, Project, declarations, models


@pytest.fixture
def project(tmp_path, postgres_url, monkeypatch, make_engine):
    """A project on PostgreSQL with two schemas, of which one is called like a key word."""
    project = Project(tmp_path / "project", postgres_url, monkeypatch)
    project.configure(include_schemas=True)
    with make_engine(postgres_url).begin() as connection:
        connection.execute(text('CREATE SCHEMA "order"'))
        connection.execute(text("CREATE SCHEMA media"))
    return project


def application(datatype, schema="media", **options):
    class Base(DeclarativeBase):
        pass

    ledger.install(Base.metadata, schema="order")

    class Film(Base):
        __tablename__ = "film"
        __table_args__ = {"schema": schema}  # noqa: RUF012
        id: Mapped[int] = mapped_column(primary_key=True)
        data: LazyMapped[object] = mapped_column(LazyArtifact(datatype, **options))

    return Base, Film


def test_schemas(project, make_engine, tmp_path):
    base, film = application("pickle")
    project.use(base)
    project.advance()
    engine = make_engine(project.url)
    table = base.metadata.tables["order.artifact_declaration"]
    assert declarations(engine, table) == {"media.film.data": ("LazyArtifact('pickle')", "default")}

    make_store(tmp_path).attach(engine, schema="order")
    with Session(engine) as session:
        session.add(film(data={1}))
        session.commit()
    base, film = application("json", accepts=["pickle"])
    project.use(base)
    assert "media.film.data: LazyArtifact('pickle') -> LazyArtifact('json')" in project.advance()
    assert declarations(engine, table) == {"media.film.data": ("LazyArtifact('json')", "default")}
    with Session(engine) as session:
        assert session.scalars(select(film)).one().data.unpack() == {1}
    project.run("downgrade", "base")
    with engine.connect() as connection:
        left = "SELECT table_name FROM information_schema.tables WHERE table_schema IN (:a, :b)"
        assert connection.scalars(text(left), {"a": "order", "b": "media"}).all() == []


def test_columns_in_a_schema_come_and_go(project, make_engine):
    base = application("pickle")[0]
    table = base.metadata.tables["order.artifact_declaration"]
    engine = make_engine(project.url)
    project.use(base)
    project.advance()
    later = application("pickle")[0]
    later.metadata.tables["media.film"].append_column(mapped_column("cover", FileDir()).column)
    for models_of, columns in ((later, {"data", "cover"}), (base, {"data"})):
        project.use(models_of)
        project.advance()
        assert set(declarations(engine, table)) == {f"media.film.{name}" for name in columns}
    project.run("downgrade", "-1")
    assert set(declarations(engine, table)) == {"media.film.data", "media.film.cover"}
    project.run("downgrade", "-1")
    assert set(declarations(engine, table)) == {"media.film.data"}


def test_the_default_schema_may_be_named_or_not(project, make_engine):
    base, _ = application("pickle", schema=None)
    project.use(base)
    project.advance()
    base, _ = application("pickle", schema="public")
    project.use(base)
    assert project.differences() == ""


def test_the_ledger_in_an_attached_database(tmp_path, monkeypatch, make_engine):
    project = Project(tmp_path / "project", f"sqlite:///{tmp_path / 'app.db'}", monkeypatch)
    project.configure(include_schemas=True)
    project.engine = make_engine(project.url)

    @event.listens_for(project.engine, "connect")
    def attach(connection, _):
        connection.execute("ATTACH DATABASE ? AS other", [str(tmp_path / "other.db")])

    base = models(with_ledger=False, sample={"id": KEY(), "a": mapped_column(Artifact("text"))})
    ledger.install(base.metadata, schema="other")
    project.use(base)
    project.advance()
    engine = make_engine(f"sqlite:///{tmp_path / 'other.db'}")
    assert declarations(engine) == {"sample.a": ("Artifact('text')", "default")}
    project.run("downgrade", "base")
    assert inspect(engine).get_table_names() == []
