"""The ways of loading, each a function of a session, and the requests that it makes at once."""

from typing import Any, NamedTuple

from sqlalchemy import delete, insert, select, text, union_all, update
from sqlalchemy.orm import (
    aliased,
    contains_eager,
    immediateload,
    joinedload,
    selectin_polymorphic,
    selectinload,
    subqueryload,
    undefer,
    with_polymorphic,
)

from sqla_artifacts import Artifact

from .models import COVERS, IMAGES, LATES, RAWS, WIDES, Album, Panorama, Photo, Scan

WHOLE, FOURS = (8, 4), (4, 4, 4)
"""Twelve values, where eight requests run at once."""


class Load(NamedTuple):
    """A way of loading, the requests that run at once, and what it gives.

    `buffered` is for the asynchronous drivers, where they differ: what a buffered result holds
    is fetched before it is handed out.
    """

    load: Any
    gets: tuple[int, ...] = WHOLE
    expected: Any = IMAGES
    buffered: tuple[int, ...] | None = None


photos = select(Photo).order_by(Photo.id)
images = select(Photo.image).order_by(Photo.id)
table = Photo.__table__
core = select(table.c.image).order_by(table.c.id)
albums = select(Album).order_by(Album.id)
other = aliased(Photo)
inner = images.add_columns(Photo.id).subquery()
every = with_polymorphic(Photo, [Panorama, Scan])
union = union_all(
    select(Photo.image, Photo.id).where(Photo.id <= 6),
    select(Photo.image, Photo.id).where(Photo.id > 6),
).order_by("id")
named = text("SELECT id, kind, album_id, image, lazy FROM photo ORDER BY id")
typed = text("SELECT image FROM photo ORDER BY id").columns(image=Artifact("bytes"))
kinds = photos.options(selectin_polymorphic(Photo, [Panorama, Scan]))
new = [
    {"id": n + 100, "kind": "photo", "album_id": 1, "image": i, "late": "", "lazy": ""}
    for n, i in enumerate(IMAGES)
]


def of_photos(found):
    return [photo.image for photo in found]


def of_albums(found):
    return [photo.image for album in found for photo in album.photos]


def numbered(found):
    """In the order of the numbers in them: RETURNING promises none."""
    return sorted(found, key=lambda image: int(image.split()[1]))


def execute(session, statement, *arguments):
    """Run a statement on the session's connection, past the ORM."""
    return session.connection().execute(statement, *arguments)


def loading(option):
    """Load albums with this option, and then all their photos."""
    return lambda s: of_albums(s.scalars(albums.options(option)).unique().all())


def returning(statement, *arguments):
    return lambda s: numbered(s.scalars(statement, *arguments).all())


def core_returning(statement, *arguments):
    return lambda s: numbered(execute(s, statement, *arguments).scalars().all())


def by_fetchone(result):
    return [row[0] for row in iter(result.fetchone, None)]


def by_fetchmany(result, size):
    return [row[0] for rows in iter(lambda: result.fetchmany(size), []) for row in rows]


def special(found):
    """What photos of each kind have of their own, beside the images."""
    images, wides, raws = [], [], []
    for photo in found:
        images.append(photo.image)
        if isinstance(photo, Panorama):
            wides.append(photo.wide)
        if isinstance(photo, Scan):
            raws.append(photo.raw)
    return images, wides, raws


def refreshed(session, *names):
    found = session.scalars(photos).all()
    for photo in found:
        session.refresh(photo, names or None)
    return [getattr(photo, *(names or ["image"])) for photo in found]


def expired(session, *names):
    found = session.scalars(photos).all()
    for photo in found:
        session.expire(photo, names or None)
    return of_photos(found)


def committed(session):
    found = session.scalars(photos).all()
    session.commit()
    return of_photos(found)


def loaded_again(session):
    found = session.scalars(photos).all()
    session.expire_all()
    session.scalars(photos).all()
    return of_photos(found)


def kept(session):
    session.info["kept"] = session.scalars(photos).all()  # the identity map holds them weakly
    return of_photos(session.scalars(photos.execution_options(populate_existing=True)).all())


SINGLES = (1,) * 12
AGAIN = (*WHOLE, *(2, 2, 1) * 4)  # each instance by itself, with what its class adds
SPECIAL = (IMAGES, WIDES, RAWS)
moved = update(Photo).values(album_id=Photo.album_id)
core_moved = update(table).values(album_id=table.c.album_id)

LOADS = {
    "entities": Load(lambda s: of_photos(s.scalars(photos).all())),
    "columns": Load(lambda s: s.scalars(images).all()),
    "mixed rows": Load(
        lambda s: [row.Photo.image for row in s.execute(photos.add_columns(Photo.id))]
    ),
    "two entities": Load(
        lambda s: [
            (album.cover, photo.image)
            for album, photo in s.execute(select(Album, Photo).join(Photo).order_by(Photo.id))
        ],
        (8, 6),
        [(COVERS[number // 4], image) for number, image in enumerate(IMAGES)],
    ),
    "columns of a row": Load(
        lambda s: tuple(s.execute(select(Album.cover, Photo.image).join(Photo).limit(1)).one()),
        (2,),
        (COVERS[0], IMAGES[0]),
    ),
    "Core": Load(lambda s: execute(s, core).scalars().all()),
    "Core mappings": Load(
        lambda s: [row["image"] for row in execute(s, core).mappings()], (1, 4, 7), buffered=WHOLE
    ),
    "Query": Load(lambda s: of_photos(s.query(Photo).order_by(Photo.id).all())),
    "get": Load(lambda s: s.get(Photo, 1).image, (1,), IMAGES[0]),
    "aliased": Load(lambda s: of_photos(s.scalars(select(other).order_by(other.id)).all())),
    "subquery": Load(lambda s: s.scalars(select(inner.c.image).order_by(inner.c.id)).all()),
    "CTE": Load(lambda s: s.scalars(select(images.cte().c.image)).all()),
    "union": Load(lambda s: s.scalars(union).all()),
    "entities of a union": Load(
        lambda s: of_photos(
            s.scalars(
                select(Photo).from_statement(
                    union_all(
                        select(Photo).where(Photo.id <= 6), select(Photo).where(Photo.id > 6)
                    ).order_by("id")
                )
            ).all()
        ),
        (8, 8, 8),
    ),
    "from_statement": Load(
        lambda s: of_photos(s.scalars(select(Photo).from_statement(named)).all())
    ),
    "typed text": Load(lambda s: s.scalars(typed).all()),
    "joinedload": Load(loading(joinedload(Album.photos)), (8, 6)),
    "contains_eager": Load(
        lambda s: of_albums(
            s.scalars(
                albums.join(Album.photos).options(contains_eager(Album.photos)).order_by(Photo.id)
            ).unique()
        ),
        (8, 6),
    ),
    "selectinload": Load(loading(selectinload(Album.photos)), (2, *WHOLE)),
    "subqueryload": Load(loading(subqueryload(Album.photos)), (2, *WHOLE)),
    "immediateload": Load(loading(immediateload(Album.photos)), (2, *FOURS)),
    "lazy loading": Load(lambda s: of_albums(s.scalars(albums).all()), (2, *FOURS)),
    "lazy loading of one": Load(
        lambda s: [photo.album.cover for photo in s.scalars(photos)],
        (*WHOLE, 1, 1),
        [cover for cover in COVERS for _ in range(4)],
    ),
    "polymorphic": Load(lambda s: special(s.scalars(photos).all()), (*WHOLE, *[1] * 8), SPECIAL),
    "with_polymorphic": Load(
        lambda s: special(s.scalars(select(every).order_by(every.id)).all()), (8, 8, 4), SPECIAL
    ),
    "selectin_polymorphic": Load(
        lambda s: special(s.scalars(kinds).all()), (*WHOLE, 4, 4), SPECIAL
    ),
    "joined inheritance": Load(
        lambda s: special(s.scalars(select(Scan).order_by(Scan.id)).all()),
        (8,),
        (IMAGES[1::3], [], RAWS),
    ),
    "single-table inheritance": Load(
        lambda s: special(s.scalars(select(Panorama).order_by(Panorama.id)).all()),
        (8,),
        (IMAGES[0::3], WIDES, []),
    ),
    "deferred": Load(
        lambda s: [photo.late for photo in s.scalars(photos).all()], (*WHOLE, *SINGLES), LATES
    ),
    "undefer": Load(
        lambda s: [photo.late for photo in s.scalars(photos.options(undefer(Photo.late))).all()],
        (8, 8, 8),
        LATES,
    ),
    "refresh": Load(refreshed, AGAIN),
    "refresh of a column": Load(lambda s: refreshed(s, "late"), (*WHOLE, *SINGLES), LATES),
    "expired instance": Load(expired, AGAIN),
    "expired attribute": Load(lambda s: expired(s, "image"), AGAIN),
    "expired by commit": Load(committed, AGAIN),
    "expired, and loaded again": Load(loaded_again, (*WHOLE, *WHOLE)),
    "populate_existing": Load(kept, (*WHOLE, *WHOLE)),
    "yield_per": Load(lambda s: of_photos(s.scalars(photos.execution_options(yield_per=4))), FOURS),
    "Query.yield_per": Load(
        lambda s: of_photos(s.query(Photo).order_by(Photo.id).yield_per(4)), FOURS
    ),
    "Core yield_per": Load(
        lambda s: list(execute(s, core.execution_options(yield_per=4)).scalars()), (1, 4, 4, 3)
    ),
    "partitions": Load(
        lambda s: [image for part in s.scalars(images).partitions(4) for image in part]
    ),
    "Core partitions": Load(
        lambda s: [i for part in execute(s, core).scalars().partitions(4) for i in part],
        FOURS,
        buffered=WHOLE,
    ),
    "stream_results": Load(
        lambda s: s.scalars(images.execution_options(stream_results=True)).all()
    ),
    "Core stream_results": Load(
        lambda s: list(execute(s, core.execution_options(stream_results=True)).scalars()),
        (1, 5, 6),
    ),
    "RETURNING of an ORM INSERT": Load(
        lambda s: [s.scalar(insert(Photo).values(row).returning(Photo.image)) for row in new],
        SINGLES,
    ),
    "RETURNING of a bulk INSERT": Load(
        returning(insert(Photo).returning(Photo.image), new), SINGLES
    ),
    "RETURNING of entities": Load(
        lambda s: numbered(of_photos(s.scalars(insert(Photo).returning(Photo), new).all())), SINGLES
    ),
    "RETURNING of a Core INSERT": Load(core_returning(insert(table).returning(table.c.image), new)),
    "RETURNING of multi-values": Load(
        core_returning(insert(table).values(new).returning(table.c.image))
    ),
    "RETURNING of an ORM UPDATE": Load(returning(moved.returning(Photo.image))),
    "RETURNING of a Core UPDATE": Load(core_returning(core_moved.returning(table.c.image))),
    "RETURNING of a DELETE": Load(
        returning(delete(Photo).where(~Photo.kind.in_(["scan"])).returning(Photo.image)),
        (8,),
        [image for number, image in enumerate(IMAGES) if number % 3 != 1],
    ),
    "freeze": Load(lambda s: s.execute(images).freeze()().scalars().all()),
    "Core freeze": Load(lambda s: execute(s, core).freeze()().scalars().all()),
    "first": Load(lambda s: s.scalars(images).first(), WHOLE, IMAGES[0]),
    "one": Load(lambda s: s.scalars(images.where(Photo.id == 2)).one(), (1,), IMAGES[1]),
    "scalar": Load(lambda s: s.scalar(images), WHOLE, IMAGES[0]),
    "Core first": Load(
        lambda s: execute(s, core).scalars().first(), (1,), IMAGES[0], buffered=WHOLE
    ),
    "Core scalar": Load(lambda s: s.connection().scalar(core), (1,), IMAGES[0], buffered=WHOLE),
    "fetchone": Load(lambda s: by_fetchone(s.execute(images)), WHOLE),
    "fetchmany": Load(lambda s: by_fetchmany(s.execute(images), 5), WHOLE),
    "Core fetchone": Load(lambda s: by_fetchone(execute(s, core)), (1, 4, 7), buffered=WHOLE),
    "Core fetchmany": Load(lambda s: by_fetchmany(execute(s, core), 5), (5, 5, 2), buffered=WHOLE),
}
