"""A run: case after case, each of which follows from the seed and its number alone."""

import os
import tempfile
import time
from collections import Counter
from typing import NamedTuple

from . import manifests, names, references
from .sandbox import Sandbox
from .trials import chance_of

KINDS = ("reference", "manifest", "name")

SAMPLE = 15
"""Of so many that are accepted, one is unpacked."""

LONGEST = 0.25
"""So many seconds of the processor's time a case may take, unpacking aside; most take 0.0001."""


class Outcome(NamedTuple):
    """What a run has seen."""

    results: Counter[str]
    slowest: float
    seconds: float

    def __str__(self):
        lines = [f"{count:>9,} {result}" for result, count in sorted(self.results.items())]
        slowest = f"the slowest took {1000 * self.slowest:.1f} ms of processor time"
        cases = sum(n for result, n in self.results.items() if ":" not in result)
        return "\n".join([*lines, f"{cases:,} cases in {self.seconds:.1f} s; {slowest}"])


class UnexpectedError(Exception):
    """What should not have happened to a case; its cause says what it is."""


def run(count, seed, start=0):
    """Try so many cases of each kind in turn. Raises UnexpectedError, which names the case."""
    results, slowest = Counter(), 0.0
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as directory:
        sandbox = Sandbox(directory)
        for number in range(start, start + count):
            try:
                slowest = max(slowest, _try(seed, number, sandbox, results))
            except Exception as error:
                msg = f"python -m tests.fuzz --seed {seed} --start {number} --count 1"
                raise UnexpectedError(msg) from error
    return Outcome(results, slowest, time.perf_counter() - begun)


def _try(seed, number, sandbox, results):
    kind = KINDS[number % 3]
    chance = chance_of(seed, number)
    make, look = _STEPS[kind]
    case = make(chance, seed)
    begun = time.thread_time()
    result, unpack = look(case, sandbox, chance)
    took = time.thread_time() - begun
    assert took < LONGEST, f"{took} s"
    results[f"{kind} {result}"] += 1
    if unpack is not None and chance.randrange(SAMPLE) == 0:
        results[f"{kind} {result}: {unpack()}"] += 1
    return took


def _look_at_reference(case, sandbox, chance):
    return references.check(*case), None


def _look_at_manifest(case, sandbox, chance):
    tree, is_legal = case
    found = manifests.check(tree, is_legal, chance)
    if found is None:
        return "refused", None
    return "accepted", lambda: sandbox.unpack_tree(found, tree.blobs)


def _look_at_name(case, sandbox, chance):
    result = names.check(*case)
    is_here = result == "accepted" or (result != "refused" and os.name != "nt")
    return result, (lambda: sandbox.unpack_file(*case)) if is_here else None


_STEPS = {
    "reference": (lambda chance, _: references.case(chance), _look_at_reference),
    "manifest": (manifests.case, _look_at_manifest),
    "name": (lambda chance, _: names.case(chance), _look_at_name),
}
