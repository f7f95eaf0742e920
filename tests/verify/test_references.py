"""The first depth: what rows name, against the ledger."""

import json

import pytest
from sqlalchemy import Column, Integer, Table, insert, select, text

from sqla_artifacts import Artifact, ArtifactList, ArtifactStore, ledger
from sqla_artifacts.errors import CollectError, ForeignStoreError, VanishedColumnError
from sqla_artifacts.verify import verify

from .conftest import LARGE


def test_nothing_is_found_where_all_is_well(scene, make_tree):
    scene.commit(b"x", b"y", None)
    scene.commit(make_tree(small=b"s", large=b"l" * LARGE), column="run")
    scene.roll_back(b"garbage is no damage")
    report = scene.verify()
    assert (report.findings, report.is_sound) == ([], True)
    assert str(report) == "sound"


@pytest.mark.parametrize("state", ["unknown", "pending", "gone"])
def test_what_is_named_and_not_live_is_missing(scene, state):
    scene.commit(b"x", b"x", b"sound")
    if state == "unknown":
        scene.run(f"DELETE FROM artifact_blob WHERE digest = '{scene.digest(b'x')}'")
    else:
        scene.set_blob(b"x", state=state)
    report = scene.verify()
    (finding,) = report.findings
    assert (finding.kind, finding.digest) == ("missing", scene.digest(b"x"))
    assert [(place.column.split(".")[-2:], place.times) for place in finding.places] == [
        (["sample", "data"], 2)
    ]
    assert not report.is_sound


def test_a_missing_part_makes_its_tree_incomplete(scene, make_tree):
    large = b"l" * LARGE
    scene.commit(make_tree(large=large), column="run")
    scene.set_blob(large, state="gone")
    missing, incomplete = scene.verify().findings
    assert (missing.kind, missing.digest) == ("missing", scene.digest(large))
    assert (incomplete.kind, incomplete.digest) == ("incomplete", scene.tree())
    assert missing.places == incomplete.places
    assert missing.places[0].column.endswith("sample.run")


def test_references_in_lists_count(scene):
    albums = Table(
        "album",
        scene.metadata,
        Column("id", Integer, primary_key=True),
        Column("photos", ArtifactList(Artifact("bytes"))),
    )
    scene.metadata.create_all(scene.engine)
    with scene.engine.begin() as connection:
        connection.execute(insert(albums).values(photos=[b"1", b"2"]))
    scene.set_blob(b"2", state="gone")
    assert scene.kinds() == [("missing", scene.digest(b"2"))]


def test_a_string_that_is_no_reference_is_malformed(scene):
    scene.commit(b"x")
    digest = "0" * 64
    strings = [
        "secret",
        f"&:blob:{digest}:1:bytes ",
        f"&:blob:{digest}:01:bytes",
        f"&:blob:{digest}:1:",
        f"&:file:{digest}:1:a%41",  # there is one way to write it
        f"&:file:{digest}:1:..",
        "",
    ]
    with scene.engine.begin() as connection:
        connection.execute(
            text("INSERT INTO sample (data) VALUES (:data)"), [{"data": each} for each in strings]
        )
    malformed = [each for each in scene.verify().findings if each.kind == "malformed"]
    assert malformed[0].places[0].times == len(strings)
    assert [row["id"] for row in malformed[0].rows] == list(range(2, 2 + len(strings)))
    assert "secret" not in repr(malformed)


def test_names_that_are_encoded_are_references(scene, make_tree):
    for name in (".hidden", "größe 1", "a" * 255):
        (path := make_tree(name) / name).write_bytes(b"x")
        scene.commit(path, column="run")
    assert scene.verify().findings == []


def test_a_column_that_no_writer_has_noted_is_unregistered(scene):
    scene.commit(b"x", b"y")
    Table("copied", scene.metadata, Column("picture", Artifact("bytes")))
    Table("unused", scene.metadata, Column("picture", Artifact("bytes")))
    scene.metadata.create_all(scene.engine)
    scene.run("INSERT INTO copied SELECT data FROM sample")
    report = scene.verify()
    (finding,) = report.findings
    assert (finding.kind, finding.places[0].times) == ("unregistered", 2)
    assert finding.places[0].column.endswith("copied.picture")
    assert report.is_sound


def test_a_column_without_primary_key_shows_its_malformed_rows_too(scene):
    scene.commit(b"x")
    Table("bare", scene.metadata, Column("data", Artifact("bytes")))
    scene.metadata.create_all(scene.engine)
    scene.run("INSERT INTO bare VALUES ('no reference')")
    (finding,) = [each for each in scene.verify().findings if each.kind == "malformed"]
    assert len(finding.rows) == 1


def test_the_report_is_machine_readable_and_bounded(scene, monkeypatch):
    monkeypatch.setattr("sqla_artifacts.verify.SHOWN", 2)
    scene.commit(*(b"%d" % number for number in range(5)))
    scene.run("DELETE FROM artifact_blob")
    seen = []
    report = scene.verify(on_finding=seen.append)
    loaded = json.loads(report.to_json())
    assert (len(seen), len(loaded["findings"]), loaded["counts"]) == (5, 2, {"missing": 5})
    assert loaded["is_sound"] is False
    assert loaded["findings"][0]["places"][0]["times"] == 1
    assert "and 3 more" in str(report)


def test_verifying_changes_nothing(scene):
    scene.commit(b"x", b"y")
    scene.store.backend.delete(scene.key(b"x"))
    scene.flip(scene.key(b"y"))

    def everything():
        tables = [table for table in ledger.metadata.sorted_tables if table.columns]
        with scene.engine.connect() as connection:
            rows = [connection.execute(select(table)).all() for table in tables]
        return rows, scene.keys("")

    before = everything()
    assert len(scene.verify("content").findings) == 2
    assert everything() == before


def test_a_store_of_another_database_is_refused(scene, tmp_path):
    scene.commit(b"x")
    with pytest.raises(CollectError, match="never stored anything"):
        verify(ArtifactStore(str(tmp_path / "other")), scene.engine)
    scene.replace("owner.json", b'{"ledger": "another"}')
    with pytest.raises(ForeignStoreError):
        scene.verify()


def test_a_vanished_column_is_refused(scene):
    scene.commit(b"x")
    scene.run("ALTER TABLE sample RENAME COLUMN data TO renamed")
    with pytest.raises(VanishedColumnError, match=r"sample\.data"):
        verify(scene.store, scene.engine)


@pytest.mark.parametrize(
    "options",
    [
        {"depth": "deep"},
        {"sample": 0},
        {"sample": 1.5},
        {"after": "0" * 64},
        {"depth": "content", "after": "x"},
    ],
    ids=str,
)
def test_arguments_that_make_no_sense(scene, options):
    with pytest.raises(ValueError, match=r"depth|after"):
        verify(scene.store, scene.engine, **options)
