"""Captum as an oracle: the same removals, made by another library's ablation."""

import numpy as np
import pytest
import torch
from captum.attr import FeatureAblation

import freqlab as fl


@pytest.mark.parametrize("side", ["probe", "reference"])
def test_influence_is_feature_ablation_of_the_spectrum(demo, side):
    """Ablate the spectrum, as real and imaginary parts grouped by band, toward zero."""
    model = fl.load_model("mobilefacenet", device="cpu")
    crops = fl.open_run(demo.attrs["store"])["crops/arcface"]["crop"]
    labels = torch.from_numpy(fl.rings().label_map(112, 112))
    groups = torch.where(labels >= 0, labels, 15)[None, None, :, :, None]  # 15: DC
    for pair in (0, 5, 20):
        data = demo.sel(pair=pair, model="mobilefacenet", side=side)
        other_side = {"probe": "reference", "reference": "probe"}[side]
        masked, other = (
            torch.from_numpy(crops.sel(face=data[s].item()).to_numpy().copy())
            .permute(2, 0, 1)[None]
            .float()
            for s in (side, other_side)
        )
        with torch.no_grad():
            partner = model(other)

        def similarity(spectrum, partner=partner):
            images = torch.fft.irfft2(torch.view_as_complex(spectrum), s=(112, 112))
            return torch.nn.functional.cosine_similarity(model(images), partner)

        spectrum = torch.view_as_real(torch.fft.rfft2(masked))
        attributed = FeatureAblation(similarity).attribute(spectrum, feature_mask=groups)
        by_band = [float(attributed[groups.expand_as(attributed) == b][0]) for b in range(15)]
        np.testing.assert_allclose(data["influence"], by_band, atol=1e-5)


def test_identical_faces(orl):
    """A face against a copy of itself: similarity one, and every removal can only lower it."""
    face = orl.image(0)
    table = orl.table.iloc[[0, 0]].drop(columns="path").set_index(np.array(["a", "b"]))
    faces = fl.Faces(table, images=[face, face], landmarks=orl.landmarks[[0, 0]])
    result = fl.influence(faces, fl.make_pairs(faces), models=["mobilefacenet"], progress=False)
    assert float(result["similarity"][0, 0]) == pytest.approx(1, abs=1e-6)
    assert float(result["influence"].sel(side=["probe", "reference"]).min()) > -1e-6
    np.testing.assert_allclose(result["influence"].sel(side="both"), 0, atol=1e-6)
