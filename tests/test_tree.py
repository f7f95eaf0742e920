import hashlib
import itertools
import random
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqla_artifacts.digest import digest_of
from sqla_artifacts.errors import InvalidTreeError, UnpackError
from sqla_artifacts.member import PACK_MAX, Member, check_portable, check_target, decode, plan_packs
from sqla_artifacts.tree import HEADER, Manifest, Part, Place, parse_manifest

MIB = 1 << 20
EMPTY = digest_of(b"", "blake3")
# As numbers these are below and above what ends a pack after a small file.
ENDS = "0000000000000000" * 4
STAYS = "ffffffffffffffff" * 4


def digest_for(*identity):
    return hashlib.sha256(repr(identity).encode()).hexdigest()


def manifest_of(*members):
    """The manifest of these members, with packs of no particular content."""
    members = (Member(".", "directory", 0o755), *members)
    packs = [
        Part(pack[0].digest if len(pack) == 1 else digest_for(pack), sum(m.size for m in pack))
        for pack in plan_packs(members)
    ]
    return Manifest(members, tuple(packs))


def file(path, size=5, digest=None):
    return Member(path, "file", 0o644, size, digest or (digest_for(path) if size else EMPTY))


def names(longest=255):
    legal = st.binary(min_size=1, max_size=longest).map(
        lambda raw: raw.replace(b"/", b"%").replace(b"\0", b"\n")
    )
    return st.sampled_from([b"a", b"a.", b"a-b", b"A", b"...", b"-x", b" ", b"%2F", b"\xff"]) | (
        legal.filter(lambda raw: raw not in {b".", b".."})
    )


# A tree as (kind, ...) with a directory's members in a dict.
MODES = st.integers(0, 0o777)
SIZES = st.one_of(
    st.integers(0, 2), st.integers(MIB - 2, MIB + 2), st.integers(1, MIB), st.integers(0, 1 << 50)
)
FILES = st.tuples(st.just("file"), MODES, SIZES, st.integers(0, 3))
LINKS = st.tuples(st.just("symlink"), st.integers(0, 4), st.lists(names(20), max_size=4))
DIRECTORIES = st.recursive(
    st.tuples(st.just("directory"), MODES, st.just({})),
    lambda below: st.tuples(
        st.just("directory"), MODES, st.dictionaries(names(), FILES | LINKS | below, max_size=6)
    ),
    max_leaves=10,
)


def flatten(node, path=()):
    kind, first, second, *rest = node
    shown = decode(b"/".join(path)) or "."
    if kind == "directory":
        yield Member(shown, kind, first)
        for name in sorted(second):
            yield from flatten(second[name], (*path, name))
    elif kind == "file":
        digest = digest_for(second, *rest) if second else EMPTY
        yield Member(shown, kind, first, second, digest)
    else:
        target = [b".."] * min(first, len(path) - 1) + second
        yield Member(shown, kind, target=decode(b"/".join(target or [b"x"])))


TREES = DIRECTORIES.map(lambda node: manifest_of(*itertools.islice(flatten(node), 1, None)))


# -- the format ----------------------------------------------------------------------------


@given(TREES)
def test_a_manifest_reads_as_what_was_written(tree):
    data = tree.format()
    assert data.isascii()
    assert parse_manifest(data) == tree
    assert parse_manifest(data).format() == data


@given(TREES, st.data())
def test_bytes_are_a_manifest_in_one_way_or_not_at_all(tree, data):
    raw = bytearray(tree.format())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw)))
        change = data.draw(st.sampled_from(["insert", "delete", "replace", "swap lines", "double"]))
        if change == "insert":
            raw[at:at] = data.draw(st.binary(min_size=1, max_size=3))
        elif change == "delete":
            del raw[at : at + data.draw(st.integers(1, 80))]
        elif change == "replace":
            raw[at : at + 1] = data.draw(st.sampled_from([b"0", b"/", b".", b" ", b"%", b"\n"]))
        else:
            lines = raw.splitlines(keepends=True)
            some = st.integers(0, max(0, len(lines) - 1))
            if lines and change == "double":
                lines.insert(data.draw(some), lines[data.draw(some)])
            elif lines:
                i, j = data.draw(some), data.draw(some)
                lines[i], lines[j] = lines[j], lines[i]
            raw = bytearray(b"".join(lines))
    changed = bytes(raw)
    try:
        parsed = parse_manifest(changed)
    except InvalidTreeError:
        pass
    else:
        assert parsed.format() == changed


@given(st.binary())
def test_random_bytes_are_refused(data):
    for hostile in (data, HEADER.encode() + data, HEADER.encode() + b"d 755 .\n" + data):
        try:
            parsed = parse_manifest(hostile)
        except InvalidTreeError:
            continue
        assert parsed.format() == hostile


HOSTILE = {
    "nothing": b"",
    "another version": b"sqla_artifacts tree 2\nd 755 .\n",
    "no members": HEADER,
    "no root": f"{HEADER}f 644 0 {EMPTY} a\n",
    "root is a file": f"{HEADER}f 644 0 {EMPTY} .\n",
    "root twice": "d 755 .\n",
    "root is a link": f"{HEADER}l a .\n",
    "no end of line": "d 755 a",
    "two ends of line": "d 755 a\n\n",
    "carriage return": "d 755 a\r\n",
    "not ASCII": "d 755 ä\n",
    "not UTF-8": HEADER.encode() + b"d 755 .\nd 755 \xff\n",
    "NUL": "d 755 a\0\n",
    "unknown kind": "c 755 a\n",
    "a device": "b 644 8:0 sda\n",
    "absolute": f"f 644 0 {EMPTY} /etc/passwd\n",
    "absolute directory": "d 755 /etc\n",
    "parent": f"f 644 0 {EMPTY} ../x\n",
    "parent itself": "d 755 ..\n",
    "parent inside": "d 755 a\nd 755 a/..\n",
    "dot inside": "d 755 a\nd 755 a/.\n",
    "dot in front": "d 755 ./a\n",
    "dot in front below a directory": "d 755 -\nd 755 ./a\n",
    "empty component": "d 755 a\nd 755 a//b\n",
    "slash at the end": "d 755 a/\n",
    "empty path": "d 755 \n",
    "encoded slash": "d 755 a%2Fb\n",
    "encoded NUL": "d 755 a%00b\n",
    "encoded dots": "d 755 %2E%2E\n",
    "encoded letter": "d 755 %61\n",
    "lower-case encoding": "d 755 a%c3%a4\n",
    "half an encoding": "d 755 a%2\n",
    "not an encoding": "d 755 a%zz\n",
    "plus": "d 755 a+b\n",
    "space": "d 755 a b\n",
    "long name": f"d 755 {'a' * 256}\n",
    "long encoded name": f"d 755 {'%20' * 256}\n",
    "twice": "d 755 a\nd 755 a\n",
    "twice in two kinds": "d 755 a\nl b a\n",
    "out of order": "d 755 b\nd 755 a\n",
    "out of order by components": "d 755 a\nd 755 a-b\nd 755 a/c\n",
    "below a file": f"f 644 0 {EMPTY} a\nd 755 a/b\n",
    "below a link": "d 755 a\nl a b\nd 755 b/c\n",
    "below nothing": "d 755 a/b\n",
    "mode of four digits": "d 1755 a\n",
    "mode with a zero": "d 0755 a\n",
    "mode with an eight": "d 758 a\n",
    "no mode": "d a\n",
    "size with a zero": f"f 644 01 {STAYS} a\np 1 {STAYS}\n",
    "negative size": f"f 644 -1 {STAYS} a\n",
    "size with a sign": f"f 644 +1 {STAYS} a\np 1 {STAYS}\n",
    "huge size": f"f 644 {1 << 63} {STAYS} a\n",
    "huge sizes": f"f 644 {1 << 62} {STAYS} a\nf 644 {1 << 62} {STAYS} b\n",
    "short digest": f"f 644 {MIB} {STAYS[1:]} a\n",
    "capital digest": f"f 644 {MIB} {STAYS.upper()} a\n",
    "empty file of another digest": f"f 644 0 {STAYS} a\n",
    "missing pack": f"f 644 5 {STAYS} a\n",
    "pack of nothing": f"p 5 {STAYS}\n",
    "empty pack": f"p 0 {EMPTY}\n",
    "pack of another size": f"f 644 5 {STAYS} a\np 6 {STAYS}\n",
    "pack of a large file": f"f 644 {MIB} {STAYS} a\np {MIB} {STAYS}\n",
    "pack of one file with another digest": f"f 644 5 {STAYS} a\np 5 {ENDS}\n",
    "two packs for one": f"f 644 5 {STAYS} a\nf 644 5 {STAYS} b\np 5 {STAYS}\np 5 {STAYS}\n",
    "one pack for two": f"f 644 5 {ENDS} a\nf 644 5 {ENDS} b\np 10 {STAYS}\n",
    "pack before a member": f"f 644 5 {STAYS} a\np 5 {STAYS}\nd 755 b\n",
    "one digest with two sizes": f"f 644 {MIB} {STAYS} a\nf 644 {MIB + 1} {STAYS} b\n",
    "absolute link": "l /etc/passwd a\n",
    "link to the root of the file system": "l / a\n",
    "link without target": "l  a\n",
    "link to the parent": "l .. a\n",
    "link past the root": "d 755 a\nl ../../b a/c\n",
    "link with a later parent": "d 755 a\nl a/../../b c\n",
    "link with a hidden parent": "d 755 a\nl a/%2E%2E/b c\n",
    "link to itself as directory": "l . a\n",
    "link with an empty component": "l a//b c\n",
    "link with a NUL": "l a%00 c\n",
    "long link": f"l {'a/' * 2100}b c\n",
    "chain of links": ("l p/q/r/b/../x c\nd 755 p\nd 755 p/q\nd 755 p/q/r\nl ../../.. p/q/r/b\n"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_manifests_are_refused(case):
    text = HOSTILE[case]
    if isinstance(text, str):
        text = text.encode()
        if not text.startswith(b"sqla"):
            text = f"{HEADER}d 755 .\n".encode() + text
    with pytest.raises(InvalidTreeError):
        parse_manifest(text)


def test_the_error_names_the_line():
    with pytest.raises(InvalidTreeError, match=r"line 4 of the manifest: 'x/y' is in no directory"):
        parse_manifest(f"{HEADER}d 755 .\nd 755 a\nd 755 x/y\n".encode())


@pytest.mark.parametrize(
    "line",
    [
        "d 755 " + "a/" * MIB + "b\n",
        "d 755 " + "%20" * MIB + "\n",
        "d 755 " + "a%20" * MIB,
        "l " + "../" * MIB + "b a\n",
        "l " + "a" * MIB,
        "f 644 " + "9" * MIB,
        "f 644 5 " + "0" * MIB,
        "d 755" + " " * MIB,
        "p " + "1" * MIB,
        "d 755 a\n" * (MIB // 8),
        "\n" * MIB,
    ],
    ids=itertools.count(),
)
def test_megabytes_of_hostile_text_are_refused_in_no_time(line):
    # Were the work quadratic, this would take minutes.
    with pytest.raises(InvalidTreeError) as caught:
        parse_manifest(f"{HEADER}d 755 .\n{line}".encode())
    assert len(str(caught.value)) < 1000


def test_every_byte_is_written_in_one_way():
    for byte in range(256):
        literal, encoded = chr(byte), f"%{byte:02X}"
        names = [f"x{literal}x", f"x{encoded}x", f"x{encoded.lower()}x"]
        accepted = set()
        for name in names:
            try:
                parse_manifest(f"{HEADER}d 755 .\nd 755 x\nd 755 {name}\n".encode())
                accepted.add(name)
            except InvalidTreeError:
                pass
        if literal in "/\0":
            # A slash parts the name, and that is a path of its own.
            assert accepted <= {"x/x"}
        elif byte < 128 and (literal.isalnum() or literal in "-._~"):
            assert accepted == {f"x{literal}x"}
        else:
            assert accepted == {f"x{encoded}x"}


def test_a_member_takes_little_memory():
    members = [file(f"a directory/file {i:06}.txt", 4096) for i in range(20_000)]
    data = manifest_of(Member("a directory", "directory", 0o755), *members).format()
    tracemalloc.start()
    try:
        manifest = parse_manifest(data)
        used, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(manifest.members) == 20_002
    # So 100,000 members take less than 60 MB, while they are parsed, too.
    assert used < most < 600 * len(manifest.members)


def test_what_is_legal_on_posix_is_legal():
    raw = [b"\n", b" ", b"%", b"-rf", b".hidden", b":", b"C:\\x", b"\xff\xfe", b"~", "ä".encode()]
    tree = manifest_of(*(file(decode(name), 0) for name in sorted([*raw, b"x" * 255])))
    assert parse_manifest(tree.format()) == tree


def test_paths_are_as_long_as_on_linux():
    paths = ["/".join(["d" * 255] * depth) for depth in range(1, 17)]
    directories = [Member(path, "directory", 0o755) for path in paths[:15]]
    assert parse_manifest(manifest_of(*directories).format())
    longest = file(f"{paths[14]}/{'e' * 255}", 0)
    assert len(longest.path) == 4095
    assert parse_manifest(manifest_of(*directories, longest).format())
    with pytest.raises(InvalidTreeError, match="longer than 4095"):
        parse_manifest(
            manifest_of(
                *directories, Member(paths[15], "directory"), file(f"{paths[15]}/f", 0)
            ).format()
        )


# -- links ---------------------------------------------------------------------------------


def leaves(tree, path, most=200):
    """Whether the file system's way of resolving a path ever stands above the tree's root."""
    targets = {m.path: m.target for m in tree.members if m.kind == "symlink"}
    todo, here = path.split("/")[::-1], []
    while todo and most:
        most -= 1
        name = todo.pop()
        if name == "..":
            if not here:
                return True
            here.pop()
        elif (path := "/".join([*here, name])) in targets:
            todo.extend(targets[path].split("/")[::-1])
        else:
            here.append(name)
    return False


# Few names, so that links meet each other.
SHORT = st.sampled_from([b"a", b"b", b"c"])
KNOTS = st.recursive(
    st.tuples(st.just("symlink"), st.integers(0, 4), st.lists(SHORT, max_size=4)),
    lambda below: st.tuples(
        st.just("directory"), st.just(0o755), st.dictionaries(SHORT, below, max_size=3)
    ),
    max_leaves=12,
).filter(lambda node: node[0] == "directory")


@given(KNOTS, st.lists(st.sampled_from("abc"), min_size=1, max_size=8))
def test_no_chain_of_links_leaves_the_tree(node, path):
    tree = manifest_of(*itertools.islice(flatten(node), 1, None))
    assert parse_manifest(tree.format()) == tree
    assert not leaves(tree, "/".join(path))


def test_the_chain_that_a_later_parent_would_allow_leaves_the_tree():
    # Why `..` may only come first: every target here looks as if it stayed inside.
    tree = manifest_of(
        Member("c", "symlink", target="p/q/r/b/../x"),
        Member("p", "directory"),
        Member("p/q", "directory"),
        Member("p/q/r", "directory"),
        Member("p/q/r/b", "symlink", target="../../.."),
    )
    assert leaves(tree, "c")
    check_target(b"../../..", 3)
    with pytest.raises(InvalidTreeError, match="out of the tree"):
        check_target(b"p/q/r/b/../x", 0)


def test_the_error_says_that_a_link_leads_out():
    for target in (b"/etc/passwd", b"../..", b"a/../.."):
        with pytest.raises(InvalidTreeError, match="may lead out of the tree"):
            check_target(target, 1)


# -- packs ---------------------------------------------------------------------------------


def test_packs_end_by_content_or_at_64_mib():
    members = [
        file("a", 1000, STAYS),
        file("b", 1, ENDS),
        file("c", MIB, ENDS),
        file("d", MIB - 1, STAYS),
        file("e", 0),
        *(file(f"f{i:02}", MIB - 1, STAYS) for i in range(64)),
        file("g", 65, STAYS),
    ]
    packs = [[m.path for m in pack] for pack in plan_packs(members)]
    # 64 files of 1 MiB - 1 leave 64 bytes.
    assert packs == [["a", "b"], ["d", *(f"f{i:02}" for i in range(63))], ["f63", "g"]]
    tree = manifest_of(*members)
    assert [pack.size for pack in tree.packs] == [1001, PACK_MAX - 64, MIB + 64]
    assert [part.size for part in tree.parts] == [1001, PACK_MAX - 64, MIB + 64, MIB]
    assert tree.size == sum(m.size for m in members) == 1001 + MIB + 65 * (MIB - 1) + 65


def test_a_pack_is_full_at_64_mib():
    members = [file(f"{i:03}", MIB // 2, STAYS) for i in range(129)]
    assert [len(pack) for pack in plan_packs(members)] == [128, 1]


def test_packs_end_where_the_digest_says_so():
    for size in (1, 100, 4096, MIB - 1):
        # 2**64 * size / 16 MiB, as 16 hexadecimal digits
        limit = 2**64 * size // (16 * MIB)
        below, at = (f"{number:016x}".ljust(64, "0") for number in (limit - 1, limit))
        assert len(list(plan_packs([file("a", size, below), file("b")]))) == 2
        assert len(list(plan_packs([file("a", size, at), file("b")]))) == 1


def test_packs_are_16_mib_on_average():
    chance = random.Random(7)
    members = [file(f"{i:05}", chance.randrange(1, MIB)) for i in range(20_000)]
    sizes = [sum(m.size for m in pack) for pack in plan_packs(members)]
    assert max(sizes) <= PACK_MAX
    assert 14 * MIB < sum(sizes) / len(sizes) < 18 * MIB


def test_an_inserted_file_disturbs_one_pack_or_two():
    chance = random.Random(7)
    members = [file(f"{i:05}", chance.randrange(1, MIB)) for i in range(3000)]
    before = {tuple(pack) for pack in plan_packs(members)}
    for n in range(200):
        new = file(f"{chance.randrange(3000):05}x{n}", chance.randrange(1, MIB))
        after = {tuple(pack) for pack in plan_packs(sorted([*members, new]))}
        assert len(before - after) <= 2
        assert len(after - before) <= 3


# -- looking up ----------------------------------------------------------------------------


def test_a_file_lies_in_its_pack_or_blob():
    tree = parse_manifest(
        manifest_of(
            file("a", 10, STAYS),
            file("b", 0),
            file("big", MIB, digest_for("big")),
            file("c", 20, ENDS),
            Member("d", "directory", 0o755),
            file("d/e", 30, STAYS),
            Member("d/link", "symlink", target="../a"),
        ).format()
    )
    first, second = tree.packs
    assert tree.place("a") == Place(first.digest, 0, 10)
    assert tree.place("b") is None
    assert tree.place("big") == Place(digest_for("big"), 0, MIB)
    assert tree.place("c") == Place(first.digest, 10, 20)
    assert tree.place("d/e") == Place(second.digest, 0, 30)
    assert tree.place("d/link") == tree.place("./d//../a") == tree.place("a")
    assert tree.parts == (first, second, Part(digest_for("big"), MIB))
    assert [(pack, [m.path for m in files]) for pack, files in tree.filled_packs()] == [
        (first, ["a", "c"]),
        (second, ["d/e"]),
    ]


LOOKUPS = manifest_of(
    Member("d", "directory", 0o755),
    file("d/f"),
    Member("d/up", "symlink", target=".."),
    Member("dangling", "symlink", target="d/none"),
    Member("loop", "symlink", target="loop"),
    Member("to_d", "symlink", target="d"),
)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".", "."),
        ("", "."),
        ("d", "d"),
        ("d/", "d"),
        ("to_d", "d"),
        ("to_d/f", "d/f"),
        ("to_d/up/to_d/up/d/f", "d/f"),
        ("to_d/../d/./f", "d/f"),
    ],
)
def test_paths_are_looked_up_as_in_a_directory(path, found):
    assert LOOKUPS.find(path).path == found


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("none", FileNotFoundError),
        ("/d/f", FileNotFoundError),
        ("..", FileNotFoundError),
        ("d/up/..", FileNotFoundError),
        ("dangling", FileNotFoundError),
        ("d/f/x", NotADirectoryError),
        ("loop", OSError),
        ("d", IsADirectoryError),
        ("to_d", IsADirectoryError),
    ],
)
def test_what_cannot_be_opened_in_a_directory_has_no_place(path, error):
    with pytest.raises(error) as caught:
        LOOKUPS.place(path)
    assert caught.value.filename == path


# -- Windows -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "C:",
        "C:x",
        "a/C:x",
        "a\\b",
        "..\\x",
        "\\\\host\\share",
        "a/NUL",
        "nul",
        "con.txt",
        "Con .x",
        "COM1",
        "lpt9.tar.gz",
        "COM¹",
        "CONIN$",
        "a.",
        "a ",
        "a /b",
        "a:stream",
        "a?",
        "a*b",
        "a|b",
        '"a"',
        "<a>",
        "a\nb",
        "a\udcff",
    ],
)
def test_what_windows_would_misread_is_refused_there(path):
    check_portable(path, "linux")
    check_portable(path, "darwin")
    with pytest.raises(UnpackError, match="on Windows"):
        check_portable(path, "win32")


@pytest.mark.parametrize(
    "path", ["a", "a b", "../a", "a/.b", "console", "com", "COM10", "nullify", "ä", "..."[:2]]
)
def test_other_paths_are_fine_on_windows(path):
    check_portable(path, "win32")
