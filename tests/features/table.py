"""The table of features, made of the marks on the tests: `python -m tests.features.table`."""

import importlib
import inspect
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).parents[2] / "docs" / "features.md"
BEGIN = "<!-- Written by `python -m tests.features.table` from the marks on the tests. -->"
END = "<!-- The end of what is written from the tests. -->"
HEAD = ("Feature", "Group", "SQLite", "PostgreSQL", "Shown by", "Worth knowing")
DATABASES = ("sqlite", "postgresql")


class Feature(NamedTuple):
    """What some tests show together."""

    only: str | None
    tests: list[str]
    notes: list[str]


def features():
    """Every feature that the tests beside this module prove, by group and name."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        module = importlib.import_module(f"{__package__}.{path.stem}")
        for name, test in inspect.getmembers(module, inspect.isfunction):
            for mark in getattr(test, "pytestmark", ()):
                if mark.name == "feature":
                    _add(found, f"{path.stem}::{name}", *mark.args, **mark.kwargs)
    return found


def _add(found, test, name, *, group, note="", only=None):
    feature = found.setdefault((group, name), Feature(only, [], []))
    if feature.only != only:
        msg = f"{test}: other tests of {name!r} are for {feature.only or 'both databases'}"
        raise ValueError(msg)
    feature.tests.append(test)
    if note and note not in feature.notes:
        feature.notes.append(note)


def table():
    """The table in Markdown, group by group."""
    found = features()
    lines = ["", _line(HEAD), _line(["---"] * len(HEAD))]
    for group, name in sorted(found, key=_place):
        lines.append(_row(group, name, found[group, name]))
    return "\n".join([*lines, ""])


def _place(feature):
    group, name = feature
    return group, name.strip("`").lower()


def _row(group, name, feature):
    databases = ["yes" if feature.only in {None, database} else "" for database in DATABASES]
    shown = ", ".join(f"`{test}`" for test in feature.tests)
    return _line([name, group, *databases, shown, " ".join(feature.notes)])


def _line(cells):
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def written(page):
    """The text of the page with its table as it should be."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n{table()}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
