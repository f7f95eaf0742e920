"""Breadth-first search through all states of a model, and the shortest way to what is wrong."""

from typing import NamedTuple

Step = tuple
"""(actor, name, *arguments); see :mod:`tests.protocol.model`."""


class Found(NamedTuple):
    """What a search has found; `trace` is None where nothing is wrong."""

    states: int
    transitions: int
    names: set  # of the steps that were made
    trace: list | None

    def __str__(self):
        lines = [f"{self.states} states, {self.transitions} transitions"]
        return "\n".join(lines + [f"    {' '.join(map(str, step))}" for step in self.trace or ()])


def explore(model, wrong=None):
    """Visit every state once, in the order of their distance from a start, until one is wrong.

    A state is remembered by the hash of its canonical form. Of 64 bits for some million states,
    two that differ are taken for one with a probability of 1 in a million.
    """
    wrong = wrong or model.is_dangling
    came_from, met, names, transitions = {}, set(), set(), 0
    frontier = [model.canonical(start) for start in model.starts()]
    came_from.update((hash(state), None) for state in frontier)
    while frontier:
        following = []
        for state in frontier:
            origin = hash(state)
            for (_, name, *_), after in model.steps(state):
                transitions += 1
                names.add(name)
                raw = hash(after)
                if raw in met:
                    continue
                met.add(raw)  # that much cheaper than to have its canonical form
                new = model.canonical(after)
                key = hash(new)
                if key in came_from:
                    continue
                came_from[key] = origin
                if wrong(new):
                    trace = _trace(model, came_from, key)
                    return Found(len(came_from), transitions, names, trace)
                if not model.is_beyond(new):
                    following.append(new)
        frontier = following
    return Found(len(came_from), transitions, names, None)


def _trace(model, came_from, key):
    """The steps to a state, with the actors and numbers that they have on this one way."""
    way = []
    while key is not None:
        way.append(key)
        key = came_from[key]
    first, *rest = reversed(way)
    state = next(start for start in model.starts() if hash(model.canonical(start)) == first)
    trace = []
    for key in rest:
        step, state = next(
            (step, after)
            for step, after in model.steps(state)
            if hash(model.canonical(after)) == key
        )
        trace.append(step)
    return trace + model.landing(state)
