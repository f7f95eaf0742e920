"""A cache stays as small as was said."""

import os
import time

from sqla_artifacts.cache.room import _lock

from ..programs.cache import DATA, DIGEST, EVERY_WAY, LARGEST, TEXT, copies, put, space


def fill(store, number, size=100_000):
    """Store and read some bytes of their own; return their digest."""
    text = put(store, number.to_bytes(4, "big") * (size // 4))
    store.get(text)
    return text[7:71]


def age(store, digest, seconds):
    """Have a copy been used last so long ago."""
    then = time.time() - seconds
    os.utime(copies(store.cache.path)[digest], (then, then))


def test_what_was_not_used_for_the_longest_time_makes_way(make_store):
    store = make_store(cache_size=450_000)
    digests = [fill(store, number) for number in range(4)]
    for number, digest in enumerate(digests):
        age(store, digest, 1000 - number)
    store.get(f"&:blob:{digests[0]}:100000:bytes")
    fill(store, 4)
    assert set(copies(store.cache.path)) & set(digests) == {digests[0], digests[3]}
    assert space(store.cache.path) <= 450_000


def test_it_is_never_larger_than_was_said(make_store):
    store = make_store(cache_size="300kB")
    for number in range(100):
        fill(store, number, 1000 * (number % 40))
        assert space(store.cache.path) <= 300_000
    assert space(store.cache.path) > 150_000


def test_a_directory_is_looked_through_only_when_it_is_full(make_store, monkeypatch):
    looks = []
    plain = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: looks.append(path) or plain(path))
    for number in range(50):
        fill(make_store(cache_size="100MB"), number)  # each one a process of its own, so to say
    looks = [path for path in looks if path.endswith("/sqla_artifacts/blobs")]
    assert len(looks) == 1  # when nobody knew its size


def test_a_lost_count_is_made_up_for(make_store):
    store = make_store(cache_size="300kB")
    for number in range(10):
        (store.cache.path / "sqla_artifacts").mkdir(parents=True, exist_ok=True)
        (store.cache.path / "sqla_artifacts" / "size").write_bytes(b"what?")
        fill(store, number)
        assert space(store.cache.path) <= 300_000


def test_what_is_larger_than_all_of_it_passes_by(make_store, caplog):
    store = make_store(cache_size=LARGEST - 1)
    put(store, DATA)
    kept = fill(store, 1)
    for read in EVERY_WAY:
        assert read(store, TEXT) == DATA
    assert list(copies(store.cache.path)) == [kept]
    assert caplog.records == []


def test_a_copy_that_is_open_can_make_way(make_store):
    store = make_store(cache_size=450_000)
    put(store, DATA)
    with store.open(TEXT) as stream:
        assert stream.read(5) == DATA[:5]
        for number in range(4):
            fill(store, number)
        assert DIGEST not in copies(store.cache.path)
        assert stream.read() == DATA[5:]


def test_a_copy_can_be_discarded(store):
    put(store, DATA)
    store.get(TEXT)
    assert store.cache.get(DIGEST, "blake3") == DATA
    store.cache.discard(DIGEST)
    store.cache.discard(DIGEST)
    assert (store.cache.get(DIGEST, "blake3"), copies(store.cache.path)) == (None, {})


def test_a_forked_child_does_not_go_on_holding_its_parents_lock(tmp_path):
    with open(tmp_path / "lock", "wb") as held, open(tmp_path / "lock", "wb") as other:
        with _lock(held.fileno()) as first, _lock(other.fileno()) as second:
            assert (first, second) == (True, False)
            read, write = os.pipe()
            child = os.fork()
            if not child:
                os.close(write)
                os.read(read, 1)  # until the parent has looked
                os._exit(0)
        with _lock(other.fileno()) as again:
            assert again
        os.close(write)
        os.close(read)
        os.waitpid(child, 0)
