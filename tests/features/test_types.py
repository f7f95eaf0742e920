"""An artifact type inside other types: variants by database, decorators of the user's own."""

import pytest
from sqlalchemy import LargeBinary, TypeDecorator, select, text, type_coerce

from sqla_artifacts import Artifact, FileDir, Lazy, LazyArtifact, StoredPath
from sqla_artifacts.errors import ComparisonError

from .record import COLUMNS, OTHERS, TYPES, VALUES, make_one, plain

feature = pytest.mark.feature

VARIANT = (
    '`Artifact(...).with_variant(LargeBinary(), "sqlite")` compares digests where it is an '
    "artifact; where it is not, `==` is refused: write `type_coerce(column, LargeBinary) == …`. "
    'The other way round, `LargeBinary().with_variant(Artifact(...), "sqlite")`, `==` works, but '
    "there are no `.digest` and no proxies before the flush."
)


def raw(session):
    """Whether what the row of `one` holds is a reference."""
    held = session.execute(text("SELECT value FROM one")).scalar_one()
    return isinstance(held, str) and held.startswith("&:blob:")


@feature("`with_variant`", group="Types", note=VARIANT)
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_an_artifact_is_something_else_on_one_database(engine, sessions, database):
    one = make_one(Artifact("bytes").with_variant(LargeBinary(), database))
    here = engine.dialect.name == database
    new = sessions(one.metadata)
    with new.begin() as session:
        session.add_all([one(value=b"value")])
    with new() as session:
        assert raw(session) is not here
        found = session.scalars(select(one)).one()
        assert found.value == b"value"
        query = select(one.id)
        if here:
            with pytest.raises(ComparisonError, match=r"one\.value.*type_coerce"):
                session.scalars(query.where(one.value == b"value"))
            where = type_coerce(one.value, LargeBinary) == b"value"
        else:
            where = one.value == b"value"
        assert session.scalars(query.where(where)).all() == [1]
        found.value = b"other"
        session.commit()
        assert found.value == b"other"


@feature("`with_variant`", group="Types")
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
@pytest.mark.parametrize(
    "artifact", [Artifact("bytes"), LazyArtifact("bytes")], ids=["now", "lazy"]
)
def test_something_else_is_an_artifact_on_one_database(engine, sessions, database, artifact):
    one = make_one(LargeBinary().with_variant(artifact, database))
    here = engine.dialect.name == database
    new = sessions(one.metadata)
    with new.begin() as session:
        session.add(one(value=b"value"))
    with new() as session:
        assert raw(session) is here
        found = session.scalars(select(one).where(one.value == b"value")).one()
        assert isinstance(found.value, Lazy) is (here and isinstance(artifact, LazyArtifact))
        assert plain(found.value) == b"value"
        found.value = b"other"
        session.commit()
        assert plain(found.value) == b"other"


class Upper(TypeDecorator):
    """Text that is stored in capitals, and read with an exclamation mark."""

    impl = Artifact("text")
    cache_ok = True

    def process_bind_param(self, value, dialect):
        return None if value is None else value.upper()

    def process_result_value(self, value, dialect):
        return None if value is None else f"{value}!"


class Same(TypeDecorator):
    """Another name for a column type."""

    impl = FileDir
    cache_ok = True

    def __init__(self, column_type):
        super().__init__()
        self.impl = column_type

    def copy(self, **kw):
        return type(self)(self.impl)


DECORATED = (
    "`process_bind_param` gets what is assigned to an eager column; to a lazy one, the proxy. "
    "Values that are compared go through it, too."
)


@feature("`TypeDecorator` around an artifact", group="Types", note=DECORATED)
def test_a_decorator_changes_what_is_stored_and_read(sessions):
    one = make_one(Upper())
    new = sessions(one.metadata)
    with new.begin() as session:
        session.add_all([one(value="a"), one(value="b"), one()])
    with new() as session:
        assert session.scalars(select(one.value).order_by(one.id)).all() == ["A!", "B!", None]
        ids = select(one.id).order_by(one.id)
        assert session.scalars(ids.where(one.value == "a")).all() == [1]
        assert session.scalars(ids.where(one.value.in_(["b", "x"]))).all() == [2]
        assert session.scalars(ids.where(one.value != "a")).all() == [2]
        assert session.scalars(ids.where(one.value.is_(None))).all() == [3]
        found = session.get_one(one, 1)
        found.value = "c"
        session.commit()
        assert found.value == "C!"


@feature("`TypeDecorator` around an artifact", group="Types")
@pytest.mark.parametrize("column", COLUMNS)
def test_a_decorator_around_each_type(sessions, column):
    one = make_one(Same(TYPES[column]()))
    new = sessions(one.metadata)
    with new() as session:
        made = one(value=VALUES[column])
        assert type(made.value) in {bytes, Lazy, StoredPath}
        session.add(made)
        session.commit()
        assert plain(made.value) == VALUES[column]
        assert session.scalars(select(one).where(one.value == VALUES[column])).one() is made
        made.value = OTHERS[column]
        session.commit()
        assert plain(made.value) == OTHERS[column]
