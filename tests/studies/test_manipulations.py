"""A planted manipulation ranks its band first, in energy and in influence."""

import numpy as np
import pytest
import torch
from conftest import Linear, make_faces

import freqlab as fl
from freqlab import spectrum
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
def both():
    import pandas as pd

    faces = make_faces(n_subjects=10, per_subject=2)
    changed = manipulated_faces(faces, band=3, gain=0.6)
    everyone = fl.Faces(
        pd.concat([faces.table, changed.table]),
        images=[*faces.images, *changed.images],
        aligned="arcface",
    )
    rows = []
    for subject in faces.table["subject"].unique():
        rows.append((f"{subject}/1", f"{subject}/0", True, "pristine"))
        rows.append((f"{subject}/1-made", f"{subject}/0", True, "manipulated"))
    pairs = pd.DataFrame(rows, columns=["probe", "reference", "genuine", "label"])
    result = fl.influence(
        everyone, pairs, models=[fl.wrap_model(Linear(n_features=64), name="linear")],
        bands=BANDS, sides=["probe"], progress=False,
    ).load()  # fmt: skip
    label = result["label"].to_numpy()
    return result.sel(pair=label == "pristine"), result.sel(pair=label == "manipulated")


def test_the_band_that_was_touched_ranks_first(both):
    changes = fl.manipulation(*both, n_draws=100)
    part = changes.sel(model="linear")
    for quantity in ("energy", "directed"):
        assert int(part[f"{quantity}_rank"].to_numpy().argmin()) == 3, quantity
    value, lower, upper = part["energy"].isel(band=3).to_numpy()
    assert value == pytest.approx(2 * np.log10(1.6), abs=0.03)
    assert lower <= value <= upper
    others = np.delete(part["energy"].sel(estimate="value").to_numpy(), 3)
    assert np.abs(others).max() < 0.1 * value
    table = fl.manipulation_table(changes, model="linear")
    assert table.index[0] == "24-32"


def test_changes_are_differences_of_plain_means(both):
    pristine, manipulated = both
    changes = fl.manipulation(pristine, manipulated, n_draws=10)
    means = [one["influence"].sel(side="probe").mean("pair").to_numpy() for one in both]
    value = changes["directed"].sel(estimate="value")
    np.testing.assert_allclose(value, means[1] - means[0], atol=1e-6)
    same = fl.manipulation(pristine, pristine, n_draws=10)
    for name in ("directed", "absolute", "energy"):
        assert np.abs(same[name]).max() == 0


def test_what_is_not_allowed_is_told(both):
    pristine, manipulated = both
    with pytest.raises(UnknownNameError, match="unknown side 'both'"):
        fl.manipulation(pristine, manipulated, side="both")
    with pytest.raises(ParameterError, match="manipulated holds no pair"):
        fl.manipulation(pristine, manipulated.isel(pair=[]))
    with pytest.raises(ParameterError, match="differ in their bands"):
        fl.manipulation(pristine, manipulated.isel(band=slice(1, None)))
    with pytest.raises(UnknownNameError, match="unknown by"):
        fl.manipulation_table(
            fl.manipulation(pristine, manipulated, n_draws=2), model="linear", by="x"
        )
