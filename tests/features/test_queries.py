"""Statements that read: every way to write a SELECT, and to fetch its rows."""

import asyncio

import numpy as np
import pytest
from sqlalchemy import case, exists, func, literal, make_url, null, select, text, union_all
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Bundle, Mapped, aliased, mapped_column

from sqla_artifacts import Artifact, Lazy, StoredPath, aunpack, unpack
from tests.models import kind_of

from .record import make_record, plain


def feature(name, note=""):
    return pytest.mark.feature(name, group="Statements", note=note)


@pytest.fixture
def record():
    class Record(make_record()):
        image: Mapped[np.ndarray | None] = mapped_column(Artifact("numpy"))

    return Record


@pytest.fixture
def session(sessions, record):
    """A session with five rows; the even ones have a note, the odd ones bytes instead."""
    with sessions(record.metadata)() as session:
        for n in range(5):
            value = {"data": b"%d" % n} if n % 2 else {"note": f"note {n}"}
            session.add(record(id=n, image=np.zeros(n), run=("run", b"x" * n), **value))
        session.commit()
        yield session


@feature("Columns, entities and bundles in a SELECT")
def test_what_a_select_may_ask_for(session, record):
    query = select(record.note, record.run).where(record.id == 2)
    note, run = session.execute(query).one()
    assert (kind_of(note), kind_of(run), note.unpack(), run.open().read()) == (
        Lazy,
        StoredPath,
        "note 2",
        b"xx",
    )
    images = session.scalars(select(record.image).order_by(record.id)).all()
    assert [len(image) for image in images] == [0, 1, 2, 3, 4]
    bundle = Bundle("both", record.data, record.note)
    both = session.scalars(select(bundle).where(record.id == 3)).one()
    assert (both.data, both.note) == (b"3", None)
    labelled = session.execute(select(record.note.label("x")).where(record.id == 4)).one()
    assert labelled.x.unpack() == "note 4"
    table = record.__table__
    row = session.connection().execute(select(table).where(table.c.id == 1)).mappings().one()
    assert (row["data"], row["run"].name, row["note"]) == (b"1", "run", None)


@feature("Subqueries, CTEs, aliases and EXISTS", "The columns keep their type all the way.")
def test_where_a_column_may_come_from(session, record):
    chosen = select(record.id, record.note, record.image).where(record.note.is_not(None))
    for source in (chosen.subquery(), chosen.cte(), chosen.cte(recursive=False), aliased(record)):
        columns = getattr(source, "c", source)
        found = session.execute(select(columns.note, columns.image).where(columns.note == "note 2"))
        assert [(note.unpack(), len(image)) for note, image in found] == [("note 2", 2)]
    other = aliased(record)
    there = exists().where(other.note == "note 4", other.id == record.id + 1)
    assert session.scalars(select(record.id).where(there)).all() == [3]
    scalar = select(other.note).where(other.id == record.id).scalar_subquery()
    assert session.scalars(select(scalar).where(record.id == 2)).one().unpack() == "note 2"
    entity = aliased(record, chosen.where(record.id == 4).subquery())
    assert session.scalars(select(entity)).one().note.unpack() == "note 4"
    again = select(record).from_statement(text("SELECT * FROM record WHERE id = 2"))
    assert session.scalars(again).one().note.unpack() == "note 2"
    columns = text("SELECT note FROM record WHERE id = 2").columns(note=record.note.type)
    assert session.scalar(columns).unpack() == "note 2"


@feature("UNION and DISTINCT", "Of references: equal values of two datatypes differ.")
def test_unions(session, record):
    notes = select(record.note).where(record.note.is_not(None))
    assert sorted(unpack(session.scalars(union_all(notes, notes)).all())) == sorted(
        [f"note {n}" for n in (0, 2, 4)] * 2
    )
    assert len(session.scalars(notes.union(notes)).all()) == 3
    entities = select(record).from_statement(notes.with_only_columns(record).union(select(record)))
    assert len(session.scalars(entities).all()) == 5


@feature(
    "CASE and coalesce",
    "Of columns of one type. A value in them is not stored by a SELECT, so it cannot be read.",
)
def test_expressions_of_columns(session, record):
    other = aliased(record)
    first = select(other.note).where(other.id == 0).scalar_subquery()
    filled = select(func.coalesce(record.note, first)).order_by(record.id)
    found = session.scalars(filled).all()
    assert unpack(found) == ["note 0", "note 0", "note 2", "note 0", "note 4"]
    chosen = case((record.id > 2, record.note), else_=null())
    found = session.scalars(select(chosen).order_by(record.id)).all()
    assert unpack(found) == [None, None, None, None, "note 4"]
    smallest = session.scalars(select(func.min(record.run.size))).one()
    assert smallest == 0
    unstored = session.scalars(select(literal("never stored", record.note.type)).limit(1)).one()
    assert unstored.digest


@feature("Windows and aggregates", "Over `.size`, `.digest` and the other parts of a reference.")
def test_sizes_and_digests_in_sql(session, record):
    running = func.sum(record.run.size).over(order_by=record.id)
    assert session.scalars(select(running).order_by(record.id)).all() == [0, 1, 3, 6, 10]
    rank = func.rank().over(order_by=record.run.size.desc())
    assert session.scalars(select(rank).order_by(record.id)).all() == [5, 4, 3, 2, 1]
    total = select(func.count(record.note), func.count(record.run.digest.distinct()))
    assert session.execute(total).one() == (3, 5)
    large = select(record.id).group_by(record.id).having(func.max(record.run.size) > 2)
    assert sorted(session.scalars(large)) == [3, 4]


@feature("`Query`")
def test_the_legacy_query(session, record):
    query = session.query(record).order_by(record.id)
    assert query.filter(record.note == "note 2").one().image.shape == (2,)
    assert query.filter_by(data=b"3").one().id == 3
    assert [row.id for row in query.filter(record.run.in_([("x", b"x"), ("x", b"xxxx")]))] == [1, 4]
    assert unpack(session.query(record.note).filter(record.id == 4).scalar()) == "note 4"
    unordered = session.query(record)
    assert unordered.filter(record.id == 1).update({record.note: "new", "data": None}) == 1
    session.commit()
    assert (query.all()[1].note.unpack(), query.all()[1].data) == ("new", None)
    assert unordered.filter(record.note == "new").delete() == 1
    assert query.count() == 4


FETCHING = {
    "yield_per": lambda result: list(result.yield_per(2)),
    "partitions": lambda result: [row for part in result.partitions(2) for row in part],
    "fetchmany": lambda result: result.fetchmany(2) + result.fetchmany(5),
    "fetchone": lambda result: [result.fetchone() for _ in range(5)],
    "all": lambda result: result.all(),
    "freeze": lambda result: result.freeze()().all(),
}


@feature("Streamed results", "A result that is read in parts fetches eager artifacts in parts.")
def test_rows_are_fetched_in_every_way(session, record):
    query = select(record.id, record.image, record.note).order_by(record.id)
    expected = [(n, n, None if n % 2 else f"note {n}") for n in range(5)]
    for options in ({}, {"stream_results": True}, {"yield_per": 3}):
        for how, fetch in FETCHING.items():
            result = session.execute(query, execution_options=options)
            rows = [(n, len(image), unpack(note)) for n, image, note in fetch(result)]
            result.close()
            assert rows == expected, (how, options)


@feature("Streamed results")
def test_instances_are_fetched_in_parts(session, record):
    query = select(record).order_by(record.id).execution_options(yield_per=2)
    parts = [[plain(row.run)[1] for row in part] for part in session.scalars(query).partitions()]
    assert parts == [[b"", b"x"], [b"xx", b"xxx"], [b"xxxx"]]


# -- asyncio ---------------------------------------------------------------------------------------


@pytest.mark.feature(
    "AsyncSession",
    group="Sessions",
    note="Unpack with `aunpack()`. An expired attribute cannot be loaded by access, as ever.",
)
def test_an_asynchronous_session(engine, store, record):
    driver = {"sqlite": "aiosqlite", "postgresql": "psycopg"}[engine.dialect.name]
    url = make_url(engine.url).set(drivername=f"{engine.dialect.name}+{driver}")

    async def main():
        other = create_async_engine(url)
        store.attach(other, metadata=record.metadata)
        async with other.begin() as connection:
            await connection.run_sync(record.metadata.create_all)
        new = async_sessionmaker(other, expire_on_commit=False)
        async with new.begin() as session:
            session.add_all(record(id=n, note=f"note {n}", image=np.zeros(n)) for n in range(4))
        async with new() as session:
            await change(session)
        async with new() as session:
            streamed = await session.stream_scalars(select(record).execution_options(yield_per=2))
            rows = sorted([row async for row in streamed], key=lambda row: row.id)
            notes = await aunpack([row.note for row in rows])
            assert notes == ["note 0", "new", "note 2", "note 3"]
            assert [len(row.image) for row in rows] == [0, 1, 2, 3]
        await other.dispose()

    async def change(session: AsyncSession):
        found = await session.get_one(record, 1)
        found.note, found.run = "new", ("run", b"run")
        await session.flush()
        await session.refresh(found)
        assert (await found.run.aunpack()).read_bytes() == b"run"
        merged = await session.merge(record(id=2, data=b"merged"))
        await session.commit()
        assert merged.data == b"merged"
        detached = await session.run_sync(lambda sync: sync.get(record, 3).note.digest)
        assert (
            await session.scalars(select(record.id).where(record.note.digest == detached))
        ).one() == 3

    asyncio.run(main())
