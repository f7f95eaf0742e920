"""Any text is read in one way or refused; see `python -m tests.fuzz --help`."""

import subprocess
import sys

import pytest

import sqla_artifacts.reference
import sqla_artifacts.selection
import sqla_artifacts.tree

from . import names, sandbox
from .run import KINDS, UnexpectedError, run

MILLION = 1_000_000


def assert_it_tried(outcome, count):
    """Some of each kind were accepted, some refused, and something was unpacked."""
    tried = [result for result in outcome.results if ":" not in result]
    assert sum(outcome.results[result] for result in tried) == count
    for kind in KINDS:
        assert outcome.results[f"{kind} refused"] > count / 30
        assert outcome.results[f"{kind} accepted"] > count / 60
    assert outcome.results["manifest accepted: unpacked"] > count / 1500
    assert outcome.results["name accepted: unpacked"] > count / 1500


def test_twenty_thousand_cases():
    assert_it_tried(run(20_000, seed=2), 20_000)


@pytest.mark.slow
@pytest.mark.parametrize("start", range(0, MILLION, MILLION // 4))
def test_a_million_cases(start):
    outcome = run(MILLION // 4, seed=1, start=start)
    print(outcome)  # noqa: T201 (for -s: how many of what, and how long it took)
    assert_it_tried(outcome, MILLION // 4)


def test_it_is_a_program():
    command = [sys.executable, "-m", "tests.fuzz", "--count", "90", "--seed", "3", "--start", "7"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "90 cases in " in printed
    assert " reference refused\n" in printed


# What the fuzzing finds, if it is not checked any more.
BROKEN = {
    "links": (sqla_artifacts.tree, "check_target", lambda target, depth: None),
    "links of a part": (sqla_artifacts.selection, "check_target", lambda target, depth: None),
    "names": (sqla_artifacts.tree, "check_name", lambda name: None),
    "labels": (sqla_artifacts.reference, "_is_name", lambda raw: True),
    "order": (sqla_artifacts.tree, "sort_key", lambda raw: b"\xff" * 9),
    "packs": (sqla_artifacts.tree, "plan_packs", lambda members: iter(())),
    "Windows": (names, "check_portable", lambda name, platform: None),
    "digests": (sandbox, "unpack_tree", lambda *args, **options: None),
}


@pytest.mark.parametrize("what", BROKEN)
def test_it_finds_what_is_no_longer_checked(monkeypatch, what):
    monkeypatch.setattr(*BROKEN[what])
    with pytest.raises(
        UnexpectedError, match=r"^python -m tests.fuzz --seed 4 --start \d+ --count"
    ):
        run(20_000, seed=4)


# -- what it has found -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["\ud800", "a\udfff.txt"])
def test_half_of_a_surrogate_pair_is_no_name(name):
    assert names.check(name) == "refused"
