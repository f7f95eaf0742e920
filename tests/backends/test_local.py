"""What only a directory can show: durability, full disks, kills, forks, and odd file systems."""

import errno
import os
import pickle
import stat
import subprocess
import sys
import textwrap
from functools import partial

import pytest

from sqla_artifacts import durable
from sqla_artifacts.backends import open_backend, scratch, temporaries
from sqla_artifacts.backends.local import LocalBackend
from sqla_artifacts.payload import Payload, Stage
from sqla_artifacts.testing.backends import KEY, keys, payload, staged, together

from ..programs import disk

WAYS = pytest.mark.parametrize("fast", [True, False], ids=["fast", "plain"])
COUNTS = pytest.mark.parametrize("count", [1, 3, 40])
# For those that start a process.
FEW_OR_MANY = pytest.mark.parametrize("count", [2, 40])

PROGRAM = """
import os, resource, sys
from pathlib import Path
from sqla_artifacts.backends.local import LocalBackend
from sqla_artifacts.payload import Payload, Stage

def payloads(backend, count, size=100):
    stage = Stage("blake3", backend.staging, owner=backend)
    for number in range(count):
        data = bytes([number]) * size
        yield f"blobs/aa/{number % 3:02}/{number}", (
            stage.data(data) if number % 2 else in_file(stage, data)
        )

def in_file(stage, data):
    with stage.file() as (fp, staged):
        fp.write(data)
    return Payload("0" * 64, len(data), staged)

def say(text):
    os.write(1, text.encode() + b"\\n")

def pause(*_):
    say("paused")
    sys.stdin.read()

def main(root, count, fast):
    backend = LocalBackend(root, fast=fast)
"""


def program(body, root, count=1, *, fast=True):
    """The command that runs `body`, with `backend`, `root` and `count` at hand."""
    text = PROGRAM + textwrap.indent(textwrap.dedent(body), "    ")
    return [sys.executable, "-c", f"{text}\nmain({str(root)!r}, {count}, {fast})"]


def run(*arguments, **options):
    return subprocess.run(
        program(*arguments, **options), capture_output=True, text=True, check=False, timeout=120
    )


def files_below(path):
    return sorted(str(p.relative_to(path)) for p in path.rglob("*") if not p.is_dir())


def left(root):
    """The files under tmp/ but for the locks of the processes that use the store."""
    return [name for name in files_below(root / "tmp") if not name.endswith("/lock")]


# -- the directory --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["plain", "with space", "100%", "a%2Fb", "what?", "a#b", "a&b=c", "ünï", "~", "a\nb", "*"],
)
def test_a_url_is_read_back(tmp_path, name):
    backend = open_backend(f"file://{tmp_path}/{name}")
    backend.put([(KEY, payload(b"x"))])
    assert backend.root == tmp_path / name
    assert backend.url == f"file://{tmp_path}/{name}"
    assert open_backend(backend.url).get(KEY) == b"x"
    assert pickle.loads(pickle.dumps(backend)).get(KEY) == b"x"


@pytest.mark.parametrize("url", ["filesystem://./artifacts", "file://artifacts", "./artifacts"])
def test_a_relative_path_is_that_of_the_moment(tmp_path, monkeypatch, url):
    monkeypatch.chdir(tmp_path)
    backend = open_backend(url)
    monkeypatch.chdir("/")
    assert backend.url == f"file://{tmp_path}/artifacts"


@pytest.mark.parametrize("path", ["", "a\0b"])
def test_what_cannot_be_a_directory(path):
    with pytest.raises(ValueError, match="cannot be the directory"):
        LocalBackend(path)


def test_reading_makes_nothing(tmp_path):
    backend = LocalBackend(tmp_path / "store")
    assert keys(backend, "") == keys(backend, "blobs/") == []
    for method in (backend.get, backend.open, backend.size):
        with pytest.raises(FileNotFoundError):
            method(KEY)
    backend.delete(KEY)
    backend.put([])
    pickle.loads(pickle.dumps(backend))
    assert list(tmp_path.iterdir()) == []


def test_a_symbolic_link_to_the_directory(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    LocalBackend(tmp_path / "link").put([(KEY, payload(b"x"))])
    assert LocalBackend(tmp_path / "real").get(KEY) == b"x"


@WAYS
def test_objects_are_read_only(tmp_path, fast):
    backend = LocalBackend(tmp_path, fast=fast)
    backend.put([("blobs/1", payload(b"x")), ("blobs/2", staged(backend, b"y"))])
    backend.create("store.json", b"{}")
    for key in ("blobs/1", "blobs/2", "store.json"):
        assert stat.S_IMODE((tmp_path / key).stat().st_mode) & ~0o444 == 0


@WAYS
def test_a_staged_file_can_be_stored_again(tmp_path, fast):
    backend = LocalBackend(tmp_path, fast=fast)
    content = staged(backend, b"content")
    for key in ("blobs/1", "blobs/2", "blobs/1"):
        backend.put([(key, content)])
    assert backend.get("blobs/1") == backend.get("blobs/2") == b"content"
    assert len(left(tmp_path)) == 1
    del content
    assert left(tmp_path) == []


def test_a_staged_file_is_not_copied(tmp_path):
    backend = LocalBackend(tmp_path)
    content = staged(backend, b"content")
    backend.put([(KEY, content)])
    assert (tmp_path / KEY).samefile(content.content.path)


@WAYS
@pytest.mark.parametrize("number", sorted(temporaries.NO_LINKS), ids=errno.errorcode.get)
def test_without_hard_links(tmp_path, monkeypatch, fast, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    backend = LocalBackend(tmp_path, fast=fast)
    content = staged(backend, b"content" * 1_000_000)
    backend.put([(KEY, content)])
    assert backend.get(KEY) == b"content" * 1_000_000
    won = together([partial(backend.create, "store.json", b"%d" % n) for n in range(8)])
    assert backend.get("store.json") == b"%d" % won.index(True)
    assert won.count(True) == 1
    del content
    assert left(tmp_path) == []


@COUNTS
def test_the_directory_is_removed_meanwhile(tmp_path, count):
    backend = LocalBackend(tmp_path / "store")
    objects = [(f"blobs/aa/{n % 3}/{n}", payload(b"x")) for n in range(count)]
    backend.put(objects)
    (tmp_path / "store").rename(tmp_path / "away")
    backend.put(objects)
    assert len(keys(backend, "blobs/")) == count
    assert backend.create("store.json", b"{}")


def test_files_that_are_no_objects_are_not_listed(tmp_path):
    backend = LocalBackend(tmp_path)
    backend.put([(KEY, payload(b"x"))])
    (tmp_path / "blobs" / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "blobs" / "fifo")
    assert keys(backend, "") == [KEY]
    assert [key.rpartition("/")[2] for key in keys(backend, "tmp/")] == ["lock"]


# -- durability -----------------------------------------------------------------------------------


@pytest.fixture
def record(tmp_path):
    """Runs a program under strace; returns its calls."""
    if not disk.works():
        in_ci = os.environ.get("CI") == "true"
        (pytest.fail if in_ci else pytest.skip)("no strace, or it may not trace")

    def trace(*arguments, **options):
        output = tmp_path / "calls"
        words = disk.strace(str(output)) + program(*arguments, **options)
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL, timeout=120)
        return disk.calls(output)

    return trace


def check(calls, root):
    """Whatever has a name here is whole, and whatever `say` has named is durable."""
    state, said = disk.Disk(), []
    for call in calls:
        state.apply(call)
        if call.name.startswith(("rename", "link")) and call.strings[1].startswith(f"{root}/blobs"):
            assert "the bytes" not in (state.lost(call.strings[1]) or "")
        if call.name == "write" and call.strings and call.strings[0].startswith("durable "):
            path = f"{root}/{call.strings[0].removeprefix('durable ').removesuffix(chr(92) + 'n')}"
            assert state.lost(path) is None
            said.append(path)
    return said


@WAYS
@FEW_OR_MANY
def test_put_is_durable(tmp_path, record, count, fast):
    root = tmp_path / "new" / "store"
    body = """
    for _ in range(2):
        objects = list(payloads(backend, count))
        backend.put(objects)
        for key, _ in objects:
            say(f"durable {key}")
    """
    calls = record(body, root, count, fast=fast)
    assert len(check(calls, root)) == 2 * count
    names = {call.name for call in calls}
    assert ("syncfs" in names) == (fast and count > 8)
    assert "link" in names


@WAYS
def test_create_is_durable(tmp_path, record, fast):
    root = tmp_path / "new" / "store"
    body = """
    assert backend.create("blobs/one", b"1")
    say("durable blobs/one")
    os.link = None
    def link(*_): raise PermissionError(1, "no links")
    os.link = link
    assert backend.create("blobs/two", b"2")
    say("durable blobs/two")
    """
    assert len(check(record(body, root, fast=fast), root)) == 2


@FEW_OR_MANY
def test_directories_that_others_have_made_are_flushed_once(tmp_path, record, count):
    """Whoever made them may have been killed before flushing them."""
    root = tmp_path / "store"
    for number in range(3):
        (root / "blobs" / "aa" / f"{number:02}").mkdir(parents=True)
    body = """
    backend.put(list(payloads(backend, count)))
    backend.create("blobs/aa/00/made", b"")
    say("first")
    backend.put(list(payloads(backend, 1)))
    """
    calls = record(body, root, count)
    first = next(n for n, call in enumerate(calls) if call.strings == ["first\\n"])
    flushed = [call.files[0] for call in calls[:first] if call.name == "fsync"]
    again = [call.files[0] for call in calls[first:] if call.name == "fsync"]
    # The scratch directory came first, which is below the root.
    assert flushed.count(str(tmp_path)) == 1
    if count <= 8:
        assert {f"{root}/blobs/aa", f"{root}/blobs", str(root)} <= set(flushed)
    assert [path for path in again if "/tmp/" not in path.removeprefix(str(tmp_path))] == [
        f"{root}/blobs/aa/00"
    ]


@WAYS
@COUNTS
@pytest.mark.parametrize("sync", ["sync_file", "sync_directory", "syncfs"])
def test_an_error_of_a_flush_is_raised(tmp_path, monkeypatch, count, fast, sync):
    def fail(*_):
        raise OSError(errno.EIO, "the disk is gone")

    backend = LocalBackend(tmp_path, fast=fast)
    objects = [(f"blobs/{n}", payload(b"x")) for n in range(count)]
    objects[0] = ("blobs/0", staged(backend, b"y"))
    if sync == "syncfs":
        monkeypatch.setattr(durable, "_syncfs", lambda: fail)
        used = fast and count > 8
    else:
        monkeypatch.setattr(durable, sync, fail)
        monkeypatch.setattr(temporaries, sync, fail, raising=False)
        used = not (fast and count > 8)
    if used:
        with pytest.raises(OSError, match="the disk is gone"):
            backend.put(objects)
        if sync == "sync_file":
            assert keys(backend, "") == []
    else:
        backend.put(objects)
    objects.clear()
    assert left(tmp_path) == []


def test_an_early_error_of_a_staged_file_is_raised(tmp_path, monkeypatch):
    """Its bytes began to be written before put was called: syncfs does not speak of them."""
    seen = []

    def fail(descriptor):
        seen.append(os.fstat(descriptor).st_size)
        raise OSError(errno.EIO, "the disk is gone")

    monkeypatch.setattr(temporaries, "check_written", fail)
    backend = LocalBackend(tmp_path)
    objects = [(f"blobs/{n}", payload(b"x")) for n in range(40)]
    backend.put(objects)
    objects[7] = ("blobs/7", staged(backend, b"staged"))
    with pytest.raises(OSError, match="the disk is gone"):
        backend.put(objects)
    assert seen == [6]


@pytest.mark.parametrize("why", ["kernel", "type", "missing"])
def test_where_syncfs_is_not_to_be_trusted(tmp_path, monkeypatch, why):
    calls = []
    real = durable.sync_file
    monkeypatch.setattr(temporaries, "sync_file", lambda fd: (calls.append(fd), real(fd)))
    if why == "kernel":
        monkeypatch.setattr(durable, "_kernel", lambda: (5, 7))
        monkeypatch.setattr(durable, "_syncfs", durable._syncfs.__wrapped__)
    elif why == "type":
        monkeypatch.setattr(durable, "_SYNCFS_TYPES", frozenset())
    else:
        monkeypatch.setattr(durable, "_syncfs", lambda: None)
    backend = LocalBackend(tmp_path)
    backend.put([(f"blobs/{n}", payload(b"x")) for n in range(50)])
    assert len(calls) == 50
    assert len(keys(backend, "")) == 50


# -- errors ---------------------------------------------------------------------------------------


@WAYS
@FEW_OR_MANY
def test_a_file_may_not_grow(tmp_path, count, fast):
    """A limit of the process, which stands for any error in the middle of a write."""
    body = """
    objects = list(payloads(backend, count))
    objects.insert(count // 2, ("blobs/large", Payload("0" * 64, 5000, b"x" * 5000)))
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
    try:
        backend.put(objects)
    except OSError as error:
        say(os.strerror(error.errno))
    del objects
    say(str([p for p in Path(root).rglob("*") if p.is_file() and p.name != "lock"]))
    """
    done = run(body, tmp_path, count, fast=fast)
    assert done.stdout.splitlines() == [os.strerror(errno.EFBIG), "[]"], done.stderr
    assert files_below(tmp_path) == []


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 4 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    if sys.platform != "linux" or os.geteuid() or subprocess.run(words, check=False).returncode:
        pytest.skip("only root may mount a file system, and not everywhere")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@WAYS
@COUNTS
def test_a_full_disk(small_disk, count, fast):
    backend = LocalBackend(small_disk, fast=fast)
    backend.put([("blobs/before", payload(b"before"))])
    objects = [(f"blobs/{n}", payload(os.urandom(6_000_000 // count))) for n in range(count)]
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        backend.put(objects)
    assert left(small_disk) == []
    backend.put([("blobs/after", payload(b"after"))])
    assert keys(backend, "") == ["blobs/after", "blobs/before"]


@WAYS
@COUNTS
def test_staged_on_another_file_system(small_disk, tmp_path, count, fast):
    (tmp_path / "stage").mkdir()
    stage = Stage("blake3", tmp_path / "stage")
    objects = []
    for n in range(count):
        with stage.file() as (fp, file):
            fp.write(b"%d" % n * 1000)
        objects.append((f"blobs/{n}", Payload("", 0, file)))
    backend = LocalBackend(small_disk / "store", fast=fast)
    backend.put(objects)
    assert all(backend.get(f"blobs/{n}") == b"%d" % n * 1000 for n in range(count))
    assert left(small_disk / "store") == []


def test_a_read_only_file_system_can_be_read(small_disk):
    backend = LocalBackend(small_disk / "store")
    backend.put([(KEY, payload(b"x"))])
    del backend
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    reader = LocalBackend(small_disk / "store")
    assert reader.get(KEY) == b"x"
    assert keys(reader, "") == [KEY]
    with pytest.raises(OSError, match=os.strerror(errno.EROFS)):
        reader.put([(KEY, payload(b"y"))])


# -- processes that end, are killed, or fork ------------------------------------------------------


@WAYS
@FEW_OR_MANY
def test_a_process_leaves_nothing_behind(tmp_path, count, fast):
    body = """
    held = list(payloads(backend, count + 1))
    backend.put(held[:-1])
    """
    done = run(body, tmp_path, count, fast=fast)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "tmp").iterdir()) == []
    assert len(files_below(tmp_path)) == count


@pytest.fixture
def paused(tmp_path):
    """Starts a program and waits until it says "paused"; it goes on when its input closes."""
    started = []

    def start(*arguments, **options):
        process = subprocess.Popen(
            program(*arguments, **options), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        started.append(process)
        assert process.stdout.readline() == b"paused\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.stdin.close()
        process.stdout.close()
        process.wait()


@WAYS
@FEW_OR_MANY
@pytest.mark.parametrize("call", ["replace", "fsync"])
def test_a_killed_process_is_cleaned_up_after(tmp_path, paused, count, fast, call):
    """Killed before the first rename, or before the first flush."""
    root = tmp_path / "store"
    body = f"""
    objects = list(payloads(backend, count, 5000))
    os.{call} = pause
    backend.put(objects)
    pause()
    """
    process = paused(body, root, count, fast=fast)
    if not (call == "fsync" and fast and count > 8):  # which takes syncfs
        assert keys(LocalBackend(root), "") == []
    assert left(root) != []

    # While it lives, others leave its files alone.
    before = left(root)
    LocalBackend(root).put([("blobs/other", payload(b"x"))])
    assert left(root) == before

    process.kill()
    process.wait()
    assert left(root) == before
    backend = LocalBackend(root)
    backend.put([("blobs/another", payload(b"x"))])
    assert left(root) == []
    assert len(os.listdir(root / "tmp")) == 1
    del backend
    assert os.listdir(root / "tmp") == []


def test_a_staged_file_of_a_killed_process_is_cleaned_up(tmp_path, paused):
    body = """
    held = list(payloads(backend, 1))
    pause()
    """
    process = paused(body, tmp_path)
    assert len(left(tmp_path)) == 1
    process.kill()
    process.wait()
    assert LocalBackend(tmp_path).create("store.json", b"{}")
    assert left(tmp_path) == []


def test_a_forked_child_has_a_directory_of_its_own(tmp_path):
    body = """
    first = backend.staging
    held = list(payloads(backend, 1))
    if (child := os.fork()) == 0:
        second = backend.staging
        backend.put([("blobs/child", Payload("0" * 64, 1, b"x"))])
        say(str(second != first and second.exists() and first.exists()))
        os._exit(0)
    os.waitpid(child, 0)
    backend.put(held)
    say(str(backend.staging == first))
    """
    done = run(body, tmp_path)
    assert done.stdout.splitlines() == ["True", "True"], done.stderr
    # The child was not given the time to clean up.
    assert len(os.listdir(tmp_path / "tmp")) == 1
    LocalBackend(tmp_path).put([("blobs/other", payload(b"x"))])
    assert os.listdir(tmp_path / "tmp") == []


def test_a_forked_child_leaves_the_directory_of_its_parent(tmp_path):
    body = """
    first = backend.staging
    if (child := os.fork()) == 0:
        backend.put([("blobs/child", Payload("0" * 64, 1, b"x"))])
        sys.exit()
    os.waitpid(child, 0)
    say(str(sorted(os.listdir(first.parent)) == [first.name]))
    """
    done = run(body, tmp_path)
    assert done.stdout.splitlines() == ["True"], done.stderr


def test_a_forked_child_keeps_what_its_parent_has_staged(tmp_path, paused):
    """The child may yet store it, after its parent was killed."""
    body = """
    held = list(payloads(backend, 1))
    if os.fork() == 0:
        backend.staging
        pause()
        backend.put(held)
        say("stored")
        os._exit(0)
    os.kill(os.getpid(), 9)
    """
    process = paused(body, tmp_path)
    process.wait()
    LocalBackend(tmp_path).put([("blobs/other", payload(b"x"))])
    process.stdin.close()
    assert process.stdout.readline() == b"stored\n"
    assert len(keys(LocalBackend(tmp_path), "")) == 2


def test_many_who_come_and_go(tmp_path):
    """Each sweeps what the others leave, and none takes what another still needs."""

    def come_and_go(number):
        for n in range(10):
            backend = LocalBackend(tmp_path)
            content = staged(backend, b"%d" % number)
            backend.put([(f"blobs/{number}/{n}", content)])

    together([partial(come_and_go, number) for number in range(8)])
    assert len(keys(LocalBackend(tmp_path), "blobs/")) == 80
    LocalBackend(tmp_path).create("store.json", b"{}")  # whatever still lingers
    assert os.listdir(tmp_path / "tmp") == []


def test_where_locks_are_refused(tmp_path, monkeypatch):
    """Nothing is swept there, since nobody can say whose it is."""
    (tmp_path / "tmp" / "other").mkdir(parents=True)
    (tmp_path / "tmp" / "other" / "lock").touch()
    (tmp_path / "tmp" / "other" / "new-1").touch()

    def refuse(_):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(scratch, "try_lock", refuse)
    LocalBackend(tmp_path).put([(KEY, payload(b"x"))])
    assert left(tmp_path) == ["other/new-1"]
    monkeypatch.undo()
    LocalBackend(tmp_path).put([(KEY, payload(b"x"))])
    assert os.listdir(tmp_path / "tmp") == []


def test_a_sweep_that_was_interrupted_is_taken_up(tmp_path):
    (tmp_path / "tmp" / "empty").mkdir(parents=True)
    (tmp_path / "tmp" / "locked").mkdir()
    (tmp_path / "tmp" / "locked" / "lock").touch()
    staging = LocalBackend(tmp_path).staging
    assert not staging.exists()
    assert os.listdir(tmp_path / "tmp") == []


def test_a_staged_file_outlives_its_backend(tmp_path):
    content = staged(LocalBackend(tmp_path), b"content")
    other = LocalBackend(tmp_path)
    other.put([(KEY, content)])
    assert len(os.listdir(tmp_path / "tmp")) == 2
    del content
    LocalBackend(tmp_path).put([(KEY, payload(b"x"))])
    assert os.listdir(tmp_path / "tmp") == [other.staging.name]


def test_a_new_directory_that_is_swept_before_it_is_locked(tmp_path, monkeypatch):
    real = scratch.tempfile.mkdtemp
    made = []

    def mkdtemp(**options):
        made.append(real(**options))
        if len(made) == 1:
            scratch._sweep(made[0])
        return made[-1]

    monkeypatch.setattr(scratch.tempfile, "mkdtemp", mkdtemp)
    assert str(LocalBackend(tmp_path).staging) == made[1]
    assert not os.path.exists(made[0])


def test_a_new_directory_whose_lock_a_sweeper_holds(tmp_path, monkeypatch):
    real, calls = scratch.try_lock, []

    def lock(descriptor):
        calls.append(descriptor)
        if len(calls) == 1:
            raise BlockingIOError(errno.EWOULDBLOCK, "taken")
        real(descriptor)

    monkeypatch.setattr(scratch, "try_lock", lock)
    backend = LocalBackend(tmp_path)
    staging = backend.staging
    assert os.listdir(tmp_path / "tmp") == [staging.name]
    assert len(calls) == 3  # the first one, the second, and the first again to sweep it


def test_a_new_directory_that_is_swept_while_it_is_locked(tmp_path, monkeypatch):
    real, calls = scratch.try_lock, []

    def lock(descriptor):
        calls.append(descriptor)
        if len(calls) == 1:
            (path,) = (tmp_path / "tmp").iterdir()
            scratch._sweep(str(path))
        real(descriptor)

    monkeypatch.setattr(scratch, "try_lock", lock)
    backend = LocalBackend(tmp_path)
    assert (backend.staging / "lock").exists()
    assert os.listdir(tmp_path / "tmp") == [backend.staging.name]
