"""What a column can be: nullable, unique, indexed, sorted by, with defaults."""

import pytest
from sqlalchemy import (
    Index,
    delete,
    distinct,
    event,
    func,
    select,
    text,
    update,
)
from sqlalchemy.exc import IntegrityError

from sqla_artifacts import Lazy, StoredPath
from sqla_artifacts.errors import ComparisonError
from tests.models import kind_of

from .record import (
    COLUMNS,
    OTHERS,
    TYPES,
    VALUES,
    add_in_savepoint,
    make_one,
    make_record,
    plain,
)

feature = pytest.mark.feature
each_column = pytest.mark.parametrize("column", COLUMNS)


@feature("Nullable columns", group="Columns", note="`None` is NULL, never a blob.")
@each_column
def test_none_is_null(sessions, column):
    record = make_record()
    new = sessions(record.metadata)
    with new.begin() as session:
        session.add_all([record(), record(**{column: None}), record(**{column: VALUES[column]})])
    attribute = getattr(record, column)
    with new.begin() as session:
        ids = select(record.id).order_by(record.id)
        assert session.scalars(ids.where(attribute.is_(None))).all() == [1, 2]
        assert session.scalars(ids.where(attribute.is_not(None))).all() == [3]
        assert session.scalar(text(f"SELECT count(*) FROM record WHERE {column} IS NULL")) == 2
        assert [getattr(session.get_one(record, n), column) for n in (1, 2)] == [None, None]
        setattr(session.get_one(record, 3), column, None)
        setattr(session.get_one(record, 1), column, VALUES[column])
    with new() as session:
        assert getattr(session.get_one(record, 3), column) is None
        assert plain(getattr(session.get_one(record, 1), column)) == VALUES[column]


UNIQUE = "Compares whole references, so the same bytes may stand there under two file names."


@feature("Unique columns", group="Columns", note=UNIQUE)
@each_column
def test_a_value_that_is_there_already_is_an_integrity_error(sessions, column):
    record = make_record(unique=True)
    new = sessions(record.metadata)
    with new() as session:
        session.add(record(**{column: VALUES[column]}))
        session.commit()
        for _ in range(2):
            with pytest.raises(IntegrityError):
                add_in_savepoint(session, record(**{column: VALUES[column]}))
        session.add_all([record(**{column: OTHERS[column]}), record(), record()])
        session.commit()
        with pytest.raises(IntegrityError):
            session.execute(update(record).values({column: VALUES[column]}))
        session.rollback()
        rows = session.scalars(select(getattr(record, column)).order_by(record.id))
        assert [plain(row) for row in rows] == [VALUES[column], OTHERS[column], None, None]
        session.execute(delete(record).where(getattr(record, column) == VALUES[column]))
        session.add(record(**{column: VALUES[column]}))
        session.commit()


@feature("Unique columns", group="Columns")
def test_one_content_may_have_two_names_in_a_unique_column(sessions):
    record = make_record(unique=True)
    new = sessions(record.metadata)
    with new() as session:
        session.add_all([record(run=("a", b"same")), record(run=("b", b"same"))])
        session.commit()
        runs = session.scalars(select(record.run).where(record.run == ("c", b"same"))).all()
        assert {run.name for run in runs} == {"a", "b"}
        assert len({run.digest for run in runs}) == 1


def plan_of(session, query):
    """How the database runs a query if it may not simply read the whole table."""
    explain = {"sqlite": "EXPLAIN QUERY PLAN", "postgresql": "EXPLAIN"}
    plans = []

    def note(connection, cursor, statement, parameters, *rest):
        if connection.dialect.name == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(f"{explain[connection.dialect.name]} {statement}", parameters)
        plans.append(str(cursor.fetchall()))

    engine = session.get_bind()
    event.listen(engine, "before_cursor_execute", note)
    found = session.scalars(query).all()
    event.remove(engine, "before_cursor_execute", note)
    return found, plans[0]


INDEXED = (
    "An index on the digest serves `==` and `in_`; `index=True`, on whole references, does not: "
    "it serves foreign keys, joins along them, and `.reference`."
)


@feature("Indexed columns", group="Columns", note=INDEXED)
@each_column
def test_an_index_on_the_digest_serves_comparisons(sessions, column):
    record = make_record()
    attribute = getattr(record, column)
    Index("ix_digest", attribute.digest)
    new = sessions(record.metadata)
    with new.begin() as session:
        session.add_all([record(**{column: VALUES[column]}), record(**{column: OTHERS[column]})])
    with new() as session:
        for where in (attribute == VALUES[column], attribute.in_([VALUES[column]])):
            found, plan = plan_of(session, select(record.id).where(where))
            assert found == [1]
            assert "ix_digest" in plan


@feature("Indexed columns", group="Columns")
@each_column
def test_a_plain_index_serves_whole_references(sessions, column):
    record = make_record(index=True)
    attribute = getattr(record, column)
    new = sessions(record.metadata)
    with new.begin() as session:
        session.add_all([record(**{column: VALUES[column]}), record(**{column: OTHERS[column]})])
    with new() as session:
        reference = session.scalars(select(attribute.reference).where(record.id == 1)).one()
        query = select(record.id).where(attribute.reference == reference)
        found, plan = plan_of(session, query)
        assert found == [1]
        assert f"ix_record_{column}" in plan


ORDERED = (
    "`order_by(column)` sorts references, in an order without meaning, and `column.desc()` and "
    "its like are refused (with SQLAlchemy 2.1 `desc(column)`, too): order by `.size`, `.label_`."
)


@feature("Ordering", group="Columns", note=ORDERED)
@each_column
def test_rows_are_ordered_by_what_a_reference_says(sessions, column):
    record = make_record()
    attribute = getattr(record, column)
    new = sessions(record.metadata)
    with new.begin() as session:
        session.add_all([record(**{column: VALUES[column]}), record(**{column: OTHERS[column]})])
        session.add(record())
    ids = select(record.id)
    with new() as session:
        longest = ids.order_by(attribute.size.desc().nulls_last())
        assert session.scalars(longest).all() == [2, 1, 3]
        by_label = ids.where(attribute.is_not(None)).order_by(attribute.label_, attribute.size)
        assert session.scalars(by_label).all() == [1, 2]
        assert set(session.scalars(ids.order_by(attribute))) == {1, 2, 3}
        for order in (attribute.desc, attribute.asc, attribute.nulls_last):
            with pytest.raises(ComparisonError, match=rf"^record\.{column}: .*size"):
                order()


GROUPED = (
    "Group by `.digest` for equal content; a group by the column itself is by whole references. "
    "Count with `func.count(distinct(column.digest))`."
)


@feature("Grouping and DISTINCT", group="Columns", note=GROUPED)
def test_rows_are_grouped_by_content(sessions):
    record = make_record()
    new = sessions(record.metadata)
    with new.begin() as session:
        session.add_all(record(note=note) for note in ("x", "x", "other"))
        session.add_all(record(run=run) for run in (("a", b"1"), ("b", b"1"), ("a", b"222")))
    with new() as session:
        for attribute, counts in ((record.note, [1, 2]), (record.run, [1, 2])):
            rows = select(func.count()).where(attribute.is_not(None)).group_by(attribute.digest)
            assert sorted(session.scalars(rows)) == counts
        by_reference = select(record.run, func.count()).group_by(record.run)
        found = {run and run.name: n for run, n in session.execute(by_reference)}
        assert set(found.values()) == {1, 3}
        assert len(session.scalars(select(record.run).distinct()).all()) == 4
        notes = session.scalars(select(record.note).distinct()).all()
        assert {note if note is None else note.unpack() for note in notes} == {None, "x", "other"}
        assert session.scalar(select(func.count(distinct(record.run.digest)))) == 2
        with pytest.raises(ComparisonError, match=r"^record\.run: .*digest"):
            record.run.distinct()


DEFAULTS = (
    "`default=` and `onupdate=` take values, files and callables. A lazy attribute is a proxy "
    "after the flush."
)


@feature("Defaults", group="Columns", note=DEFAULTS)
@each_column
@pytest.mark.parametrize("wrap", [lambda value: value, lambda value: lambda: value])
def test_defaults_are_stored(sessions, column, wrap):
    record = make_record(default=wrap(VALUES[column]), onupdate=wrap(OTHERS[column]))
    others = [name for name in COLUMNS if name != column]
    for name in others:  # whose values the default does not fit
        record.__table__.c[name].default = record.__table__.c[name].onupdate = None
    new = sessions(record.metadata)
    with new() as session:
        made = record()
        session.add(made)
        session.flush()
        assert kind_of(getattr(made, column)) in {bytes, Lazy, StoredPath}
        assert plain(getattr(made, column)) == VALUES[column]
        session.commit()
        assert plain(getattr(made, column)) == VALUES[column]
        setattr(made, others[0], VALUES[others[0]])
        session.commit()
        assert plain(getattr(made, column)) == OTHERS[column]


SERVER_DEFAULT = (
    "`server_default` is the text of a reference. It is written past the ledger, so keep a row "
    "that refers to the blob."
)


@feature("Server defaults", group="Columns", note=SERVER_DEFAULT)
@each_column
def test_a_server_default_is_a_reference(sessions, column):
    record = make_record()
    new = sessions(record.metadata)
    with new() as session:
        session.add(record(**{column: VALUES[column]}))
        session.commit()
        reference = session.scalars(select(getattr(record, column).reference)).one()
        defaulted = make_one(TYPES[column](), server_default=reference)
        defaulted.__table__.create(session.connection())
        made = defaulted()
        session.add(made)
        session.commit()
        assert plain(made.value) == VALUES[column]
        made.value = OTHERS[column]
        session.commit()
        assert plain(made.value) == OTHERS[column]
