"""What of SQLAlchemy goes with artifact columns, each shown by a round trip through a database.

A test that proves a feature says so, with a note where the feature may surprise::

    @pytest.mark.feature("Composites", group="Attributes", note="Assign a new one to change it.")
    def test_a_composite_of_an_artifact_and_a_plain_column(sessions): ...

Several tests may prove one feature; ``only="postgresql"`` is for one that SQLite does not have.
The table in ``docs/features.md`` is made of these marks: ``python -m tests.features.table``
writes it again.
"""
