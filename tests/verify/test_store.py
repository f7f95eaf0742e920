"""The second and third depth: what the ledger has, against the store's keys and bytes."""

import datetime as dt
import signal
import subprocess
import sys

import pytest

from sqla_artifacts.verify.checks import STEP, Sample
from tests.ledger.scene import watched_store
from tests.programs.checks import run

from .conftest import ZERO, Damaged

NUMBERED = [b"%d" % number for number in range(300)]


def test_a_key_that_is_not_there_is_missing(scene):
    scene.commit(b"x", b"y")
    scene.store.backend.delete(scene.key(b"x"))
    assert scene.kinds("references") == []
    (finding,) = scene.verify("listing").findings
    assert (finding.kind, finding.key) == ("missing", scene.key(b"x"))
    assert finding.places[0].times == 1


def test_a_key_of_another_generation_does_not_count(scene):
    scene.commit(b"x")
    data = scene.store.backend.get(scene.key(b"x"))
    scene.store.backend.delete(scene.key(b"x"))
    scene.store.backend.create(scene.key(b"x", 2), data)
    assert [kind for kind, _ in scene.kinds("listing")] == ["missing", "orphan"]


def test_a_key_of_another_size_is_corrupt(scene, make_tree):
    scene.commit(b"four", b"y")
    scene.commit(make_tree(a=b"a", b=b"b"), column="run")
    scene.replace(scene.key(b"four"), b"fou")
    (finding,) = scene.verify("listing").findings
    assert (finding.kind, finding.digest) == ("corrupt", scene.digest(b"four"))
    assert "3 bytes instead of 4" in finding.detail


def test_keys_that_nothing_needs_are_orphans(scene):
    scene.commit(b"x")
    stray = scene.key(b"stray")
    for key in (stray, "blobs/read/me/first", f"blobs/00/00/{scene.digest(b'x')}"):
        scene.store.backend.create(key, b"?")
    report = scene.verify("listing")
    assert {finding.key for finding in report.findings} == scene.keys() - {scene.key(b"x")}
    assert report.counts == {"orphan": 3}
    assert report.is_sound
    assert report.keys == 4


def test_what_waits_to_be_deleted_is_no_orphan(scene):
    scene.commit(b"x")
    scene.run("DELETE FROM sample")
    scene.collect(retention=dt.timedelta(days=1))
    assert scene.keys() == {scene.key(b"x")}
    assert scene.kinds("listing") == []


def test_a_large_store_is_listed_share_by_share(scene, monkeypatch):
    monkeypatch.setattr("sqla_artifacts.verify.checks.SHARE", 20)
    scene.commit(*NUMBERED)
    lost = NUMBERED[::50]
    for value in lost:
        scene.store.backend.delete(scene.key(value))
    scene.store.backend.create(scene.key(b"stray"), b"?")
    expected = sorted(("missing", scene.digest(value)) for value in lost)
    assert scene.kinds("listing") == [*expected, ("orphan", scene.digest(b"stray"))]


def test_a_killed_writers_files_are_dangling_and_a_living_ones_not(scene, tmp_path):
    scene.commit(b"x")
    code = "import sys; from sqla_artifacts import ArtifactStore; \
        s = ArtifactStore(sys.argv[1]); p = s.stage.new_file(); print(flush=True); input()"
    command = [sys.executable, "-c", code, tmp_path / "store"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        assert scene.kinds("listing") == []
        process.send_signal(signal.SIGKILL)
    (finding,) = scene.verify("listing").findings
    assert finding.kind == "dangling"
    assert (tmp_path / "store" / finding.key).is_file()


def test_a_remote_stores_temporary_files_are_dangling(engine, tmp_path):
    scene = Damaged(engine, watched_store(f"local://{tmp_path / 'store'}"))
    scene.commit(b"x")
    (tmp_path / "store" / "tmp").mkdir(exist_ok=True)
    (tmp_path / "store" / "tmp" / "0123").write_bytes(b"?")
    assert [finding.key for finding in scene.verify("listing").findings] == ["tmp/0123"]


def test_other_bytes_are_corrupt(scene, make_tree):
    scene.commit(b"x", b"sound")
    scene.commit(make_tree(a=b"a", b=b"b"), column="run")
    scene.flip(scene.key(b"x"))
    scene.flip(scene.key(b"ab"))  # the pack
    assert scene.kinds("listing") == []
    report = scene.verify("content")
    found = {finding.digest: finding.places[0].column.split(".")[-1] for finding in report.findings}
    assert found == {scene.digest(b"x"): "data", scene.digest(b"ab"): "run"}
    assert report.counts == {"corrupt": 2}
    assert report.hashed.blobs == 4


def test_a_sound_copy_in_memory_hides_nothing(engine, tmp_path):
    store = watched_store(str(tmp_path / "store"), memory=1 << 20, cache=tmp_path / "cache")
    scene = Damaged(engine, store)
    scene.commit(b"x")
    assert scene.values() == [b"x"]
    scene.flip(scene.key(b"x"))
    assert scene.kinds("content") == [("corrupt", scene.digest(b"x"))]


def test_what_cannot_be_read_is_unreadable_and_not_marked(scene):
    scene.commit(b"x")

    def refuse(key):
        raise PermissionError(13, "refused", key)

    scene.store.backend.open = refuse
    assert scene.kinds("content", mark=True) == [("unreadable", scene.digest(b"x"))]
    assert scene.blob(b"x").state == "live"


def test_what_only_fails_once_is_no_finding(scene):
    scene.commit(b"x")
    original, failed = scene.store.backend.open, []

    def open_badly(key):
        if not failed:
            failed.append(key)
            raise OSError(5, "flaky")
        return original(key)

    scene.store.backend.open = open_badly
    assert scene.kinds("content") == []
    assert failed


def test_turns_of_a_sample_cover_everything_and_repeat_themselves(scene):
    scene.commit(*NUMBERED)
    for value in NUMBERED:
        scene.flip(scene.key(value))
    turns = [scene.verify("content", sample=0.25, turn=turn) for turn in (7, 8, 9, 10)]
    found = [{finding.digest for finding in turn.findings} for turn in turns]
    assert set.union(*found) == {scene.digest(value) for value in NUMBERED}
    assert sum(map(len, found)) <= len(NUMBERED) + 1
    assert all(40 < len(each) < 110 for each in found)
    again = scene.verify("content", sample=0.25, turn=7)
    assert [each.digest for each in again.findings] == [each.digest for each in turns[0].findings]


@pytest.mark.parametrize("share", [1, 0.5, 0.3, 0.01, 1e-9])
def test_every_digest_has_its_turn(share):
    digests = [f"{number:064x}" for number in (0, 1, 2**31, 2**32 - 1)]
    count = min(int(1 / share) + 1, 101)
    for digest in digests:
        taken = sum(Sample(share, 738_000 + turn).takes(digest) for turn in range(count))
        assert taken or share < 0.01


def test_a_run_that_was_stopped_goes_on(scene):
    scene.commit(*NUMBERED)
    for value in NUMBERED:
        scene.flip(scene.key(value))
    first = scene.verify("content", stop_after=ZERO)
    assert (len(first.findings), first.hashed.blobs) == (STEP, STEP)
    assert first.after is not None
    second = scene.verify("content", after=first.after)
    assert second.after is None
    found = [finding.digest for report in (first, second) for finding in report.findings]
    assert sorted(found) == sorted(map(scene.digest, NUMBERED))


def test_progress_is_told(scene):
    scene.commit(b"x", b"yy")
    told = []
    scene.verify("content", progress=told.append)
    assert [(each.step, each.objects) for each in told] == [("list", 2), ("hash", 2)]
    assert (told[-1].bytes_done, told[-1].bytes_total) == (3, 3)


@pytest.mark.slow
def test_fifty_thousand_blobs_are_verified_in_bounded_memory(database_url, tmp_path):
    def peak(first, count):
        run("verify", database_url, tmp_path / "store", first, count)
        findings, hashed, peak = run("verify", database_url, tmp_path / "store").stdout.split()
        assert (findings, int(hashed) > count) == ("0", True)
        return int(peak)

    small = peak(0, 1_000)
    large = peak(1_000, 50_000)
    assert large - small < 40, (small, large)
