"""Images of Pillow, in the format in which they were opened.

What comes back is a loaded ``PIL.Image.Image`` with its ``format``; one with several frames reads
them from memory. An image without a format, because it was made, or converted, resized or
copied, is stored as PNG, or as TIFF where PNG has no such mode.

Pixels are kept exactly, but for JPEG (and MPO): those are compressed again with the quality that
they had, which changes them a little for the first few times. Frames are kept as they look, with
their durations; one that equals the frame before it is joined with that. Also kept are EXIF, ICC
profile, XMP, resolution, and PNG's texts. Nothing of it is a promise of Pillow's, so what was
encoded is decoded once more and compared, and what would come back otherwise is refused. An
:class:`~.datatype.Encoded` file is stored byte by byte instead.

Pillow's limits against decompression bombs hold. Truncated images are refused, but for a GIF that
ends between two of its frames.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from .datatype import DataType, expected, extra

if TYPE_CHECKING:
    from collections.abc import Iterable

    from PIL.Image import Image

    from .datatype import Info

FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "JPEG2000", "MPO")
"""Pillow's names of the formats that are kept; no other is read, some of which run programs."""

_INSTEAD = "convert() it, or store its file"
_PNG_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})
_LOSSY = frozenset({"JPEG", "MPO"})
_LOSSLESS_TIFF = frozenset(
    {"raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "lzma", "zstd"}
    | {"tiff_ccitt", "group3", "group4"}
)


def _image(value: Any, info: Info) -> bytes:
    with extra("image"):
        from PIL import Image

    if not isinstance(value, Image.Image):
        raise TypeError(expected("a PIL.Image.Image", value))
    form = value.format or ("PNG" if value.mode in _PNG_MODES else "TIFF")
    if form not in FORMATS:
        msg = f"{form} is not kept: copy() the image to store it as PNG, or store its file"
        raise ValueError(msg)
    frames = _frames(value)
    fp = io.BytesIO()
    try:
        frames[0].save(fp, form, **_options(value, frames, form))
        found = _frames(_from_image(fp.getvalue(), info))
    except OSError as error:  # Pillow's; one of ours would be about the stage
        msg = f"mode {value.mode} as {form}: {error}: {_INSTEAD}"
        raise ValueError(msg) from error
    if _look(found, form) != _look(frames, form):
        msg = f"mode {value.mode} would not come back from {form} exactly: {_INSTEAD}"
        raise ValueError(msg)
    return fp.getvalue()


def _from_image(data: bytes, info: Info) -> Image:
    """Read all frames once: what is truncated is found here, and not later."""
    with extra("image"):
        from PIL import Image

    formats = [form for form in FORMATS if form != "MPO"]  # those are opened as JPEG
    image = Image.open(io.BytesIO(data), formats=formats)
    for place in range(getattr(image, "n_frames", 1)):
        image.seek(place)
        image.load()
    image.seek(0)
    image.load()
    return image


def _frames(image: Image) -> list[Image]:
    """Copy all frames, and leave the image at the one at which it was."""
    count = getattr(image, "n_frames", 1)
    place = image.tell()
    frames = []
    for number in range(count):
        if count > 1:
            image.seek(number)
        image.load()
        frames.append(image.copy())
        frames[-1].info["disposal"] = getattr(image, "disposal_method", 0)
    if count > 1:
        image.seek(place)
    return frames


def _options(image: Image, frames: list[Image], form: str) -> dict[str, Any]:
    """Return what ``Image.save`` has to be told to keep what it would drop."""
    from PIL.JpegImagePlugin import get_sampling

    given = frames[0].info
    options: dict[str, Any] = {
        key: given[key] for key in ("icc_profile", "dpi", "xmp", "loop") if key in given
    }
    if exif := _exif(image):
        options["exif"] = exif
    # A PNG may have a first frame for those who show no others.
    default = getattr(image, "default_image", False)
    if len(frames) > 1:
        durations = [frame.info.get("duration", 0) for frame in frames[default:]]
        options |= {"save_all": True, "append_images": frames[1:], "duration": durations}
    if form in _LOSSY:
        options["progressive"] = bool(given.get("progressive"))
        tables = getattr(image, "quantization", None)
        sampling = get_sampling(image)
        options |= {"qtables": tables, "subsampling": sampling} if tables else {"quality": 95}
    elif form == "GIF" and len(frames) > 1:
        # Pillow writes no frame that restores the one before the last; cleared, it looks the same.
        options["disposal"] = [min(frame.info["disposal"], 2) for frame in frames]
    elif form == "PNG":
        options["pnginfo"] = _texts(getattr(image, "text", {}))
        options |= {"disposal": 0, "blend": 0}  # the frames are whole already
        options["default_image"] = default
    elif form == "WEBP":
        options |= {"lossless": True, "exact": True}
        options |= {"background": given["background"]} if "background" in given else {}
    elif form == "TIFF":
        compression = given.get("compression", "raw")
        kept = compression in _LOSSLESS_TIFF
        options["compression"] = compression if kept else "tiff_adobe_deflate"
    return options


def _exif(image: Image) -> bytes:
    """Return the EXIF bytes as they were read, or, if they have been changed, as they are now.

    Writing them anew would move what manufacturers' notes point to.
    """
    from PIL.Image import Exif

    raw: bytes = image.info.get("exif", b"")
    try:
        before = Exif()
        before.load(raw)
        now = image.getexif()
        return now.tobytes() if now and now.tobytes() != before.tobytes() else raw
    except Exception:  # noqa: BLE001 (whatever a camera wrote is stored, if not understood)
        return raw


def _texts(texts: dict[str, Any]) -> Any:
    from PIL.PngImagePlugin import PngInfo

    found = PngInfo()
    for key, text in texts.items():
        if hasattr(text, "lang"):
            found.add_itxt(key, text, text.lang or "", text.tkey or "")
        else:
            found.add_text(key, text)
    return found


def _look(frames: list[Image], form: str) -> list[Any]:
    """Return what of the frames has to come back."""
    if form in _LOSSY:
        return [(frame.mode, frame.size) for frame in frames]
    if form == "GIF" or (len(frames) > 1 and form in {"PNG", "WEBP"}):
        return list(_joined(frames))
    return [(frame.mode, frame.size, _pixels(frame)) for frame in frames]


def _joined(frames: list[Image]) -> Iterable[tuple[Any, ...]]:
    """Tell what is shown for how long, whatever is under transparent pixels."""
    shown, duration = None, 0
    for frame in frames:
        look = (frame.size, frame.convert("RGBA").convert("RGBa").tobytes())
        if look != shown and shown is not None:
            yield (*shown, duration)
        duration = (duration if look == shown else 0) + round(frame.info.get("duration", 0))
        shown = look
    yield (*(shown or ()), duration)


def _pixels(frame: Image) -> bytes:
    return (frame.convert("RGBA") if frame.mode in {"P", "PA"} else frame).tobytes()


IMAGE = DataType("image", _image, _from_image)
