"""The protocol loses nothing, as far as its models can see, and every broken variant does.

How many states there were, and the way to each loss, are shown by `pytest -rP`.
"""

import pytest

from . import sqlite_model, sqlite_variants
from .explore import explore
from .model import Model
from .variants import HARMLESS, LOSING

STEPS = {
    *(
        "begin",
        "look",
        "intend",
        "put",
        "settle",
        "reference",
        "fail",
        "kill",
        "commit",
        "rollback",
    ),
    *("rollback_to", "prepare", "commit_prepared", "rollback_prepared"),
    *("mark", "commit_mark", "begin_stamp", "stamp", "commit_stamp", "snapshot", "take"),
    *("commit_take", "spare", "delete", "crash", "orphan", "forget", "late_put"),
}
MORE_STEPS = {
    "tree": {"look_part", "confirm", "commit_intend", "drop"},
    "keeps_snapshot": {"check"},
    "unregistered": {"note", "columns"},
    "copies": {"copy_sql", "paste", "rescue", "copy", "settle_copy"},
}
MODELS = [
    {},
    {"keeps_snapshot": True, "writers": 1},
    {"unregistered": True, "writers": 1},
    {"copies": True, "writers": 1},
    {"tree": True, "writers": 1, "collectors": 1},
    {"tree": True, "collectors": 1, "generations": 1},
    {"tree": True, "writers": 1, "generations": 1},
]
LARGER_MODELS = [
    {"generations": 3},
    {"keeps_snapshot": True, "unregistered": True},
    {"copies": True},
]
SMALL_MODELS = [
    {"writers": 1},
    {"collectors": 1},
    {"tree": True, "writers": 1, "collectors": 1, "generations": 1},
]


def name_of(options):
    return ", ".join(
        name if value is True else f"{value} {name}" for name, value in options.items()
    )


def check(model, **options):
    """Check that nothing is wrong in any state, and that every step was made in some."""
    # What SQL has copied may be unprotected for a while: it is there, and is rescued later.
    found = explore(model, model.is_dangling if model.copies else model.is_unprotected)
    print(f"{type(model).__name__}({name_of(options)}): {found}")  # noqa: T201 (the result)
    assert found.trace is None
    expected = STEPS.union(*(MORE_STEPS.get(name, ()) for name in options))
    assert expected <= found.names


@pytest.mark.parametrize("options", MODELS, ids=name_of)
def test_nothing_is_lost(options):
    check(Model(**options), **options)


@pytest.mark.slow
@pytest.mark.parametrize("options", LARGER_MODELS, ids=name_of)
def test_nothing_is_lost_in_a_larger_model(options):
    check(Model(**options), **options)


@pytest.mark.parametrize("options", SMALL_MODELS, ids=name_of)
@pytest.mark.parametrize("variant", HARMLESS, ids=lambda variant: variant.__name__)
def test_a_harmless_variant(variant, options):
    check(variant(**options), **options)


@pytest.mark.parametrize("variant", LOSING, ids=lambda variant: variant.__name__)
def test_a_broken_variant_loses_a_blob(variant):
    model = variant(**({"writers": 1, "collectors": 1} | LOSING[variant]))
    found = explore(model)
    print(f"{variant.__name__}: {found}")  # noqa: T201 (the result)
    assert_lost(model, found.trace)


def assert_lost(model, trace):
    """Follow a trace from step to step, to where the bytes are lost by what lands in the end."""
    assert trace is not None
    state = next(iter(model.starts()))
    for step in trace:
        if step[0] != "network":
            assert not model.is_dangling(state)
            (state,) = (after for made, after in model.steps(state) if made == step)
    assert model.is_dangling(state)
    assert trace[-1][:2] == ("network", "land")


REACHED = {
    "the bytes are deleted": lambda state: state.sent[0] and not state.readable(0),
    "the next generation is referenced": lambda state: state.references and state.rows[0].gen,
    "a referenced blob is doomed": lambda state: state.references and state.rows[0].doom,
    "nothing is left": lambda state: state.rows[0].state == "gone" and not any(state.trash),
}


@pytest.mark.parametrize("what", REACHED)
def test_what_the_model_reaches(what):
    assert explore(Model(writers=1, collectors=1), REACHED[what]).trace


# -- SQLite --------------------------------------------------------------------------------------


def test_nothing_is_lost_on_sqlite():
    model = sqlite_model.Model(generations=4)
    found = explore(model, model.is_unprotected)
    print(found)  # noqa: T201 (the result)
    assert found.trace is None
    writer = {"lock", "look", "put", "row", "reference", "commit", "rollback", "rollback_to"}
    collector = {"mark", "find", "list", "take", "delete", "tidy", "crash"}
    assert found.names == writer | collector | {"forget", "late_put"}


@pytest.mark.parametrize("variant", sqlite_variants.LOSING, ids=lambda variant: variant.__name__)
def test_a_broken_variant_loses_a_blob_on_sqlite(variant):
    model = variant(writers=2, collectors=1)
    found = explore(model)
    print(f"{variant.__name__}: {found}")  # noqa: T201 (the result)
    assert_lost(model, found.trace)
