"""What the inspector draws: rings by a loop over frequencies, pictures that decode, texts."""

import io
import xml.etree.ElementTree as ET

import numpy as np
import pytest
import pywt
from conftest import Linear, make_faces
from matplotlib import colormaps
from PIL import Image

import freqlab as fl
from freqlab.inspector.drawing import (
    _planes,
    detail_pictures,
    drawing_of,
    edited_picture,
    original_pictures,
    picture,
    plane_of,
    verdict_html,
)
from freqlab.results.profiles import influence_spread

PART = {"model": "mobilefacenet", "side": "probe"}


@pytest.fixture(scope="module")
def spread(demo):
    return influence_spread(demo, **PART)


def test_the_plane_labels_every_frequency(demo):
    plane = plane_of(demo, model="mobilefacenet")
    labels = np.frombuffer(plane["labels"], "<i2").reshape(plane["height"], plane["width"])
    assert labels.shape == (112, 112)
    for y, x in [(56, 56), (56, 57), (56, 59), (56, 60), (40, 70), (0, 0), (100, 3)]:
        radius = np.hypot(y - 56, x - 56)
        assert labels[y, x] == (-1 if radius == 0 else min(int(radius // 4), 14))


def test_the_drawing_says_what_the_numbers_say(demo, spread):
    drawing = drawing_of(demo, spread, pair=2, kind="directed", operation="remove", **PART)
    influence = demo["influence"].sel(pair=2, **PART).to_numpy()
    assert [band["value"] for band in drawing["bands"]] == pytest.approx(influence.tolist())
    assert drawing["bands"][1]["text"].startswith(
        f"4-8 cycles/image: directed influence {influence[1]:+.3f} (genuine pairs "
    )
    assert drawing["x"]["label"] == "spatial frequency (cycles/image)"
    assert drawing["y"]["label"] == "directed influence (cosine similarity)"
    low, high = drawing["y"]["min"], drawing["y"]["max"]
    assert low <= min(influence.min(), np.nanmin(spread["directed"]))
    assert high >= max(influence.max(), np.nanmax(spread["directed"]))
    assert all(low <= tick["at"] <= high for tick in drawing["y"]["ticks"])


def test_the_rest_is_behind_an_axis_break(demo, spread):
    drawing = drawing_of(demo, spread, pair=2, kind="directed", operation="remove", **PART)
    axis, rest = drawing["x"], drawing["bands"][-1]
    assert axis["break"] == [56, rest["lower"]]
    assert 56 < rest["lower"] < rest["upper"] == axis["max"]
    assert all(tick["at"] <= 56 for tick in axis["ticks"])
    some = demo.isel(band=slice(5))
    whole = drawing_of(
        some,
        spread.isel(band=slice(5)),
        pair=2,
        kind="directed",
        operation="remove",
        **PART,
    )["x"]
    assert (whole["break"], whole["max"]) == (None, 20)


def test_absolute_influence_is_drawn_without_its_sign(demo, spread):
    drawing = drawing_of(demo, spread, pair=2, kind="absolute", operation="keep", **PART)
    assert min(band["value"] for band in drawing["bands"]) >= 0
    assert drawing["scale"]["ticks"][0]["text"] == "0"


def test_the_strongest_band_has_the_end_of_the_scale(demo, spread):
    drawing = drawing_of(demo, spread, pair=2, kind="directed", operation="remove", **PART)
    influence = demo["influence"].sel(pair=2, **PART).to_numpy()
    strongest = int(np.argmax(np.abs(influence)))
    end = drawing["scale"]["colours"][-1 if influence[strongest] > 0 else 0]
    assert drawing["bands"][strongest]["colour"] == end


def test_a_band_without_a_value_is_told(demo, spread):
    result = demo.load().copy(deep=True)
    result["influence"].loc[{"band": result["band"].to_numpy()[3]}] = np.nan
    drawing = drawing_of(
        result,
        influence_spread(result, **PART),
        pair=2,
        kind="directed",
        operation="remove",
        **PART,
    )
    assert drawing["bands"][3]["value"] is None
    assert drawing["bands"][3]["text"] == "12-16 cycles/image: no data"
    assert drawing["spread"][0]["median"][3] is None


def edits_of(result, faces, **view):
    """The edited face, the bands alone and the difference."""
    return [edited_picture(result, faces, **view), *detail_pictures(result, faces, **view)]


def test_pictures_decode_and_are_described(demo):
    inspection = fl.edits.Inspection(demo)
    edited = inspection.edit(pair=2, bands=[1, 2], **PART)
    names = {"probe": "a <b>", "reference": "c"}
    originals = original_pictures(edited.crops, names)
    edits = edits_of(demo, edited.pictures, bands=(1, 2), operation="remove")
    for shown in originals + edits:
        assert Image.open(io.BytesIO(shown["png"])).size == (112, 112)
        assert len(shown["alt"]) > 5
    shown = np.asarray(Image.open(io.BytesIO(edits[0]["png"])).convert("RGB"))
    exact = edited.pictures["probe"].edited
    assert np.abs(shown - exact.clip(0, 255)).max() <= 0.5 + 1e-3
    assert edits[0]["alt"] == "The probe without 4-12 cycles/image"
    assert "contrast ×" in edits[1]["caption"]
    assert originals[0]["alt"] == "The probe, a <b>"
    change = edited.pictures["probe"].difference
    expected = colormaps["viridis"](change / max(change.max(), 1), bytes=True)[..., :3]
    coloured = Image.open(io.BytesIO(edits[2]["png"])).convert("RGB")
    assert (np.asarray(coloured) == expected).all()


def test_a_picture_in_colour_keeps_its_colours():
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    decoded = Image.open(io.BytesIO(picture(image, "", "")["png"]))
    assert (np.asarray(decoded) == image).all()


def test_without_a_selection_no_picture_is_drawn(demo):
    faces = fl.edits.Inspection(demo).faces(pair=2, bands=[], **PART)
    edits = edits_of(demo, faces, bands=(), operation="remove")
    assert [bool(one["png"]) for one in edits] == [True, False, False]
    assert [one["alt"] for one in edits[1:]] == ["no band is selected"] * 2
    faces = fl.edits.Inspection(demo).faces(pair=2, bands=[], operation="keep", **PART)
    edits = edits_of(demo, faces, bands=(), operation="keep")
    assert [bool(one["png"]) for one in edits] == [True, False, True]


def run_with(bands):
    """One pair of a linear network, on synthetic faces of 112 by 112 pixels."""
    faces, model = make_faces(n_subjects=2), fl.wrap_model(Linear(), name="linear")
    pairs = fl.make_pairs(faces, n_pairs=2, seed=0)
    return fl.influence(faces, pairs, models=[model], bands=bands, progress=False)


def test_the_areas_of_wavelets_are_where_gratings_have_their_energy():
    """A grating in the middle of an area has most energy in its subband, by PyWavelets."""
    result = run_with(fl.wavelets("db2", 3))
    plane = plane_of(result, model="linear")
    labels = np.frombuffer(plane["labels"], "<i2").reshape(plane["height"], plane["width"])
    inner = labels[1:, 1:]  # row and column 0 are at the Nyquist frequency, which has one sign
    assert (inner == inner[::-1, ::-1]).all()
    y, x = np.mgrid[:112, :112] / 112
    details = [("scale 3", 56 / 8, 56 / 4), ("scale 2", 56 / 4, 56 / 2), ("scale 1", 56 / 2, 56)]
    names = fl.wavelets("db2", 3).names
    for scale, lower, upper in details:
        middle, low = round((lower + upper) / 2), 1
        places = {"horizontal": (middle, low), "vertical": (low, middle), "diagonal": (middle,) * 2}
        for structure, (ky, kx) in places.items():
            band = int(labels[56 + ky, 56 + kx])
            assert names[band] == f"{scale}, {structure}"
            grating = np.cos(2 * np.pi * (ky * y + kx * x))
            _, *found = pywt.wavedec2(grating, "db2", mode="symmetric", level=3)
            energy = [float(np.square(part).sum()) for level in found for part in level]
            assert int(np.argmax(energy)) == band
    assert labels[56, 56] == labels[56 + 5, 56 - 5] == -1  # the approximation is kept


def test_luminance_and_chroma_have_a_plane_each():
    result = run_with(fl.channels(fl.rings(16)))
    plane = plane_of(result, model="linear", extent=60)
    labels = np.frombuffer(plane["labels"], "<i2").reshape(plane["height"], plane["width"])
    assert labels.shape == (120, 120 + 120 // 16 + 120)
    assert (labels[:, 120:127] == -2).all()
    left, right = labels[:, :120], labels[:, 127:]
    ky, kx = np.mgrid[-60:60, -60:60]
    radius = np.hypot(ky, kx)
    expected = np.minimum(radius // 16, 4).astype(int)  # 0-16, ..., 48-56, rest
    expected[(radius >= 48) & (radius < 56)] = 3
    inside = (ky >= -56) & (ky < 56) & (kx >= -56) & (kx < 56)
    expected = np.where(inside, np.where(radius < 56, expected, 4), -2)
    expected[60, 60] = -1
    assert (left == expected).all()
    assert (right == np.where(expected >= 0, expected + 5, expected)).all()
    whole = plane_of(run_with(fl.channels()), model="linear")
    assert set(np.frombuffer(whole["labels"], "<i2").tolist()) == {-2, -1, 0, 1}


@pytest.mark.parametrize(
    ("bands", "text"),
    [
        (fl.wavelets(), "to ±0.5 cycles/pixel, nominal areas of subbands, which overlap"),
        (fl.channels(), "to ±56 cycles/image, luminance left, chroma right"),
        (fl.sectors(4), "to ±56 cycles/image"),
    ],
    ids=["wavelets", "channels", "sectors"],
)
def test_the_text_below_the_plane_says_what_its_areas_are(bands, text):
    result = run_with(bands)
    part = {"model": "linear", "side": "probe"}
    spread = influence_spread(result, **part)
    drawing = drawing_of(result, spread, pair=0, kind="directed", operation="remove", **part)
    assert drawing["under"] == text
    assert drawing["alt"].startswith(f"Frequency plane{text.partition(',')[1]}")
    assert text.partition(", ")[2] in drawing["alt"]


def test_merged_bands_have_merged_areas():
    bands = fl.wavelets().broad(3)
    (fine,), (merged,) = (_planes(one, 112, 112, None) for one in (fl.wavelets(), bands))
    assert (merged == np.where(fine < 0, fine, fine // 3)).all()
    assert set(np.unique(merged)) == {-1, 0, 1, 2}


def test_planes_share_their_extent(demo):
    """The middle of a wider plane is the plane of the crops; nothing lies beyond it."""
    own = plane_of(demo, model="mobilefacenet")
    wide = plane_of(demo, model="mobilefacenet", extent=75)
    assert (wide["height"], wide["width"]) == (150, 150)
    labels = np.frombuffer(wide["labels"], "<i2").reshape(150, 150)
    inner = np.frombuffer(own["labels"], "<i2").reshape(112, 112)
    assert (labels[19:-19, 19:-19] == inner).all()
    assert labels[75, 75] == -1
    assert (labels == -2).sum() == 150**2 - 112**2
    assert plane_of(demo, model="mobilefacenet", extent=56) == own


@pytest.mark.parametrize("resolved", [True, False])
def test_the_verdict_is_well_formed_and_says_both_decisions(demo, resolved):
    result = demo.load().copy(deep=True)
    result["threshold"][:] = 0.99 if resolved else np.nan
    edited = fl.edits.Inspection(demo).edit(pair=2, bands=[1], **PART)
    text = verdict_html(result, edited._replace(similarity=1.0), fmr=1e-3)
    root = ET.fromstring(text)
    assert root.find(".//b[@class='after']").text == f"{edited.edited_similarity:.3f}"
    assert ("match → no match" in text) == resolved
    assert ("do not resolve a threshold" in text) != resolved
    assert len(root.findall("svg/circle")) == 2
