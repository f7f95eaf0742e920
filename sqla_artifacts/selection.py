"""Selections: some members of a tree, by path or by pattern.

A pattern is one of :mod:`pathlib`'s: ``*``, ``?`` and ``[...]`` within a name, ``**`` for any
number of directories, a ``/`` at the end for directories alone. As in :mod:`pathlib` a name that
begins with a dot is a name like others, and ``**`` follows no link; nor does anything else in a
pattern here. At the end of a pattern ``**`` stands for files, too, as it does from Python 3.13 on.
Upper and lower case differ on every platform.

A directory that is selected brings all that is below it, and a link what it leads to.
"""

from __future__ import annotations

import contextlib
import re
from fnmatch import translate
from typing import TYPE_CHECKING

from .errors import InvalidTreeError
from .member import Member, check_target, encode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .tree import Manifest

_LINKS_MAX = 40  # as in Manifest.find
_ANY = re.compile("")  # what a "**" becomes


def matching(paths: Iterable[str], pattern: str) -> Iterator[str]:
    """Yield the paths, relative ones, that a pattern matches, in their order.

    Raises ``ValueError`` for an empty pattern, and for one that is not relative.
    """
    names = [name for name in pattern.split("/") if name not in {"", "."}]
    if not names or pattern.startswith("/") or ".." in names:
        msg = f"the pattern {pattern!r} names nothing below the directory"
        raise ValueError(msg)
    parts = [_ANY if name == "**" else re.compile(translate(name)) for name in names]
    return (path for path in paths if _matches(path.split("/"), parts))


def _matches(names: list[str], parts: list[re.Pattern[str]]) -> bool:
    # The places in the pattern at which what comes next may stand.
    here = {0}
    for name in names:
        here = {after for at in _reached(here, parts) for after in _after(at, name, parts)}
    return len(parts) in _reached(here, parts)


def _reached(here: set[int], parts: list[re.Pattern[str]]) -> set[int]:
    """Add the places behind each "**", which may stand for nothing."""
    for at, part in enumerate(parts):
        if part is _ANY and at in here:
            here.add(at + 1)
    return here


def _after(at: int, name: str, parts: list[re.Pattern[str]]) -> Iterator[int]:
    if at < len(parts):
        if parts[at] is _ANY:
            yield at
        elif parts[at].match(name):
            yield at + 1


def selection(manifest: Manifest, paths: Iterable[str], base: str = ".") -> dict[str, Member]:
    """Return the members that make up a part of the directory at ``base``, in order.

    ``paths`` are relative to that directory; ``.`` is all of it. The keys are the members' paths in
    the tree, the values what they are below ``base``, which itself comes first. Raises the
    :class:`OSError` that looking up a path in a directory would, and :class:`InvalidTreeError` for
    a link that leads out of ``base``.
    """
    home = manifest.find(base).path
    todo = [path if home == "." else f"{home}/{path}" for path in paths]
    places = {member.path: place for place, member in enumerate(manifest.members)}
    for path in todo:
        if path not in places:  # a link that leads nowhere is there all the same
            manifest.find(path)
    chosen, spread = {places[home]}, set[int]()
    while todo:
        path = todo.pop()
        chosen.update(places[step] for step in _steps(manifest, places, path))
        with contextlib.suppress(OSError):  # a link may lead nowhere
            end = places[manifest.find(path).path]
            below = () if end in spread else tuple(_below(manifest, end))
            spread.add(end)
            chosen.update(below)
            todo += (m.path for m in map(manifest.members.__getitem__, below) if m.target)
    members = (manifest.members[place] for place in sorted(chosen))
    return {m.path: _moved(m, home) for m in members if m.path == home or not _holds(m, home)}


def _holds(member: Member, home: str) -> bool:
    """Say whether a directory is on the way from the top of the tree to ``home``."""
    return home != "." and (member.path == "." or home.startswith(f"{member.path}/"))


def _steps(manifest: Manifest, places: dict[str, int], path: str) -> Iterator[str]:
    """Yield the members that are met on the way to a path, as far as it leads."""
    todo = [name for name in reversed(path.split("/")) if name not in {"", "."}]
    here: list[str] = []
    links = 0
    while todo:
        name = todo.pop()
        if name == "..":
            here.pop()
            continue
        found = "/".join((*here, name))
        if found not in places or links > _LINKS_MAX:
            return
        yield found
        member = manifest.members[places[found]]
        if member.kind == "symlink":
            links += 1
            todo += reversed(member.target.split("/"))
        else:
            here.append(name)


def _below(manifest: Manifest, place: int) -> Iterator[int]:
    """Yield the places of what is in a directory, at any depth."""
    top = manifest.members[place]
    prefix = "" if top.path == "." else f"{top.path}/"
    for below in range(place + 1, len(manifest.members)):
        if top.kind != "directory" or not manifest.members[below].path.startswith(prefix):
            return
        yield below


def _moved(member: Member, home: str) -> Member:
    """Return a member as it is in a directory of the tree."""
    if home == ".":
        return member
    if member.path == home:
        return member._replace(path=".")
    path = member.path.removeprefix(f"{home}/")
    if path == member.path:
        msg = f"a link in {home!r} leads out of it, to {path!r}: unpack what holds both"
        raise InvalidTreeError(msg)
    if member.kind == "symlink":
        check_target(encode(member.target), path.count("/"))
    return member._replace(path=path)
