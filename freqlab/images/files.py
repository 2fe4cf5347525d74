"""Separate the pixels of an image file from its metadata: bytes in, bytes out.

Metadata may be invalid although the pixels are valid. Decoders fail on it, or warn, and a warning
can only be silenced for the whole process, never for one thread. Decoders therefore receive files
without metadata. Parts on which the pixels depend are kept, and the rest is left out. The
orientation of the photograph is read here. A file of an unknown structure is left unchanged.
"""

from __future__ import annotations

import contextlib
import re
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["ImageFile", "exif_orientation", "take_apart"]

_PNG = b"\x89PNG\r\n\x1a\n"
_OF_PNG = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([1-8])')
_EXIF_RAW = re.compile(rb"Raw profile type (?:exif|APP1)\0")

# Tags of a TIFF file on which its pixels depend, and the orientation.
_OF_TIFF = {254, 255, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 280, 281, 284, 292}
_OF_TIFF |= {293, 317, 320, 321, 322, 323, 324, 325, 332, 334, 336, 338, 339, 340, 341, 347}
_OF_TIFF |= {*range(512, 522), 529, 530, 531, 532}
_BYTE = 1  # type of a TIFF tag


class ImageFile(NamedTuple):
    """An image file without its metadata, and the relevant values of the metadata."""

    content: bytes
    """What the decoder needs."""
    orientation: int = 1
    """EXIF orientation for display, 1 to 8."""
    depth: int | None = None
    """Bits per sample of the header of a PNG file."""
    colour: int | None = None
    """Colour type of the header of a PNG file."""
    significant_bits: int | None = None
    """Original bits per sample, from the ``sBIT`` chunk of a PNG file."""
    unsound: bool = False
    """Whether broken metadata was found."""


def take_apart(content: bytes) -> ImageFile:
    """Remove the parts of an image file on which its pixels do not depend.

    PNG, JPEG, WebP and TIFF files are processed; other files, and unknown parts, stay unchanged.
    No exception is raised, whatever the bytes are.
    """
    with contextlib.suppress(struct.error, ValueError, IndexError):
        if content.startswith(_PNG):
            return _png(content)
        if content.startswith(b"\xff\xd8"):
            return _jpeg(content)
        if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
            return _webp(content)
        if content[:4] in (b"II*\0", b"MM\0*"):
            return ImageFile(_tiff(content))
    return ImageFile(content)


def exif_orientation(exif: bytes) -> int | None:
    """Read the orientation from EXIF data, 1 to 8; 0 if it has none, None if it is damaged."""
    if exif.startswith(b"Exif\0\0"):
        exif = exif[6:]
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return None
    try:
        (offset,) = struct.unpack_from(f"{order}I", exif, 4)
        (n_tags,) = struct.unpack_from(f"{order}H", exif, offset)
        for i in range(n_tags):
            tag, kind, _, value = struct.unpack_from(f"{order}HHI4s", exif, offset + 2 + 12 * i)
            if tag == 0x0112:
                form = {3: "H2x", 4: "I"}.get(kind)
                orientation = struct.unpack(f"{order}{form}", value)[0] if form else 1
                return int(orientation) if 1 <= orientation <= 8 else 1
    except struct.error:
        return None
    return 0


def _orientation(exif: bytes | None, xmp: bytes) -> tuple[int, bool]:
    """Orientation by EXIF, else by XMP; and whether the EXIF data is damaged."""
    orientation = 0 if exif is None else exif_orientation(exif)
    if orientation:
        return orientation, False
    match = _XMP_ORIENTATION.search(xmp)
    return int(match.group(1)) if match else 1, orientation is None


def _png(content: bytes) -> ImageFile:
    kept, exif, xmp, bits, unsound = [content[:8]], None, b"", None, False
    at = 8
    while at + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, at)
        kind, end = content[at + 4 : at + 8], at + 12 + length
        if kind in _OF_PNG:
            kept.append(content[at:end])  # with its checksum, which the decoder verifies
            if kind == b"IEND" or end > len(content):
                break
        elif end > len(content) or not _is_sound(content, at, end):
            unsound = True
            end = _next_of_png(content, at + 4)
        else:
            data = content[at + 8 : end - 4]
            if kind == b"eXIf":
                exif = data
            elif kind in (b"tEXt", b"zTXt") and _EXIF_RAW.match(data):
                exif = exif or _raw_profile(kind, data)
            elif kind == b"sBIT" and length:
                bits = max(data[: 1 if kept[1][17] in (0, 4) else 3])
            elif kind == b"iTXt":
                xmp += data
        at = end
    depth, colour = kept[1][16], kept[1][17]
    turned, broken = _orientation(exif, xmp)
    return ImageFile(b"".join(kept), turned, depth, colour, bits, unsound or broken)


def _is_sound(content: bytes, at: int, end: int) -> bool:
    """Whether the checksum of a PNG chunk is correct."""
    (stored,) = struct.unpack_from(">I", content, end - 4)
    return bool(zlib.crc32(memoryview(content)[at + 4 : end - 4]) == stored)


def _next_of_png(content: bytes, start: int) -> int:
    """Position of the next valid chunk that is kept; the end of the file if there is none."""
    for chunk in re.finditer(b"PLTE|tRNS|IDAT|IEND|eXIf|sBIT", content[start:]):
        at = start + chunk.start() - 4
        with contextlib.suppress(struct.error):
            end = at + 12 + struct.unpack_from(">I", content, at)[0]
            if end <= len(content) and _is_sound(content, at, end):
                return at
    return len(content)


def _raw_profile(kind: bytes, data: bytes) -> bytes | None:
    """EXIF data that ImageMagick wrote as hexadecimal text; None for other data."""
    text = data.split(b"\0", 1)[1]
    with contextlib.suppress(zlib.error, ValueError, UnicodeDecodeError):
        if kind == b"zTXt":
            text = zlib.decompressobj().decompress(text[1:], 2**20)
        return bytes.fromhex("".join(text.decode("latin-1").split("\n")[3:]))
    return None


def _jpeg(content: bytes) -> ImageFile:
    kept, exif, xmp = [b"\xff\xd8"], None, b""
    for marker, at, end in _segments(content):
        data = content[at + 4 : min(end, at + 4 + 32)]
        if marker == 0xE1 and data.startswith(b"Exif\0\0"):
            exif = exif or content[at + 4 : end]
        elif marker == 0xE1 and data.startswith(b"http://ns.adobe.com/xap"):
            xmp += content[at + 4 : end]
        # 0 and 14 describe the colours; the others, and comments, do not affect pixels
        if marker in (0xE0, 0xEE) or not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            kept.append(content[at:end])
    turned, broken = _orientation(exif, xmp)
    return ImageFile(b"".join(kept), turned, unsound=broken)


def _segments(content: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of the segments of a JPEG file; the last one extends from its scan."""
    at = 2
    while True:
        while content[at : at + 2] == b"\xff\xff":
            at += 1
        marker = content[at + 1]
        if content[at] != 0xFF or marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD8:
            raise ValueError("no segment of a JPEG file")
        if marker in (0xD9, 0xDA):
            yield marker, at, len(content)
            return
        end = at + 2 + struct.unpack_from(">H", content, at + 2)[0]
        if end > len(content):
            raise ValueError("cut off")
        yield marker, at, end
        at = end


def _webp(content: bytes) -> ImageFile:
    kept, exif, xmp, unsound, at = [], None, b"", False, 12
    while at + 8 <= len(content):
        kind = content[at : at + 4]
        end = at + 8 + struct.unpack_from("<I", content, at + 4)[0]
        end += end % 2  # padded
        data = content[at + 8 : end]
        if kind in (b"EXIF", b"XMP ", b"ICCP"):
            unsound |= end > len(content) + 1
            exif = data if kind == b"EXIF" else exif
            xmp = data if kind == b"XMP " else xmp
        elif kind == b"VP8X":
            flags = data[0] & ~(0x20 | 0x08 | 0x04)  # flags of the three chunks left out
            kept.append(content[at : at + 8] + bytes([flags]) + data[1:])
        else:
            kept.append(content[at:end])
        at = end
    body = b"WEBP" + b"".join(kept)
    turned, broken = _orientation(exif, xmp)
    head = b"RIFF" + struct.pack("<I", len(body))
    return ImageFile(head + body, turned, unsound=broken or unsound)


def _tiff(content: bytes) -> bytes:
    """Turn tags on which pixels do not depend into four bytes each; offsets stay unchanged."""
    order = "<" if content[:2] == b"II" else ">"
    changed = bytearray(content)
    (offset,) = struct.unpack_from(f"{order}I", content, 4)
    (n_tags,) = struct.unpack_from(f"{order}H", content, offset)
    for i in range(n_tags):
        at = offset + 2 + 12 * i
        (tag,) = struct.unpack_from(f"{order}H", content, at)
        if tag not in _OF_TIFF:
            # one less than a tag that would point to more tags: no tag has that number
            tag -= 1 if tag in (330, 34665, 34675, 34853, 33723, 700) else 0
            struct.pack_into(f"{order}HHI4s", changed, at, tag, _BYTE, 4, b"\0\0\0\0")
    return bytes(changed)
