"""Placing: giving a new local file or directory its name.

It is made under a temporary name beside its own, ``.unpack-…``, and renamed at the end: it is
there as a whole or not at all, and it replaces nothing. What a killed process leaves under such a
name is removed by the next one that unpacks beside it (:mod:`sqla_artifacts.leftovers`).

A file takes its name by a hard link, which fails where there is something. A directory, and a
file where there are no hard links, cannot, and Python has no rename that replaces nothing.
There the name is looked up, then taken by ``rename``, which by itself never puts a directory
in the place of a file, a link, or a directory that holds something. What could be lost, if it
appears between the two, is an empty directory, or a file where there are no hard links.

Who can write beside it may put something else under the temporary name. So the copy is held open,
and what gets the name is compared with it.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import ArtifactError, UnpackError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PREFIX = ".unpack-"
"""How the names begin of what is still being made."""

# What link(2) answers where a file system has no hard links, or does not let us make them.
_NO_LINKS = frozenset({errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK})


def new_sibling(path: Path, make: Callable[[str, str], tuple[str, int]]) -> tuple[Path, int]:
    """Make something beside a path at which there is nothing; return it, and what keeps it.

    ``make`` is :func:`~sqla_artifacts.leftovers.new_file` or ``new_directory``. Until the
    descriptor is closed nobody takes it for one that was left behind. Raises
    :class:`UnpackError` if there is something at the path, or it cannot be made.
    """
    with naming(path):
        _refuse_existing(path)
        temporary, descriptor = make(os.fspath(path.parent), PREFIX)
    return Path(temporary), descriptor


def place_file(temporary: Path, path: Path, opened: int | None) -> None:
    """Give a file its name, or raise :class:`UnpackError`.

    ``opened`` is the file itself; None on Windows, where it has to be closed by then. The
    temporary name may still be there afterwards.
    """
    with naming(path):
        if os.name == "nt":  # There rename replaces nothing.
            temporary.rename(path)
            return
        try:
            path.hardlink_to(temporary)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            _refuse_existing(path)
            temporary.rename(path)
        _refuse_another(path, opened)


def place_directory(temporary: Path, path: Path, opened: int) -> None:
    """Give a directory, which is ``opened``, its name, or raise :class:`UnpackError`."""
    with naming(path):
        _refuse_existing(path)
        _refuse_another(temporary, opened)
        temporary.rename(path)
        _refuse_another(path, opened)


@contextlib.contextmanager
def naming(path: Path, member: str = ".") -> Iterator[None]:
    """Raise an :class:`OSError` as an :class:`UnpackError` that names a path below ``path``."""
    try:
        yield
    except ArtifactError:
        raise
    except OSError as error:
        shown = str(path / member)
        raise UnpackError(f"{shown!r} cannot be unpacked: {error.strerror or error}") from error


def _refuse_existing(path: Path) -> None:
    if os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))


def _refuse_another(path: Path, opened: int | None) -> None:
    """Raise FileNotFoundError for what somebody has put in the place of what we made."""
    if opened is None or os.name == "nt" or os.path.samestat(os.lstat(path), os.fstat(opened)):
        return
    with contextlib.suppress(OSError):
        path.unlink()  # it would be taken for the copy; a directory of his is left alone
    msg = "something else has taken its place meanwhile"
    raise FileNotFoundError(errno.ENOENT, msg)
