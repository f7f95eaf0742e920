"""Patterns find what `pathlib` finds."""

import pytest

from sqla_artifacts.selection import matching

TREE = [
    ".hidden/inside",
    "README.md",
    "a[1].txt",
    "Case.TXT",
    "case.txt",
    "deep/deeper/deepest/x.bin",
    "deep/deeper/x.bin",
    "deep/x.bin",
    "deep/x.txt",
    "deep/y/x.bin",
    "line\nbreak/x.bin",
    "x.bin",
]
PATTERNS = [
    "*",
    "*/",
    "*.bin",
    "*.txt",
    "**/*.bin",
    "**/x.bin",
    "**/deeper/**/*.bin",
    "**/**/x.bin",
    "deep/*",
    "deep/**/x.bin",
    "deep/*/*",
    "./deep//x.bin",
    "*/*/",
    "?.bin",
    "[cC]ase.*",
    "[!c]*",
    "a[[]1].txt",
    ".*",
    "nothing",
    "x.bin/*",
    "README.md/",
    "*\n*",
]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_finds_what_pathlib_finds(stored, tmp_path, pattern):
    top = tmp_path / "tree"
    for path in TREE:
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text(path)
    run, _ = stored(top)
    expected = sorted(path.relative_to(top) for path in top.glob(pattern))
    assert [member.path for member in run.glob(pattern)] == [path.as_posix() for path in expected]
    deep = sorted(path.relative_to(top).as_posix() for path in (top / "deep").glob(pattern))
    assert sorted(member.path for member in (run / "deep").glob(pattern)) == deep


def test_two_stars_at_the_end_stand_for_files_too():
    paths = ["a", "a/b", "a/b/c", "d"]
    assert list(matching(paths, "**")) == paths
    assert list(matching(paths, "a/**")) == paths[:3]


@pytest.mark.parametrize("pattern", ["", ".", "/", "/a", "../a", "a/../b"])
def test_a_pattern_that_names_nothing_below_is_refused(pattern):
    with pytest.raises(ValueError, match="names nothing below the directory"):
        matching([], pattern)


def test_many_stars_take_no_time():
    path, pattern = "/".join("a" * 200), "/".join(["**", "a"] * 60 + ["b"])
    assert list(matching([path], pattern)) == []
