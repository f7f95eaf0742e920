"""What sees an assignment: validators, attribute events, and values that are changed in place."""

from typing import Any

import numpy as np
import pytest
from sqlalchemy import event, inspect, select
from sqlalchemy.ext.mutable import MutableDict
from sqlalchemy.orm import Mapped, mapped_column, validates
from sqlalchemy.orm.attributes import flag_modified

from sqla_artifacts import Artifact, Lazy, LazyArtifact, LazyMapped, StoredPath

from .record import COLUMNS, OTHERS, TYPES, VALUES, make_base, make_record, plain

feature = pytest.mark.feature
each_column = pytest.mark.parametrize("column", COLUMNS)

VALIDATES = (
    "The method gets the value as it was assigned, before it is put in a proxy; a proxy if one "
    "was assigned."
)


@feature("`validates`", group="Attributes", note=VALIDATES)
@each_column
def test_a_validator_sees_changes_and_refuses_the_plain_value(sessions, column):
    given = []

    class Record(make_base()):
        __tablename__ = "record"
        id: Mapped[int] = mapped_column(primary_key=True)
        value = mapped_column(TYPES[column]())

        @validates("value")
        def check(self, key, value):
            given.append((key, value))
            if value == VALUES[column]:
                msg = "refused"
                raise ValueError(msg)
            return value

    new = sessions(Record.metadata)
    with new() as session:
        with pytest.raises(ValueError, match="refused"):
            Record(value=VALUES[column])
        made = Record(value=OTHERS[column])
        assert given == [("value", VALUES[column]), ("value", OTHERS[column])]
        assert type(made.value) in {bytes, Lazy, StoredPath}
        session.add(made)
        session.commit()
        assert plain(made.value) == OTHERS[column]
        with pytest.raises(ValueError, match="refused"):
            made.value = VALUES[column]
        made.value = held = made.value
        assert given[-1] == ("value", held)
        session.commit()
        assert plain(made.value) == OTHERS[column]


EVENTS = "A listener gets the value as it was assigned, and the old one as the attribute held it."


@feature("Attribute events", group="Attributes", note=EVENTS)
@each_column
def test_an_attribute_event_sees_old_and_new_and_may_replace(sessions, column):
    record = make_record()
    seen = []

    @event.listens_for(getattr(record, column), "set", retval=True, active_history=True)
    def note(target, value, old, initiator):
        seen.append((value, old if old is None or not hasattr(old, "value") else None))
        return value

    new = sessions(record.metadata)
    with new.begin() as session:
        session.add(record(**{column: VALUES[column]}))
    with new() as session:
        found = session.get_one(record, 1)
        setattr(found, column, OTHERS[column])
        value, old = seen[-1]
        assert (plain(value), plain(old)) == (OTHERS[column], VALUES[column])
        history = inspect(found).attrs[column].history
        assert [plain(each) for each in history.deleted] == [VALUES[column]]
        session.commit()
        assert plain(getattr(found, column)) == OTHERS[column]
    changed = []
    event.listen(getattr(record, column), "modified", lambda target, _: changed.append(target))
    with new() as session:
        found = session.get_one(record, 1)
        flag_modified(found, column)
        assert changed == [found]


IN_PLACE = (
    "A change inside a loaded value is not seen; arrays are read-only. Assign a new value, call "
    '`flag_modified`, or wrap an eager `json` column, `MutableDict.as_mutable(Artifact("json"))`.'
)


@feature("Changes in place", group="Attributes", note=IN_PLACE)
def test_a_change_in_place_is_seen_only_if_it_is_announced(sessions):
    class Record(make_base()):
        __tablename__ = "record"
        id: Mapped[int] = mapped_column(primary_key=True)
        doc: Mapped[Any] = mapped_column(Artifact("json"))
        watched: Mapped[Any] = mapped_column(MutableDict.as_mutable(Artifact("json")))
        image: Mapped[np.ndarray] = mapped_column(Artifact("numpy"))
        lazy: LazyMapped[Any] = mapped_column(LazyArtifact("json"))

    new = sessions(Record.metadata)
    with new.begin() as session:
        session.add(Record(doc={}, watched={}, image=np.zeros(2), lazy={}))
    with new.begin() as session:
        found = session.get_one(Record, 1)
        found.doc["unseen"] = 1
        found.lazy.unpack()["unseen"] = 1
        found.watched["seen"] = 1
        with pytest.raises(ValueError, match="read-only"):
            found.image[0] = 1
        assert inspect(found).attrs.doc.history.unchanged
    with new.begin() as session:
        found = session.get_one(Record, 1)
        assert (found.doc, found.lazy.unpack(), found.watched) == ({}, {}, {"seen": 1})
        found.doc["announced"] = 1
        flag_modified(found, "doc")
        found.lazy = {**found.lazy.unpack(), "assigned": 1}
        assert session.scalars(select(Record.watched)).one() == {"seen": 1}
    with new() as session:
        found = session.get_one(Record, 1)
        assert (found.doc, found.lazy.unpack()) == ({"announced": 1}, {"assigned": 1})
