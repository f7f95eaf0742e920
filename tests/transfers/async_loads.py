"""The ways of loading that there are under asyncio alone, each a coroutine function."""

from sqlalchemy.orm import selectinload

from .loads import (
    AGAIN,
    FOURS,
    SINGLES,
    SPECIAL,
    WHOLE,
    Load,
    albums,
    core,
    images,
    kinds,
    of_albums,
    of_photos,
    photos,
    special,
)
from .models import IMAGES, LATES, Album, Photo

by_four = images.execution_options(yield_per=4)


async def awaited(session):
    found = (await session.scalars(photos)).all()
    return [await photo.awaitable_attrs.late for photo in found]


async def awaited_collections(session):
    found = (await session.scalars(albums)).all()
    return [photo.image for album in found for photo in await album.awaitable_attrs.photos]


async def awaited_after_commit(session):
    found = (await session.scalars(photos)).all()
    await session.commit()
    return [await photo.awaitable_attrs.image for photo in found]


async def refreshed(session):
    found = (await session.scalars(photos)).all()
    for photo in found:
        await session.refresh(photo)
    return of_photos(found)


async def streamed_rows(session):
    return [row[0] async for row in await session.stream(images)]


async def streamed(session):
    return of_photos([photo async for photo in await session.stream_scalars(photos)])


async def streamed_by_four(session):
    return [image async for image in await session.stream_scalars(by_four)]


async def streamed_whole(session):
    return await (await session.stream_scalars(images)).all()


async def streamed_partitions(session):
    result = await session.stream_scalars(images)
    return [image async for part in result.partitions(4) for image in part]


async def streamed_unique(session):
    return of_photos(await (await session.stream_scalars(photos)).unique().all())


async def streamed_frozen(session):
    frozen = await (await session.stream(images)).freeze()
    return frozen().scalars().all()


async def streamed_one_by_one(connection):
    result, found = await connection.stream(core), []
    while (row := await result.fetchone()) is not None:
        found.append(row[0])
    return found


async def streamed_many(connection):
    result, found = await connection.stream(core), []
    while rows := await result.fetchmany(5):
        found += [row[0] for row in rows]
    return found


async def streamed_mappings(connection):
    return [row["image"] async for row in (await connection.stream(core)).mappings()]


async def streamed_first(connection):
    return await (await connection.stream_scalars(core)).first()


async def streamed_core_by_four(connection):
    result = await connection.stream_scalars(core.execution_options(yield_per=4))
    return [image async for image in result]


async def streamed_core_partitions(connection):
    result = await connection.stream_scalars(core)
    return [image async for part in result.partitions(4) for image in part]


async def one_by_one(connection):
    result = await connection.execute(core)
    return [row[0] for row in iter(result.fetchone, None)]


async def many(connection):
    result = await connection.execute(core)
    return [row[0] for rows in iter(lambda: result.fetchmany(5), []) for row in rows]


async def got(session):
    return (await session.get(Photo, 1)).image


SESSION = {
    "AsyncSession.scalars": Load(lambda s: _(s.scalars(photos), of_photos)),
    "AsyncSession.execute": Load(lambda s: _(s.execute(images), lambda r: r.scalars().all())),
    "AsyncSession.scalar": Load(lambda s: s.scalar(images), WHOLE, IMAGES[0]),
    "AsyncSession.get": Load(got, (1,), IMAGES[0]),
    "AsyncSession.refresh": Load(refreshed, AGAIN),
    "selectinload": Load(
        lambda s: _(s.scalars(albums.options(selectinload(Album.photos))), of_albums), (2, *WHOLE)
    ),
    "selectin_polymorphic": Load(lambda s: _(s.scalars(kinds), special), (*WHOLE, 4, 4), SPECIAL),
    "awaitable_attrs of a deferred column": Load(awaited, (*WHOLE, *SINGLES), LATES),
    "awaitable_attrs of a collection": Load(awaited_collections, (2, *FOURS)),
    "awaitable_attrs after commit": Load(awaited_after_commit, AGAIN),
    "AsyncSession.stream": Load(streamed_rows),
    "AsyncSession.stream_scalars": Load(streamed),
    "stream, yield_per": Load(streamed_by_four, FOURS),
    "stream, all": Load(streamed_whole),
    "stream, partitions": Load(streamed_partitions, FOURS),
    "stream, unique": Load(streamed_unique),
    "stream, freeze": Load(streamed_frozen),
}

CONNECTION = {
    "AsyncConnection.execute": Load(lambda c: _(c.execute(core), lambda r: r.scalars().all())),
    "AsyncConnection.scalars": Load(lambda c: _(c.scalars(core), list)),
    "AsyncConnection.scalar": Load(lambda c: c.scalar(core), WHOLE, IMAGES[0]),
    "AsyncConnection.execute, first": Load(
        lambda c: _(c.execute(core), lambda r: r.first()[0]), WHOLE, IMAGES[0]
    ),
    "AsyncConnection.execute, fetchone": Load(one_by_one),
    "AsyncConnection.execute, fetchmany": Load(many),
    "AsyncConnection.stream, fetchone": Load(streamed_one_by_one, (1, 5, 6)),
    "AsyncConnection.stream, fetchmany": Load(streamed_many, (5, 5, 2)),
    "AsyncConnection.stream, mappings": Load(streamed_mappings, (1, 5, 6)),
    "AsyncConnection.stream, first": Load(streamed_first, (1,), IMAGES[0]),
    "AsyncConnection.stream, yield_per": Load(streamed_core_by_four, (1, 4, 4, 3)),
    "AsyncConnection.stream, partitions": Load(streamed_core_partitions, FOURS),
}


async def _(awaitable, function):
    return function(await awaitable)
