"""Manifests that are right, nearly right and hostile, and what must hold of each."""

import errno
import functools
import os
from typing import NamedTuple

from sqla_artifacts.digest import digest_of
from sqla_artifacts.errors import InvalidTreeError
from sqla_artifacts.member import Member, encode, plan_packs, sort_key
from sqla_artifacts.selection import selection
from sqla_artifacts.tree import HEADER, Manifest, Part, parse_manifest
from tests.test_tree import HOSTILE as REFUSED
from tests.test_tree import leaves

from . import names
from .trials import attempt, chance_of, mutated

EMPTY = digest_of(b"", "blake3")
CONTENTS = {
    digest_of(data, "blake3"): data
    for data in (b"x", b"yy", b"hello", b"#!/bin/sh\n", bytes(1000), os.fsencode("ä") * 50)
}
LARGE = {digest_of(data, "blake3"): data for data in (bytes(1 << 20), b"z" * ((1 << 20) + 1))}
HEADER_BYTES = HEADER.encode()
HOSTILE = tuple(
    text if text.startswith(HEADER_BYTES) or not text else HEADER_BYTES + b"d 755 .\n" + text
    for text in (text.encode() if isinstance(text, str) else text for text in REFUSED.values())
)
NAMES = (*names.HONEST, *(name for name in names.HOSTILE if names.can_be_encoded(name)))
COMPONENTS = (*("a", "b", "c", "d"), *("a", "b", "c", "d"), "a.b", "%", " ", "ä", "\udcff", "...")
PIECES = tuple(
    piece.encode()
    for piece in (
        *("", "\n", " ", "/", ".", "..", "../", "/..", "./", "//", "%", "%2F", "%2E%2E", "%00"),
        *("%0A", "%41", "%c3", "%FF", "\0", "\r", "\t", "ä", "0", "7", "00", "-", "+", "755 "),
        *("d 755 a\n", "d 755 ..\n", "l .. a\n", "l /etc a\n", "l a b\n", "l ../a a/b\n"),
        *(f"f 644 0 {EMPTY} a\n", f"f 644 1 {EMPTY} a\n", f"p 1 {EMPTY}\n", HEADER, EMPTY),
        *(f"{digest}" for digest in CONTENTS),
    )
)


class Tree(NamedTuple):
    """A manifest's bytes, and the blobs that it may need."""

    data: bytes
    blobs: dict[str, bytes]


def tree_of(members):
    """The tree of these members, whatever they are, in the order that a manifest has."""
    root = Member(".", "directory", 0o755)
    members = (root, *sorted(members, key=lambda m: sort_key(encode(m.path))))
    blobs, packs = {}, []
    for pack in plan_packs(members):
        data = b"".join(CONTENTS.get(member.digest, b"?") for member in pack)
        digest = digest_of(data, "blake3")
        blobs[digest] = data
        packs.append(Part(digest, sum(member.size for member in pack)))
    return Tree(Manifest(members, tuple(packs)).format(), blobs)


def a_file(path, chance):
    digest, data = chance.choice((*(LARGE if chance.random() < 0.03 else CONTENTS).items(),))
    if chance.random() < 0.2:
        digest, data = EMPTY, b""
    return Member(path, "file", chance.randrange(0o1000), len(data), digest)


def a_link(path, chance):
    up = [".."] * chance.randrange(path.count("/") + 1)
    down = chance.choices(COMPONENTS, k=chance.randrange(3))
    return Member(path, "symlink", target="/".join([*up, *down]) or "b")


def a_tree(chance):
    """The members of a tree, but for its root."""
    found, homes = {}, [""]
    for _ in range(chance.randrange(8)):
        path = chance.choice(homes) + chance.choice(COMPONENTS)
        if path in found:
            continue
        kind = chance.randrange(3)
        if kind == 0:
            found[path] = Member(path, "directory", chance.randrange(0o1000))
            homes.append(f"{path}/")
        else:
            found[path] = (a_file if kind == 1 else a_link)(path, chance)
    return tuple(found.values())


@functools.cache
def trees(seed):
    """Some trees to begin with."""
    chance = chance_of(seed, -1)
    return [members for members in (a_tree(chance) for _ in range(600)) if members]


def distorted(members, chance):
    """Members of which one is another: hostile, or just as good."""
    at = chance.randrange(len(members))
    member = members[at]
    parent = member.path.rpartition("/")[0]
    another = chance.choice(members).path
    name = chance.choice((*COMPONENTS, *COMPONENTS, *NAMES))
    path = chance.choice(
        (member.path, f"{parent}/{name}" if parent else name, f"{another}/{name}", another, name)
    )
    target = chance.choice(
        (another, f"../{another}", "../" * 9 + name, f"/{name}", f"{another}/../../{name}", ".", "")
    )
    size = chance.choice((member.size + 1, member.size - 1, 0, 1 << 20, 1 << 40, 1 << 62))
    changed = (
        member._replace(path=path),
        member._replace(mode=chance.choice((0, 0o777, 0o1000, 0o4755, chance.randrange(0o1000)))),
        Member(path, "symlink", target=target),
        Member(path, "symlink", target=target),
        a_link(path, chance),
        a_file(path, chance),
        Member(path, "directory", 0o700),
    )
    if member.kind == "file":
        digest = chance.choice((*CONTENTS, *LARGE, EMPTY))
        changed += (member._replace(size=size), member._replace(digest=digest))
    new = chance.choice(changed)
    keep = chance.random() < 0.3
    return (*members[: at + keep], new, *members[at + 1 :])


def with_lines_moved(data, chance):
    lines = data.splitlines(keepends=True)
    at, to = chance.randrange(len(lines)), chance.randrange(len(lines))
    how = chance.randrange(4)
    if how == 0:
        lines[at], lines[to] = lines[to], lines[at]
    elif how == 1:
        lines.insert(to, lines[at])
    elif how == 2:
        del lines[at]
    else:
        lines.insert(to, chance.choice(PIECES))
    return b"".join(lines)


def case(chance, seed):
    """(a tree, whether it is one as it stands, which is not known of what is changed)."""
    how = chance.random()
    members = chance.choice(trees(seed))
    if how < 0.02:
        return Tree(b"".join(chance.choices(PIECES, k=chance.randrange(12))), {}), None
    if how < 0.12:
        base = chance.choice(HOSTILE)
        return Tree(mutated(base, PIECES, chance) if how < 0.1 else base, {}), None
    if how < 0.16:
        return tree_of(members), True
    if how < 0.6:
        for _ in range(chance.choice((1, 1, 2, 3))):
            members = distorted(members, chance)
        return tree_of(members), None
    tree = tree_of(members)
    data = tree.data
    changed = with_lines_moved(data, chance) if how < 0.75 else mutated(data, PIECES, chance)
    return tree._replace(data=changed), None


def check(tree, is_legal, chance):
    """Parse a manifest, and return what it is if it is one."""
    found = attempt(parse_manifest, tree.data, InvalidTreeError)
    if found is None:
        assert not is_legal, tree.data
        return None
    assert found.format() == tree.data
    assert_it_stays_inside(found)
    assert_everything_is_found(found)
    check_a_part(found, chance)
    return found


def assert_it_stays_inside(manifest):
    """No path leads out, as it stands or by the links of the tree."""
    directories = {""}
    for member in manifest.members[1:]:
        parent = member.path.rpartition("/")[0]
        assert parent in directories, member
        assert not any(name in {"", ".", ".."} for name in member.path.split("/")), member
        assert "\0" not in member.path + member.target
        if member.kind == "directory":
            directories.add(member.path)
        elif member.kind == "symlink":
            assert not member.target.startswith("/"), member
            assert not leaves(manifest, member.path), member
            assert not leaves(manifest, f"{member.path}/a/b"), member


def assert_everything_is_found(manifest):
    """Every file lies within a part; a path that leads nowhere is an error of the right kind."""
    sizes = {part.digest: part.size for part in manifest.parts}
    for member in manifest.members:
        try:
            place = manifest.place(member.path)
        except OSError as error:
            assert error.errno in {errno.EISDIR, errno.ENOENT, errno.ELOOP, errno.ENOTDIR}  # noqa: PT017 (of many kinds)
            assert member.kind != "file"
            continue
        if place is not None:
            assert place.offset + place.size <= sizes[place.digest]


def check_a_part(manifest, chance):
    """Select a part of a tree, as it is unpacked by itself: it stays inside, too."""
    paths = [member.path for member in manifest.members]
    wanted = chance.choices(
        (*paths, *COMPONENTS, "a/b", "../a", "a/../b", "..", "/a", *"......"), k=2
    )
    try:
        found = selection(manifest, wanted, chance.choice(paths))
    except (OSError, InvalidTreeError):
        return
    part = Manifest(tuple(found.values()), ())
    assert part.members[0].path == "."
    assert_it_stays_inside(part)


def expected(manifest, blobs):
    """What `tests.trees.listing` shows of a manifest's tree, if the blobs are what it says."""
    found = {}
    for member in manifest.members:
        path = os.fsencode(member.path)
        if member.kind == "symlink":
            found[path] = os.fsencode(member.target)
        elif member.kind == "directory":
            found[path] = member.mode, None
        else:
            place = manifest.place(member.path)
            data = b"" if place is None else blobs[place.digest][place.offset :][: place.size]
            assert len(data) == member.size, member
            found[path] = member.mode, data
    return found
