"""Declarations of bands as text of the command line, and from stored values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from freqlab.bands.base import EXTENSIONS, UNITS, Bands, MergedBands, PlaneBands
from freqlab.bands.colour import Channels, channels
from freqlab.bands.label_maps import custom, custom_from
from freqlab.bands.oriented import Polar, Sectors, polar, sectors
from freqlab.bands.radial import Octaves, Rings, octaves, rings
from freqlab.bands.subbands import Wavelets, wavelets
from freqlab.errors import BandError, check_name

__all__ = ["bands_from", "parse_bands"]

_FORMS = {
    "rings": "rings:WIDTH or rings:WIDTH:UNIT, as in rings:4",
    "octaves": "octaves, octaves:LOW:HIGH or octaves:LOW:HIGH:PER_OCTAVE, as in octaves:2:64",
    "sectors": "sectors:N, as in sectors:8",
    "polar": "polar:WIDTHxN, the width of rings and the number of sectors, as in polar:8x8",
    "custom": "custom:FILE.npy",
    "wavelets": "wavelets, wavelets:NAME or wavelets:NAME:LEVEL, as in wavelets:db2:3",
    "channels": "channels or channels:BANDS, as in channels:rings:8",
}

_OWN_BORDER = ("custom", "wavelets", "channels")  # kinds without :mirror in their notation


def parse_bands(text: str) -> Bands:
    """Parse a declaration of the command line.

    Parameters
    ----------
    text
        ``rings:4``, ``rings:1.25:cycles/eyes``, ``octaves``, ``octaves:2:64``, ``sectors:8``,
        ``polar:8x8`` (width of the rings, number of sectors), ``custom:FILE.npy``,
        ``wavelets:db2:3``, ``channels`` or ``channels:rings:8``. Bands of the Fourier transform
        followed by ``:mirror`` are those of the mirrored crop.

    Returns
    -------
    Bands
        The declared bands.

    Raises
    ------
    BandError, UnknownNameError
        If the text is no such declaration.

    Examples
    --------
    >>> parse_bands("rings:16").names
    ['0-16', '16-32', '32-48', '48-56', 'rest']
    >>> parse_bands("octaves:4:16").names
    ['4-8', '8-16', 'rest']
    >>> parse_bands("sectors:4").orientation.tolist()
    [0.0, 45.0, 90.0, 135.0]
    >>> bands = parse_bands("polar:28x2:mirror")
    >>> bands.kind, bands.extension, len(bands)
    ('polar', 'mirror', 5)
    """
    kind, _, rest = text.partition(":")
    check_name("kind of bands", kind, list(_FORMS))
    if kind == "channels":
        return channels(parse_bands(rest) if rest else None)
    if kind == "custom":
        if not rest:
            raise _wrong_form(text, kind)
        return custom(rest)
    fields = rest.split(":") if rest else []
    extension: Any = EXTENSIONS[0]
    if fields and fields[-1] in EXTENSIONS and kind != "wavelets":
        extension = fields.pop()
    if kind == "rings":
        if len(fields) not in (1, 2):
            raise _wrong_form(text, kind)
        unit = fields[1] if len(fields) == 2 else UNITS[0]
        return rings(_number(text, fields[0]), unit=unit, extension=extension)
    if kind == "octaves":
        if len(fields) not in (0, 2, 3):
            raise _wrong_form(text, kind)
        limits = [_number(text, field) for field in fields[:2]]
        per_octave = _whole(text, fields[2]) if len(fields) == 3 else 1
        return octaves(*limits, per_octave=per_octave, extension=extension)
    if kind == "sectors":
        if len(fields) != 1:
            raise _wrong_form(text, kind)
        return sectors(_whole(text, fields[0]), extension=extension)
    if kind == "polar":
        parts = fields[0].split("x") if len(fields) == 1 else []
        if len(parts) != 2:
            raise _wrong_form(text, kind)
        width, n = _number(text, parts[0]), _whole(text, parts[1])
        return polar(width, n, extension=extension)
    if len(fields) > 2:
        raise _wrong_form(text, kind)
    if len(fields) == 2:
        return wavelets(fields[0], _whole(text, fields[1]))
    return wavelets(fields[0]) if fields else wavelets()


def bands_from(declared: Mapping[str, Any]) -> Bands:
    """Make bands again from their declaration, :meth:`freqlab.Bands.declaration`.

    Parameters
    ----------
    declared
        Declaration, as plain values.

    Returns
    -------
    Bands
        Bands equal to those declared.

    Raises
    ------
    UnknownNameError
        If the kind is unknown, as in a store of a later version.

    Examples
    --------
    >>> import freqlab as fl
    >>> bands = fl.rings(width=28)
    >>> fl.bands.bands_from(bands.declaration()) == bands
    True
    """
    makers = {
        **dict.fromkeys(("rings", "octaves"), _rings_from),
        "sectors": _sectors_from,
        "polar": _polar_from,
        "custom": custom_from,
        "wavelets": lambda d: Wavelets(str(d["wavelet"]), int(d["level"])),
        "channels": _channels_from,
        "merged": _merged_from,
    }
    kind = check_name("kind of bands", str(declared.get("kind")), list(makers))
    return makers[kind](declared)


def _rings_from(declared: Mapping[str, Any]) -> Rings:
    edges = tuple(float(edge) for edge in declared["edges"])
    maker = Octaves if declared["kind"] == "octaves" else Rings
    return maker(edges, **_shared(declared))


def _sectors_from(declared: Mapping[str, Any]) -> Sectors:
    low, high = float(declared["low"]), float(declared["high"])
    return Sectors(int(declared["n"]), low, high, **_shared(declared))


def _polar_from(declared: Mapping[str, Any]) -> Polar:
    of = _rings_from(declared["rings"])
    return Polar(of, int(declared["sectors"]), unit=of.unit, extension=of.extension)


def _channels_from(declared: Mapping[str, Any]) -> Channels:
    if "within" not in declared:
        return Channels()
    within = bands_from(declared["within"])
    assert isinstance(within, PlaneBands)
    return Channels(within, unit=within.unit, extension=within.extension)


def _merged_from(declared: Mapping[str, Any]) -> MergedBands:
    of = bands_from(declared["of"])
    return MergedBands(of, int(declared["together"]), unit=of.unit, extension=of.extension)


def _shared(declared: Mapping[str, Any]) -> dict[str, str]:
    return {"unit": declared["unit"], "extension": declared.get("extension", EXTENSIONS[0])}


def _wrong_form(text: str, kind: str) -> BandError:
    mirrored = "" if kind in _OWN_BORDER else ", with :mirror at the end for the mirrored crop"
    return BandError(f"bands {text!r}: write {_FORMS[kind]}{mirrored}")


def _number(text: str, field: str) -> float:
    try:
        return float(field)
    except ValueError:
        raise BandError(f"bands {text!r}: {field!r} is not a number") from None


def _whole(text: str, field: str) -> int:
    try:
        return int(field)
    except ValueError:
        raise BandError(f"bands {text!r}: {field!r} is not a whole number") from None
