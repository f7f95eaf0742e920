"""Tries references, manifests and names, a third each: ``python -m tests.fuzz --count 1000000``.

A case follows from ``--seed`` and its number alone. What goes wrong says how to try it again.
"""

import argparse

from .run import run

parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
parser.add_argument("--count", type=int, default=1_000_000, help="how many cases")
parser.add_argument("--seed", type=int, default=1, help="what they follow from")
parser.add_argument("--start", type=int, default=0, help="the number of the first")

if __name__ == "__main__":
    options = parser.parse_args()
    print(run(options.count, options.seed, options.start))  # noqa: T201 (a program's output)
