"""Trees from a store that cannot be trusted: each is refused whole, and nothing is left of it."""

import os
from typing import Any, NamedTuple

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from sqla_artifacts.digest import digest_of
from sqla_artifacts.errors import (
    BlobCorruptedError,
    BlobNotFoundError,
    InvalidTreeError,
    InvalidValueError,
)
from sqla_artifacts.location import key_of
from sqla_artifacts.reference import Reference
from sqla_artifacts.tree import HEADER, parse_manifest
from tests.models import set_up
from tests.test_tree import EMPTY, ENDS, HOSTILE, MIB, STAYS

ROOT = "d 755 .\n"

# What tests.test_tree does not have.
MORE = {
    "byte order mark": "\ufeff" + HEADER + ROOT,
    "UTF-16": (HEADER + ROOT).encode("utf-16"),
    "zeros": bytes(1000),
    "JSON": b'{"sqla_artifacts tree": 1}',
    "a zip file": b"PK\x03\x04" + bytes(100),
    "header alone": HEADER.strip().encode(),
    "header with a carriage return": HEADER.replace("\n", "\r\n").encode() + ROOT.encode(),
    "header twice": HEADER.encode() + HEADER.encode() + ROOT.encode(),
    "space in front": " d 755 a\n",
    "two spaces": "d 755  a\n",
    "tabs": "d\t755\ta\n",
    "space at the end": "d 755 a \n",
    "capital kind": "D 755 a\n",
    "comment": "# nothing\n",
    "form feed": "\fd 755 a\n",
    "hard link": "h a b\n",
    "socket": "s 755 a\n",
    "owner": "d 755 0 0 a\n",
    "file without size": f"f 644 {STAYS} a\n",
    "file without digest": "f 644 5 a\n",
    "file without path": f"f 644 0 {EMPTY}\n",
    "link without path": "l a\n",
    "hexadecimal size": f"f 644 0x5 {STAYS} a\np 5 {STAYS}\n",
    "size with an underscore": f"f 644 1_0 {STAYS} a\np 10 {STAYS}\n",
    "size with a point": f"f 644 5.0 {STAYS} a\np 5 {STAYS}\n",
    "size of twenty digits": f"f 644 {'9' * 20} {STAYS} a\n",
    "mode of letters": "d rwx a\n",
    "mode with a prefix": "d 0o755 a\n",
    "negative mode": "d -755 a\n",
    "mode of two zeros": "d 00 a\n",
    "digest of other letters": f"f 644 {MIB} {'g' * 64} a\n",
    "long digest": f"f 644 {MIB} {STAYS}f a\n",
    "path as digest": f"f 644 {MIB} {'../' * 21}a a\n",
    "escape at the end": "d 755 a%\n",
    "escape of an escape that is none": "d 755 %2\n",
    "encoded new line in a number": "d 75%0A5 a\n",
    "capitals after small letters": "d 755 a\nd 755 A\n",
    "unsorted bytes": "d 755 %FF\nd 755 a\n",
    "a member before its directory": f"f 644 0 {EMPTY} a/b\nd 755 a\n",
    "long path": "".join(f"d 755 {'/'.join(['d' * 255] * n)}\n" for n in range(1, 18)),
    "encoded link": "l %61 b\n",
    "small escape in a link": "l %c3%a4 b\n",
    "link with a slash at the end": "l a/ b\n",
    "link with a dot at the end": "l a/. b\n",
    "link with two slashes": "l //a b\n",
    "encoded absolute link": "l %2Fetc a\n",
    "encoded parent link": "l %2E%2E/b a\n",
    "link up and down and up": "d 755 a\nd 755 a/b\nl ../c/../../d a/b/l\n",
    "link to the parent from below": "d 755 a\nd 755 a/b\nl ../../.. a/b/c\n",
    "pack of nine digits": f"f 644 5 {STAYS} a\np 100000005 {STAYS}\n",
    "pack twice": f"f 644 5 {STAYS} a\np 5 {STAYS}\np 5 {STAYS}\n",
    "packs in another order": f"f 644 5 {ENDS} a\nf 644 6 {STAYS} b\np 6 {STAYS}\np 5 {ENDS}\n",
    "pack with a name": f"f 644 5 {STAYS} a\np 5 {STAYS} a\n",
    "part of a pack": f"f 644 5 {STAYS} a\nf 644 5 {STAYS} b\np 5 {STAYS}\n",
}
KINDS = HOSTILE | MORE


def as_bytes(manifest):
    """A manifest of the tables, which leave out its header if it is as it should be."""
    if isinstance(manifest, bytes):
        return manifest
    whole = manifest if manifest.startswith(("sqla", "\ufeff")) or not manifest else ""
    return (whole or HEADER + ROOT + manifest).encode()


def blob(data):
    return digest_of(data, "blake3"), data


class Lie(NamedTuple):
    """A manifest that can be parsed, the blobs that the store has, and what is to be raised."""

    lines: str
    blobs: list[Any]
    error: type[Exception]


HELLO, LARGE, WORLD = blob(b"hello"), blob(bytes(MIB)), blob(b"world")
PACK = blob(b"helloworld")
TWO = f"f 644 5 {HELLO[0]} a\nf 644 5 {WORLD[0]} b\np 10 {PACK[0]}\n"
LIES = {
    "large file that is larger": Lie(f"f 644 {MIB + 1} {LARGE[0]} a\n", [LARGE], InvalidTreeError),
    "large file that is huge": Lie(f"f 644 {1 << 60} {HELLO[0]} a\n", [HELLO], InvalidTreeError),
    "packed file that is larger": Lie(
        f"f 644 6 {HELLO[0]} a\np 6 {HELLO[0]}\n", [HELLO], InvalidTreeError
    ),
    "packed file that is smaller": Lie(
        f"f 644 4 {HELLO[0]} a\np 4 {HELLO[0]}\n", [HELLO], BlobCorruptedError
    ),
    "pack that is not there": Lie(TWO, [], BlobNotFoundError),
    "large file that is not there": Lie(f"f 644 {MIB} {LARGE[0]} a\n", [], BlobNotFoundError),
    "pack of other bytes": Lie(TWO, [(PACK[0], b"helloWorld")], BlobCorruptedError),
    "pack of the files in another order": Lie(TWO, [(PACK[0], b"worldhello")], BlobCorruptedError),
    "pack that is cut off": Lie(TWO, [(PACK[0], b"hellowor")], BlobCorruptedError),
    "pack that is empty": Lie(TWO, [(PACK[0], b"")], BlobCorruptedError),
    "large file of other bytes": Lie(
        f"f 644 {MIB} {LARGE[0]} a\n", [(LARGE[0], b"x" * MIB)], BlobCorruptedError
    ),
    "large file that is cut off": Lie(
        f"f 644 {MIB} {LARGE[0]} a\n", [(LARGE[0], bytes(MIB - 1))], BlobCorruptedError
    ),
    "large file that is a pack": Lie(
        f"f 644 {MIB} {PACK[0]} a\nf 644 5 {HELLO[0]} b\np 5 {HELLO[0]}\n",
        [PACK, HELLO],
        InvalidTreeError,
    ),
    "empty file of another algorithm": Lie(
        f"f 644 0 {digest_of(b'', 'sha256')} a\n", [], BlobCorruptedError
    ),
}


class Scene:
    """A row that names a tree, in a store to which somebody else has written."""

    def __init__(self, engine, directory):
        self.sample, self.store = set_up(engine, directory)
        self.session = Session(engine)
        self.session.add(self.sample(run=("a", b"x")))
        self.session.commit()
        self.target = directory / "target"

    def plant(self, manifest, blobs=()):
        """Put a tree into the store and its reference into the row; return what is read."""
        digest, data = blob(manifest)
        for name, content in ((digest, data), *blobs):
            self.store.backend.create(key_of(name), content)
        reference = str(Reference("tree", digest, 10, "tree"))
        self.session.execute(text("UPDATE sample SET run = :run"), {"run": reference})
        return self.session.scalars(select(self.sample.run)).one()

    def remove(self, blobs):
        for name, _ in blobs:
            self.store.backend.delete(key_of(name))

    def left(self):
        """What there is where trees are unpacked, but for the directories that hold them."""
        found = [*self.target.glob("*"), *self.store.checkouts.glob("*/*")]
        return sorted(path.name for path in found)


@pytest.fixture
def scene(engine, tmp_path):
    scene = Scene(engine, tmp_path)
    with scene.session:
        yield scene


def refusal(call, *arguments):
    """The error that a call raises, as its type and whether it names the column."""
    try:
        call(*arguments)
    except Exception as error:  # noqa: BLE001 (it is compared)
        return type(error), str(error).startswith("sample.run: ")
    return "accepted"


def test_there_are_more_than_a_hundred_kinds():
    assert not HOSTILE.keys() & MORE.keys()
    manifests = [as_bytes(manifest) for manifest in KINDS.values()]
    assert len(set(manifests)) == len(manifests) > 100


@pytest.mark.parametrize("case", MORE)
def test_what_is_no_manifest_is_refused(case):
    with pytest.raises(InvalidTreeError, match="manifest"):
        parse_manifest(as_bytes(MORE[case]))


def test_hostile_manifests_are_refused_whole(scene):
    outcomes = {}
    for case, manifest in KINDS.items():
        stored = scene.plant(as_bytes(manifest))
        refusals = {
            refusal(stored.unpack, scene.target),
            refusal(stored.unpack),
            refusal(os.fspath, stored),
            refusal(lambda each: each.members, stored),
            refusal(stored.open, "a"),
        }
        outcomes[case] = refusals, scene.left()
    assert outcomes == {case: ({(InvalidTreeError, True)}, []) for case in KINDS}


def test_what_a_manifest_says_of_its_blobs_is_not_believed(scene):
    outcomes, expected = {}, {}
    for case, lie in LIES.items():
        stored = scene.plant(as_bytes(lie.lines), lie.blobs)
        assert stored.members
        refusals = {refusal(stored.unpack, scene.target), refusal(stored.unpack)}
        outcomes[case] = refusals, scene.left()
        expected[case] = {(lie.error, True)}, []
        scene.remove(lie.blobs)
    assert outcomes == expected


def test_the_tree_of_the_lies_is_unpacked_if_it_is_true(scene):
    stored = scene.plant(as_bytes(TWO), [PACK])
    assert (stored.unpack(scene.target) / "b").read_bytes() == b"world"
    assert scene.left() == ["tree"]


def test_a_name_that_cannot_be_is_refused_before_anything_is_stored(scene):
    before = list(scene.store.backend.list(""))
    for name in ("\ud800", "a\0", "..", "a/b", "x" * 256):
        scene.session.add(scene.sample(run=(name, b"new")))
        with pytest.raises(InvalidValueError, match=r"^sample\.run: .* is no name for a file"):
            scene.session.flush()
        scene.session.rollback()
    assert list(scene.store.backend.list("")) == before
