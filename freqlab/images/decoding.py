"""From the bytes of an image file to 8-bit RGB pixels, whatever the format.

Choices made on the way are reported as a note on the photograph. Transparent pixels are put on
white. Pixels of more than 8 bits are scaled by the range in the header, or otherwise by the range
they use. Very large photographs are reduced by a whole factor at which every face that the detector
can find still has more pixels than a crop. No state of the process is changed, neither warning
filters nor settings of Pillow, because threads decode concurrently.
"""

from __future__ import annotations

import io
import os
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from freqlab.errors import ImageTooLargeError, ParameterError
from freqlab.images.deep_png import read_deep_png
from freqlab.images.file_kinds import readable_formats, why_not_opened
from freqlab.images.files import ImageFile, exif_orientation, take_apart

__all__ = [
    "BACKGROUND",
    "MOST_PIXELS",
    "Photograph",
    "decode_image",
    "decode_photograph",
    "decode_small",
    "image_size",
    "most_pixels",
]

BACKGROUND = (255, 255, 255)
"""The colour that what is transparent is put on: white, as a page shows it."""

MOST_PIXELS = 150_000_000
"""Larger images are not decoded, for a small file may claim a size that fills the memory; the
environment variable ``FREQLAB_MOST_PIXELS`` sets another limit."""

REDUCED_ABOVE = 50_000_000
"""Pixels from which a photograph is reduced: its longer side then still has about 5,000 pixels, and
a face of 20 in the 1,280 that the detector sees has 80."""

Pixels = npt.NDArray[np.uint8]

_DEPTHS = (8, 10, 12, 14, 16, 24, 32)  # bits per sample of sensors and files
_FEW = 0.001  # share of pixels that do not affect the range: hot pixels, a burnt-in clock
_NARROW = 8  # if less than 1 / 8 of a range is used, the range does not start at zero


class Photograph(NamedTuple):
    """A decoded image file."""

    pixels: Pixels
    """RGB ``(height, width, 3)``."""
    reduced: int = 1
    """Factor by which each side was reduced."""
    note: str = ""
    """Decisions in decoding, each as ``"kind: detail"``, separated by semicolons."""


def decode_image(content: bytes) -> Pixels:
    """Decode an image file to RGB at full size, rotated by its EXIF orientation.

    Raises
    ------
    ImageTooLargeError
        If it has more pixels than :func:`most_pixels`.
    OSError
        If the bytes are not an image of a readable format.
    """
    return _decode(content, reduce=False).pixels


def decode_photograph(content: bytes) -> Photograph:
    """Decode an image file like :func:`decode_image`, but reduce a very large image.

    Raises
    ------
    ImageTooLargeError, OSError
        As for :func:`decode_image`.
    """
    return _decode(content, reduce=True)


def decode_small(content: bytes, side: int) -> Pixels:
    """Decode an image file like :func:`decode_image`, reduced for display.

    Parameters
    ----------
    content
        The image file.
    side
        The longer side has at least this number of pixels, and fewer than twice it, unless the
        image is smaller.

    Raises
    ------
    ImageTooLargeError, OSError
        As for :func:`decode_image`.
    """
    return _decode(content, reduce=True, side=side).pixels


def image_size(content: bytes) -> tuple[int, int]:
    """Return width and height of an image file from its header, before any rotation.

    Raises
    ------
    OSError
        If the bytes are not an image of a readable format.
    """
    try:
        with _opened(take_apart(content)) as image:
            return int(image.width), int(image.height)
    except OSError:
        raise
    except Exception as error:  # decoders can raise anything for damaged bytes
        raise OSError(f"damaged image: {error}") from error


def most_pixels() -> int:
    """Return the pixel limit of decoding: ``FREQLAB_MOST_PIXELS``, or :data:`MOST_PIXELS`.

    Raises
    ------
    ParameterError
        If the variable is not a whole number of one or more.
    """
    text = os.environ.get("FREQLAB_MOST_PIXELS", "")
    if not text.strip():
        return MOST_PIXELS
    try:
        number = int(text.replace("_", "").replace(",", ""))
    except ValueError:
        number = 0
    if number < 1:
        raise ParameterError(
            f"the environment variable FREQLAB_MOST_PIXELS={text!r} must be a whole number of "
            f"pixels, as in FREQLAB_MOST_PIXELS={2 * MOST_PIXELS}"
        )
    return number


def _decode(content: bytes, *, reduce: bool, side: int | None = None) -> Photograph:
    most = most_pixels()
    file = take_apart(content)
    try:
        with _opened(file) as image:
            by = _factor(image.size, most, reduce=reduce)
            while side is not None and max(image.size) >= 2 * by * side:
                by *= 2
            return _decoded(image, file, by)
    except OSError:
        raise
    except Exception as error:  # decoders can raise anything for damaged bytes
        raise OSError(f"damaged image: {error}") from error


def _factor(size: tuple[int, int], most: int, *, reduce: bool) -> int:
    """Power of two by which an image is reduced so that it is not very large.

    Raises
    ------
    ImageTooLargeError
        If it exceeds the limit of decoding.
    """
    n_pixels, by = size[0] * size[1], 1
    if n_pixels > most:
        raise ImageTooLargeError(
            f"{size[0]:,} x {size[1]:,} pixels, more than {most:,}; the environment variable "
            f"FREQLAB_MOST_PIXELS={n_pixels} allows them"
        )
    while reduce and n_pixels > by * by * REDUCED_ABOVE:
        by *= 2
    return by


def _opened(file: ImageFile) -> Any:
    """Open an image file as Pillow does, but leave the size check to the caller.

    ``Image.open`` warns about large images, and refuses larger ones by a setting of the process.
    """
    from PIL import Image

    for name in readable_formats():
        factory, accept = Image.OPEN[name]
        accepted = accept is None or accept(file.content[:16])
        if not accepted or isinstance(accepted, str):
            continue
        try:
            return factory(io.BytesIO(file.content), "")
        except (OSError, SyntaxError, IndexError, TypeError, KeyError, ValueError) as error:
            if accept is None:  # a format without a signature may be something else
                continue
            raise OSError(f"damaged image ({name}): {error}") from error
    raise OSError(why_not_opened(file.content))


def _allow_size(image: Any) -> None:
    """Allocate the pixels of a TIFF file in advance, or Pillow checks its size again."""
    from PIL import Image

    if getattr(image, "_im", False) is None:
        size = getattr(image, "_tile_size", image.size)
        image.im = Image.core.new(image.mode, size)  # type: ignore[attr-defined]


def _decoded(image: Any, file: ImageFile, by: int) -> Photograph:
    turned, width, done = file.orientation, image.width, 1
    if image.format == "TIFF":  # Pillow turns the image on loading
        turned = 1
        _allow_size(image)
    elif turned == 1 and isinstance(image.info.get("exif"), bytes):
        turned = exif_orientation(image.info["exif"]) or 1
    if image.format == "PNG" and file.depth == 16 and file.colour in (2, 4, 6):
        pixels, alpha, note = _deep_png(file, image.info.get("transparency"))
    elif image.format == "TIFF" and image.mode.startswith("RGB") and _bits_of_tiff(image) > 8:
        turned = int(image.tag_v2.get(274, 1))
        pixels, alpha, note = _deep_tiff(file.content, image)
    elif image.mode == "F" or image.mode.startswith("I"):
        pixels, alpha, note = _deep_grey(image, file)
    else:
        if by > 1:
            image.draft(None, (width // by, image.height // by))
            done = round(width / image.width)
        pixels, alpha, note = _eight_bits(image, file, by // done)
        done = by if alpha is None else done
    notes = ["metadata: broken, left out"] if file.unsound else []
    notes += [note] if note else []
    if alpha is not None and (alpha < 255).any():
        notes.append(f"transparency: put on white {BACKGROUND}")
        pixels = _on_background(pixels, alpha)
    if by > done:
        pixels = _reduced(pixels, by // done)
    if by > 1:
        notes.append(f"size: reduced {by} times")
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, 2)
    return Photograph(_turn(pixels, turned), by, "; ".join(notes))


Decoded = tuple[Pixels, Pixels | None, str]  # grey or RGB, opacity if there is any, a note


def _eight_bits(image: Any, file: ImageFile, by: int) -> Decoded:
    """Decode images of up to 8 bits; opaque ones are reduced here, where that is cheap."""
    transparent = image.info.get("transparency")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or (image.mode == "P" and transparent):
        image = image.convert("LA") if image.mode == "La" else image
        rgba = np.asarray(image if image.mode == "RGBA" else image.convert("RGBA"))
        return rgba[..., :3], rgba[..., 3], ""
    if image.mode == "P" and transparent == 0:  # the first colour
        rgba = np.asarray(image.convert("RGBA"))
        return rgba[..., :3], rgba[..., 3], ""
    if image.mode not in ("L", "RGB"):
        image = image.convert("RGB" if image.mode != "1" else "L")
    if transparent is None:
        return np.asarray(image.reduce(by) if by > 1 else image), None, ""
    image.load()
    pixels = np.asarray(image)
    # one level or colour is transparent; it is given at the bit depth of the file
    full = 2 ** min(file.depth or 8, 8) - 1
    colour = np.asarray(transparent) * 255 // full
    seen = pixels != colour
    return (
        pixels,
        np.where(seen if seen.ndim == 2 else seen.any(axis=2), 255, 0).astype(np.uint8),
        "",
    )


def _deep_grey(image: Any, file: ImageFile) -> Decoded:
    """Decode grey levels of more than 8 bits, or floating-point numbers."""
    transparent, fmt = image.info.get("transparency"), image.format
    tags = dict(getattr(image, "tag_v2", {}))
    image.load()
    values = np.asarray(image)
    alpha = None
    if isinstance(transparent, int):
        alpha = np.where(values != transparent, 255, 0).astype(np.uint8)
    white: float | None = None
    if fmt in ("PPM", "JPEG2000"):  # scaled to 16 bits when they are decoded
        white = 65535
    elif file.significant_bits:
        white = _white_of(values, file.significant_bits)
    elif image.mode != "F" and tags:
        white = _first(tags.get(281)) or _white_of_depth(tags.get(258))
    elif tags:
        white = _first(tags.get(341))
    pixels, note = _scaled(values, white)
    if tags.get(262) == 0:  # zero is white
        pixels = 255 - pixels
    return pixels, alpha, note


def _deep_png(file: ImageFile, transparent: Any) -> Decoded:
    """Decode a colour PNG file of 16 bits, of which Pillow reads the upper eight only."""
    values = read_deep_png(file.content)
    n_colours = 1 if file.colour == 4 else 3
    alpha: Pixels | None = None
    if values.shape[2] > n_colours:
        alpha = _opacity(values[..., n_colours])
    elif isinstance(transparent, tuple):
        seen = (values != np.asarray(transparent)).any(axis=2)
        alpha = np.where(seen, 255, 0).astype(np.uint8)
    white = None
    if file.significant_bits:
        white = _white_of(values[..., :n_colours], file.significant_bits)
    pixels, note = _scaled(values[..., :n_colours], white)
    return pixels[..., 0] if n_colours == 1 else pixels, alpha, note


def _deep_tiff(content: bytes, image: Any) -> Decoded:
    """Decode a colour TIFF file of 16 bits, of which Pillow reads the upper eight only."""
    import tifffile

    try:
        with tifffile.TiffFile(io.BytesIO(content)) as file:
            page = file.pages.first
            values, axes = page.asarray(maxworkers=1), page.axes
            given = page.tags.get(281)
            white = None if given is None else _first(given.value)
    except Exception as error:  # a compression that needs another package
        pixels = np.asarray(image.convert("RGB"))
        if pixels.max() < 64:
            raise OSError(f"a TIFF file of 16 bits that cannot be decoded: {error}") from error
        return pixels, None, "range: the upper 8 of 16 bits"
    if axes == "SYX":
        values = np.moveaxis(values, 0, -1)
    pixels, note = _scaled(values[..., :3], white)
    alpha = _opacity(values[..., 3]) if image.mode == "RGBA" else None
    return pixels, alpha, note


def _opacity(values: npt.NDArray[Any]) -> Pixels:
    """Reduce opacity of more than 8 bits by its depth."""
    full = _white_of_bits(float(values.max()))
    return np.rint(values * (255 / full)).astype(np.uint8)


def _scaled(values: npt.NDArray[Any], white: float | None) -> tuple[Pixels, str]:
    """Scale values to 0..255, and return a note if the range was a choice.

    Parameters
    ----------
    values
        Whole or floating-point numbers ``(height, width)`` or ``(height, width, channel)``.
    white
        The value of white by the header; None if it gives none. Larger values show that it is
        wrong.
    """
    if not np.isfinite(values).all():
        raise OSError("pixels that are not finite numbers (NaN or infinite)")
    black, source = 0.0, "by its header"
    if white is None or float(values.max()) > white or float(values.min()) < 0:
        (black, white), source = _used_range(values), "by what is used of it"
    if values.dtype == np.uint16:
        table = np.clip((np.arange(65536) - black) / ((white - black) / 255), 0, 255)
        pixels = np.rint(table).astype(np.uint8)[values]
    else:
        scaled = (values.astype(np.float64) - black) / ((white - black) / 255)
        pixels = np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)
    if (black, white) == (0, 65535):
        return pixels, ""
    return pixels, f"range: {black:,.6g} to {white:,.6g} is black to white, {source}"


def _used_range(values: npt.NDArray[Any]) -> tuple[float, float]:
    """Return the values of black and white, estimated from the values themselves.

    Black is zero, and white the largest number of the bit depth in use, so a photograph keeps its
    exposure. If only a small part of that range is used, as by a thermal camera, black and white
    are the ends of the range used, a few extreme values excepted.
    """
    step = max(1, values.size // 1_000_000)
    some = values.reshape(-1)[::step].astype(np.float64)
    start, end = np.quantile(some, [_FEW, 1 - _FEW])
    low, high = float(values.min()), float(values.max())
    if low >= 0 and values.dtype == np.uint16:
        joined = int(np.bitwise_or.reduce(values, axis=None))
        if high and (joined & 15 == 0 or (values >> 8 == values & 255).all()):
            return 0.0, 65535.0  # shifted to the upper bits, or 8 bits repeated
    if low < 0:
        return (start, end) if end > start else (low, max(high, low + 1))
    if values.dtype.kind == "f" and high <= 255:
        white = 1.0 if high <= 1 else 255.0
    else:
        white = _white_of_bits(high)
        bulk = _white_of_bits(float(end))
        if bulk < 4096 and white >= 15 * bulk:
            white = bulk  # a few pixels are far above all others
    whole = white == 255 and values.dtype.kind != "f"
    if not whole and 0 < end - start < white / _NARROW:
        return float(start), float(end)
    return 0.0, white


def _white_of_bits(largest: float) -> float:
    """Largest number of the smallest known bit depth that can hold a number."""
    return float(2 ** next((n for n in _DEPTHS if largest < 2**n), 64) - 1)


def _white_of(values: npt.NDArray[Any], n_bits: int) -> float:
    """White of a PNG file that declares `n_bits`; pixels should be scaled to 16, but may not be.

    Scaled pixels that are all below that value would look black.
    """
    return float(2**n_bits - 1) if float(values.max()) < 2**n_bits else 65535.0


def _white_of_depth(bits: Any) -> float | None:
    """White by the depth of a TIFF file; None if that is only the size of whole bytes."""
    depth = int(_first(bits) or 16)
    return float(2**depth - 1) if 8 < depth < 16 else None


def _first(value: Any) -> float | None:
    """The first of several, or the one value of a TIFF tag."""
    if isinstance(value, (tuple, list)):
        value = value[0] if value else None
    return None if value is None else float(value)


def _bits_of_tiff(image: Any) -> int:
    bits = image.tag_v2.get(258, (1,))
    return max(bits) if isinstance(bits, tuple) else int(bits)


def _on_background(pixels: Pixels, alpha: Pixels) -> Pixels:
    """Composite transparent pixels on :data:`BACKGROUND`."""
    grey = pixels[..., None] if pixels.ndim == 2 else pixels
    opacity = alpha[..., None].astype(np.uint16)
    behind = np.array(BACKGROUND, np.uint16) * (255 - opacity)
    return ((grey * opacity + behind + 127) // 255).astype(np.uint8)


def _reduced(pixels: Pixels, by: int) -> Pixels:
    from PIL import Image

    return np.asarray(Image.fromarray(pixels).reduce(by))


def _turn(pixels: Pixels, orientation: int) -> Pixels:
    """Turn pixels by an EXIF orientation."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)
