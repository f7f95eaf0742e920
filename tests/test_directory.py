import errno
import os
import stat

import pytest

import sqla_artifacts.directory
from sqla_artifacts.digest import digest_of
from sqla_artifacts.directory import stage_directory
from sqla_artifacts.errors import InvalidTreeError, SourceError
from sqla_artifacts.folder import DESCRIPTORS
from sqla_artifacts.payload import Stage
from sqla_artifacts.tree import parse_manifest

from .trees import GOLDEN, build, run_as_nobody

MIB = 1 << 20

# No later version may change a byte of these.
GOLDEN_MANIFEST = """\
sqla_artifacts tree 1
d 755 .
d 700 a
f 600 0 af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262 a/empty
d 555 a/empty%20directory
l ../big a/link
l not/there%25 a/none
f 640 8 aae18b52773d46b9643a37fad60abf251f3836f6b8417acdd40de304ff03b978 a/%C3%A4%0A%25%3A
f 644 5 ea8f163db38682925e4491c5e58d4bb3506ef8c14eb78a86e908c5624a67200f a-b
f 444 1048576 488de202f73bd976de4e7048f4e1f39a776d86d582b7348ff53bf432b987fca8 big
f 755 10 bc1f407a11c9377c8b9b13f956b279c8462775105eb958fc9ae3c40de87cc96e run.sh
p 23 bc34af7076b063bd316e15b99dbb8439ed485370e45108f2ab6012b4fa1cf551
"""
GOLDEN_DIGESTS = {
    "blake3": "8b8cf87782349fd3c2c6e972ba23e98aa46901b3bed781851a78036885c2ed81",
    "sha256": "3cc3fe3351d689a6f93927bfc353c9ad81d1cbab8b3e8dc1aeb58c936fa90a58",
}

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs POSIX modes and special files")


@pytest.fixture(params=[True, False], ids=["descriptors", "paths"])
def descriptors(request):
    if request.param and not DESCRIPTORS:
        pytest.skip("directories cannot be entered by descriptor here")
    return request.param


@pytest.fixture
def stage(tmp_path):
    (tmp_path / "stage").mkdir()
    return Stage("blake3", tmp_path / "stage")


class HookedStage(Stage):
    """Does something to the source when the first file has been read, in the middle of the walk."""

    def __init__(self, hook, directory):
        super().__init__("blake3", directory)
        self.hook = hook

    def report(self, objects, size):
        hook, self.hook = self.hook, lambda: None
        hook()
        super().report(objects, size)


def read(payload):
    with payload.open() as file:
        return file.read()


def files_of(manifest):
    return [member for member in manifest.members if member.kind == "file"]


def contents(payload):
    """The bytes of each file, out of the payload's parts."""
    manifest = parse_manifest(payload.content)
    blobs = {part.digest: memoryview(read(part)) for part in payload.parts}
    return {
        member.path: (
            blobs[place.digest][place.offset : place.offset + place.size].tobytes()
            if place
            else b""
        )
        for member in files_of(manifest)
        for place in [manifest.place(member.path)]
    }


# -- what is stored ------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["blake3", "sha256"])
def test_the_format_of_a_tree_never_changes(tmp_path, algorithm, descriptors):
    payload = stage_directory(
        build(tmp_path / "golden", GOLDEN), Stage(algorithm), descriptors=descriptors
    )
    if algorithm == "blake3":
        assert payload.content.decode() == GOLDEN_MANIFEST
    assert payload.digest == GOLDEN_DIGESTS[algorithm]
    assert payload.digest == digest_of(payload.content, algorithm)
    assert payload.size == len(payload.content)
    assert payload.total == parse_manifest(payload.content).size == MIB + 23


def test_parts_are_the_blobs_that_the_manifest_names(tmp_path, stage, descriptors):
    source = build(tmp_path / "golden", GOLDEN)
    payload = stage_directory(source, stage, descriptors=descriptors)
    manifest = parse_manifest(payload.content)
    assert {(p.digest, p.size) for p in payload.parts} == set(manifest.parts)
    assert all(digest_of(read(p), "blake3") == p.digest for p in payload.parts)
    assert contents(payload) == {m.path: (source / m.path).read_bytes() for m in files_of(manifest)}


def test_a_directory_has_one_digest_wherever_and_however_it_was_made(tmp_path):
    first = build(tmp_path / "one", GOLDEN)
    second = build(tmp_path / "another" / "place", GOLDEN[::-1])
    os.utime(second / "big", (1, 1))
    os.utime(second, (1, 1))
    (tmp_path / "linked").symlink_to("one", target_is_directory=True)
    # Another place to stage in, too, and the other way to read.
    digests = {
        stage_directory(first, Stage("blake3")).digest,
        stage_directory(second, Stage("blake3", tmp_path)).digest,
        stage_directory(second, Stage("blake3", fast=False), descriptors=False).digest,
        stage_directory(tmp_path / "linked", Stage("blake3")).digest,
        stage_directory(tmp_path / "linked", Stage("blake3"), descriptors=False).digest,
    }
    assert digests == {GOLDEN_DIGESTS["blake3"]}


def test_an_empty_directory_is_a_tree(tmp_path, stage, descriptors):
    (tmp_path / "empty").mkdir()
    payload = stage_directory(tmp_path / "empty", stage, descriptors=descriptors)
    assert (payload.parts, payload.total) == ((), 0)
    assert [m.path for m in parse_manifest(payload.content).members] == ["."]


def test_equal_content_is_staged_once(tmp_path, stage):
    source = tmp_path / "source"
    source.mkdir()
    for name in ("a", "b", "c"):
        (source / name).write_bytes(b"x" * MIB)
    payload = stage_directory(source, stage)
    assert len(payload.parts) == 1
    assert len(list((tmp_path / "stage").iterdir())) == 1
    assert payload.total == 3 * MIB


def test_packs_are_staged_as_the_plan_says(tmp_path, stage):
    source = tmp_path / "source"
    source.mkdir()
    for i in range(150):
        # Files of zeros cost no space; the number makes them differ.
        with (source / f"{i:03}").open("wb") as file:
            file.write(str(i).encode())
            file.truncate(MIB * 2 // 3 + i)
    payload = stage_directory(source, stage)
    manifest = parse_manifest(payload.content)
    assert len(manifest.packs) > 3
    assert all(digest_of(read(p), "blake3") == p.digest for p in payload.parts)
    for member in files_of(manifest):
        assert member.digest == digest_of((source / member.path).read_bytes(), "blake3")
    found = contents(payload)
    assert all(found[name] == (source / name).read_bytes() for name in ("000", "077", "149"))


def test_a_pack_ends_before_it_is_too_large(tmp_path, stage, monkeypatch):
    monkeypatch.setattr("sqla_artifacts.member.PACK_MAX", 100)
    source = tmp_path / "source"
    source.mkdir()
    for name, size in {"a": 60, "b": 40, "c": 1, "d": 100, "e": 101, "f": 99}.items():
        (source / name).write_bytes(name.encode() * size)
    payload = stage_directory(source, stage)
    assert [pack.size for pack in parse_manifest(payload.content).packs] == [100, 1, 100, 101, 99]
    assert contents(payload) == {name.name: name.read_bytes() for name in source.iterdir()}


def test_staged_packs_go_with_the_payload(tmp_path, stage):
    payload = stage_directory(build(tmp_path / "golden", GOLDEN), stage)
    assert len(list((tmp_path / "stage").iterdir())) == 2
    del payload
    assert not list((tmp_path / "stage").iterdir())


# -- what cannot be stored -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "error"),
    [("none", "No such file"), ("file", "Not a directory"), ("file/x", "Not a directory")],
)
def test_a_path_that_is_no_directory_is_an_error(tmp_path, stage, path, error, descriptors):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SourceError, match=error) as caught:
        stage_directory(tmp_path / path, stage, descriptors=descriptors)
    assert repr(str(tmp_path / path)) in str(caught.value)


@pytest.mark.parametrize("kind", [stat.S_IFIFO, stat.S_IFSOCK], ids=["fifo", "socket"])
def test_special_files_are_refused(tmp_path, stage, kind, descriptors):
    source = build(tmp_path / "golden", GOLDEN)
    os.mknod(source / "a" / "odd", kind | 0o644)
    with pytest.raises(InvalidTreeError, match="golden/a/odd' cannot be stored: it is neither"):
        stage_directory(source, stage, descriptors=descriptors)
    assert not list((tmp_path / "stage").glob("*"))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root")
def test_devices_are_refused(tmp_path, stage):
    (tmp_path / "source").mkdir()
    try:
        os.mknod(tmp_path / "source" / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("devices cannot be made here")
    with pytest.raises(InvalidTreeError, match="null' cannot be stored: it is neither"):
        stage_directory(tmp_path / "source", stage)


@pytest.mark.parametrize("target", ["/etc/passwd", "../../x", "../a/../../..", "a//b", "."])
def test_links_that_may_lead_out_are_refused(tmp_path, stage, target, descriptors):
    source = build(tmp_path / "golden", GOLDEN)
    os.symlink(target, source / "a" / "out")  # pathlib would tidy some of them
    with pytest.raises(InvalidTreeError, match="golden/a/out' cannot be stored"):
        stage_directory(source, stage, descriptors=descriptors)


def test_an_unreadable_file_is_an_error_that_names_it(tmp_path):
    source = build(tmp_path / "golden", GOLDEN)
    (source / "a").chmod(0o755)
    (source / "a" / "empty").chmod(0)
    assert _stage_as_nobody(tmp_path) == "'golden/a/empty' cannot be read: Permission denied"


def test_an_unreadable_directory_is_an_error_that_names_it(tmp_path):
    source = build(tmp_path / "golden", GOLDEN)
    (source / "a").chmod(0)
    try:
        assert _stage_as_nobody(tmp_path) == "'golden/a' cannot be read: Permission denied"
    finally:
        (source / "a").chmod(0o700)


def _stage_as_nobody(tmp_path):
    tmp_path.chmod(0o755)
    return run_as_nobody(
        """
        from sqla_artifacts.directory import stage_directory
        from sqla_artifacts.errors import SourceError
        from sqla_artifacts.payload import Stage

        become_nobody()
        try:
            stage_directory("golden", Stage("blake3"))
        except SourceError as error:
            print(error, end="")
        """,
        tmp_path,
    )


# -- what changes meanwhile ----------------------------------------------------------------


@pytest.fixture
def changing(tmp_path):
    """Stores a directory to which something happens after its first file was read."""
    source = tmp_path / "source"
    source.mkdir()
    for name in ("a", "b/c", "d"):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_bytes(name.encode())
    # Clocks of file systems are coarse.
    for path in (source / "b", source):
        os.utime(path, (1, 1))

    def store(hook, **options):
        return stage_directory(source, HookedStage(lambda: hook(source), tmp_path), **options)

    yield store
    # Whatever is left behind is ours: nothing that was staged.
    assert not list(tmp_path.glob("staged-*"))


def vanish(source):
    (source / "d").unlink()


def vanish_directory(source):
    (source / "b" / "c").unlink()
    (source / "b").rmdir()


def become_fifo(source):
    (source / "d").unlink()
    os.mkfifo(source / "d")


def become_link(source):
    (source / "d").unlink()
    (source / "d").symlink_to("a")


def become_directory(source):
    (source / "d").unlink()
    (source / "d").mkdir()


def appear(source):
    (source / "e").write_bytes(b"new")


@pytest.mark.parametrize(
    ("hook", "message"),
    [
        (vanish, r"source/d' cannot be read: No such file"),
        (vanish_directory, r"source/b' cannot be read: No such file"),
        (become_fifo, r"source/d' changed while it was read"),
        (become_link, r"source/d' cannot be read"),
        (become_directory, r"source/d' changed while it was read"),
        (appear, r"source' changed while it was read"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_directory_that_changes_is_an_error(changing, hook, message, descriptors):
    with pytest.raises(SourceError, match=message):
        changing(hook, descriptors=descriptors)


def test_a_directory_that_becomes_a_link_is_not_followed(changing, tmp_path, descriptors):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "c").write_bytes(b"secret")

    def hook(source):
        vanish_directory(source)
        (source / "b").symlink_to(tmp_path / "outside", target_is_directory=True)

    # By paths it is followed, but what was there before is missed in the end.
    with pytest.raises(SourceError, match="b' cannot be" if descriptors else "source' changed"):
        changing(hook, descriptors=descriptors)


def test_what_is_stored_is_what_the_manifest_names(changing, descriptors):
    def hook(source):
        (source / "d").write_bytes(b"another content")

    payload = changing(hook, descriptors=descriptors)
    assert contents(payload) == {"a": b"a", "b/c": b"b/c", "d": b"another content"}


@pytest.mark.parametrize("change", ["grow", "shrink", "rewrite"])
def test_a_small_file_that_changes_while_it_is_read_is_an_error(
    tmp_path, stage, monkeypatch, change
):
    source = tmp_path / "source"
    source.mkdir()
    (source / "log").write_bytes(b"line\n")
    os.utime(source / "log", (1, 1))
    whole = sqla_artifacts.directory.read_file

    def read(*args):
        if change == "rewrite":
            count = whole(*args)
            (source / "log").write_bytes(b"LINE\n")
            return count
        (source / "log").write_bytes(b"line\nline\n" if change == "grow" else b"li")
        return whole(*args)

    monkeypatch.setattr(sqla_artifacts.directory, "read_file", read)
    with pytest.raises(SourceError, match="source/log' changed while it was read"):
        stage_directory(source, stage)


@pytest.mark.parametrize("size", [1, MIB, 3 * MIB])
def test_a_large_file_that_changes_while_it_is_read_is_an_error(tmp_path, size):
    source = tmp_path / "source"
    source.mkdir()
    (source / "log").write_bytes(bytes(2 * MIB))

    class Truncating(Stage):
        def copy(self, descriptor, name):
            os.truncate(source / "log", size)
            return super().copy(descriptor, name)

    with pytest.raises(SourceError, match="source/log' changed while it was read"):
        stage_directory(source, Truncating("blake3", tmp_path))
    assert not list(tmp_path.glob("staged-*"))


@pytest.mark.parametrize("count", [0, 3, 5])
def test_a_file_whose_size_is_not_what_is_read_is_an_error(tmp_path, stage, monkeypatch, count):
    # As in /proc, where files have no size.
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_bytes(b"data")
    monkeypatch.setattr(sqla_artifacts.directory, "read_file", lambda *args: count)
    with pytest.raises(SourceError, match="source/file' changed while it was read"):
        stage_directory(tmp_path / "source", stage)


def test_a_full_disk_is_not_the_source_s_fault(tmp_path):
    class Full(Stage):
        def new_file(self):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    source = build(tmp_path / "golden", GOLDEN)
    with pytest.raises(OSError, match="No space left") as caught:
        stage_directory(source, Full("blake3"))
    assert not isinstance(caught.value, SourceError)
