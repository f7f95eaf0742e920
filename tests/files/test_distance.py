"""What a directory costs on a store that is far away: requests, and how many wait for others."""

import asyncio
import random
import threading

import pytest

from sqla_artifacts import fetching
from sqla_artifacts.digest import digest_of

from ..trees import listing
from .trees import KIB, LargeTree, distant_store, rot


@pytest.fixture
def distant(tmp_path, ten_thousand):
    """The store, and the tree of 10,000 members in it; nothing was asked yet."""
    store = distant_store(tmp_path)
    return store, ten_thousand.put(store)


def test_a_member_of_ten_thousand_costs_three_requests(distant, ten_thousand):
    store, run = distant
    for number, path in enumerate(random.Random(6).sample(sorted(ten_thousand.contents), 20)):
        assert run.open(path).read() == ten_thousand.contents[path]
        assert store.backend.requests.count <= 3 + 2 * number


def spread(tree, count):
    return random.Random(count).sample(sorted(tree.contents), count)


def test_two_hundred_members_take_three_round_trips(distant, ten_thousand, tmp_path):
    store, run = distant
    paths = spread(ten_thousand, 200)
    run.unpack(tmp_path / "first", members=paths)
    requests = store.backend.requests
    rounds = (1, requests.count - 1 - store.backend.reads, store.backend.reads)
    assert sum(rounds) < 2 * store.pool.concurrency
    requests.expect(*filter(None, rounds))
    run._manifest = None
    path = run.unpack(tmp_path / "second", members=paths)
    assert requests.met == tuple(filter(None, rounds))
    for name in paths:
        assert (path / name).read_bytes() == ten_thousand.contents[name]


def test_a_whole_tree_takes_two_round_trips(distant, ten_thousand, tmp_path):
    store, run = distant
    packs = len(ten_thousand.manifest.packs)
    assert packs > 1
    store.backend.requests.expect(1, packs)
    path = run.unpack(tmp_path / "to")
    assert store.backend.requests.met == (1, packs)
    files = {name.decode(): value[1] for name, value in listing(path).items() if value[1]}
    assert files == ten_thousand.contents


def test_a_few_members_are_fetched_without_the_pack(distant, ten_thousand, tmp_path):
    store, run = distant
    fetched = []
    original = store.backend._range

    def noted(key, start, length):
        data, size = original(key, start, length)
        fetched.append(len(data))
        return data, size

    store.backend._range = noted
    run.unpack(tmp_path / "to", members=["d0050", "d0090/f009001.bin"])
    assert sum(fetched) <= 100 * 4 * KIB + 2 * (2 * 256 * KIB)


def test_what_is_on_its_way_is_bounded(tmp_path, monkeypatch):
    run = LargeTree(500, 512 * KIB // 8).put(distant_store(tmp_path))
    monkeypatch.setattr("sqla_artifacts.transfer.LIMIT", 1)  # one pack at a time
    lock, running, most = threading.Lock(), 0, []
    original = fetching._opened

    def opened(*args, **options):
        nonlocal running
        with lock:
            running += 1
            most.append(running)
        try:
            return original(*args, **options)
        finally:
            with lock:
                running -= 1

    monkeypatch.setattr(fetching, "_opened", opened)
    run.unpack(tmp_path / "to")
    assert set(most) == {1}


def test_an_event_loop_goes_on_meanwhile(distant, ten_thousand, tmp_path):
    store, run = distant
    threads = set()
    original = store.backend.get

    def get(key):
        threads.add(threading.get_ident())
        return original(key)

    store.backend.get = get

    async def main():
        return await asyncio.gather(
            run.aunpack(tmp_path / "to", members="d0001/*"),
            (run / "d0002").aunpack(tmp_path / "to"),
        )

    part, directory = asyncio.run(main())
    assert len(list((part / "d0001").iterdir())) == len(list(directory.iterdir())) == 100
    assert threads
    assert threading.get_ident() not in threads


# -- damage --------------------------------------------------------------------------------------


def test_a_later_generation_is_found_for_a_member_and_for_a_part(distant, ten_thousand, tmp_path):
    store, run = distant
    packs = {part.digest: ten_thousand.blobs[part.digest] for part in ten_thousand.manifest.packs}
    for digest, data in packs.items():
        rot(store, digest, data)
        store.put([(store.stage.data(data), 1)])
    path = run.unpack(tmp_path / "to", members=["d0000"])
    for name in ("d0000/f000000.bin", "d0000/f000099.bin"):
        assert run.open(name).read() == (path / name).read_bytes() == ten_thousand.contents[name]


def test_a_cached_copy_that_rots_unseen_is_passed_over(tmp_path, ten_thousand):
    store = distant_store(tmp_path, cache=tmp_path / "cache")
    run = ten_thousand.put(store)
    name = "d0000/f000000.bin"
    with run.open(name) as stream:
        assert stream.read() == ten_thousand.contents[name]
    copy = next((tmp_path / "cache").rglob(run._manifest[1].place(name).digest))
    for read in (lambda: run.open(name).read(), lambda: part(run, tmp_path, name)):
        copy.write_bytes(bytes(copy.stat().st_size))
        assert read() == ten_thousand.contents[name]
        assert digest_of(copy.read_bytes(), "blake3") == copy.name


def part(run, tmp_path, name):
    return (run.unpack(tmp_path / "part", members=[name]) / name).read_bytes()
