"""Values as people have them, through a column of both databases and a local store."""

import io
import json
import pickle
import shutil
import struct
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import select, type_coerce
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from sqla_artifacts import Artifact, FileDir, LazyArtifact, LazyMapped, PathMapped, StoredPath
from sqla_artifacts.errors import InvalidValueError, UnknownDataTypeError
from sqla_artifacts.validation import media_types_of

from ..models import make_store
from ..optional import need
from .test_images import animated, shown


@pytest.fixture
def columns(engine, tmp_path):
    """Makes a model with the columns that it is given, and its table and store."""

    class Base(DeclarativeBase):
        pass

    def make(**types):
        body = {
            "__tablename__": "sample",
            "id": mapped_column(primary_key=True),
            "__annotations__": {"id": Mapped[int]},
        }
        for name, (annotation, column_type) in types.items():
            body[name] = mapped_column(column_type)
            body["__annotations__"][name] = annotation
        sample = type("Sample", (Base,), body)
        make_store(tmp_path).attach(engine, metadata=Base.metadata)
        Base.metadata.create_all(engine)
        return sample

    return make


def stored(engine, *instances):
    """Store instances, and load the last one anew."""
    with Session(engine) as session:
        session.add_all(instances)
        session.commit()
        key = instances[-1].id
    with Session(engine) as session:
        return session.get(type(instances[-1]), key)


PREDICT = """
import json, pickle, sys
proxy, data = pickle.load(sys.stdin.buffer)
print(json.dumps(proxy.unpack().predict(data).tolist()))
"""


@pytest.mark.parametrize("datatype", ["pickle", "cloudpickle"])
def test_a_fitted_pipeline_predicts_the_same_elsewhere(engine, columns, datatype):
    need("sklearn")
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    data = np.random.default_rng(0).normal(size=(100, 4))
    model = make_pipeline(StandardScaler(), RandomForestClassifier(5, random_state=0))
    model.fit(data, data[:, 0] > 0)
    sample = columns(model=(LazyMapped[object], LazyArtifact(datatype)))
    row = stored(engine, sample(model=model))
    run = subprocess.run(
        [sys.executable, "-c", PREDICT],
        input=pickle.dumps((row.model, data)),
        capture_output=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr.decode()
    assert json.loads(run.stdout) == model.predict(data).tolist()


def test_a_state_dict_is_loaded_into_a_new_module(engine, columns):
    torch = need("torch")

    def make():
        return torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.Flatten(),
            torch.nn.Linear(8 * 36, 5),
        )  # fmt: skip

    module = make()
    data = torch.randn(4, 3, 8, 8)
    module(data)  # so that there are running means
    sample = columns(
        torch=(LazyMapped[object], LazyArtifact("torch")),
        safetensors=(LazyMapped[object], LazyArtifact("safetensors")),
    )
    state = module.state_dict()
    row = stored(engine, sample(torch=state, safetensors=dict(state)))
    for proxy in (row.torch, row.safetensors):
        other = make()
        other.load_state_dict(proxy.unpack())
        assert torch.equal(other.eval()(data), module.eval()(data))


def test_a_polars_frame_with_nested_columns(engine, columns):
    pl = need("polars")
    frame = pl.DataFrame(
        {
            "name": ["one", "two"],
            "runs": [[{"step": 1, "loss": 0.5}], [{"step": 1, "loss": None}]],
            "kind": pl.Series(["a", "b"], dtype=pl.Enum(["a", "b", "c"])),
        }
    )
    sample = columns(frame=(Mapped[object], Artifact("arrow")))
    found = stored(engine, sample(frame=frame)).frame
    assert found.schema == frame.schema
    assert found.equals(frame)


def test_an_animated_gif(engine, columns):
    sample = columns(image=(Mapped[Image.Image], Artifact("image")))
    image = animated("GIF", disposal=2)
    found = stored(engine, sample(image=image)).image
    assert (found.format, found.n_frames) == ("GIF", image.n_frames)
    assert shown(found) == shown(image)
    assert found.info["loop"] == 3


def wav():
    """A second of a tone."""
    fp = io.BytesIO()
    with wave.open(fp, "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", None))
        tone = (np.sin(np.arange(8000) / 5) * 30000).astype("<i2")
        file.writeframes(tone.tobytes())
    return fp.getvalue()


def box(kind, *contents):
    """A box of an MP4 file (ISO/IEC 14496-12)."""
    content = b"".join(contents)
    return struct.pack(">I4s", 8 + len(content), kind) + content


def mp4():
    """A film without tracks."""
    header = struct.pack(">IIIIIIH10x", 0, 0, 0, 1000, 0, 0x10000, 0x100)
    matrix = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    return b"".join(
        [
            box(b"ftyp", b"isom", struct.pack(">I", 0x200), b"isomiso2mp41"),
            box(b"moov", box(b"mvhd", header, matrix, bytes(24), struct.pack(">I", 1))),
            box(b"mdat", bytes(1000)),
        ]
    )


MEDIA = {"tone.wav": (wav(), "audio/wav"), "film.mp4": (mp4(), "video/mp4")}


@pytest.mark.parametrize("name", MEDIA)
def test_a_media_file(engine, columns, tmp_path, name):
    data, media_type = MEDIA[name]
    assert media_type in media_types_of(data)
    path = tmp_path / name
    path.write_bytes(data)
    sample = columns(
        file=(PathMapped[StoredPath], FileDir(media_types=[media_type])),
        data=(Mapped[bytes], Artifact("bytes", media_types=[media_type])),
    )
    row = stored(engine, sample(file=path, data=data))
    assert row.data == data
    assert row.file.name == name
    assert row.file.unpack().read_bytes() == data
    other = next(content for content, kind in MEDIA.values() if kind != media_type)
    for wrong in ({"file": ("file", other)}, {"data": other}):
        with pytest.raises(InvalidValueError, match=media_type):
            stored(engine, sample(**({"file": path, "data": data} | wrong)))


def test_a_tone_is_read_from_its_column(engine, columns):
    sample = columns(file=(PathMapped[StoredPath], FileDir()))
    row = stored(engine, sample(file=("tone.wav", wav())))
    with row.file.open() as stream, wave.open(stream) as file:
        assert (file.getframerate(), file.getnframes()) == (8000, 8000)


@pytest.mark.slow
def test_the_directory_of_a_large_package(engine, columns, tmp_path):
    directory = Path(need("torch").__file__).parent
    sample = columns(run=(PathMapped[StoredPath], FileDir()))
    row = stored(engine, sample(run=directory))
    assert row.run.size > 200_000_000
    copy = row.run.unpack(tmp_path / "copy")
    again = stored(engine, sample(run=copy))
    assert again.run.digest == row.run.digest
    assert len(row.run.members) == sum(1 for _ in copy.rglob("*"))
    shutil.rmtree(tmp_path)  # pytest would keep it


def test_a_row_of_another_datatype_is_not_read(engine, columns, tmp_path):
    sample = columns(value=(Mapped[object], Artifact("pickle")))
    stored_value = sample(value={"a": 1})
    with Session(engine) as session:
        session.add(stored_value)
        session.commit()
        column = sample.__table__.c["value"]
        message = "written with datatype 'pickle', and the column accepts 'json'.*accepts="
        with pytest.raises(UnknownDataTypeError, match=message):
            session.scalars(select(type_coerce(column, Artifact("json")))).all()
        found = session.scalars(
            select(type_coerce(column, Artifact("json", accepts=["pickle"])))
        ).one()
        assert found == {"a": 1}
