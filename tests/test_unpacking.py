import errno
import io
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sqla_artifacts.placing
import sqla_artifacts.unpacking.file
from sqla_artifacts.digest import digest_of
from sqla_artifacts.directory import stage_directory
from sqla_artifacts.errors import BlobCorruptedError, BlobNotFoundError, UnpackError
from sqla_artifacts.folder import DESCRIPTORS, Folder
from sqla_artifacts.member import Member
from sqla_artifacts.payload import Stage
from sqla_artifacts.tree import Manifest, Part, parse_manifest
from sqla_artifacts.unpacking import unpack_file, unpack_tree

from .trees import GOLDEN, build, listing, run_as_nobody

MIB = 1 << 20

pytestmark = pytest.mark.skipif(os.name == "nt", reason="compares POSIX modes")


@pytest.fixture(params=[True, False], ids=["descriptors", "paths"])
def descriptors(request):
    if request.param and not DESCRIPTORS:
        pytest.skip("directories cannot be entered by descriptor here")
    return request.param


class Stored:
    """A tree and its blobs."""

    def __init__(self, source, **options):
        self.payload = stage_directory(source, Stage("blake3", source.parent), **options)
        self.manifest = parse_manifest(self.payload.content)
        self.blobs = {}
        for part in self.payload.parts:
            with part.open() as file:
                self.blobs[part.digest] = file.read()

    def open(self, digest):
        if digest not in self.blobs:
            raise BlobNotFoundError(f"blob {digest} is not in the store")
        return io.BytesIO(self.blobs[digest])

    def unpack(self, target, open_blob=None, **options):
        unpack_tree(self.manifest, open_blob or self.open, target, algorithm="blake3", **options)


@pytest.fixture
def golden(tmp_path):
    """The golden tree, stored, and nothing else in `tmp_path`."""
    source = build(tmp_path / "source", GOLDEN)
    stored = Stored(source)
    shutil.rmtree(source)
    stored.payload = None
    assert not list(tmp_path.iterdir())
    return stored


EXPECTED = {
    path: content[0] if len(content) == 1 else (content[0] & 0o777, content[1])
    for path, *content in GOLDEN
}

# -- trees ---------------------------------------------------------------------------------


def test_a_directory_comes_back(golden, tmp_path, descriptors):
    golden.unpack(tmp_path / "target", descriptors=descriptors)
    assert listing(tmp_path / "target") == EXPECTED
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_the_process_s_mask_does_not_matter(golden, tmp_path, descriptors):
    before = os.umask(0o077)
    try:
        golden.unpack(tmp_path / "target", descriptors=descriptors)
    finally:
        os.umask(before)
    assert listing(tmp_path / "target") == EXPECTED


def test_read_only_files_cannot_be_written(golden, tmp_path, descriptors):
    golden.unpack(tmp_path / "target", descriptors=descriptors, read_only=True)
    assert listing(tmp_path / "target") == {
        path: (value[0] & 0o555, value[1])
        if isinstance(value, tuple) and value[1] is not None
        else value
        for path, value in EXPECTED.items()
    }


def test_parts_may_be_written_in_threads(golden, tmp_path, descriptors):
    def each(function, items):
        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(function, items))

    golden.unpack(tmp_path / "target", each=each, descriptors=descriptors)
    assert listing(tmp_path / "target") == EXPECTED


def test_a_relative_target_is_in_the_working_directory(golden, tmp_path, monkeypatch, descriptors):
    monkeypatch.chdir(tmp_path)
    golden.unpack("target", descriptors=descriptors)
    assert listing("target") == EXPECTED


def test_equal_large_files_are_fetched_once(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for i, name in enumerate(("a", "b", "c")):
        (source / name).write_bytes(b"x" * MIB)
        (source / name).chmod(0o400 | i)
    stored = Stored(source)
    fetched = []
    stored.unpack(tmp_path / "target", lambda digest: fetched.append(digest) or stored.open(digest))
    assert len(fetched) == 1
    assert listing(tmp_path / "target") == listing(source)


def test_blobs_that_are_files_are_copied_as_files(golden, tmp_path, monkeypatch):
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    for digest, data in golden.blobs.items():
        (blobs / digest).write_bytes(data)
    copied = []

    def copying(source, *args, **options):
        copied.append(os.fstat(source).st_size)
        return original(source, *args, **options)

    original = sqla_artifacts.unpacking.file.copying
    monkeypatch.setattr(sqla_artifacts.unpacking.file, "copying", copying)
    golden.unpack(tmp_path / "target", lambda digest: (blobs / digest).open("rb"))
    assert copied == [MIB]
    assert listing(tmp_path / "target") == EXPECTED


class Slow(io.RawIOBase):
    """A stream that reads a little at a time."""

    def __init__(self, data):
        self._raw = io.BytesIO(data)

    def readable(self):
        return True

    def readinto(self, buffer):
        return self._raw.readinto(memoryview(buffer)[:1000])


def test_streams_may_read_a_little_at_a_time(golden, tmp_path):
    golden.unpack(tmp_path / "target", lambda digest: Slow(golden.blobs[digest]))
    assert listing(tmp_path / "target") == EXPECTED


UTF_8 = sys.platform == "darwin"


@st.composite
def directories(draw):
    """Entries for `build`: any names, readable by their owner."""
    name = st.text(max_size=20).map(str.encode) if UTF_8 else st.binary(max_size=255)
    name = name.map(lambda raw: raw.replace(b"/", b"").replace(b"\0", b"")).filter(
        lambda raw: raw not in {b"", b".", b".."}
    )
    entries = {b".": (0o755, None)}
    homes = [b""]
    for _ in range(draw(st.integers(0, 8))):
        path = draw(st.sampled_from(homes)) + draw(name)
        if path in entries:
            continue
        kind = draw(st.sampled_from(["directory", "file", "symlink"]))
        if kind == "directory":
            entries[path] = (draw(st.integers(0, 0o777)) | 0o500, None)
            homes.append(path + b"/")
        elif kind == "file":
            size = draw(st.sampled_from([0, 1, 1000, MIB]))
            entries[path] = (draw(st.integers(0, 0o777)) | 0o400, draw(st.binary()) * size)
        else:
            entries[path] = (draw(name),)
    return [(path, *content) for path, content in entries.items()]


@settings(max_examples=40)
@given(directories(), st.booleans())
def test_any_directory_comes_back(entries, descriptors):
    with tempfile.TemporaryDirectory() as place:
        source = build(Path(place) / "source", entries)
        descriptors = descriptors and DESCRIPTORS
        stored = Stored(source, descriptors=descriptors)
        stored.unpack(Path(place) / "target", descriptors=descriptors)
        assert listing(Path(place) / "target") == listing(source)
        for directory in (path for path, *mode in entries if mode[1:] == [None]):
            for root in (source, Path(place) / "target"):
                os.chmod(os.path.join(os.fsencode(root), directory), 0o700)


def test_directories_may_be_closed_to_their_owner(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there").chmod(0o777)
    tmp_path.chmod(0o755)
    code = """
        import io
        from sqla_artifacts.digest import digest_of
        from sqla_artifacts.errors import UnpackError
        from sqla_artifacts.folder import DESCRIPTORS
        from sqla_artifacts.member import Member
        from sqla_artifacts.tree import Manifest, Part
        from sqla_artifacts.unpacking import unpack_tree

        become_nobody()
        digest = digest_of(b"x", "blake3")
        members = (
            Member(".", "directory", 0o500),
            Member("a", "directory", 0o000),
            Member("a/b", "directory", 0o111),
            Member("a/b/f", "file", 0o000, 1, digest),
            Member("a/link", "symlink", target="b"),
        )
        manifest = Manifest(members, (Part(digest, 1),))

        def unpack(target, **options):
            open_blob = lambda digest: io.BytesIO(b"x")
            unpack_tree(manifest, open_blob, target, algorithm="blake3", **options)

        def occupy(function, items):
            for item in items:
                function(item)
            os.mkdir("there/taken")

        for descriptors in {DESCRIPTORS, False}:
            unpack(f"there/{descriptors}", descriptors=descriptors)
            # All is done by the time that the name turns out to be taken, and is undone.
            try:
                unpack("there/taken", descriptors=descriptors, each=occupy)
            except UnpackError:
                os.rmdir("there/taken")
        print(sorted(os.listdir("there")))
    """
    printed = run_as_nobody(code, tmp_path)
    assert printed.strip() == str(sorted({str(DESCRIPTORS), "False"}))
    for name in {str(DESCRIPTORS), "False"}:
        root = tmp_path / "there" / name
        for path, mode in {".": 0o500, "a": 0, "a/b": 0o111}.items():
            assert stat.S_IMODE((root / path).stat().st_mode) == mode
            (root / path).chmod(0o700)
        assert stat.S_IMODE((root / "a" / "b" / "f").stat().st_mode) == 0


# -- what cannot be unpacked ---------------------------------------------------------------


def occupy(path, how):
    if how == "file":
        path.write_bytes(b"mine")
    elif how == "dangling link":
        path.symlink_to("nowhere")
    else:
        path.mkdir(mode=0o751)
        if how == "directory":
            (path / "mine").write_bytes(b"mine")


OCCUPANTS = ["file", "dangling link", "empty directory", "directory"]


@pytest.mark.parametrize("how", OCCUPANTS)
def test_what_is_there_is_left_alone(golden, tmp_path, how, descriptors):
    occupy(tmp_path / "target", how)
    before = listing(tmp_path)
    with pytest.raises(UnpackError, match="target' cannot be unpacked: File exists"):
        golden.unpack(tmp_path / "target", descriptors=descriptors)
    with pytest.raises(UnpackError, match="target' cannot be unpacked: File exists"):
        unpack_file(io.BytesIO(b""), "", tmp_path / "target", algorithm="blake3")
    assert listing(tmp_path) == before


@pytest.mark.parametrize("how", OCCUPANTS)
def test_what_appears_meanwhile_is_left_alone(golden, tmp_path, how):
    def open_blob(digest):
        if not os.path.lexists(tmp_path / "target"):
            occupy(tmp_path / "target", how)
        return golden.open(digest)

    with pytest.raises(UnpackError, match="target' cannot be unpacked: File exists"):
        golden.unpack(tmp_path / "target", open_blob)
    occupy(tmp_path / "expected", how)
    expected = listing(tmp_path / "expected")
    assert listing(tmp_path / "target") == expected
    assert {path.name for path in tmp_path.iterdir()} == {"target", "expected"}


@pytest.mark.parametrize("how", ["file", "dangling link", "directory"])
def test_what_appears_after_the_last_look_is_left_alone(golden, tmp_path, monkeypatch, how):
    occupy(tmp_path / "target", how)
    monkeypatch.setattr(sqla_artifacts.placing, "_refuse_existing", lambda path: None)
    before = listing(tmp_path)
    with pytest.raises(UnpackError, match="target' cannot be unpacked"):
        golden.unpack(tmp_path / "target")
    assert listing(tmp_path) == before


def test_there_must_be_a_directory_for_the_target(golden, tmp_path):
    with pytest.raises(UnpackError, match="none/target' cannot be unpacked: No such file"):
        golden.unpack(tmp_path / "none" / "target")


def spoil(data, how):
    return {
        "changed": bytes([data[0] ^ 1]) + data[1:],
        "changed at the end": data[:-1] + bytes([data[-1] ^ 1]),
        "cut off": data[:-1],
        "empty": b"",
    }[how]


@pytest.mark.parametrize("how", ["changed", "changed at the end", "cut off", "empty"])
@pytest.mark.parametrize("which", [0, 1], ids=["pack", "large"])
def test_corrupted_blobs_leave_nothing(golden, tmp_path, how, which, descriptors):
    digest = golden.manifest.parts[which].digest
    golden.blobs[digest] = spoil(golden.blobs[digest], how)
    with pytest.raises(BlobCorruptedError, match=f"blob {digest} is corrupt"):
        golden.unpack(tmp_path / "target", descriptors=descriptors)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("which", [0, 1], ids=["pack", "large"])
def test_missing_blobs_leave_nothing(golden, tmp_path, which, descriptors):
    digest = golden.manifest.parts[which].digest
    del golden.blobs[digest]
    with pytest.raises(BlobNotFoundError, match=f"blob {digest} is not"):
        golden.unpack(tmp_path / "target", descriptors=descriptors)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [ConnectionResetError("reset"), KeyboardInterrupt()], ids=repr)
def test_broken_streams_leave_nothing(golden, tmp_path, error, descriptors):
    class Broken(io.BytesIO):
        def read(self, size=-1):
            if self.tell() > 5:
                raise error
            return super().read(size)

    with pytest.raises(type(error)) as caught:
        golden.unpack(
            tmp_path / "target",
            lambda digest: Broken(golden.blobs[digest]),
            descriptors=descriptors,
        )
    assert caught.value is error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("call", ["mkdir", "symlink", "chmod", "open"])
def test_a_failing_file_system_leaves_nothing(golden, tmp_path, monkeypatch, call):
    original = getattr(Folder, call)

    def fail(self, *args):
        path = args[1] if call == "symlink" else args[0]
        if path in {"a/empty directory", "a/none", "big"}:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return original(self, *args)

    monkeypatch.setattr(Folder, call, fail)
    with pytest.raises(UnpackError, match=r"target/.*' cannot be unpacked: No space left"):
        golden.unpack(tmp_path / "target")
    monkeypatch.undo()
    assert not list(tmp_path.iterdir())


def test_a_manifest_of_another_algorithm_is_not_believed(tmp_path):
    empty = Member("a", "file", 0o644, 0, digest_of(b"", "sha256"))
    manifest = Manifest((Member(".", "directory", 0o755), empty), ())
    with pytest.raises(BlobCorruptedError):
        unpack_tree(manifest, io.BytesIO, tmp_path / "target", algorithm="blake3")
    assert not list(tmp_path.iterdir())


def chain(depth):
    """A tree of directories in each other, with a file at the bottom."""
    paths = ["/".join("d" * n) for n in range(1, depth + 1)]
    digest = digest_of(b"x", "blake3")
    return Manifest(
        (
            Member(".", "directory", 0o755),
            *(Member(path, "directory", 0o755) for path in paths),
            Member(f"{paths[-1]}/f", "file", 0o644, 1, digest),
        ),
        (Part(digest, 1),),
    )


def test_trees_may_be_deeper_than_python_s_stack_and_open_files(tmp_path):
    if not DESCRIPTORS:
        pytest.skip("the paths are too long here")
    manifest = parse_manifest(chain(1200).format())
    blobs = {manifest.packs[0].digest: b"y"}
    with pytest.raises(BlobCorruptedError):
        unpack_tree(
            manifest, lambda d: io.BytesIO(blobs[d]), tmp_path / "target", algorithm="blake3"
        )
    assert not list(tmp_path.iterdir())
    blobs = {manifest.packs[0].digest: b"x"}
    unpack_tree(manifest, lambda d: io.BytesIO(blobs[d]), tmp_path / "target", algorithm="blake3")
    try:
        payload = stage_directory(tmp_path / "target", Stage("blake3"))
        assert parse_manifest(payload.content).members[1:] == manifest.members[1:]
    finally:
        subprocess.run(["rm", "-rf", tmp_path / "target"], check=True)


# -- names that are one to the file system -------------------------------------------------

EMPTY = digest_of(b"", "blake3")
COLLISIONS = {
    "files": [Member("Name", "file", 0o644, 0, EMPTY), Member("name", "file", 0o644, 0, EMPTY)],
    "directories": [Member("Name", "directory", 0o755), Member("name", "directory", 0o755)],
    "directory and file": [
        Member("Name", "directory", 0o755),
        Member("Name/x", "file", 0o644, 0, EMPTY),
        Member("name", "file", 0o644, 0, EMPTY),
    ],
    "link and directory": [
        Member("Name", "symlink", target="elsewhere"),
        Member("name", "directory", 0o755),
        Member("name/x", "file", 0o644, 0, EMPTY),
    ],
    "link and file": [
        Member("Name", "symlink", target="elsewhere"),
        Member("name", "file", 0o644, 0, EMPTY),
    ],
    "links": [Member("Name", "symlink", target="a"), Member("name", "symlink", target="b")],
}


@pytest.mark.parametrize("case", COLLISIONS)
def test_names_that_fall_together_are_refused(tmp_path, monkeypatch, case, descriptors):
    at = Folder._at

    def folded(self, path):
        return at(self, path.lower())

    monkeypatch.setattr(Folder, "_at", folded)
    manifest = Manifest((Member(".", "directory", 0o755), *COLLISIONS[case]), ())
    with pytest.raises(UnpackError, match=r"'(Name|name)' and '(Name|name)' are the same name"):
        unpack_tree(
            manifest, io.BytesIO, tmp_path / "t", algorithm="blake3", descriptors=descriptors
        )
    assert not list(tmp_path.iterdir())


def test_names_that_fall_together_on_a_real_file_system_are_refused(tmp_path):
    code = """
        import os, subprocess, sys
        from sqla_artifacts.errors import UnpackError
        from sqla_artifacts.tree import Manifest
        from sqla_artifacts.unpacking import unpack_tree
        from sqla_artifacts.member import Member
        from tests.test_unpacking import COLLISIONS

        def run(command):
            return subprocess.run(command, shell=True, capture_output=True).returncode == 0

        os.mkdir("mounted")
        ways = [
            "mount -t tmpfs -o casefold none mounted",
            "truncate -s 16M image && mkfs.ext4 -q -O casefold image && mount image mounted",
            "truncate -s 16M image && mkfs.vfat image && mount image mounted",
        ]
        if not any(map(run, ways)):
            sys.exit(77)
        os.mkdir("mounted/here")
        run("chattr +F mounted/here")
        open("mounted/here/probe", "x").close()
        if not os.path.exists("mounted/here/PROBE"):
            sys.exit(77)
        os.unlink("mounted/here/probe")
        try:
            os.symlink("a", "mounted/here/link")
            os.unlink("mounted/here/link")
            links = True
        except OSError:  # on vfat
            links = False
        for case, members in COLLISIONS.items():
            if not links and any(member.kind == "symlink" for member in members):
                continue
            manifest = Manifest((Member(".", "directory", 0o755), *members), ())
            try:
                unpack_tree(manifest, None, "mounted/here/t", algorithm="blake3")
            except UnpackError as error:
                assert "are the same name" in str(error), error
                assert "Name" in str(error) and "name" in str(error), error
            else:
                sys.exit(f"{case}: not refused")
            assert not os.listdir("mounted/here"), case
    """
    if not shutil.which("unshare") or os.geteuid() != 0:
        pytest.skip("mounting takes root and unshare(1)")
    run = subprocess.run(
        ["unshare", "-m", sys.executable, "-c", textwrap.dedent(code)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode == 77:
        pytest.skip("this kernel mounts no file system that ignores case")
    if "unshare:" in run.stderr:
        pytest.skip(run.stderr.strip())
    assert run.returncode == 0, run.stderr


# -- files ---------------------------------------------------------------------------------

DATA = b"data" * MIB
DIGEST = digest_of(DATA, "blake3")


@pytest.mark.parametrize("way", ["file", "memory", "slowly"])
def test_a_file_comes_back(tmp_path, way):
    if way == "file":
        (tmp_path / "blob").write_bytes(DATA)
        source = (tmp_path / "blob").open("rb")
    else:
        source = io.BytesIO(DATA) if way == "memory" else Slow(DATA)
    with source:
        unpack_file(source, DIGEST, tmp_path / "target", algorithm="blake3")
    assert (tmp_path / "target").read_bytes() == DATA
    assert (tmp_path / "target").stat().st_nlink == 1
    assert {path.name for path in tmp_path.iterdir()} <= {"blob", "target"}


@pytest.mark.parametrize(("read_only", "mode"), [(False, 0o640), (True, 0o440)])
def test_a_file_has_the_mode_of_a_new_file(tmp_path, read_only, mode):
    before = os.umask(0o027)
    try:
        unpack_file(
            io.BytesIO(DATA), DIGEST, tmp_path / "target", algorithm="blake3", read_only=read_only
        )
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "target").stat().st_mode) == mode


@pytest.mark.parametrize("how", ["changed", "changed at the end", "cut off", "empty"])
@pytest.mark.parametrize("local", [True, False])
def test_a_corrupted_file_leaves_nothing(tmp_path, how, local):
    (tmp_path / "blob").write_bytes(spoil(DATA, how))
    with (
        (tmp_path / "blob").open("rb") if local else io.BytesIO(spoil(DATA, how)) as source,
        pytest.raises(BlobCorruptedError, match=f"blob {DIGEST} is corrupt"),
    ):
        unpack_file(source, DIGEST, tmp_path / "target", algorithm="blake3")
    assert [path.name for path in tmp_path.iterdir()] == ["blob"]


@pytest.mark.parametrize("links", [True, False], ids=["with links", "without links"])
@pytest.mark.parametrize("how", OCCUPANTS)
def test_a_file_replaces_nothing_that_appears_meanwhile(tmp_path, monkeypatch, how, links):
    class Stream(io.BytesIO):
        def close(self):
            super().close()

        def read(self, size=-1):
            if not self.tell():
                occupy(tmp_path / "target", how)
            return super().read(size)

    if not links:
        monkeypatch.setattr(os, "link", no_links)
    with pytest.raises(UnpackError, match="target' cannot be unpacked: File exists"):
        unpack_file(Stream(DATA), DIGEST, tmp_path / "target", algorithm="blake3")
    occupy(tmp_path / "expected", how)
    assert listing(tmp_path / "target") == listing(tmp_path / "expected")
    assert {path.name for path in tmp_path.iterdir()} == {"target", "expected"}


def no_links(*args, **kwargs):
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def test_a_file_comes_back_where_there_are_no_hard_links(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", no_links)
    unpack_file(io.BytesIO(DATA), DIGEST, tmp_path / "target", algorithm="blake3")
    assert [path.name for path in tmp_path.iterdir()] == ["target"]
    assert (tmp_path / "target").read_bytes() == DATA


def test_a_file_needs_a_directory(tmp_path):
    with pytest.raises(UnpackError, match="none/target' cannot be unpacked: No such file"):
        unpack_file(io.BytesIO(DATA), DIGEST, tmp_path / "none" / "target", algorithm="blake3")
