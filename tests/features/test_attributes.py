"""Attributes that stand for columns: deferred, computed, composed, synonyms and proxies of them."""

from dataclasses import dataclass, replace

import pytest
from sqlalchemy import ForeignKey, func, select
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.associationproxy import association_proxy
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import (
    Mapped,
    column_property,
    composite,
    defer,
    deferred,
    load_only,
    mapped_column,
    relationship,
    synonym,
    undefer,
)

from sqla_artifacts import Artifact, FileDir, Lazy, LazyArtifact, LazyMapped, StoredPath
from tests.models import kind_of, statements_of

from .record import COLUMNS, OTHERS, TYPES, VALUES, make_base, make_record, plain

feature = pytest.mark.feature
each_column = pytest.mark.parametrize("column", COLUMNS)

DEFERRED = (
    "Worth it for an eager `Artifact`: loading the row then fetches nothing. A lazy column needs "
    "it only to leave the reference out."
)


@feature("Deferred columns", group="Attributes", note=DEFERRED)
@each_column
def test_a_deferred_column_is_loaded_when_it_is_asked_for(engine, sessions, column):
    class Record(make_base()):
        __tablename__ = "record"
        id: Mapped[int] = mapped_column(primary_key=True)
        late = deferred(mapped_column(TYPES[column]()))

    new = sessions(Record.metadata)
    with new.begin() as session:
        made = Record(late=VALUES[column])
        assert kind_of(made.late) in {bytes, Lazy, StoredPath}
        session.add(made)
    with new() as session:
        found = session.scalars(select(Record)).one()
        assert "late" not in found.__dict__
        statements = statements_of(engine)
        assert plain(found.late) == VALUES[column]
        assert len(statements) == 1
        session.expunge_all()
        found = session.scalars(select(Record).options(undefer(Record.late))).one()
        assert len(statements) == 2
        assert plain(found.late) == VALUES[column]
        assert len(statements) == 2
        session.expunge_all()
        found = session.scalars(select(Record)).one()
        found.late = OTHERS[column]
        session.commit()
        assert plain(found.late) == OTHERS[column]


@feature("`load_only` and `raiseload`", group="Attributes")
@each_column
def test_a_query_chooses_the_columns_that_it_loads(sessions, column):
    record = make_record()
    new = sessions(record.metadata)
    with new.begin() as session:
        session.add(record(**VALUES))
    with new() as session:
        found = session.scalars(select(record).options(load_only(record.id))).one()
        assert column not in found.__dict__
        assert plain(getattr(found, column)) == VALUES[column]
        session.expunge_all()
        only = load_only(record.id, raiseload=True)
        found = session.scalars(select(record).options(only)).one()
        with pytest.raises(InvalidRequestError, match="raiseload"):
            getattr(found, column)
        session.expunge_all()
        option = defer(getattr(record, column), raiseload=True)
        found = session.scalars(select(record).options(option)).one()
        with pytest.raises(InvalidRequestError, match="raiseload"):
            getattr(found, column)


COMPUTED = (
    "Over the mapped attribute: `Record.run_size = column_property(Record.run.size)` after the "
    "class, or `run.column.size` inside it."
)


@feature("`column_property`", group="Attributes", note=COMPUTED)
@each_column
def test_fields_of_a_reference_are_properties(sessions, store, column):
    class Record(make_base()):
        __tablename__ = "record"
        id: Mapped[int] = mapped_column(primary_key=True)
        value = mapped_column(TYPES[column]())
        size = column_property(value.column.size)

    Record.digest = column_property(Record.value.digest)
    new = sessions(Record.metadata)
    with new.begin() as session:
        session.add_all([Record(value=VALUES[column]), Record(value=OTHERS[column])])
    with new() as session:
        for found in session.scalars(select(Record)):
            assert found.digest in {entry.key[-64:] for entry in store.backend.list("blobs/")}
        largest = select(Record).order_by(Record.size.desc()).limit(1)
        found = session.scalars(largest).one()
        assert plain(found.value) == OTHERS[column]
        assert found.size == session.scalar(select(func.max(Record.value.size)))
        found.value = VALUES[column]
        session.commit()
        assert len({row.digest for row in session.scalars(select(Record))}) == 1


HYBRID = "On an instance there are values and proxies, in SQL there are references."


@feature("Hybrid properties", group="Attributes", note=HYBRID)
def test_a_hybrid_is_a_value_and_an_expression(sessions):
    class Record(make_base()):
        __tablename__ = "record"
        id: Mapped[int] = mapped_column(primary_key=True)
        note: LazyMapped[str] = mapped_column(LazyArtifact("text"))
        data: Mapped[bytes] = mapped_column(Artifact("bytes"))

        @hybrid_property
        def total(self):
            return self.note.size + len(self.data)

        @total.inplace.expression
        @classmethod
        def _total(cls):
            return cls.note.size + cls.data.size

        @hybrid_property
        def words(self):
            return self.note.unpack()

        @words.inplace.setter
        def _set_words(self, value):
            self.note = value.strip()

        @words.inplace.expression
        @classmethod
        def _words(cls):
            return cls.note

    new = sessions(Record.metadata)
    with new.begin() as session:
        session.add_all([Record(words=" abc ", data=b"12345"), Record(words="a", data=b"1")])
    with new() as session:
        first, second = session.scalars(select(Record).order_by(Record.total.desc()))
        assert (first.total, second.total) == (8, 2)
        assert session.scalars(select(Record.total).where(Record.total > 2)).all() == [8]
        assert session.scalars(select(Record).where(Record.words == "abc")).one() is first
        second.words = "longer than abc"
        session.commit()
        assert session.scalars(select(Record).where(Record.total > 8)).one() is second


@feature("Synonyms", group="Attributes")
@each_column
def test_a_synonym_reads_writes_and_compares(sessions, column):
    class Record(make_base()):
        __tablename__ = "record"
        id: Mapped[int] = mapped_column(primary_key=True)
        value = mapped_column(TYPES[column]())
        alias = synonym("value")

    new = sessions(Record.metadata)
    with new.begin() as session:
        made = Record(alias=VALUES[column])
        assert made.alias is made.value
        session.add(made)
    with new() as session:
        found = session.scalars(select(Record).where(Record.alias == VALUES[column])).one()
        found.alias = OTHERS[column]
        session.commit()
        assert plain(found.value) == plain(found.alias) == OTHERS[column]
        assert session.scalar(select(Record.alias.size)) > 0


@dataclass(frozen=True)
class Picture:
    """What a composite of three columns makes."""

    title: str
    pixels: bytes
    caption: object
    source: object


COMPOSITE = (
    "Replace the composite as a whole. Its lazy members are proxies, so two are equal if their "
    "references are; in SQL members are compared one by one."
)


@feature("Composites", group="Attributes", note=COMPOSITE)
def test_a_composite_of_artifacts_and_a_plain_column(sessions):
    class Record(make_base()):
        __tablename__ = "record"
        id: Mapped[int] = mapped_column(primary_key=True)
        picture: Mapped[Picture] = composite(
            mapped_column("title"),
            mapped_column("pixels", Artifact("bytes")),
            mapped_column("caption", LazyArtifact("text")),
            mapped_column("source", FileDir()),
        )

    new = sessions(Record.metadata)
    first = Picture("first", b"1", "one", ("1.txt", b"one"))
    with new.begin() as session:
        session.add_all([Record(picture=first), Record(picture=replace(first, title="other"))])
    with new() as session:
        found = session.get_one(Record, 1)
        picture = found.picture
        assert (picture.title, picture.pixels) == ("first", b"1")
        assert (kind_of(picture.caption), kind_of(picture.source)) == (Lazy, StoredPath)
        assert (plain(picture.caption), plain(picture.source)) == ("one", ("1.txt", b"one"))
        assert session.scalars(select(Record).where(Record.picture == picture)).all() == [found]
        found.picture = replace(picture, pixels=b"2", caption="two")
        session.commit()
        assert (found.picture.pixels, plain(found.picture.caption)) == (b"2", "two")
        assert plain(found.picture.source) == ("1.txt", b"one")
        rows = session.scalars(select(Record).where(Record.picture == found.picture))
        assert rows.all() == [found]


PROXIED = (
    "The elements are what the attribute holds: `Lazy` proxies for a lazy column. To find owners "
    "write `Owner.values == value`; `contains` is refused."
)


@feature("`association_proxy`", group="Attributes", note=PROXIED)
@each_column
def test_association_proxies_to_one_and_to_many(sessions, column):
    base = make_base()

    class Owner(base):
        __tablename__ = "owner"
        id: Mapped[int] = mapped_column(primary_key=True)
        first_id: Mapped[int | None] = mapped_column(
            ForeignKey("item.id", use_alter=True, name="f")
        )
        first: Mapped["Item | None"] = relationship(foreign_keys=first_id, post_update=True)
        items: Mapped[list["Item"]] = relationship(
            foreign_keys="Item.owner_id", order_by="Item.id", cascade="all, delete-orphan"
        )
        first_value = association_proxy("first", "value", creator=lambda v: Item(value=v))
        values = association_proxy("items", "value", creator=lambda v: Item(value=v))

    class Item(base):
        __tablename__ = "item"
        id: Mapped[int] = mapped_column(primary_key=True)
        owner_id: Mapped[int | None] = mapped_column(ForeignKey("owner.id"))
        value = mapped_column(TYPES[column]())

    value, other = VALUES[column], OTHERS[column]
    new = sessions(base.metadata)
    with new.begin() as session:
        session.add(Owner(values=[value], first_value=other))
    with new() as session:
        owner = session.get_one(Owner, 1)
        assert [plain(each) for each in owner.values] == [value]
        assert plain(owner.first_value) == other
        owner.values.append(other)
        owner.first_value = value
        session.commit()
        assert [plain(each) for each in owner.values] == [value, other]
        assert plain(owner.first_value) == value
        for where in (Owner.first_value == value, Owner.values == value):
            assert session.scalars(select(Owner).where(where)).all() == [owner]
        assert session.scalars(select(Owner).where(Owner.first_value == other)).all() == []
        del owner.values[0]
        session.commit()
        assert [plain(each) for each in owner.values] == [other]
