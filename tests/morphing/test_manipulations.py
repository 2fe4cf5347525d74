"""A planted manipulation ranks its band first, in energy and in influence."""

import numpy as np
import pytest
import torch
from conftest import Linear, make_faces

import freqlab as fl
from freqlab.bands import spectrum
from freqlab.errors import ParameterError, UnknownNameError

BANDS = fl.rings(width=8)


def manipulated_faces(faces, band, gain):
    """The same faces, with one band of frequencies made stronger."""
    labels = torch.from_numpy(BANDS.label_map(112, 112))
    images = []
    for image in faces.images:
        pixels = torch.from_numpy(np.asarray(image)).permute(2, 0, 1)[None].float()
        part = spectrum.keep(pixels, labels, [band]) - pixels.mean(dim=(2, 3), keepdim=True)
        made = (pixels + gain * part).clamp(0, 255)[0].permute(1, 2, 0)
        images.append(made.round().numpy().astype(np.uint8))
    table = faces.table.set_index(faces.table.index + "-made")
    return fl.Faces(table, images=images, aligned="arcface")


@pytest.fixture(scope="module")
def everything():
    import pandas as pd

    faces = make_faces(n_subjects=10, per_subject=2)
    changed = manipulated_faces(faces, band=3, gain=0.6)
    lower = manipulated_faces(faces, band=1, gain=-0.6)
    lower.table.index = faces.table.index + "-lower"
    made = [
        one.table.assign(label="fake", method=method, source=faces.table.index)
        for one, method in ((changed, "gain"), (lower, "loss"))
    ]
    everyone = fl.Faces(
        pd.concat([faces.table.assign(label="real", source=""), *made]),
        images=[*faces.images, *changed.images, *lower.images],
        aligned="arcface",
    )
    pairs = fl.morphing.manipulation_pairs(everyone)
    result = fl.influence(
        everyone, pairs, models=[fl.wrap_model(Linear(n_features=64), name="linear")],
        bands=BANDS, sides=["probe"], progress=False,
    ).load()  # fmt: skip
    return result


@pytest.fixture(scope="module")
def both(everything):
    method = everything["method"].to_numpy()
    return everything.sel(pair=method == "pristine"), everything.sel(pair=method == "gain")


def test_the_band_that_was_touched_ranks_first(both):
    changes = fl.morphing.manipulation(*both, n_draws=100)
    part = changes.sel(model="linear")
    for quantity in ("energy", "directed"):
        assert int(part[f"{quantity}_rank"].to_numpy().argmin()) == 3, quantity
    value, lower, upper = part["energy"].isel(band=3).to_numpy()
    assert value == pytest.approx(2 * np.log10(1.6), abs=0.03)
    assert lower <= value <= upper
    others = np.delete(part["energy"].sel(estimate="value").to_numpy(), 3)
    assert np.abs(others).max() < 0.1 * value
    table = fl.morphing.manipulation_table(changes, model="linear")
    assert table.index[0] == "24-32"


def test_changes_are_differences_of_plain_means(both):
    pristine, manipulated = both
    changes = fl.morphing.manipulation(pristine, manipulated, n_draws=10)
    means = [one["influence"].sel(side="probe").mean("pair").to_numpy() for one in both]
    value = changes["directed"].sel(estimate="value")
    np.testing.assert_allclose(value, means[1] - means[0], atol=1e-6)
    same = fl.morphing.manipulation(pristine, pristine, n_draws=10)
    for name in ("directed", "absolute", "energy"):
        assert np.abs(same[name]).max() == 0


def test_what_is_not_allowed_is_told(both):
    pristine, manipulated = both
    with pytest.raises(UnknownNameError, match="unknown side 'both'"):
        fl.morphing.manipulation(pristine, manipulated, side="both")
    with pytest.raises(ParameterError, match="manipulated has no pairs"):
        fl.morphing.manipulation(pristine, manipulated.isel(pair=[]))
    with pytest.raises(ParameterError, match="differ in their bands"):
        fl.morphing.manipulation(pristine, manipulated.isel(band=slice(1, None)))
    with pytest.raises(UnknownNameError, match="unknown by"):
        fl.morphing.manipulation_table(
            fl.morphing.manipulation(pristine, manipulated, n_draws=2), model="linear", by="x"
        )


def test_each_kind_is_held_against_the_pristine_ones(everything):
    options = {"n_draws": 50, "seed": 3}
    changes = fl.morphing.manipulation_by_kind(
        everything, by="method", pristine="pristine", **options
    )
    assert changes["kind"].to_numpy().tolist() == ["gain", "loss"]
    method = everything["method"].to_numpy()
    whole = everything.sel(pair=method == "pristine")
    for kind, band in (("gain", 3), ("loss", 1)):
        alone = fl.morphing.manipulation(whole, everything.sel(pair=method == kind), **options)
        part = changes.sel(kind=kind, model="linear")
        np.testing.assert_array_equal(part["energy"], alone["energy"].sel(model="linear"))
        for quantity in ("energy", "directed"):
            assert int(part[f"{quantity}_rank"].to_numpy().argmin()) == band
    table = fl.morphing.touched_bands_table(changes, model="linear", n_bands=2)
    # of ten subjects, the one image each that was not made of the reference
    kinds = ["gain (10 pairs)", "loss (10 pairs)"]
    assert table.index.to_list() == [(kind, place) for kind in kinds for place in (1, 2)]
    named = table["band, by log energy"].xs(1, level="rank")
    assert named["gain (10 pairs)"].startswith("24-32 (+")
    assert named["loss (10 pairs)"].startswith("8-16 (-")
    change = changes["energy"].sel(kind="gain", model="linear").isel(band=3)
    shown = table["change of log energy"].iloc[0]
    assert shown.startswith(f"{float(change.sel(estimate='value')):+.3f} [")


def test_effects_are_changes_in_deviations_of_pristine_pairs(everything):
    changes = fl.morphing.manipulation_by_kind(
        everything, by="method", pristine="pristine", n_draws=50
    )
    whole = everything.sel(pair=(everything["method"] == "pristine").to_numpy(), side="probe")
    spread = whole["influence"].isel(model=0).std("pair").to_numpy()[:, None]
    part = changes.sel(kind="gain", model="linear")
    np.testing.assert_allclose(part["directed_effect"], part["directed"] / spread, rtol=1e-4)


@pytest.mark.parametrize("quantity", ["energy", "directed"])
def test_effects_are_drawn_with_a_line_for_each_kind(everything, quantity):
    changes = fl.morphing.manipulation_by_kind(
        everything, by="method", pristine="pristine", n_draws=20
    )
    ax = fl.plots.manipulation_plot(changes, model="linear", quantity=quantity)
    effect = changes[f"{quantity}_effect"].sel(model="linear", estimate="value")
    drawn = [line.get_ydata() for line in ax.lines if len(line.get_xdata()) == len(effect["band"])]
    np.testing.assert_array_equal(drawn, effect)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["gain (10)", "loss (10)"]
    assert ax.get_xlabel() == "spatial frequency (cycles/image)"
    assert "SD of pristine pairs" in ax.get_ylabel()
    one = fl.plots.manipulation_plot(changes.isel(kind=0, drop=True), model="linear")
    assert len(one.get_legend().get_texts()) == 1


def test_kinds_that_are_not_there_are_told(everything):
    with pytest.raises(ParameterError, match="by='attack' is not a column"):
        fl.morphing.manipulation_by_kind(everything, by="attack", pristine="bona fide")
    with pytest.raises(UnknownNameError, match="unknown pristine 'real'"):
        fl.morphing.manipulation_by_kind(everything, by="method", pristine="real")
    whole = everything.sel(pair=(everything["method"] == "pristine").to_numpy())
    with pytest.raises(ParameterError, match="there are no manipulated pairs"):
        fl.morphing.manipulation_by_kind(whole, by="method", pristine="pristine")
