"""What a column was declared as is compared with what it is declared as now."""

import re

import pytest
from alembic.autogenerate import compare_metadata, produce_migrations
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import delete, insert, select, text
from sqlalchemy.orm import mapped_column

from sqla_artifacts import Artifact, ArtifactList, FileDir, LazyArtifact, ledger, unpack
from sqla_artifacts.errors import BlobNotFoundError, InvalidReferenceError, UnknownDataTypeError

from ..models import make_store
from .project import KEY, declarations, models

PICKLED = LazyArtifact("pickle")
PICKLE = ("LazyArtifact('pickle')", "default")


def sample(*types, names="ab"):
    """Models with one table, of artifact columns with these names."""
    columns = {name: mapped_column(type_) for name, type_ in zip(names, types, strict=False)}
    return models(sample={"id": KEY(), **columns})


WAS = "sample.a: LazyArtifact('pickle')"
JSON = f"{WAS} -> LazyArtifact('json'): rows written before keep their datatype"
CHANGES = {
    "datatype": (
        LazyArtifact("json"),
        f"{JSON}; add accepts=['pickle'] to the column, or it refuses them",
    ),
    "accepted datatype": (
        LazyArtifact("json", accepts=["pickle"]),
        f"{JSON}, which the column accepts",
    ),
    "datatype beside an accepted one": (
        LazyArtifact("json", accepts=["text"]),
        f"{JSON}; add accepts=['pickle', 'text'] to the column, or it refuses them",
    ),
    "kind": (
        Artifact("pickle"),
        f"{WAS} -> Artifact('pickle'): rows written before stay as they are",
    ),
    "file": (
        FileDir(),
        (
            f"{WAS} -> FileDir(): rows written before hold references of another kind, which the "
            f"column refuses"
        ),
    ),
    "store": (
        LazyArtifact("pickle", store="models"),
        (
            f"{WAS}, store 'default' -> LazyArtifact('pickle'), store 'models': rows written "
            f"before name blobs of store 'default', and are not found in the new one"
        ),
    ),
}


@pytest.fixture
def engine(project, make_engine):
    """The database of a project whose `sample.a` is a lazy pickle."""
    project.use(sample(LazyArtifact("pickle")))
    project.advance()
    return make_engine(project.url)


def uncommented(revision):
    """A revision's text with its comments in one line each."""
    return " ".join(line.strip().removeprefix("# ") for line in revision.splitlines())


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_declaration_is_a_difference(project, engine, change):
    column_type, message = CHANGES[change]
    project.use(sample(column_type))
    assert message in project.differences()
    assert message in uncommented(project.advance())
    assert declarations(engine)["sample.a"] != PICKLE
    project.run("downgrade", "-1")
    assert declarations(engine) == {"sample.a": PICKLE}


@pytest.mark.parametrize("accepts", [[], ["text"]])
def test_what_is_not_part_of_the_declaration_is_no_difference(project, engine, accepts):
    project.use(sample(LazyArtifact("pickle", accepts=accepts)))
    assert project.differences() == ""


def test_a_list_in_place_of_one_artifact(project, engine):
    project.use(sample(ArtifactList(LazyArtifact("pickle"))))
    assert f"{WAS} -> ArtifactList(LazyArtifact('pickle')): rows" in project.differences()
    assert "hold references of another kind" in project.differences()


def read_by(engine, column_type, directory):
    """Store a lazy pickle, and read it as a column of another type."""
    for name in ("default", "models"):
        make_store(directory, name).attach(engine, name=name)
    (written, read) = (sample(t).metadata.tables["sample"] for t in (PICKLED, column_type))
    with engine.begin() as connection:
        connection.execute(insert(written).values(id=1, a={1}))
        return unpack(connection.scalar(select(read.c.a)))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ("accepted datatype", None),
        ("kind", None),
        ("datatype", UnknownDataTypeError),
        ("file", InvalidReferenceError),
        ("store", BlobNotFoundError),
    ],
)
def test_what_the_revision_says_of_the_rows_is_so(engine, tmp_path, change, error):
    column_type, _ = CHANGES[change]
    if error is None:
        assert read_by(engine, column_type, tmp_path) == {1}
    else:
        with pytest.raises(error):
            read_by(engine, column_type, tmp_path)


def test_columns_come_and_go(project, engine):
    project.use(sample(LazyArtifact("pickle"), FileDir()))
    project.advance()
    assert declarations(engine) == {"sample.a": PICKLE, "sample.b": ("FileDir()", "default")}
    project.use(sample())
    assert "sample.b holds no artifacts any more" in uncommented(project.advance())
    assert declarations(engine) == {}
    project.run("downgrade", "-1")
    assert declarations(engine) == {"sample.a": PICKLE, "sample.b": ("FileDir()", "default")}


def test_tables_come_and_go(project, engine):
    project.use(models())
    project.advance()
    assert declarations(engine) == {}
    project.run("downgrade", "-1")
    assert declarations(engine) == {"sample.a": PICKLE}


def test_a_column_that_becomes_plain_text(project, engine):
    project.use(sample(Artifact("text").impl_instance))
    project.advance()
    assert declarations(engine) == {}


def test_a_renamed_column(project, engine):
    project.use(sample(LazyArtifact("pickle"), names="z"))
    text = project.revise()
    (path,) = project.directory.glob(f"versions/{re.search('Revision ID: (.*)', text)[1]}*")
    up, down = text.split("def downgrade")
    path.write_text("def downgrade".join([renaming(up, "a", "z"), renaming(down, "z", "a")]))
    project.run("upgrade", "head")
    assert project.differences() == ""
    assert declarations(engine) == {"sample.z": PICKLE}
    project.run("downgrade", "-1")
    assert declarations(engine) == {"sample.a": PICKLE}


def renaming(text, old, new):
    """Make of a column that is dropped and one that is added one that is renamed, by hand."""
    text = re.sub(r"op\.drop_column\(.*", "", text)
    rename = f"op.alter_column('sample', '{old}', new_column_name='{new}')"
    return re.sub(r"op\.add_column\(.*?\)\)", rename, text, flags=re.DOTALL)


def test_a_missing_identity_is_a_difference(project, engine):
    with engine.begin() as connection:
        connection.execute(delete(ledger.Ledger))
    assert "the ledger's identity" in project.differences()
    project.advance()
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM artifact_ledger")) == 1


def test_models_without_the_ledger_are_not_compared(project, engine):
    base = models(with_ledger=False, sample={"id": KEY()})
    project.use(base)
    assert "holds no artifacts" not in project.differences()


def leave_out(project, *names):
    """Have env.py leave tables out."""
    env = project.directory / "env.py"
    filters = f'options["include_object"] = lambda _, name, *__: name not in {names!r}\n'
    env.write_text(env.read_text().replace("if context.is_off", f"{filters}if context.is_off"))


def test_tables_that_are_left_out_are_left_out_here(project, engine):
    with engine.begin() as connection:
        row = {"table_schema": "", "table_name": "theirs", "column_name": "x"}
        row |= {"declared": "FileDir()", "store_name": "default"}
        connection.execute(insert(ledger.Declaration).values(row))
    assert "theirs.x" in project.differences()
    leave_out(project, "theirs", "sample")
    project.use(sample(FileDir()))
    assert project.differences() == ""


def test_nothing_is_compared_if_the_ledger_is_left_out(project, engine):
    leave_out(project, "artifact_declaration")
    project.use(sample(FileDir()))
    assert project.differences() == ""


def test_alembics_own_functions_see_it_and_run_it(project, engine):
    metadata = sample(LazyArtifact("json")).metadata
    with engine.begin() as connection:
        context = MigrationContext.configure(connection)
        ((name, what),) = compare_metadata(context, metadata)
        assert name == "artifact_ledger"
        assert what.startswith("sample.a: LazyArtifact('pickle') -> LazyArtifact('json')")
        for operation in produce_migrations(context, metadata).upgrade_ops.ops:
            Operations(context).invoke(operation)
        assert compare_metadata(context, metadata) == []
