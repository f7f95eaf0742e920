"""Texts that are nearly right, with one change or a few, and whether they are refused."""

import random

LONG = 1 << 18
DIGITS = "0123456789abcdef"


def chance_of(seed, number):
    """The random numbers of one case, which can so be tried again by itself."""
    return random.Random(seed << 64 | number)


def attempt(function, argument, error):
    """What a function returns, or None where it refuses with that error, in few words."""
    try:
        return function(argument)
    except error as refusal:
        message = str(refusal)
    assert len(message) < 1500, message
    return None


def mutated(text, pieces, chance):
    """A text (or bytes) that differs from another in one place, or in up to four."""
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        text = chance.choice(CHANGES)(text, pieces, chance)
    return text


def _slice(text, chance):
    start = chance.randrange(len(text) + 1)
    length = chance.choice((1, 1, 1, 2, 3, chance.randrange(80)))
    return start, min(len(text), start + length)


def _insert(text, pieces, chance):
    start, _ = _slice(text, chance)
    return text[:start] + chance.choice(pieces) + text[start:]


def _replace(text, pieces, chance):
    start, end = _slice(text, chance)
    return text[:start] + chance.choice(pieces) + text[end:]


def _remove(text, pieces, chance):
    start, end = _slice(text, chance)
    return text[:start] + text[end:]


def _double(text, pieces, chance):
    start, end = _slice(text, chance)
    return text[:end] + text[start:]


def _swap_case(text, pieces, chance):
    start, end = _slice(text, chance)
    return text[:start] + text[start:end].swapcase() + text[end:]


def _move(text, pieces, chance):
    start, end = _slice(text, chance)
    rest = text[:start] + text[end:]
    to, _ = _slice(rest, chance)
    return rest[:to] + text[start:end] + rest[to:]


def _cut(text, pieces, chance):
    start, _ = _slice(text, chance)
    return text[:start]


def _repeat(text, pieces, chance):
    """Mostly a little longer; once in a while very much so."""
    start, _ = _slice(text, chance)
    piece = chance.choice(pieces)
    times = chance.randrange(2, 300) if chance.random() < 0.98 else LONG // (len(piece) + 1)
    return text[:start] + piece * times + text[start:]


CHANGES = (
    *(_insert, _replace, _remove) * 4,
    *(_double, _swap_case, _move) * 2,
    _cut,
    _repeat,
)
