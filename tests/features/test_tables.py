"""Tables: imperative mappings, Core, reflection, automap."""

import pytest
from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    Table,
    Text,
    bindparam,
    delete,
    event,
    insert,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.ext.automap import automap_base
from sqlalchemy.orm import Session, registry

from sqla_artifacts import Artifact, FileDir, Lazy, LazyArtifact, StoredPath
from tests.models import kind_of

from .record import OTHERS, TYPES, VALUES, make_record, values_of

feature = pytest.mark.feature


def make_table(metadata):
    columns = [Column(name, make()) for name, make in TYPES.items()]
    return Table("record", metadata, Column("id", Integer, primary_key=True), *columns)


@feature("Imperative mappings", group="Tables")
def test_an_imperative_mapping(sessions):
    mapper_registry = registry()

    class Record:
        def __init__(self, **values):
            for name, value in values.items():
                setattr(self, name, value)

    table = make_table(mapper_registry.metadata)
    properties = {"other_name": table.c.note}
    mapper_registry.map_imperatively(Record, table, properties=properties)
    new = sessions(mapper_registry.metadata)
    with new() as session:
        made = Record(data=VALUES["data"], other_name=VALUES["note"], run=VALUES["run"])
        assert (kind_of(made.other_name), kind_of(made.run)) == (Lazy, StoredPath)
        session.add(made)
        session.commit()
        where = Record.other_name == VALUES["note"]
        found = session.scalars(select(Record).where(where)).one()
        assert found is made
        assert values_of(found, ["data", "run"]) == {key: VALUES[key] for key in ("data", "run")}
        found.other_name = OTHERS["note"]
        session.commit()
        assert found.other_name.unpack() == OTHERS["note"]
        session.delete(found)
        session.commit()
        assert session.scalars(select(Record)).all() == []


@feature(
    "Core tables",
    group="Tables",
    note="Rows hold values and proxies, as attributes do. The engine has to have its store.",
)
def test_a_core_table(engine, store):
    metadata = MetaData()
    table = make_table(metadata)
    store.attach(engine, metadata=metadata)
    metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(insert(table), [VALUES, OTHERS, dict.fromkeys(VALUES)])
        connection.execute(insert(table).values(id=4, **VALUES))
    with engine.begin() as connection:
        rows = connection.execute(select(table).order_by(table.c.id)).all()
        assert [values_of(row) for row in (rows[0], rows[1], rows[3])] == [VALUES, OTHERS, VALUES]
        assert kind_of(rows[0].note) is Lazy
        for name, value in VALUES.items():
            query = select(table.c.id).where(table.c[name] == value).order_by(table.c.id)
            assert connection.scalars(query).all() == [1, 4]
        where = table.c.data == VALUES["data"]
        assert connection.execute(update(table).where(where).values(OTHERS)).rowcount == 2
        assert connection.execute(delete(table).where(table.c.run == OTHERS["run"])).rowcount == 3
        assert connection.scalars(select(table.c.id)).all() == [3]


def test_a_select_around_an_insert_stores(make_engine, store):
    table, engine = make_table(MetaData()), make_engine("postgresql")
    store.attach(engine, metadata=table.metadata)
    table.metadata.create_all(engine)
    inserted = insert(table).values(VALUES).returning(table.c.id).cte()
    with engine.begin() as connection:
        assert connection.scalars(select(inserted.c.id)).all() == [1]
        assert connection.scalars(select(literal(5)).add_cte(inserted)).all() == [5]
    with engine.connect() as connection:
        rows = connection.execute(select(table)).all()
        assert [values_of(row) for row in rows] == [VALUES] * 2


def test_text_that_returns_rows_stores(engine, store):
    table = make_table(MetaData())
    store.attach(engine, metadata=table.metadata)
    table.metadata.create_all(engine)
    typed = [bindparam(name, type_=table.c[name].type) for name in VALUES]
    statement = text(
        "INSERT INTO record (data, note, run) VALUES (:data, :note, :run) RETURNING id"
    )
    with engine.begin() as connection:
        returning = statement.bindparams(*typed).columns(table.c.id)
        assert connection.execute(returning, VALUES).scalars().all() == [1]
    with engine.connect() as connection:
        assert values_of(connection.execute(select(table)).one()) == VALUES


REFLECTED = (
    "The database knows TEXT only, so a reflected column holds reference strings: name the "
    "columns that are artifacts, or set their types in a `column_reflect` event."
)


@pytest.fixture
def there(engine, sessions):
    """The tables are in the database, with a row."""
    record = make_record()
    with sessions(record.metadata).begin() as session:
        session.add(record(**VALUES))


@feature("Reflection", group="Tables", note=REFLECTED)
def test_a_reflected_column_is_text_until_it_is_named(engine, there):
    reflected = Table("record", MetaData(), autoload_with=engine)
    assert all(isinstance(reflected.c[name].type, Text) for name in TYPES)
    named = [Column(name, make()) for name, make in TYPES.items()]
    table = Table("record", MetaData(), *named, autoload_with=engine)
    with engine.begin() as connection:
        assert connection.scalar(select(reflected.c.data)).startswith("&:blob:")
        assert values_of(connection.execute(select(table)).one()) == VALUES
        connection.execute(update(table).values(OTHERS))
        row = connection.execute(select(table.c.id).where(table.c.note == OTHERS["note"])).one()
        assert row.id == 1
    with engine.connect() as connection:
        assert values_of(connection.execute(select(table)).one()) == OTHERS


@feature("Reflection", group="Tables")
def test_a_reflection_event_sets_the_types(engine, there):
    metadata = MetaData()

    @event.listens_for(metadata, "column_reflect")
    def set_type(inspector, table, column):
        if table.name == "record" and column["name"] in TYPES:
            column["type"] = TYPES[column["name"]]()

    table = Table("record", metadata, autoload_with=engine)
    assert table.c.note.type.column_name == "record.note"
    with engine.begin() as connection:
        connection.execute(update(table).values(OTHERS))
        assert values_of(connection.execute(select(table)).one()) == OTHERS


@feature(
    "Automap", group="Tables", note="As with reflection: name the columns on a class of the base."
)
def test_automap_classes(engine, there):
    base = automap_base()

    class Record(base):
        __tablename__ = "record"
        data = Column(Artifact("bytes"))
        note = Column(LazyArtifact("text"))
        run = Column(FileDir())

    base.prepare(autoload_with=engine, reflection_options={"only": ["record"]})
    with Session(engine) as session:
        found = session.scalars(select(Record)).one()
        assert values_of(found) == VALUES
        for name, value in OTHERS.items():
            setattr(found, name, value)
        assert kind_of(found.note) is Lazy
        session.commit()
        assert values_of(session.scalars(select(Record)).one()) == OTHERS
