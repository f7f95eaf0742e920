"""Images: format, quality, frames and metadata are kept, and what cannot be is refused."""

import io
import random

import pytest
from hypothesis import strategies as st
from PIL import Image, ImageFile, ImageSequence

from sqla_artifacts.datatypes import BUILTIN
from sqla_artifacts.errors import DecodeError, InvalidValueError
from sqla_artifacts.payload import Stage
from sqla_artifacts.testing import DataTypeConformance

IMAGE = BUILTIN["image"]
MODES = ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I", "F", "I;16"]
ICC = bytes(range(200))


def noise(mode="RGB", size=(20, 15), seed=0):
    """An image of random pixels."""
    blank = Image.new(mode, size)
    image = Image.frombytes(mode, size, random.Random(seed).randbytes(len(blank.tobytes())))
    if mode in {"P", "PA"}:
        image.putpalette(random.Random(1).randbytes(768))
    return image


def opened(image, form, **options):
    """An image as it is when it has been saved and opened."""
    fp = io.BytesIO()
    image.save(fp, form, **options)
    return Image.open(fp)


def frames(count=4):
    """Frames of few colours with transparent parts, the second of them twice."""
    made = []
    for number in range(count):
        frame = Image.new("RGBA", (20, 20))
        frame.paste((number * 50, 9, 9, 255), (number * 2, 3, number * 2 + 8, 12))
        made += [frame] * (2 if number == 1 else 1)
    return made


def animated(form, **options):
    first, *rest = frames()
    durations = [10, 20, 30, 40, 50]
    return opened(
        first, form, save_all=True, append_images=rest, duration=durations, loop=3, **options
    )


def encoded(image):
    with IMAGE.encode(image, Stage("blake3")).open() as fp:
        return fp.read()


def stored(image):
    return IMAGE.decode(encoded(image))


def shown(image):
    """What is to be seen, and for how long."""
    seen = []
    for frame in map(loaded, ImageSequence.Iterator(image)):
        look = (frame.size, frame.convert("RGBA").convert("RGBa").tobytes())
        duration = frame.info.get("duration", 0)
        if seen and seen[-1][0] == look:
            duration += seen.pop()[1]
        seen.append((look, duration))
    image.seek(0)
    return seen


def loaded(frame):
    frame.load()
    return frame


@st.composite
def images(draw):
    size = draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    mode, form = draw(
        st.sampled_from([(mode, None) for mode in MODES])
        | st.tuples(
            st.sampled_from(["1", "L", "RGB"]),
            st.sampled_from(["PNG", "TIFF", "BMP", "PPM", "JPEG", "GIF", "WEBP"]),
        )
    )
    image = noise(mode, size, draw(st.integers(0, 100)))
    return opened(image, form) if form else image


class TestImage(DataTypeConformance):
    datatype = IMAGE
    values = (
        *(loaded(opened(noise(), form)) for form in ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP")),
        noise("RGBA"),
    )
    strategy = images()
    refused = (b"bytes", "text of some length", None, Image.new("HSV", (3, 3)))
    corrupt = (b"", b"garbage", encoded(noise())[:300], encoded(opened(noise(), "JPEG"))[:300])

    def equal(self, found, expected):
        if found.format != (expected.format or found.format) or found.size != expected.size:
            return False
        if found.format == "GIF":
            return shown(found) == shown(expected)
        exact = found.tobytes() == expected.tobytes() or found.format == "JPEG"
        return found.mode == expected.mode and exact


@pytest.mark.parametrize("mode", MODES)
def test_an_image_without_format_is_kept_exactly(mode):
    image = noise(mode)
    found = stored(image)
    assert found.format in {"PNG", "TIFF"}
    assert (found.mode, found.size) == (mode, image.size)
    assert found.tobytes() == image.tobytes()
    assert found.getpalette() == image.getpalette()


@pytest.mark.parametrize("mode", ["La", "RGBa", "RGBX", "HSV", "I;16L"])
def test_a_mode_that_no_format_keeps_is_refused(mode):
    with pytest.raises(InvalidValueError, match=r"'image' cannot encode a Image: .*convert\(\)"):
        stored(Image.new(mode, (3, 3)))


def test_a_jpeg_keeps_its_quality():
    for quality, subsampling in ((20, 2), (75, 1), (95, 0)):
        image = opened(
            noise(size=(64, 64)), "JPEG", quality=quality, subsampling=subsampling, progressive=True
        )
        found = stored(image)
        assert found.format == "JPEG"
        assert found.quantization == image.quantization
        assert found.layer == image.layer
        assert found.info["progressive"]


def test_a_jpeg_that_is_stored_again_and_again_settles():
    smooth = Image.linear_gradient("L").resize((64, 64))
    image = opened(Image.merge("RGB", [smooth] * 3), "JPEG", quality=75)
    sizes = []
    for _ in range(10):
        data = encoded(image)
        sizes.append(data)
        image = IMAGE.decode(data)
    assert sizes[-1] == sizes[-2]


def test_a_jpeg_that_was_changed_in_place_keeps_its_quality():
    image = opened(noise(), "JPEG", quality=30)
    image.paste((0, 0, 0), (0, 0, 8, 8))
    found = stored(image)
    assert found.quantization == image.quantization
    assert found.getpixel((4, 4)) < (20, 20, 20)


def test_an_image_made_from_a_jpeg_is_stored_without_loss():
    found = stored(opened(noise(), "JPEG").resize((10, 10)))
    assert found.format == "PNG"


EXIF = Image.Exif()
EXIF[0x010E] = "a description"
EXIF.get_ifd(0x8825)[1] = "N"
METADATA = {
    "JPEG": {"exif": EXIF, "icc_profile": ICC, "dpi": (300, 300), "comment": b"hi", "xmp": b"<x/>"},
    "PNG": {"exif": EXIF, "icc_profile": ICC, "dpi": (300, 300)},
    "WEBP": {"exif": EXIF, "icc_profile": ICC, "xmp": b"<x/>"},
    "TIFF": {"exif": EXIF, "icc_profile": ICC, "dpi": (300, 300), "compression": "tiff_lzw"},
    "MPO": {"exif": EXIF, "icc_profile": ICC, "dpi": (300, 300)},
}


@pytest.mark.parametrize("form", METADATA)
def test_metadata_is_kept(form):
    image = opened(noise(), form, **METADATA[form])
    found = stored(image)
    for key in METADATA[form]:
        assert found.info.get(key) == image.info.get(key), key
    assert found.getexif()[0x010E] == "a description"
    if form != "TIFF":  # into which Pillow writes no such part
        assert found.getexif().get_ifd(0x8825) == {1: "N"}


def test_exif_that_was_changed_is_kept_as_it_is_now():
    image = opened(noise(), "JPEG", exif=EXIF)
    image.getexif()[0x010E] = "another"
    assert stored(image).getexif()[0x010E] == "another"


def test_texts_of_a_png_are_kept():
    image = opened(noise(), "PNG")
    image.load()
    image.text.update({"Author": "somebody", "Title": "größe"})
    assert stored(stored(image)).text == {"Author": "somebody", "Title": "größe"}


@pytest.mark.parametrize(
    ("form", "options"),
    [
        *(("GIF", {"disposal": disposal}) for disposal in (1, 2, 3, [2, 3, 1, 2, 2])),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"quality": 30}),
        ("PNG", {}),
        *(("PNG", {"disposal": 1, "blend": blend}) for blend in (0, 1)),
        ("PNG", {"disposal": 0, "blend": 1}),
        ("TIFF", {}),
    ],
)
def test_all_frames_are_kept_with_their_durations(form, options):
    image = animated(form, **options)
    found = stored(image)
    assert found.n_frames > 3
    assert found.tell() == 0
    assert found.info.get("loop") == image.info.get("loop")
    assert shown(found) == shown(image)


def test_the_first_frame_of_a_png_may_be_for_others():
    first, *rest = frames()
    durations = [20, 30, 40, 50]
    image = opened(
        first,
        "PNG",
        save_all=True,
        append_images=rest,
        duration=durations,
        default_image=True,
    )
    found = stored(image)
    assert found.default_image
    assert shown(found) == shown(image)


def test_storing_leaves_an_image_at_its_frame():
    image = animated("GIF")
    image.seek(2)
    before = image.convert("RGBA").tobytes()
    stored(image)
    assert image.tell() == 2
    assert image.convert("RGBA").tobytes() == before


def test_a_gif_that_would_lose_colours_is_refused():
    first, second = (noise(size=(40, 40), seed=seed).convert("RGBA") for seed in (1, 2))
    second.paste((0, 0, 0, 0), (0, 0, 40, 20))  # there the first shows, in other colours
    image = opened(first, "GIF", save_all=True, append_images=[second], disposal=1)
    image.seek(1)
    assert len(image.convert("RGB").getcolors(2000)) > 256
    with pytest.raises(InvalidValueError, match="from GIF exactly"):
        stored(image)


def test_other_formats_are_refused_with_what_to_do():
    with pytest.raises(InvalidValueError, match=r"ICO is not kept: copy\(\) the image"):
        stored(opened(noise(size=(16, 16)), "ICO"))
    assert stored(opened(noise(size=(16, 16)), "ICO").copy()).format == "PNG"


def test_only_those_formats_are_read():
    fp = io.BytesIO()
    noise().save(fp, "EPS")  # which Pillow would have a program draw
    with pytest.raises(DecodeError, match="cannot identify image file"):
        IMAGE.decode(fp.getvalue())


def test_a_bomb_is_refused(monkeypatch):
    data = encoded(Image.new("1", (200, 200)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    with pytest.raises(DecodeError, match="DecompressionBomb"):
        IMAGE.decode(data)
    with pytest.raises(InvalidValueError, match="DecompressionBomb"):
        encoded(Image.new("1", (200, 200)))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF"])
def test_a_truncated_image_is_refused(form):
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    data = encoded(opened(noise(), form))
    for length in range(0, len(data) - 40, 7):
        with pytest.raises(DecodeError):
            IMAGE.decode(data[:length])


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF"])
def test_a_later_frame_that_is_truncated_is_refused(form):
    data = encoded(animated(form))
    with pytest.raises(DecodeError):
        IMAGE.decode(data[: len(data) * 3 // 4])
