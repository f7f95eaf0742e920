"""Artifacts as primary and foreign keys: a table of distinct images, say."""

from types import SimpleNamespace

import pytest
from sqlalchemy import ForeignKey, event, func, inspect, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import (
    Mapped,
    joinedload,
    mapped_column,
    relationship,
    selectinload,
    subqueryload,
)

from sqla_artifacts.ledger import Blob
from sqla_artifacts.reference import parse
from tests.models import counting, statements_of

from .record import COLUMNS, OTHERS, TYPES, VALUES, add_in_savepoint, make_base, plain

feature = pytest.mark.feature
each_column = pytest.mark.parametrize("column", COLUMNS)

PRIMARY = (
    "The key is the whole reference. A value in the identity key is what the attribute holds: the "
    "value itself, which has to be hashable, or a proxy, of which two are equal if their "
    "references are. `session.get` takes `(value,)`, `(proxy,)` or `(reference,)`, as a tuple."
)
FOREIGN = (
    "Relationships join along it by whole references. A loader's SELECT encodes the key that it "
    "looks for and stores nothing. SQLite checks foreign keys only under `PRAGMA foreign_keys`."
)
UNKNOWN = {"data": b"unknown", "note": "unknown", "run": ("run.txt", b"unknown")}
LOADERS = [None, joinedload, selectinload, subqueryload]


def enforce(engine):
    """Have SQLite enforce foreign keys, as PostgreSQL does."""
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", lambda raw, _: raw.execute("PRAGMA foreign_keys=ON"))


@pytest.fixture(params=[True, False], ids=["primary", "unique"])
def world(request, engine, sessions, column):
    """Image, whose content is its primary key or unique; Use, which refers to it; sessions."""
    base = make_base()
    key = {"primary_key": True} if request.param else {"unique": True, "nullable": False}

    class Image(base):
        __tablename__ = "image"
        if not request.param:
            id: Mapped[int] = mapped_column(primary_key=True)
        content = mapped_column(TYPES[column](), **key)
        title: Mapped[str]
        uses: Mapped[list["Use"]] = relationship(
            back_populates="image", order_by="Use.id", cascade="all, delete-orphan"
        )

    class Use(base):
        __tablename__ = "use"
        id: Mapped[int] = mapped_column(primary_key=True)
        image_content = mapped_column(TYPES[column](), ForeignKey("image.content"), index=True)
        image: Mapped[Image | None] = relationship(back_populates="uses")

    base.registry.configure()
    enforce(engine)
    new = sessions(base.metadata)
    with new.begin() as session:
        session.add(Image(content=VALUES[column], title="first", uses=[Use(), Use()]))
        session.add(Image(content=OTHERS[column], title="second"))
        session.add(Use())
    return SimpleNamespace(image=Image, use=Use, sessions=new, by_key=request.param)


@feature("Foreign keys", group="Columns", note=FOREIGN)
@each_column
def test_a_relationship_follows_a_foreign_key(engine, world, store, column):
    image, use = world.image, world.use
    backend = counting(store)
    with world.sessions() as session:
        blobs = session.scalar(select(func.count()).select_from(Blob))
        for loader in LOADERS:
            session.expunge_all()
            statements = statements_of(engine)
            options = [loader(use.image)] if loader else []
            rows = session.scalars(select(use).options(*options).order_by(use.id)).all()
            assert [row.image and row.image.title for row in rows] == ["first", "first", None]
            assert rows[0].image is rows[1].image
            if loader:
                assert len(statements) == (1 if loader is joinedload else 2)
            options = [loader(image.uses)] if loader else []
            rows = session.scalars(select(image).options(*options).order_by(image.title))
            assert [[each.id for each in row.uses] for row in rows.unique()] == [[1, 2], []]
        joined = select(image.title, func.count()).join(image.uses).group_by(image.title)
        assert session.execute(joined).all() == [("first", 2)]
        assert session.scalars(select(image.title).where(image.uses.any())).all() == ["first"]
        first = session.scalars(select(image).where(image.title == "first")).one()
        assert len(session.scalars(select(use).where(use.image == first)).all()) == 2
        assert session.scalar(select(func.count()).select_from(Blob)) == blobs
    assert not {"put", "create"} & set(backend.calls)


@feature("Foreign keys", group="Columns")
@each_column
def test_a_loader_stores_nothing(engine, world, store, column):
    image, use = world.image, world.use
    backend = counting(store)
    executed = []
    event.listen(engine, "before_cursor_execute", lambda *args: executed.append(args[2]))
    with world.sessions() as session:
        row = session.get_one(use, 1)
        assert row.image.title == "first"
        assert len(row.image.uses) == 2
        unknown = image(content=UNKNOWN[column], title="not stored")
        assert session.scalars(select(use).where(use.image == unknown)).all() == []
    assert not any("artifact_blob" in statement for statement in executed)
    assert not {"put", "create"} & set(backend.calls)


@feature("Foreign keys", group="Columns")
@each_column
def test_a_foreign_key_is_enforced_and_changed(world, column):
    image, use = world.image, world.use
    with world.sessions() as session:
        with pytest.raises(IntegrityError):
            add_in_savepoint(session, use(image_content=UNKNOWN[column]))
        row = session.get_one(use, 1)
        row.image_content = VALUES[column]
        session.commit()
        assert row.image.title == "first"
        row.image = session.scalars(select(image).where(image.title == "second")).one()
        session.commit()
        assert plain(row.image_content) == OTHERS[column]
        row.image = None
        session.commit()
        assert row.image_content is None
        session.delete(session.scalars(select(image).where(image.title == "first")).one())
        session.commit()
        assert session.scalars(select(use.id).order_by(use.id)).all() == [1, 3]


@feature("Primary keys", group="Columns", note=PRIMARY)
@each_column
@pytest.mark.parametrize("world", [True], indirect=True)
def test_a_row_is_found_by_its_key(engine, world, column):
    image = world.image
    with world.sessions() as session:
        found = session.scalars(select(image).where(image.title == "first")).one()
        assert session.scalars(select(image).order_by(image.title)).first() is found
        (key,) = inspect(found).identity
        assert plain(key) == VALUES[column]
        assert inspect(found).identity_key in session.identity_map
        for ident in (VALUES[column], key):
            assert session.get(image, (ident,)) is found
        by_title = select(image.content.reference).where(image.title == "first")
        assert session.get(image, (parse(session.scalars(by_title).one()),)) is found
        statements = statements_of(engine)
        assert session.get(image, (key,)) is found
        assert statements == []
        assert session.get(image, (UNKNOWN[column],)) is None


@feature("Primary keys", group="Columns")
@each_column
@pytest.mark.parametrize("world", [True], indirect=True)
def test_a_key_is_merged_updated_and_deleted(world, column):
    image, use = world.image, world.use
    with world.sessions() as session:
        merged = session.merge(image(content=VALUES[column], title="merged"))
        session.commit()
        assert session.scalars(select(image.title).order_by(image.title)).all() == [
            "merged",
            "second",
        ]
        assert merged.title == "merged"
        assert len(merged.uses) == 2
        with pytest.raises(IntegrityError):
            add_in_savepoint(session, image(content=OTHERS[column], title="again"))
        merged.title = "changed"
        session.commit()
        session.delete(merged)
        session.commit()
        assert session.scalars(select(image.title)).all() == ["second"]
        assert session.scalars(select(use.id)).all() == [3]
        rest = session.scalars(select(image)).one()
        rest.content = VALUES[column]
        session.commit()
        assert plain(rest.content) == VALUES[column]
        assert session.get(image, (VALUES[column],)) is rest


@feature("Primary keys", group="Columns")
@pytest.mark.parametrize("column", ["run"])
@pytest.mark.parametrize("world", [True], indirect=True)
def test_keys_of_one_content_and_two_names_are_two_rows(world, column):
    image = world.image
    with world.sessions() as session:
        session.add_all([image(content=(name, b"same"), title=name) for name in "ab"])
        session.commit()
        a, b = (session.get_one(image, ((name, b"same"),)) for name in "ab")
        assert (a.title, b.title) == ("a", "b")
        a.title = "changed"
        session.delete(b)
        session.commit()
        assert session.scalars(select(image.title).order_by(image.title)).all() == [
            "changed",
            "first",
            "second",
        ]
