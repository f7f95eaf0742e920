"""What autogenerate writes for a whole application: plain revisions, and nothing twice."""

import pytest
import sqlalchemy as sa
from alembic.autogenerate import render_python_code
from alembic.operations import ops
from sqlalchemy import ARRAY, ForeignKey, Integer, MetaData, String, Table, TypeDecorator, select
from sqlalchemy.dialects.postgresql import ARRAY as PG_ARRAY
from sqlalchemy.orm import Session, mapped_column

from sqla_artifacts import Artifact, ArtifactList, FileDir, LazyArtifact
from sqla_artifacts.ext.alembic import render_item

from ..models import make_store
from .project import KEY, declarations, models
from .test_history import tables_of, without_the_package

NASTY = "a:b 'c' \"d\" 100% \\:e [f] \n é"


class Wrapped(TypeDecorator):
    """An artifact in a type of the application's own."""

    impl = Artifact("text")
    cache_ok = True


class Image(Artifact):
    """An artifact type of the application's own."""

    cache_ok = True

    def __init__(self):
        super().__init__("numpy", store="images")


def make_application():
    """(Base, Page): columns of every kind in every place, and types around ours."""
    base = models()

    class Page(base):
        __tablename__ = "page"
        model = mapped_column(LazyArtifact("pickle"))
        run = mapped_column(FileDir())
        key = mapped_column(Artifact("text"), primary_key=True)
        unique = mapped_column(Artifact("bytes"), unique=True)
        indexed = mapped_column(LazyArtifact("json"), index=True)
        images = mapped_column(ArtifactList(LazyArtifact("numpy")), nullable=False)
        files = mapped_column(
            ARRAY(FileDir()).with_variant(ArtifactList(FileDir()), "sqlite"), nullable=True
        )
        arrays = mapped_column(
            ArtifactList(Artifact("text")).with_variant(
                PG_ARRAY(Artifact("text"), dimensions=1), "postgresql"
            )
        )
        variant = mapped_column(Artifact("text").with_variant(String(500), "postgresql"))
        other = mapped_column(String(100).with_variant(Artifact("text"), "sqlite"))
        wrapped = mapped_column(Wrapped)
        image = mapped_column(Image)

    class Comment(base):
        __tablename__ = "comment"
        id = mapped_column(Integer, primary_key=True)
        page = mapped_column(Artifact("text"), ForeignKey("page.key"))
        plain = mapped_column(String(50), server_default="nothing")

    return base, Page


@pytest.fixture
def application(project):
    """(project, Page)"""
    base, page = make_application()
    project.use(base)
    return project, page


def test_a_whole_application_comes_and_goes(application, make_engine):
    project, _ = application
    text = project.advance()
    compile(text, "revision", "exec")
    declared = "    # LazyArtifact('pickle'), store 'default'\n"
    assert f"{declared}    sa.Column('model', sa.Text()," in text
    assert "with_variant(sa.ARRAY(sa.Text(), dimensions=1), 'postgresql')" in text
    assert "RETURNING" not in text
    assert "DELETE" not in text  # the tables that it would clear are dropped
    assert "pass" in project.revise()
    project.run("upgrade", "head")
    project.run("downgrade", "base")
    assert tables_of(make_engine(project.url)) == ["alembic_version"]
    project.run("upgrade", "head")
    assert project.differences() == ""


def test_its_revision_runs_where_the_package_is_missing(application):
    project, _ = application
    project.revise()
    without_the_package(project)
    assert project.differences() == ""


def test_artifacts_go_into_its_tables(application, make_engine, tmp_path):
    project, page = application
    project.advance()
    engine = make_engine(project.url)
    make_store(tmp_path).attach(engine)
    make_store(tmp_path, "images").attach(engine, name="images")
    with Session(engine) as session:
        values = {"model": {"a": 1}, "arrays": ["one", "two"], "wrapped": "wrapped"}
        session.add(page(key="key", images=[], **values))
        session.commit()
    with Session(engine) as session:
        found = session.scalars(select(page)).one()
        assert (found.key, found.arrays, found.wrapped) == ("key", ["one", "two"], "wrapped")
        assert found.model.unpack() == {"a": 1}


def test_the_ledger_remembers_what_each_column_was_declared_as(application, make_engine):
    project, _ = application
    project.advance()
    found = declarations(make_engine(project.url))
    assert found["page.run"] == ("FileDir()", "default")
    assert found["page.model"] == ("LazyArtifact('pickle')", "default")
    assert found["page.images"] == ("ArtifactList(LazyArtifact('numpy'))", "default")
    assert (
        found["page.files"][0] == "ARRAY(FileDir()).with_variant(ArtifactList(FileDir()), 'sqlite')"
    )
    assert found["page.other"][0] == "String().with_variant(Artifact('text'), 'sqlite')"
    assert found["page.wrapped"] == ("Artifact('text')", "default")
    assert found["page.image"] == ("Artifact('numpy')", "images")
    assert "comment.plain" not in found
    assert len(found) == 13


def test_batch_operations(project, make_engine):
    project.configure(render_as_batch=True)
    project.use(models(sample={"id": KEY()}))
    project.advance()
    project.use(models(sample={"id": KEY(), "note": mapped_column(LazyArtifact("text"))}))
    text = project.advance()
    assert "batch_op.add_column(# LazyArtifact('text'), store 'default'\n" in text
    assert "\n    op.execute(" in text
    project.run("downgrade", "-1")
    assert declarations(make_engine(project.url)) == {}
    project.run("upgrade", "head")
    assert project.differences() == ""


def test_names_that_need_quoting(project, make_engine):
    base = models()
    key = sa.Column("id", String(50), primary_key=True)
    Table(NASTY, base.metadata, key, sa.Column(NASTY, Artifact("text", store=NASTY)))
    project.use(base)
    text = project.advance()
    compile(text, "revision", "exec")
    assert declarations(make_engine(project.url)) == {
        f"{NASTY}.{NASTY}": ("Artifact('text')", NASTY)
    }
    project.use(models())
    project.advance()
    assert declarations(make_engine(project.url)) == {}
    for revision in ("-1", "base", "head"):
        project.run("upgrade" if revision == "head" else "downgrade", revision)


def test_render_item_leaves_everything_else_to_others():
    column = sa.Column("a", Integer)
    assert render_item("column", column, None) is False
    assert render_item("type", column.type, None) is False
    assert render_item("server_default", None, None) is False


def test_render_item_may_be_part_of_ones_own():
    class Money(TypeDecorator):
        impl = Integer
        cache_ok = True

    def mine(kind, item, context):
        if kind == "type" and isinstance(item, Money):
            return "sa.BigInteger()"
        if kind == "server_default":
            return "sa.text('nothing')"
        return render_item(kind, item, context)

    columns = [
        sa.Column("price", Money()),
        sa.Column("note", LazyArtifact("text"), server_default="x"),
    ]
    table = Table("item", MetaData(), *columns)
    text = render_python_code(
        ops.UpgradeOps([ops.CreateTableOp.from_table(table)]), render_item=mine
    )
    assert "sa.Column('price', sa.BigInteger()" in text
    assert "sa.Column('note', sa.Text(), server_default=sa.text('nothing')" in text


def test_a_changed_type_is_written_plainly():
    change = ops.AlterColumnOp(
        "sample", "note", modify_type=LazyArtifact("text"), existing_type=ARRAY(Artifact("text"))
    )
    text = render_python_code(ops.UpgradeOps([change]), render_item=render_item)
    assert "type_=sa.Text()" in text
    assert "existing_type=sa.ARRAY(sa.Text())" in text
