"""Models for every way of loading and of storing, and the rows that are loaded."""

from sqlalchemy import ForeignKey
from sqlalchemy.ext.asyncio import AsyncAttrs
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    deferred,
    mapped_column,
    relationship,
)

from sqla_artifacts import (
    Artifact,
    ArtifactList,
    FileDir,
    LazyArtifact,
    LazyMapped,
    PathMapped,
    StoredPath,
)
from tests.models import Natural


class Base(AsyncAttrs, DeclarativeBase):
    pass


# -- what is loaded --------------------------------------------------------------------------------


class Album(Base):
    __tablename__ = "album"
    id: Mapped[int] = mapped_column(primary_key=True)
    cover: Mapped[bytes | None] = mapped_column(Artifact("bytes"))
    photos: Mapped[list["Photo"]] = relationship(back_populates="album", order_by="Photo.id")


class Photo(Base):
    __tablename__ = "photo"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    album_id: Mapped[int] = mapped_column(ForeignKey("album.id"))
    image: Mapped[bytes] = mapped_column(Artifact("bytes"))
    late: Mapped[str] = deferred(mapped_column(Artifact("text")))
    lazy: LazyMapped[str] = mapped_column(LazyArtifact("text"))
    album: Mapped[Album] = relationship(back_populates="photos")
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "photo"}  # noqa: RUF012


class Panorama(Photo):
    """In its parent's table."""

    wide: Mapped[bytes | None] = mapped_column(Artifact("bytes"))
    __mapper_args__ = {"polymorphic_identity": "panorama"}  # noqa: RUF012


class Scan(Photo):
    """In a table of its own."""

    __tablename__ = "scan"
    id: Mapped[int] = mapped_column(ForeignKey("photo.id"), primary_key=True)
    raw: Mapped[bytes] = mapped_column(Artifact("bytes"))
    __mapper_args__ = {"polymorphic_identity": "scan"}  # noqa: RUF012


class Note(Base):
    __tablename__ = "note"
    id: Mapped[int] = mapped_column(primary_key=True)
    doc: Mapped[list] = mapped_column(Artifact("json"))


class Book(Base):
    __tablename__ = "book"
    id: Mapped[int] = mapped_column(primary_key=True)
    pages: Mapped[list] = mapped_column(ArtifactList(Artifact("text")))


COUNT = 12
IMAGES = [b"image %d" % number for number in range(COUNT)]
LATES = [f"late {number}" for number in range(COUNT)]
COVERS = [b"cover 0", None, b"cover 2"]
KINDS = [Panorama, Scan, Photo]
WIDES = [b"wide %d" % number for number in range(0, COUNT, 3)]
RAWS = [b"raw %d" % number for number in range(1, COUNT, 3)]


def fill(session):
    """Store three albums of four photos, of all kinds."""
    for number, cover in enumerate(COVERS):
        session.add(Album(id=number + 1, cover=cover))
    session.flush()
    for number in range(COUNT):
        kind = KINDS[number % 3]
        more = {Panorama: {"wide": b"wide %d" % number}, Scan: {"raw": b"raw %d" % number}}
        session.add(
            kind(
                id=number + 1,
                album_id=number // 4 + 1,
                image=IMAGES[number],
                late=LATES[number],
                lazy="lazy",
                **more.get(kind, {}),
            )
        )
    session.commit()


# -- what is stored --------------------------------------------------------------------------------


class Shelf(Base):
    __tablename__ = "shelf"
    id: Mapped[int] = mapped_column(primary_key=True)
    cover: Mapped[bytes] = mapped_column(Artifact("bytes"))
    entries: Mapped[list["Entry"]] = relationship(order_by="Entry.name")


class Entry(Base):
    """A row of each kind of artifact; a negative `count` cannot be bound."""

    __tablename__ = "entry"
    id: Mapped[int] = mapped_column(primary_key=True)
    shelf_id: Mapped[int | None] = mapped_column(ForeignKey("shelf.id"))
    name: Mapped[str] = mapped_column(unique=True)
    image: Mapped[bytes | None] = mapped_column(Artifact("bytes"))
    note: LazyMapped[str | None] = mapped_column(LazyArtifact("text"))
    file: PathMapped[StoredPath | None] = mapped_column(FileDir())
    count: Mapped[int] = mapped_column(Natural)


def image_of(name):
    """The image of an entry of that name."""
    return f"image of {name}".encode()


def note_of(name):
    """The note of an entry of that name: the batch that it is of."""
    return f"note of {name.rpartition(' ')[0]}"


def _by_name(function):
    return lambda context: function(context.get_current_parameters()["name"])


class Stamped(Base):
    """An entry whose artifacts are made by callables."""

    __tablename__ = "stamped"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    image: Mapped[bytes | None] = mapped_column(
        Artifact("bytes"), default=_by_name(image_of), onupdate=_by_name(image_of)
    )
    note: LazyMapped[str | None] = mapped_column(
        LazyArtifact("text"), default=_by_name(note_of), onupdate=_by_name(note_of)
    )
    file: PathMapped[StoredPath | None] = mapped_column(FileDir())
    count: Mapped[int] = mapped_column(Natural)


STORING = [model.__table__ for model in (Shelf, Entry, Stamped)]
