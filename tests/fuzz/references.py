"""References that are right, nearly right and not right at all, and what must hold of each."""

import os

from sqla_artifacts.errors import InvalidReferenceError
from sqla_artifacts.reference import IDENTIFIER, Reference, label_of, parse

from .names import legal_name
from .trials import DIGITS, attempt, mutated

PIECES = (
    *("", ":", "&", "&:", "::", "blob", "file", "tree", "blab", "Tree"),
    *("0", "00", "1", "-1", "+1", "1e5", "9" * 18, "9" * 19, "\u0661", "\uff11", "_"),
    *("%", "%2", "%2F", "%00", "%2f", "%41", "%C3%A4", "%E4", "%25", "%7E", "%C0%AE"),
    *(".", "..", "/", "\\", "~", "-", "numpy", "a" * 60, "a" * 200, "\0", "\n", "\r", " ", "\t"),
    *("ä", "\ufeff", "\u202e", "\ud800", "\U0001f600", "\x7f", "\x80", "f" * 64, "g" * 64),
)


def legal_reference(chance):
    digest = "".join(chance.choices(DIGITS, k=64))
    size = chance.choice((0, 1, 176, 10**18 - 1, chance.randrange(10 ** chance.randrange(1, 18))))
    kind = chance.choice(("blob", "file", "tree"))
    if kind == "blob":
        label = chance.choice(("numpy", "pickle", "a", "A.b-c_9", "9" * 64))
    else:
        label = label_of(os.fsdecode(legal_name(chance)))
    return Reference(kind, digest, size, label)


def exchanged(text, chance):
    """A reference of which one field is another."""
    fields = text.split(":")
    fields[chance.randrange(len(fields))] = chance.choice((*PIECES, *fields))
    return ":".join(fields)


def case(chance):
    """(text, whether it is a reference as it stands, which is not known of what is changed)."""
    how = chance.random()
    if how < 0.05:
        return "".join(chance.choices(PIECES, k=chance.randrange(12))), None
    text = str(legal_reference(chance))
    if how < 0.1:
        return text, True
    changed = exchanged(text, chance) if how < 0.3 else mutated(text, PIECES, chance)
    return changed, None


def check(text, is_legal):
    """Parse a text, and say what came of it."""
    found = attempt(parse, text, InvalidReferenceError)
    if found is None:
        assert not is_legal, text
        return "refused"
    assert str(found) == text
    assert parse(str(found)) == found
    assert text.isascii()
    assert text[7:71] == found.digest
    if found.kind == "blob":
        assert IDENTIFIER.fullmatch(found.label)
    else:
        assert label_of(found.name) == found.label
        assert os.path.basename(found.name) == found.name not in {"", ".", ".."}
    return "accepted"
