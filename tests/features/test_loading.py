"""Relationships between rows that hold artifacts, and how often a value is fetched."""

from types import SimpleNamespace

import pytest
from sqlalchemy import ForeignKey, select
from sqlalchemy.orm import (
    Mapped,
    contains_eager,
    immediateload,
    joinedload,
    lazyload,
    mapped_column,
    relationship,
    selectinload,
    subqueryload,
)

from sqla_artifacts import Artifact, DataType, FileDir, LazyArtifact

from .record import COLUMNS, VALUES, make_base, plain

feature = pytest.mark.feature


ITEMS = {
    "data": [b"0", b"1", b"2"],
    "note": ["0", "1", "2"],
    "run": [("0", b"item"), ("1", b"item"), ("2", b"item")],
}


@pytest.fixture
def world(sessions, column):
    """One Owner with a value, and its three Items with values; `decoded` is how often they were."""
    world = SimpleNamespace(decoded=0)

    def encode(value, info):
        return value if column == "data" else value.encode()

    def decode(data, info):
        world.decoded += 1
        return data if column == "data" else data.decode()

    counted = DataType("counted", encode, decode)
    types = {"data": Artifact(counted), "note": LazyArtifact(counted), "run": FileDir()}
    base = make_base()

    class Owner(base):
        __tablename__ = "owner"
        id: Mapped[int] = mapped_column(primary_key=True)
        value = mapped_column(types[column])
        items: Mapped[list["Item"]] = relationship(back_populates="owner", order_by="Item.id")

    class Item(base):
        __tablename__ = "item"
        id: Mapped[int] = mapped_column(primary_key=True)
        owner_id: Mapped[int | None] = mapped_column(ForeignKey("owner.id"))
        owner: Mapped[Owner | None] = relationship(back_populates="items")
        value = mapped_column(types[column].copy())

    world.owner, world.item, world.sessions = Owner, Item, sessions(base.metadata)
    with world.sessions.begin() as session:
        items = [Item(value=value) for value in ITEMS[column]]
        session.add(Owner(value=VALUES[column], items=items))
    return world


def decoded(world):
    """How many values were decoded since this was last asked."""
    count, world.decoded = world.decoded, 0
    return count


LOADED = (
    "A joined collection repeats its parent's columns in each row, and an eager `Artifact` is "
    "decoded in each row: prefer `selectinload`, or a lazy column."
)
LOADERS = [lazyload, joinedload, selectinload, subqueryload, immediateload]


@feature("Relationship loading", group="Relationships", note=LOADED)
@pytest.mark.parametrize("column", COLUMNS)
def test_every_loader_loads_rows_that_hold_artifacts(world, column):
    for loader in LOADERS:
        load_by(loader, world, column)


def load_by(loader, world, column):
    """A collection and its parent are loaded from either side."""
    owner, item = world.owner, world.item
    with world.sessions() as session:
        found = session.scalars(select(owner).options(loader(owner.items))).unique().one()
        assert plain(found.value) == VALUES[column]
        assert [plain(each.value) for each in found.items] == ITEMS[column]
        session.expunge_all()
        items = session.scalars(select(item).options(loader(item.owner)).order_by(item.id)).all()
        assert [plain(each.value) for each in items] == ITEMS[column]
        assert {plain(each.owner.value) for each in items} == {VALUES[column]}
        session.expunge_all()
        query = select(owner).join(owner.items).options(contains_eager(owner.items))
        found = session.scalars(query.order_by(item.id)).unique().one()
        assert [plain(each.value) for each in found.items] == ITEMS[column]


@feature("Relationship loading", group="Relationships")
@pytest.mark.parametrize("column", ["data"])
def test_how_often_an_eager_value_is_decoded(world):
    owner, item = world.owner, world.item
    with world.sessions() as session:
        counts = {}
        for loader in LOADERS:
            session.expunge_all()
            decoded(world)
            found = session.scalars(select(owner).options(loader(owner.items))).unique().one()
            assert len(found.items) == 3
            counts[loader] = decoded(world)
        assert counts.pop(joinedload) == 6
        assert set(counts.values()) == {4}
        session.expunge_all()
        session.scalars(select(item).options(joinedload(item.owner))).all()
        assert decoded(world) == 6


@feature("Relationship loading", group="Relationships")
@pytest.mark.parametrize("column", ["note"])
def test_a_lazy_value_is_decoded_when_it_is_unpacked(world):
    owner = world.owner
    for loader in LOADERS:
        with world.sessions() as session:
            found = session.scalars(select(owner).options(loader(owner.items))).unique().one()
            assert len(found.items) == 3
            assert decoded(world) == 0
            plain(found.value)
            assert decoded(world) == 1


@feature("`expire_on_commit`", group="Sessions")
@pytest.mark.parametrize("column", ["data"])
def test_an_eager_value_is_decoded_again_after_a_commit(world):
    with world.sessions() as session:
        found = session.scalars(select(world.owner)).one()
        assert decoded(world) == 1
        assert (found.value, decoded(world)) == (b"bytes", 0)
        session.commit()
        assert (found.value, decoded(world)) == (b"bytes", 1)
        session.refresh(found, ["id"])
        assert decoded(world) == 0
        session.refresh(found)
        assert decoded(world) == 1
    with world.sessions(expire_on_commit=False) as session:
        found = session.scalars(select(world.owner)).one()
        assert decoded(world) == 1
        session.commit()
        assert (found.value, decoded(world)) == (b"bytes", 0)
