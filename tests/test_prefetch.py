"""The read hook: a result's artifacts are fetched together, whatever way they are loaded."""

import asyncio
import contextlib
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import ForeignKey, insert, make_url, select, text, union_all, update
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    aliased,
    deferred,
    joinedload,
    mapped_column,
    relationship,
    selectinload,
    subqueryload,
)

from sqla_artifacts import (
    Artifact,
    ArtifactList,
    ArtifactStore,
    LazyArtifact,
    LazyMapped,
    unpack,
    unpack_stream,
)
from sqla_artifacts.errors import BlobNotFoundError
from sqla_artifacts.location import key_of
from sqla_artifacts.reference import parse

COUNT = 12


class Base(DeclarativeBase):
    pass


class Album(Base):
    __tablename__ = "album"
    id: Mapped[int] = mapped_column(primary_key=True)
    cover: Mapped[bytes | None] = mapped_column(Artifact("bytes"))
    photos: Mapped[list["Photo"]] = relationship(back_populates="album", order_by="Photo.id")


class Photo(Base):
    __tablename__ = "photo"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(default="photo")
    album_id: Mapped[int] = mapped_column(ForeignKey("album.id"))
    image: Mapped[bytes] = mapped_column(Artifact("bytes"))
    late: Mapped[str] = deferred(mapped_column(Artifact("text")))
    lazy: LazyMapped[str] = mapped_column(LazyArtifact("text"))
    album: Mapped[Album] = relationship(back_populates="photos")
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "photo"}  # noqa: RUF012


class Panorama(Photo):
    wide: Mapped[bytes | None] = mapped_column(Artifact("bytes"))
    __mapper_args__ = {"polymorphic_identity": "panorama"}  # noqa: RUF012


class Gauge:
    """A remote backend that holds the first gets until as many as expected are there."""

    is_remote = True

    def __init__(self, backend):
        self._backend = backend
        self._lock = threading.Lock()
        self.running = 0
        self.expect(1)

    def __getattr__(self, name):
        return getattr(self._backend, name)

    def get(self, key):
        with self._lock:
            self.gets += 1
            self.running += 1
            self.top = max(self.top, self.running)
            meeting = self.meeting if self.gets <= self.meeting.parties else None
        if meeting is not None:
            with contextlib.suppress(threading.BrokenBarrierError):
                meeting.wait(5)
        try:
            return self._backend.get(key)
        finally:
            with self._lock:
                self.running -= 1

    def expect(self, together):
        self.top = self.gets = 0
        self.meeting = threading.Barrier(together)


def gauged(engine):
    store = ArtifactStore("memory://", max_concurrency=8, memory=0)
    store.backend = Gauge(store.backend)
    store.attach(engine, metadata=Base.metadata)
    return store


def fill(connection):
    with Session(connection) as session:
        for number in range(COUNT):
            kind = Panorama if number % 3 == 0 else Photo
            more = {"wide": b"wide %d" % number} if kind is Panorama else {}
            photo = kind(image=b"image %d" % number, late=f"late {number}", lazy="z", **more)
            session.add(Album(cover=b"cover %d" % number if number % 2 else None, photos=[photo]))
        session.flush()


@pytest.fixture
def store(engine):
    store = gauged(engine)
    Base.metadata.create_all(engine)
    with engine.connect() as connection, connection.begin():
        fill(connection)
    store.backend.expect(1)
    return store


IMAGES = [b"image %d" % number for number in range(COUNT)]
photos = select(Photo).order_by(Photo.id)
images = select(Photo.image).order_by(Photo.id)
core = select(Photo.__table__.c.image).order_by(Photo.__table__.c.id)
other = aliased(Photo)
inner = images.add_columns(Photo.id).subquery()


def of_photos(found):
    return [photo.image for photo in found]


def fetched(result):
    return [row[0] for rows in iter(lambda: result.fetchmany(5), []) for row in rows]


# Each gives the images, and says how many of them are fetched at once at the most.
PATHS = {
    "entities": (8, lambda s: of_photos(s.scalars(photos).all())),
    "columns": (8, lambda s: s.scalars(images).all()),
    "mixed rows": (
        8,
        lambda s: [row[0].image for row in s.execute(photos.add_columns(Photo.id))],
    ),
    "Query": (8, lambda s: of_photos(s.query(Photo).order_by(Photo.id).all())),
    "an alias": (8, lambda s: of_photos(s.scalars(select(other).order_by(other.id)).all())),
    "a subquery": (8, lambda s: s.scalars(select(inner.c.image).order_by(inner.c.id)).all()),
    "a union": (
        8,
        lambda s: s.scalars(
            union_all(
                select(Photo.image, Photo.id).where(Photo.id <= 6),
                select(Photo.image, Photo.id).where(Photo.id > 6),
            ).order_by("id")
        ).all(),
    ),
    "from_statement": (
        8,
        lambda s: of_photos(
            s.scalars(select(Photo).from_statement(text("SELECT * FROM photo ORDER BY id"))).all()
        ),
    ),
    "typed text": (
        8,
        lambda s: s.scalars(
            text("SELECT image FROM photo ORDER BY id").columns(image=Artifact("bytes"))
        ).all(),
    ),
    "joinedload": (
        8,
        lambda s: of_photos(
            album.photos[0]
            for album in s.scalars(
                select(Album).options(joinedload(Album.photos)).order_by(Album.id)
            ).unique()
        ),
    ),
    "selectinload": (
        6,
        lambda s: of_photos(
            album.photos[0]
            for album in s.scalars(
                select(Album).options(selectinload(Album.photos)).order_by(Album.id)
            )
        ),
    ),
    "subqueryload": (
        6,
        lambda s: of_photos(
            album.photos[0]
            for album in s.scalars(
                select(Album).options(subqueryload(Album.photos)).order_by(Album.id)
            ).all()
        ),
    ),
    "yield_per": (
        4,
        lambda s: of_photos(s.scalars(photos.execution_options(yield_per=4))),
    ),
    "partitions": (
        4,
        lambda s: [image for part in s.scalars(images).partitions(4) for image in part],
    ),
    "stream_results": (
        8,
        lambda s: s.scalars(images.execution_options(stream_results=True)).all(),
    ),
    "freeze": (8, lambda s: s.execute(images).freeze()().scalars().all()),
    "fetchmany": (5, lambda s: fetched(s.execute(images))),
    "fetchone": (
        8,
        lambda s: [row[0] for result in [s.execute(images)] for row in iter(result.fetchone, None)],
    ),
    "a mapping": (8, lambda s: [row["image"] for row in s.execute(images).mappings()]),
    "polymorphic": (8, lambda s: of_photos(s.scalars(photos.where(Photo.kind != "")).all())),
    "RETURNING of an UPDATE": (
        8,
        lambda s: sorted(
            s.scalars(update(Photo).values(album_id=Photo.album_id).returning(Photo.image)).all(),
            key=lambda image: int(image.split()[1]),
        ),
    ),
}


@pytest.mark.parametrize(("together", "load"), PATHS.values(), ids=PATHS)
def test_a_way_of_loading_gives_what_it_gave_and_fetches_together(
    engine, store, together, load, capsys
):
    with Session(engine) as session:
        store.backend.expect(together)
        assert load(session) == IMAGES
        assert store.backend.top >= together
        with capsys.disabled():
            print(f" [{store.backend.top} at once]", end="")  # noqa: T201 (the matrix)


def test_one_row_is_fetched_where_one_is_asked_for(engine, store):
    with engine.connect() as connection:
        for ask in (
            lambda: connection.scalars(core).first(),
            lambda: connection.execute(core).fetchone()[0],
            lambda: connection.scalar(core),
            lambda: connection.scalars(core.limit(1)).one(),
            lambda: next(iter(connection.scalars(core))),
        ):
            store.backend.expect(1)
            assert ask() == IMAGES[0]
            assert store.backend.gets == 1


def test_columns_of_one_row_are_fetched_together(engine, store):
    with Session(engine) as session:
        store.backend.expect(2)
        row = session.execute(
            select(Album.cover, Photo.image).join(Photo).where(Album.id == 2)
        ).one()
        assert row == (b"cover 1", b"image 1")
        assert store.backend.top == 2


def test_rows_that_are_not_looked_at_cost_nothing(engine, store):
    with Session(engine) as session:
        session.execute(images)
        assert store.backend.gets == 0


def test_a_missing_blob_is_the_error_of_its_own_row(engine, store):
    with engine.connect() as connection:
        reference = connection.scalar(select(Photo.image.reference).where(Photo.id == 3))
        store.backend.delete(key_of(parse(reference).digest))
        result = connection.execute(core)
        assert [result.fetchone()[0] for _ in range(2)] == IMAGES[:2]
        with pytest.raises(BlobNotFoundError, match=r"photo\.image"):
            result.fetchone()
        assert [row[0] for row in result.fetchall()] == IMAGES[3:]
        rest = core.where(Photo.id != 3)
        assert connection.scalars(rest).all() == IMAGES[:2] + IMAGES[3:]


def test_equal_values_share_a_fetch_and_never_an_object(engine, store):
    class Other(DeclarativeBase):
        pass

    class Note(Other):
        __tablename__ = "note"
        id: Mapped[int] = mapped_column(primary_key=True)
        doc: Mapped[list] = mapped_column(Artifact("json"))

    Other.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all(Note(doc=[1]) for _ in range(5))
        session.commit()
        store.backend.expect(1)
        docs = session.scalars(select(Note.doc)).all()
        assert store.backend.gets == 1
        assert len(set(map(id, docs))) == 5


def test_the_items_of_a_list_are_fetched_together(engine, store):
    class Other(DeclarativeBase):
        pass

    class Book(Other):
        __tablename__ = "book"
        id: Mapped[int] = mapped_column(primary_key=True)
        pages: Mapped[list] = mapped_column(ArtifactList(Artifact("text")))

    Other.metadata.create_all(engine)
    pages = [f"page {number}" for number in range(COUNT)]
    with Session(engine) as session:
        session.add(Book(pages=[*pages, None, pages[0]]))
        session.commit()
        store.backend.expect(8)
        assert session.scalars(select(Book.pages)).one() == [*pages, None, pages[0]]
        assert store.backend.top >= 8


def test_unpack_and_its_stream_fetch_together(engine, store):
    with Session(engine) as session:
        found = session.scalars(photos).all()
        store.backend.expect(8)
        assert [photo.lazy.x for photo in unpack(found)] == ["z"] * COUNT
        assert store.backend.top >= 8
    with Session(engine) as session:
        rows = session.scalars(photos.execution_options(yield_per=5))
        store.backend.expect(1)
        assert [photo.lazy.x for photo in unpack_stream(rows, prefetch=6)] == ["z"] * COUNT


class Different:
    """A result of some other SQLAlchemy."""

    returns_rows = True


def test_a_sqlalchemy_that_differs_is_left_alone_with_one_warning(engine, store):
    hooks = engine.dialect._artifact_hooks.prefetch
    with engine.connect() as connection:
        with pytest.warns(RuntimeWarning, match="one by one"):
            hooks.after_execute(connection, Different())
        hooks.after_execute(connection, Different())
        store.backend.expect(1)
        assert connection.scalars(images).all() == IMAGES
        assert store.backend.top == 1


# -- any sequence of fetches ---------------------------------------------------------------------

FETCHES = st.lists(
    st.one_of(
        st.tuples(st.just("fetchone")),
        st.tuples(st.just("fetchmany"), st.integers(1, 7)),
        st.tuples(st.just("next")),
        st.tuples(st.just("yield_per"), st.integers(1, 5)),
        st.tuples(st.just("fetchall")),
        st.tuples(st.just("first")),
        st.tuples(st.just("close")),
    ),
    max_size=8,
)


def outcome(result, call):
    name, *arguments = call
    try:
        if name == "next":
            return next(iter(result), None)
        found = getattr(result, name)(*arguments)
    except Exception as error:  # noqa: BLE001 (compared)
        return type(error)
    return None if name == "yield_per" else found


@given(calls=FETCHES, stream=st.booleans())
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_sequence_of_fetches_is_that_of_an_engine_without_hooks(engine, store, calls, stream):
    store.backend.expect(1)
    query = images.execution_options(stream_results=stream)
    plain = (
        select(Photo.image.reference).order_by(Photo.id).execution_options(stream_results=stream)
    )
    with engine.connect() as one, engine.connect() as another:
        hooked, bare = one.execute(query), another.execute(plain)
        for call in calls:
            found, expected = outcome(hooked, call), outcome(bare, call)
            assert normal(found) == normal(expected, store)
        hooked.close()
        bare.close()


def normal(found, store=None):
    if isinstance(found, list):
        return [normal(row, store) for row in found]
    if found is None or isinstance(found, type):
        return found
    return found[0] if store is None else store.get(found[0])


# -- asyncio -------------------------------------------------------------------------------------


@pytest.fixture(params=["aiosqlite", "asyncpg", "psycopg"])
def async_url(request):
    kind = "sqlite" if request.param == "aiosqlite" else "postgresql"
    url = make_url(request.getfixturevalue("sqlite_url" if kind == "sqlite" else "postgres_url"))
    return url.set(drivername=f"{kind}+{request.param}")


def test_asynchronous_loads_fetch_together(async_url):
    async def main():
        engine = create_async_engine(async_url)
        store = gauged(engine)
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        async with engine.begin() as connection:
            await connection.run_sync(fill)
        async with AsyncSession(engine) as session:
            store.backend.expect(8)
            assert of_photos((await session.scalars(photos)).all()) == IMAGES
            assert store.backend.top >= 8
        async with engine.connect() as connection:
            await buffered(connection, store)
            store.backend.expect(1)
            rest = images.where(Photo.id != 2)
            streamed = await connection.stream(rest)
            assert [row[0] async for row in streamed] == IMAGES[:1] + IMAGES[2:]
        await engine.dispose()

    async def buffered(connection, store):
        store.backend.expect(8)
        assert (await connection.execute(images)).scalars().all() == IMAGES
        assert store.backend.top >= 8
        result = await connection.execute(images)
        assert [result.fetchone()[0], *(row[0] for row in result.fetchmany(3))] == IMAGES[:4]
        assert [row[0] for row in result.fetchall()] == IMAGES[4:]
        reference = await connection.scalar(select(Photo.image.reference).where(Photo.id == 2))
        store.backend.delete(key_of(parse(reference).digest))
        result = await connection.execute(images)
        assert result.fetchone()[0] == IMAGES[0]
        with pytest.raises(BlobNotFoundError, match=r"photo\.image"):
            result.fetchone()
        assert [row[0] for row in result.fetchall()] == IMAGES[2:]
        album = Album.__table__
        new = insert(album).returning(album.c.cover)
        assert (await connection.execute(new, [{"cover": b"new"}])).scalars().all() == [b"new"]

    asyncio.run(main())
