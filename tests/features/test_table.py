"""The page says what the tests prove, and everything that it should have is proven."""

import pytest

from .table import PAGE, features, table, written

# What has to be shown, and features that show it: all of them.
ASKED = {
    "nullable columns": ["Nullable columns"],
    "unique columns": ["Unique columns"],
    "indexed columns": ["Indexed columns"],
    "foreign-key columns": ["Foreign keys"],
    "primary-key columns": ["Primary keys"],
    "inheritance": [
        "Single table inheritance",
        "Joined table inheritance",
        "Concrete table inheritance",
    ],
    "mixins": ["Mixins and `declared_attr`", "Abstract bases"],
    "composites": ["Composites"],
    "MappedAsDataclass": ["`MappedAsDataclass`"],
    "Annotated": ["`Annotated` types"],
    "type_annotation_map": ["`type_annotation_map`"],
    "SQLModel's sa_type": ["SQLModel"],
    "Flask-SQLAlchemy models": ["Flask-SQLAlchemy"],
    "deferred": ["Deferred columns", "`load_only` and `raiseload`"],
    "column_property": ["`column_property`"],
    "hybrids": ["Hybrid properties"],
    "with_variant": ["`with_variant`"],
    "association_proxy": ["`association_proxy`"],
    "in-place changes": ["Changes in place"],
    "joinedload of collections": ["Relationship loading"],
    "expire_on_commit": ["`expire_on_commit`"],
    "arrays of artifacts on PostgreSQL": ["ARRAY"],
    "a list type that works on both": ["ArtifactList"],
    "session.merge": ["`session.merge`"],
    "pickled instances": ["Pickled instances"],
    "history": ["History"],
    "bulk": ["Bulk methods of a session", "Bulk INSERT and UPDATE by the ORM"],
    "upsert": ["Upserts"],
    "insert().from_select": ["`insert().from_select()`"],
    "update().where(column == value)": ["UPDATE and DELETE by value"],
    "schema_translate_map": ["Schemas"],
    "two engines": ["One Base on two engines"],
    "two stores": ["Two stores in one model"],
    "two Bases": ["Two Bases on one engine"],
    "values moved between stores": ["Values moved between stores"],
}


def test_the_page_is_what_the_tests_write():
    page = PAGE.read_text(encoding="utf-8")
    assert page == written(page), "run: python -m tests.features.table"


@pytest.mark.parametrize("asked", ASKED)
def test_every_feature_that_was_asked_for_is_proven(asked):
    names = {name for _, name in features()}
    assert set(ASKED[asked]) <= names


def test_a_feature_of_one_database_says_so():
    rows = table().splitlines()
    for (_, name), feature in features().items():
        (row,) = (row for row in rows if row.startswith(f"| {name} |"))
        _, _, sqlite, postgresql = row.split(" | ")[:4]
        assert (sqlite, postgresql) == ("yes" if feature.only is None else "", "yes")
