"""Names of files, honest and hostile ones, and what must hold of each."""

import ntpath
import os
from pathlib import PureWindowsPath

from sqla_artifacts.errors import InvalidTreeError, InvalidValueError, UnpackError
from sqla_artifacts.member import check_name, check_portable
from sqla_artifacts.reference import Reference, label_of, parse

from .trials import attempt, mutated

DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
HONEST = (
    *("a", "b.txt", "layer0.bin", "Read me", "ä", "Ünïcödé.txt", "100%", "..a", "...", "-rf", "~"),
    *("a:b &", "C:", "C:x", "nul", "CON.txt", "com1", "LPT9 .x", "a.", "a ", ".hidden", "a\nb"),
    *("\x7f", "%2F", "%2e%2e", "a\\b", "..\\..\\x", "\u202egnp.exe", "e\u0301", "\u2025", "\uff0e"),
    *("x" * 255, "ä" * 127, "\udcff\udcfe", "file?", "a*", 'a"', "<a>", "a|b", "\x01", "a:$DATA"),
)
HOSTILE = (
    *("", ".", "..", "/", "a/b", "../x", "/etc/passwd", "a/", "./a", "a//b", "..//", "\0", "a\0"),
    *("x" * 256, "ä" * 128, "x" * 5000, "\ud800", "a\udfff", "../" * 20 + "tmp/x", "a/../../b"),
)
PIECES = (*HONEST, *HOSTILE, "/", "..", "\0", ".", " ", "%", ":", "\udc80", "\ud83d", "\u0130")
_is_reserved = getattr(ntpath, "isreserved", lambda name: PureWindowsPath(name).is_reserved())
_NOT_ON_WINDOWS = set('<>:"|?*\\') | set(map(chr, range(32)))


def legal_name(chance):
    """The bytes of a name, of any that a POSIX file system takes."""
    how = chance.random()
    if how < 0.7:
        return os.fsencode(chance.choice(HONEST))
    raw = chance.randbytes(chance.choice((1, 2, 3, 8, 255)))
    return raw.replace(b"/", b"_").replace(b"\0", b"_").replace(b".", b",")


def case(chance):
    """(name,): one that is taken as it is, or with changes."""
    how = chance.random()
    if how < 0.05:
        return (chance.choice(HONEST + HOSTILE),)
    if how < 0.1:
        return ("".join(chance.choices(PIECES, k=chance.randrange(5))),)
    return (mutated(os.fsdecode(legal_name(chance)), PIECES, chance),)


def check(name):
    """Make a label of a name, and say what came of it."""
    label = attempt(label_of, name, InvalidValueError)
    assert can_be_a_member(name) == (label is not None), name
    if label is None:
        return "refused"
    reference = Reference("file", DIGEST, 1, label)
    assert parse(str(reference)) == reference
    name = os.fsdecode(os.fsencode(name))  # surrogates may be the bytes of one letter
    assert reference.name == name
    assert label.isascii()
    assert os.path.normpath(os.path.join("/checkouts", name)) == f"/checkouts/{name}"
    check_portable(name, "linux")
    try:
        check_portable(name, "win32")
    except UnpackError:
        return "accepted, but for Windows"
    path = PureWindowsPath("c:/checkouts", name)
    assert path.parent == PureWindowsPath("c:/checkouts"), name
    assert path.name == name == name.rstrip(". "), name
    assert not _NOT_ON_WINDOWS & set(name), name
    assert not _is_reserved(name), name
    return "accepted"


def can_be_encoded(name):
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return True


def can_be_a_member(name):
    """Whether a tree may have a member of that name."""
    try:
        check_name(os.fsencode(name))
    except (InvalidTreeError, UnicodeEncodeError):
        return False
    return True
