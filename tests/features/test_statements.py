"""Statements that write: bulk methods, Core, upserts, RETURNING, and what SQL copies."""

import numpy as np
import pytest
from sqlalchemy import (
    bindparam,
    case,
    delete,
    func,
    insert,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sqla_artifacts import (
    Artifact,
    ArtifactList,
    FileDir,
    Lazy,
    LazyArtifact,
    LazyMapped,
    PathMapped,
    StoredPath,
)
from tests.check import check
from tests.models import counting, staged

IMAGES = [np.arange(n + 1) for n in range(3)]
ROWS = [
    {"name": f"row {n}", "image": image, "note": f"note {n}", "run": (f"f{n}", b"%d" % n)}
    for n, image in enumerate(IMAGES)
]


def feature(name, note=""):
    return pytest.mark.feature(name, group="Statements", note=note)


@pytest.fixture
def models():
    class Base(DeclarativeBase):
        pass

    class Record(Base):
        __tablename__ = "record"
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str | None] = mapped_column(unique=True)
        image: Mapped[np.ndarray | None] = mapped_column(Artifact("numpy"))
        note: LazyMapped[str | None] = mapped_column(LazyArtifact("text"))
        other: LazyMapped[str | None] = mapped_column(LazyArtifact("text"))
        run: PathMapped[StoredPath | None] = mapped_column(FileDir())
        notes: Mapped[list[Lazy[str]] | None] = mapped_column(ArtifactList(LazyArtifact("text")))

    class Archive(Base):
        __tablename__ = "archive"
        id: Mapped[int] = mapped_column(primary_key=True)
        image: Mapped[np.ndarray | None] = mapped_column(Artifact("numpy"))
        title: LazyMapped[str | None] = mapped_column(LazyArtifact("text"))
        run: PathMapped[StoredPath | None] = mapped_column(FileDir())

    return Record, Archive


@pytest.fixture
def record(models):
    return models[0]


@pytest.fixture
def session(sessions, record, store):
    """A session, after which every committed row is sound and nothing is left in the stage."""
    with sessions(record.metadata)() as session:
        yield session
    tables = [record.metadata.tables[name] for name in ("record", "archive")]
    check(session.get_bind(), store, *tables)
    assert staged(store) == []


@pytest.fixture
def rows(session, record):
    """The ROWS, stored."""
    session.execute(insert(record), ROWS)
    session.commit()
    return ROWS


def upsert(session, table):
    """The INSERT of the dialect's own."""
    return {"sqlite": sqlite, "postgresql": postgresql}[session.get_bind().dialect.name].insert(
        table
    )


def assert_rows(session, record, *expected):
    """What the rows hold, by their ids."""
    session.expire_all()
    found = session.scalars(select(record).order_by(record.id)).all()
    assert len(found) == len(expected)
    for row, values in zip(found, expected, strict=True):
        np.testing.assert_array_equal(row.image, values["image"])
        assert row.note.unpack() == values["note"]
        assert (row.run.name, row.run.open().read()) == values["run"]


# -- many rows -------------------------------------------------------------------------------------


@feature("Bulk methods of a session", "Instances given to them keep the values, not proxies.")
def test_bulk_methods(session, record):
    session.bulk_save_objects([record(**ROWS[0])])
    session.bulk_insert_mappings(record, ROWS[1:])
    session.commit()
    assert_rows(session, record, *ROWS)
    changed = [{"id": 1, **ROWS[2], "name": "x"}, {"id": 3, **ROWS[0], "name": "y"}]
    session.bulk_update_mappings(record, changed)
    session.commit()
    assert_rows(session, record, ROWS[2], ROWS[1], ROWS[0])


@feature("Bulk INSERT and UPDATE by the ORM")
def test_orm_bulk_statements(session, record):
    session.execute(insert(record), ROWS[:1])
    made = session.scalars(insert(record).returning(record, sort_by_parameter_order=True), ROWS[1:])
    for row, values in zip(made.all(), ROWS[1:], strict=True):
        assert row in session
        assert (row.note.unpack(), row.image.tolist()) == (values["note"], values["image"].tolist())
    columns = insert(record).returning(record.run, record.note.digest)
    run, digest = session.execute(columns, [{"run": ("f", b"f"), "note": "note 0"}]).one()
    assert run.open().read() == b"f"
    assert digest == session.get_one(record, 1).note.digest
    session.execute(delete(record).where(record.run == ("f", b"f")))
    session.execute(update(record), [{"id": 1, "note": "new"}, {"id": 2, "note": "newer"}])
    session.commit()
    assert_rows(session, record, ROWS[0] | {"note": "new"}, ROWS[1] | {"note": "newer"}, ROWS[2])


@feature("Core INSERT", "One row, several rows of one statement, or many executions of it.")
@pytest.mark.parametrize("how", ["values", "rows", "executemany", "parameters"])
def test_core_inserts(session, record, how):
    table = record.__table__
    if how == "values":
        for row in ROWS:
            session.execute(insert(table).values(row))
    elif how == "rows":
        session.execute(insert(table).values(ROWS))
    elif how == "executemany":
        session.connection().execute(insert(table), ROWS)
    else:
        named = {key: bindparam(f"p_{key}") for key in ROWS[0]}
        rows = [{f"p_{key}": value for key, value in row.items()} for row in ROWS]
        session.connection().execute(insert(table).values(named), rows)
    session.commit()
    assert_rows(session, record, *ROWS)


# -- upserts ---------------------------------------------------------------------------------------

UPSERTS = "A conflict that is ignored leaves its blob for the collector."


@feature("Upserts", UPSERTS)
def test_upserts_replace(session, record, rows):
    statement = upsert(session, record)
    images = {"image": statement.excluded.image, "note": statement.excluded.note}
    names = session.scalars(
        statement.on_conflict_do_update(
            index_elements=["name"], set_=images | {"run": ("set", b"set"), "notes": ["a"]}
        ).returning(record.name),
        [ROWS[1] | {"name": "row 0"}, ROWS[2] | {"name": "row 3"}],
    )
    assert sorted(names) == ["row 0", "row 3"]
    session.commit()
    first = ROWS[1] | {"run": ("set", b"set")}
    assert_rows(session, record, first, ROWS[1], ROWS[2], ROWS[2])
    assert session.get_one(record, 1).notes[0].unpack() == "a"


@feature("Upserts")
def test_upserts_that_do_nothing(session, record, rows):
    ignoring = upsert(session, record).on_conflict_do_nothing().returning(record.note)
    found = session.scalars(ignoring, [ROWS[1] | {"name": "row 0"}, {"name": "new", "note": "new"}])
    assert [note.unpack() for note in found] == ["new"]
    kept = upsert(session, record).on_conflict_do_update(
        index_elements=["name"],
        set_={"note": "changed"},
        where=record.image == IMAGES[2],
    )
    for row in ROWS[1:]:
        session.execute(kept.values(row))
    session.execute(delete(record).where(record.name == "new"))
    session.commit()
    assert_rows(session, record, *ROWS[:2], ROWS[2] | {"note": "changed"})


# -- what SQL copies -------------------------------------------------------------------------------

COPIES = (
    "SQL copies references, and no bytes. Copy where the column's datatype, or its `accepts`, can "
    "read them."
)


def noted(session):
    """The columns in which a collector looks for references."""
    query = text("SELECT table_name || '.' || column_name FROM artifact_column")
    return set(session.scalars(query))


@feature("`insert().from_select()`", COPIES)
def test_references_are_copied_into_another_table(session, store, models, rows):
    record, archive = models
    backend = counting(store)
    copied = select(record.id, record.image, record.note, record.run)
    session.execute(insert(archive).from_select(["id", "image", "title", "run"], copied))
    session.commit()
    assert not {"put", "create"} & set(backend.calls)
    for row, values in zip(
        session.scalars(select(archive).order_by(archive.id)), ROWS, strict=True
    ):
        assert (row.title.unpack(), row.run.name) == (values["note"], values["run"][0])
        assert row.image.tolist() == values["image"].tolist()
    assert {"archive.image", "archive.title", "archive.run"} <= noted(session)


@feature("`insert().from_select()`")
def test_values_and_references_are_stored_from_a_select(session, models, rows):
    record, archive = models
    new = literal("new", record.note.type)
    chosen = select(record.id, case((record.id == 1, new), else_=record.note))
    session.execute(insert(archive).from_select(["id", "title"], chosen))
    session.commit()
    titles = session.scalars(select(archive.title).order_by(archive.id))
    assert [title.unpack() for title in titles] == ["new", "note 1", "note 2"]


@feature("UPDATE from another column", COPIES)
def test_references_are_copied_from_column_to_column(session, models, rows):
    record, archive = models
    session.execute(update(record).values(other=record.note))
    session.execute(
        update(record).where(record.id == 2).values(note=func.coalesce(record.other, record.note))
    )
    session.execute(insert(archive), [{"id": 1}])
    newest = select(record.note).where(record.id == 3).scalar_subquery()
    session.execute(update(archive).values(title=newest))
    session.commit()
    others = session.scalars(select(record.other).order_by(record.id))
    assert [other.unpack() for other in others] == ["note 0", "note 1", "note 2"]
    assert session.scalars(select(archive.title)).one().unpack() == "note 2"
    assert "archive.title" in noted(session)


@feature("UPDATE from another column")
def test_an_attribute_is_set_to_another_tables_column(session, models, rows):
    record, archive = models
    row = archive(id=1, title=select(record.note).where(record.id == 1).scalar_subquery())
    session.add(row)
    session.commit()
    assert row.title.unpack() == "note 0"
    assert "archive.title" in noted(session)


# -- by value --------------------------------------------------------------------------------------


@feature("UPDATE and DELETE by value", "The condition compares digests; it stores nothing.")
@pytest.mark.parametrize("synchronize", ["auto", "fetch", False])
def test_rows_are_found_by_value(session, record, rows, synchronize):
    options = {"synchronize_session": synchronize}
    held = session.get_one(record, 1)
    statement = (
        update(record).where(record.image == IMAGES[0]).values(note="found", image=IMAGES[2])
    )
    assert session.execute(statement, execution_options=options).rowcount == 1
    assert held.note.unpack() == ("found" if synchronize else "note 0")
    gone = delete(record).where(record.run.in_([ROWS[1]["run"], ROWS[2]["run"]]))
    assert session.execute(gone, execution_options=options).rowcount == 2
    session.commit()
    assert_rows(session, record, ROWS[0] | {"note": "found", "image": IMAGES[2]})


@feature("UPDATE and DELETE by value")
def test_instances_are_synchronized_by_evaluation(session, record, rows):
    held = session.get_one(record, 1)
    options = {"synchronize_session": "evaluate"}
    changes = update(record).where(record.name == "row 0").values(note="new", notes=["a"])
    session.execute(changes, execution_options=options)
    assert (held.note.unpack(), held.notes[0].unpack()) == ("new", "a")
    assert held.notes[0].stored


@feature("RETURNING", "Of artifact columns too: values, or proxies.")
def test_returning(session, record, rows):
    changed = update(record).where(record.id == 1).values(note="new", notes=["a"])
    row = session.execute(changed.returning(record.note, record.notes, record.image)).one()
    assert (row.note.unpack(), row.notes[0].unpack(), row.image.tolist()) == ("new", "a", [0])
    gone = session.execute(delete(record).where(record.id == 1).returning(record.run)).scalar_one()
    assert gone.open().read() == b"0"
    session.commit()
    assert_rows(session, record, *ROWS[1:])
