"""The code against the model: the traces of the broken variants, played on a real PostgreSQL.

The right code cannot make the step that loses the blob, or it makes another one there. With that
step broken, as a control, it makes every step of the trace, and the blob is lost.
"""

import datetime as dt

import pytest

from sqla_artifacts.collect import collect
from sqla_artifacts.errors import UnsafeTransactionError
from tests.ledger.scene import Scene

from . import variants
from .broken import CONTROLS
from .explore import explore
from .stage import Stage

# Where the right code goes another way than the trace. It takes nothing (the horizon is not over,
# there is a reference, or the doom was lifted), deletes nothing, refuses, or, where it makes all
# the steps, writes the next generation or deletes after its commit.
WAYS = {
    variants.HorizonBeforeDoomIsCommitted: ("C1", "take"),
    variants.DoomOfOthersStamped: ("C1", "take"),
    variants.NoWaitForHorizon: ("C1", "take"),
    variants.PreparedNotWaitedFor: ("C1", "take"),
    variants.ReferencesNotLookedUpAgain: ("C1", "take"),
    variants.ColumnsNotConfirmed: ("C2", "take"),
    variants.LookBeforeBegin: ("C1", "take"),
    variants.LookAndBeginInOneStatement: ("C1", "take"),
    variants.LookInKeptSnapshot: ("C1", "take"),
    variants.AutocommitNotRefused: ("W1", "reference"),
    variants.Replayed: ("C1", "take"),
    variants.ReusedKey: None,
    variants.RowForgotten: None,
    variants.DeletedBeforeTaken: None,
    variants.NoLastLook: ("C1", "delete", 0, 0),
    variants.DeletedWhileRescued: ("C2", "delete", 0, 0),
    variants.DeletedForLaterGeneration: ("C1", "delete", 0, 0),
    variants.GraceAlone: ("C1", "take"),
    variants.TouchedOnReuse: ("C1", "take"),
    variants.DoomNotCleared: ("C1", "take"),
    variants.SettledWhateverTheGeneration: ("W1", "reference"),
    variants.PartNotConfirmed: ("W1", "commit_intend"),
}
KEPT = (variants.NoWaitForHorizon, variants.LookInKeptSnapshot, variants.PartNotConfirmed)
PLAYED = [(variant, "READ COMMITTED") for variant in WAYS]
PLAYED += [(variant, level) for variant in KEPT for level in ("REPEATABLE READ", "SERIALIZABLE")]


def trace_of(variant):
    options = {"writers": 1, "collectors": 1, "batches": False} | variants.LOSING[variant]
    return explore(variant(**options)).trace


def name_of(value):
    return getattr(value, "__name__", value)


@pytest.fixture
def make_stage(make_engine, tmp_path):
    """Makes the stage for a variant's trace."""
    stages = []

    def make(variant, **kinds):
        row = {"data": b"value"}
        if variants.LOSING[variant].get("tree"):
            tree = tmp_path / "tree"
            tree.mkdir()
            (tree / "file").write_bytes(b"in a pack")
            row = {"run": tree}
        stages.append(Stage(Scene(make_engine("postgresql")), make_engine, row, **kinds))
        return stages[-1]

    yield make
    for stage in stages:
        stage.close()


def collect_all(scene):
    now = {"grace": dt.timedelta(0), "retention": dt.timedelta(0), "limit_share": 1}
    return collect(scene.store, scene.engine, metadata=scene.metadata, dry_run=False, **now)


@pytest.mark.parametrize(("variant", "isolation"), PLAYED, ids=name_of)
def test_the_code_loses_nothing(make_stage, variant, isolation):
    stage = make_stage(variant, isolation=isolation)
    stage.play(trace_of(variant))
    assert stage.lost() == []
    assert WAYS[variant] is None or WAYS[variant] in stage.missed
    stage.finish()
    for _ in range(3):  # what SQL has copied is stored again; then the rest is garbage
        collect_all(stage.scene)
        stage.land()
        assert stage.lost() == []
    assert stage.scene.check() == set()


@pytest.mark.parametrize("variant", CONTROLS, ids=name_of)
def test_the_broken_code_loses_a_blob(make_stage, variant):
    stage = make_stage(variant, **CONTROLS[variant])
    stage.play(trace_of(variant))
    assert stage.missed == []
    assert stage.lost() != []
    stage.finish()


def test_autocommit_is_refused(make_stage):
    stage = make_stage(variants.AutocommitNotRefused)
    stage.play([("W1", "begin", "autocommit"), ("W1", "look")])
    (refusal,) = stage.actors["W1"].refusals
    assert isinstance(refusal, UnsafeTransactionError)


def test_every_variant_is_played_but_one():
    """That one's two steps are one transaction's, and there is nothing between them to stop at."""
    assert set(WAYS) == set(CONTROLS) == set(variants.LOSING) - {variants.EdgesDroppedLate}
