"""Image files of every kind come to 8-bit RGB, or to words; and nothing else changes."""

import io
import struct
import threading
import warnings
import zlib

import numpy as np
import PIL.Image
import PIL.ImageFile
import pytest
import tifffile
from PIL import Image, ImageOps

from freqlab.errors import ImageTooLargeError, ParameterError
from freqlab.images.decoding import (
    BACKGROUND,
    decode_image,
    decode_photograph,
    image_size,
    most_pixels,
)
from freqlab.images.deep_png import read_deep_png
from freqlab.images.files import take_apart

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (20, 30, 3), np.uint8)
WHITE = np.array(BACKGROUND)


def saved(image, kind="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(values, colour, *chunks, depth=16):
    """A PNG file of whole-number samples, with further chunks before its pixels."""
    height, width = values.shape[:2]
    kind = ">u2" if depth == 16 else "u1"
    rows = b"".join(b"\0" + row.astype(kind).tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [chunk(b"IHDR", header), *chunks, chunk(b"IDAT", zlib.compress(rows))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


def inserted(content, *chunks):
    """Chunks behind the header of a PNG file."""
    return content[:33] + b"".join(chunks) + content[33:]


def segment(marker, data):
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_turned_as_pillow_turns(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = saved(Image.fromarray(COLOUR), kind, exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB")
    np.testing.assert_array_equal(decode_image(content), np.asarray(expected))


@pytest.mark.parametrize("orientation", [3, 6])
def test_turned_where_a_deep_image_says_so(orientation):
    values = np.linspace(0, 65535, 600).reshape(20, 30).astype(np.uint16)
    turned = np.rot90(values, {3: 2, 6: -1}[orientation]) / 257
    for byte_order in "<>":
        stream = io.BytesIO()
        extra = [(274, "H", 1, orientation, True)]
        tifffile.imwrite(stream, values, byteorder=byte_order, extratags=extra)
        np.testing.assert_allclose(decode_image(stream.getvalue())[..., 0], turned, atol=0.5)
    stream = io.BytesIO()
    tifffile.imwrite(stream, np.stack([values] * 3, 2), photometric="rgb", extratags=extra)
    np.testing.assert_allclose(decode_image(stream.getvalue())[..., 2], turned, atol=0.5)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "1", "P", "YCbCr"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "PPM"])
def test_plain_images_are_what_pillow_reads(mode, kind):
    image = Image.fromarray(COLOUR).convert(mode)
    try:
        content = saved(image, kind)
    except (OSError, ValueError):
        pytest.skip(f"{kind} holds no {mode}")
    expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    np.testing.assert_array_equal(decode_image(content), expected)


def on_white(colour, alpha):
    alpha = np.asarray(alpha, float)[..., None] / 255
    return colour * alpha + WHITE * (1 - alpha)


def transparent_files():
    """Files with hidden colours, and what they look like on white."""
    alpha = np.zeros((20, 30), np.uint8)
    alpha[:, 10:] = 255
    alpha[:, 20:] = 128
    rgba = np.dstack([COLOUR, alpha])
    grey = COLOUR[..., 0]
    yield "RGBA", saved(Image.fromarray(rgba)), on_white(COLOUR, alpha)
    yield (
        "RGBA webp",
        saved(Image.fromarray(rgba), "WEBP", lossless=True, exact=True),
        on_white(COLOUR, alpha),
    )
    yield "RGBA tiff", saved(Image.fromarray(rgba), "TIFF"), on_white(COLOUR, alpha)
    la = Image.fromarray(np.dstack([grey, alpha]), "LA")
    yield "LA", saved(la), on_white(np.stack([grey] * 3, 2), alpha)
    palette = Image.fromarray(COLOUR).quantize(8)
    index, colours = np.asarray(palette), np.asarray(palette.convert("RGB"))
    for first in (0, 3):
        hidden = np.where(index == first, 0, 255)
        for kind in ("PNG", "GIF"):
            content = saved(palette, kind, transparency=first)
            yield f"palette, colour {first}, {kind}", content, on_white(colours, hidden)
    each = bytes([0, 255, 30, 255, 128, 255, 255, 7])
    yield (
        "palette, by bytes",
        saved(palette, transparency=each),
        on_white(colours, np.frombuffer(each, np.uint8)[index]),
    )
    one = int(grey[0, 0])
    yield (
        "grey tRNS",
        saved(Image.fromarray(grey), transparency=one),
        on_white(np.stack([grey] * 3, 2), np.where(grey == one, 0, 255)),
    )
    rgb = tuple(map(int, COLOUR[1, 1]))
    yield (
        "RGB tRNS",
        saved(Image.fromarray(COLOUR), transparency=rgb),
        on_white(COLOUR, np.where((rgb == COLOUR).all(axis=2), 0, 255)),
    )
    few = np.tile(np.arange(4, dtype=np.uint8), (4, 1))
    packed = np.array([[0b00011011]] * 4, np.uint8)
    two_bits = png(packed, 0, chunk(b"tRNS", b"\0\1"), depth=8)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 2, 0, 0, 0, 0))
    yield (
        "two bits, tRNS",
        two_bits[:8] + header + two_bits[33:],
        on_white(np.stack([few * 85] * 3, 2), np.where(few == 1, 0, 255)),
    )
    deep = (COLOUR.astype(np.uint16) * 257, alpha.astype(np.uint16) * 257)
    yield "RGBA of 16 bits", png(np.dstack(deep), 6), on_white(COLOUR, alpha)
    yield (
        "LA of 16 bits",
        png(np.dstack([deep[0][..., 0], deep[1]]), 4),
        on_white(np.stack([grey] * 3, 2), alpha),
    )
    said = chunk(b"tRNS", deep[0][1, 1].astype(">u2").tobytes())
    yield (
        "RGB of 16 bits, tRNS",
        png(deep[0], 2, said),
        on_white(COLOUR, np.where((rgb == COLOUR).all(axis=2), 0, 255)),
    )
    said = chunk(b"tRNS", struct.pack(">H", int(grey[0, 0]) * 257))
    yield (
        "grey of 16 bits, tRNS",
        png(deep[0][..., 0], 0, said),
        on_white(np.stack([grey] * 3, 2), np.where(grey == one, 0, 255)),
    )


@pytest.mark.parametrize("case", list(transparent_files()), ids=lambda case: case[0])
def test_what_is_transparent_is_put_on_white(case):
    _, content, expected = case
    photograph = decode_photograph(content)
    np.testing.assert_allclose(photograph.pixels, expected, atol=0.51)
    assert photograph.note == "transparency: put on white (255, 255, 255)"


def test_hidden_colours_do_not_count():
    alpha = np.full((20, 30), 255, np.uint8)
    alpha[5:, 5:] = 0
    other = COLOUR.copy()
    other[5:, 5:] = 0
    files = [saved(Image.fromarray(np.dstack([colour, alpha]))) for colour in (COLOUR, other)]
    np.testing.assert_array_equal(decode_image(files[0]), decode_image(files[1]))
    opaque = decode_photograph(saved(Image.fromarray(np.dstack([COLOUR, alpha | 255]))))
    np.testing.assert_array_equal(opaque.pixels, COLOUR)
    assert opaque.note == ""


SENSOR = np.linspace(0, 1, 600).reshape(20, 30)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize(
    "container", ["png", "png RGB", "tiff", "tiff >", "tiff RGB", "tiff int32"]
)
def test_few_bits_in_a_deep_file(bits, container):
    values = np.rint(SENSOR * (2**bits - 1)).astype(np.uint16)
    stream = io.BytesIO()
    if container == "png":
        content = png(values, 0)
    elif container == "png RGB":
        content = png(np.dstack([values, values // 2, values]), 2)
    else:
        if container == "tiff RGB":
            tifffile.imwrite(stream, np.dstack([values] * 3), photometric="rgb")
        elif container == "tiff int32":
            tifffile.imwrite(stream, values.astype(np.int32))
        else:
            tifffile.imwrite(stream, values, byteorder=">" if ">" in container else "<")
        content = stream.getvalue()
    photograph = decode_photograph(content)
    np.testing.assert_allclose(photograph.pixels[..., 0], 255 * SENSOR, atol=0.8)
    said = f"range: 0 to {2**bits - 1:,} is black to white, by what is used of it"
    assert photograph.note == ("" if bits == 16 else said)


@pytest.mark.parametrize("bits", [10, 12])
def test_the_header_says_how_many_bits(bits):
    dark = np.rint(SENSOR * 0.2 * (2**bits - 1)).astype(np.uint16)  # uses two bits fewer
    expected = 255 * 0.2 * SENSOR
    raw = png(dark, 0, chunk(b"sBIT", bytes([bits])))
    np.testing.assert_allclose(decode_image(raw)[..., 0], expected, atol=0.8)
    assert "by its header" in decode_photograph(raw).note
    shifted = png(dark << (16 - bits), 0, chunk(b"sBIT", bytes([bits])))
    np.testing.assert_allclose(decode_image(shifted)[..., 0], expected, atol=0.8)
    colour = png(np.dstack([dark] * 3), 2, chunk(b"sBIT", bytes([bits] * 3)))
    np.testing.assert_allclose(decode_image(colour)[..., 1], expected, atol=0.8)
    stream = io.BytesIO()
    tifffile.imwrite(stream, dark, extratags=[(281, "H", 1, 2**bits - 1, True)])
    np.testing.assert_allclose(decode_image(stream.getvalue())[..., 0], expected, atol=0.8)
    plain = b"P5\n30 20\n%d\n" % (2**bits - 1) + dark.astype(">u2").tobytes()
    np.testing.assert_allclose(decode_image(plain)[..., 0], expected, atol=0.8)


def test_bits_shifted_to_the_top_stay_there():
    dark = np.rint(SENSOR * 200).astype(np.uint16)  # of 1,023
    expected = 255 * SENSOR * 200 / 1023
    np.testing.assert_allclose(decode_image(png(dark << 6, 0))[..., 0], expected, atol=1.1)
    twice = np.rint(SENSOR * 20).astype(np.uint16)
    np.testing.assert_array_equal(decode_image(png(twice * 257, 0))[..., 0], twice)


def test_a_few_hot_pixels_do_not_make_a_photograph_black():
    values = np.rint(np.resize(SENSOR, (200, 300)) * 1023).astype(np.uint16)
    expected = decode_image(png(values, 0))
    values[0, :5] = 65535
    found = decode_photograph(png(values, 0))
    np.testing.assert_array_equal(found.pixels[1:], expected[1:])
    assert (found.pixels[0, :5] == 255).all()
    assert "1,023" in found.note


def test_a_thermal_camera_uses_a_narrow_range():
    values = np.rint(7000 + 1400 * np.resize(SENSOR, (200, 300))).astype(np.uint16)
    found = decode_photograph(png(values, 0))
    assert found.pixels.min() == 0
    assert found.pixels.max() == 255
    order = np.argsort(values.ravel(), kind="stable")
    assert (np.diff(found.pixels[..., 0].ravel()[order].astype(int)) >= 0).all()
    assert "by what is used of it" in found.note


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (SENSOR, 255 * SENSOR),
        (255 * SENSOR, 255 * SENSOR),
        (65535 * SENSOR, 255 * SENSOR),
        (290 + 20 * SENSOR, 255 * SENSOR),  # Kelvin
        (-5 + 40 * SENSOR, 255 * SENSOR),  # degrees Celsius
    ],
)
def test_floating_point_numbers(values, expected):
    stream = io.BytesIO()
    tifffile.imwrite(stream, values.astype(np.float32))
    np.testing.assert_allclose(decode_image(stream.getvalue())[..., 0], expected, atol=1.5)


def test_numbers_that_are_none_are_no_photograph():
    stream = io.BytesIO()
    tifffile.imwrite(stream, np.full((20, 30), np.nan, np.float32))
    with pytest.raises(OSError, match="not finite numbers"):
        decode_image(stream.getvalue())


EXIF = b"Exif\0\0MM\0*\0\0\0\x08" + b"\xff\xff" * 9  # 65,535 tags, cut off
BROKEN_CHUNKS = {
    "EXIF": chunk(b"eXIf", EXIF[6:]),
    "EXIF of nothing": chunk(b"eXIf", b""),
    "EXIF without order": chunk(b"eXIf", b"XX\0*trash"),
    "ICC": chunk(b"iCCP", b"name\0\0no zlib stream"),
    "ICC method": chunk(b"iCCP", b"name\0\7x"),
    "ICC without a name": chunk(b"iCCP", b"x" * 90),
    "XMP": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0no zlib stream"),
    "XMP that is no text": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0\xff\xfe<x"),
    "tEXt cut off": struct.pack(">I", 5000) + b"tEXtComment\0abc",
    "tEXt longer than it says": struct.pack(">I", 4) + b"tEXtComment\0" + b"abc" * 9,
    "tEXt with a wrong checksum": struct.pack(">I", 3) + b"tEXta\0b" + b"\0\0\0\0",
    "zTXt": chunk(b"zTXt", b"a\0\0trash"),
    "a zTXt bomb": chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**27), 9)),
    "gamma": chunk(b"gAMA", b"\0"),
    "gamma of zero": chunk(b"gAMA", bytes(4)),
    "chromaticities": chunk(b"cHRM", b"\0\0"),
    "pixels per metre": chunk(b"pHYs", b"\0"),
    "sRGB": chunk(b"sRGB", b""),
    "sBIT": chunk(b"sBIT", b""),
    "time": chunk(b"tIME", b"\0"),
    "animation": chunk(b"acTL", b"\0"),
    "raw EXIF": chunk(b"tEXt", b"Raw profile type exif\0\nexif\n 4\nzz"),
}


@pytest.mark.parametrize("what", BROKEN_CHUNKS)
@pytest.mark.parametrize("mode", ["RGB", "P"])
def test_broken_metadata_of_png(what, mode):
    sound = saved(Image.fromarray(COLOUR).convert(mode))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = decode_image(inserted(sound, BROKEN_CHUNKS[what]))
    np.testing.assert_array_equal(found, decode_image(sound))
    np.testing.assert_array_equal(found, np.asarray(Image.open(io.BytesIO(sound)).convert("RGB")))


@pytest.mark.parametrize("what", ["tEXt cut off", "tEXt longer than it says"])
def test_metadata_of_wrong_length_behind_the_pixels(what):
    sound = saved(Image.fromarray(COLOUR))
    broken = sound[:-12] + BROKEN_CHUNKS[what] + sound[-12:]
    photograph = decode_photograph(broken)
    np.testing.assert_array_equal(photograph.pixels, COLOUR)
    assert photograph.note == "metadata: broken, left out"


def test_sound_exif_counts_beside_broken_text():
    exif = Image.Exif()
    exif[0x0112] = 6
    content = inserted(saved(Image.fromarray(COLOUR), exif=exif), BROKEN_CHUNKS["tEXt cut off"])
    np.testing.assert_array_equal(decode_image(content), np.rot90(COLOUR, -1))


BROKEN_SEGMENTS = {
    "EXIF": segment(0xE1, EXIF),
    "EXIF of nothing": segment(0xE1, b"Exif\0\0"),
    "EXIF whose tags point nowhere": segment(
        0xE1,
        b"Exif\0\0II*\0\x08\0\0\0\2\0"
        + struct.pack("<HHIIHHIII", 0x011A, 5, 1, 9**9, 0x8769, 4, 1, 9**9, 0),
    ),
    "ICC": segment(0xE2, b"ICC_PROFILE\0\1\1trash"),
    "ICC in parts that miss one": segment(0xE2, b"ICC_PROFILE\0\2\3trash"),
    "MPF": segment(0xE2, b"MPF\0trash"),
    "MPF without entries": segment(0xE2, b"MPF\0II*\0\x08\0\0\0\0\0\0\0\0\0"),
    "XMP": segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<\xff"),
    "Photoshop": segment(0xED, b"Photoshop 3.0\08BIM\x03\xed\0\0\xff\xff\xff\xff"),
    "a comment that is no text": segment(0xFE, b"\xff\xfe\xfd"),
}


@pytest.mark.parametrize("what", BROKEN_SEGMENTS)
def test_broken_metadata_of_jpeg(what):
    sound = saved(Image.fromarray(COLOUR), "JPEG")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = decode_image(sound[:2] + BROKEN_SEGMENTS[what] + sound[2:])
    np.testing.assert_array_equal(found, np.asarray(Image.open(io.BytesIO(sound))))


def test_broken_metadata_of_webp_and_tiff():
    sound = saved(Image.fromarray(COLOUR), "WEBP", lossless=True)
    broken = saved(
        Image.fromarray(COLOUR), "WEBP", lossless=True, exif=EXIF, xmp=b"<", icc_profile=b"x"
    )
    cut = broken[:-4]  # the last chunk is metadata
    tiff = saved(Image.fromarray(COLOUR), "TIFF", software="x" * 40, icc_profile=b"trash")
    at = tiff.index(struct.pack("<HH", 305, 2))  # software: longer than the file
    tiff = tiff[: at + 4] + struct.pack("<I", 2**31) + tiff[at + 8 :]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for content in (sound, broken, cut, tiff):
            np.testing.assert_array_equal(decode_image(content), COLOUR)


def test_broken_pixels_are_still_refused():
    content = saved(Image.fromarray(COLOUR))
    at = content.index(b"IDAT") + 12
    for damaged in (content[: at + 30], content[:at] + b"!!!!" + content[at + 4 :]):
        with pytest.raises(OSError):  # noqa: PT011 - Pillow's own words
            decode_image(damaged)


@pytest.mark.parametrize(
    "content", [b"%!PS-Adobe-3.0 EPSF-3.0\n{} loop\n", b"", b"\x89PNG\r\n\x1a\n"]
)
def test_no_images(content):
    with pytest.raises(OSError):  # noqa: PT011
        decode_image(content)
    with pytest.raises(OSError):  # noqa: PT011
        image_size(content)


def test_taking_apart_never_raises():
    contents = [content for _, content, _ in transparent_files()]
    contents += [saved(Image.fromarray(COLOUR), kind) for kind in ("JPEG", "WEBP", "TIFF")]
    for content in contents:
        for n in range(0, len(content), max(1, len(content) // 60)):
            take_apart(content[:n])
            take_apart(content[:n] + b"\xff" + content[n + 1 :])


def test_the_pixel_limit_can_be_raised(monkeypatch):
    content = saved(Image.fromarray(np.zeros((300, 500), np.uint8)))
    monkeypatch.setenv("FREQLAB_MOST_PIXELS", "149_999")
    with pytest.raises(ImageTooLargeError, match=r"500 x 300 .* FREQLAB_MOST_PIXELS=150000 allows"):
        decode_image(content)
    monkeypatch.setenv("FREQLAB_MOST_PIXELS", "150000")
    assert decode_image(content).shape == (300, 500, 3)
    for wrong in ("many", "-1", "0", "1e9"):
        monkeypatch.setenv("FREQLAB_MOST_PIXELS", wrong)
        with pytest.raises(ParameterError, match=f"FREQLAB_MOST_PIXELS='{wrong}'"):
            most_pixels()


def test_what_pillow_calls_a_bomb_is_read_below_our_limit(monkeypatch):
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 100)  # warns above, refuses above twice
    for kind in ("PNG", "JPEG", "TIFF", "BMP", "PPM"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert decode_image(saved(Image.fromarray(COLOUR), kind)).shape == COLOUR.shape
    assert PIL.Image.MAX_IMAGE_PIXELS == 100


def test_threads_leave_the_process_as_it_was():
    contents = [content for _, content, _ in transparent_files()]
    contents += [inserted(saved(Image.fromarray(COLOUR)), BROKEN_CHUNKS["EXIF"])]
    before = (list(warnings.filters), warnings.showwarning, PIL.Image.MAX_IMAGE_PIXELS)
    seen = []

    def decode():
        for _ in range(20):
            for content in contents:
                decode_image(content)
                seen.append(list(warnings.filters) == before[0])

    threads = [threading.Thread(target=decode) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 4 * 20 * len(contents)
    assert all(seen)
    after = (list(warnings.filters), warnings.showwarning, PIL.Image.MAX_IMAGE_PIXELS)
    assert after == before
    assert PIL.ImageFile.LOAD_TRUNCATED_IMAGES is False


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
def test_very_large_photographs_are_reduced(kind, mode, monkeypatch):
    monkeypatch.setattr("freqlab.images.decoding.REDUCED_ABOVE", 20_000)
    y, x = np.mgrid[0:333, 0:501]
    smooth = np.dstack([100 + 80 * np.sin(x / 50), 128 + 80 * np.cos(y / 40), x / 3, 0 * x + 255])
    image = Image.fromarray(smooth[..., :3].astype(np.uint8)).convert(mode)
    try:
        content = saved(image, kind)
    except OSError:
        pytest.skip(f"{kind} holds no {mode}")
    photograph = decode_photograph(content)
    assert photograph.reduced == 4
    assert photograph.pixels.shape == (84, 126, 3)
    assert "size: reduced 4 times" in photograph.note
    whole = decode_image(content)
    assert whole.shape == (333, 501, 3)
    blocks = whole[:332, :500].reshape(83, 4, 125, 4, 3).mean(axis=(1, 3))
    near = 3 if kind == "JPEG" else 1
    assert np.abs(photograph.pixels[:83, :125] - blocks).mean() < near


@pytest.mark.parametrize("colour", [2, 4, 6])
@pytest.mark.parametrize("interlaced", [False, True])
def test_deep_png_against_the_filters_of_the_specification(colour, interlaced):
    """Written here filter by filter, byte by byte, as the specification says."""
    n_channels = {2: 3, 4: 2, 6: 4}[colour]
    rng = np.random.default_rng(colour)
    values = rng.integers(0, 65536, (11, 13, n_channels)).astype(np.uint16)
    values[..., -1] = 65535
    passes = [(0, 0, 1, 1)]
    if interlaced:
        passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)]
        passes += [(0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    data = b""
    for x, y, dx, dy in passes:
        part = values[y::dy, x::dx]
        if not part.size:
            continue
        before, width = bytes(2 * n_channels * part.shape[1]), 2 * n_channels
        for i, row in enumerate(part):
            line = row.astype(">u2").tobytes()
            data += bytes([i % 5]) + filtered(line, before, i % 5, width)
            before = line
    header = struct.pack(">IIBBBBB", 13, 11, 16, colour, 0, 0, int(interlaced))
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(data)), chunk(b"IEND", b"")]
    content = b"\x89PNG\r\n\x1a\n" + b"".join(parts)
    np.testing.assert_array_equal(read_deep_png(content), values)
    upper = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    shown = values[..., [0, 0, 0]] if colour == 4 else values[..., :3]
    np.testing.assert_array_equal(upper, (shown >> 8) if colour != 2 else values >> 8)


def filtered(line, before, kind, width):
    out = bytearray()
    for i, byte in enumerate(line):
        a = line[i - width] if i >= width else 0
        b = before[i]
        c = before[i - width] if i >= width else 0
        nearest = min((abs(b - c), 0, a), (abs(a - c), 1, b), (abs(a + b - 2 * c), 2, c))[2]
        out.append((byte - [0, a, b, (a + b) // 2, nearest][kind]) % 256)
    return bytes(out)


def test_deep_png_that_is_damaged():
    content = png(np.dstack([np.arange(600).reshape(20, 30)] * 3), 2)
    at = content.index(b"IDAT")
    for damaged in (content[: at + 30], content[: at + 9] + b"!!" + content[at + 11 :]):
        with pytest.raises(OSError, match="damaged|broken"):
            decode_image(damaged)
