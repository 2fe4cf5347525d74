"""Measures of crops, against closed forms."""

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

import freqlab as fl
from freqlab.bias.crop_quality import detection_probability, measure_crops
from freqlab.errors import ParameterError, StoreError


def grey(image):
    pixels = np.rint(np.clip(image, 0, 255)).astype(np.uint8)
    return np.repeat(pixels[None, :, :, None], 3, axis=3)


def noise(seed=0):
    return np.random.default_rng(seed).normal(128, 30, (112, 112))


def test_contrast_and_brightness_are_deviation_and_mean():
    wave = 128 + 60 * np.sin(2 * np.pi * 5 * np.arange(112) / 112)
    measured = measure_crops(grey(np.broadcast_to(wave, (112, 112)))).iloc[0]
    assert measured["contrast"] == pytest.approx(60 / np.sqrt(2), rel=0.01)
    assert measured["brightness"] == pytest.approx(128, abs=0.5)


def test_sharpness_is_the_variance_of_the_laplacian_and_falls_with_blur():
    image = grey(noise())[0, :, :, 0].astype(float)
    kernel = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]])
    expected = np.log10(1 + ndimage.convolve(image, kernel, mode="nearest").var())
    measured = [
        measure_crops(grey(ndimage.gaussian_filter(noise(), blur)))["sharpness"].iloc[0]
        for blur in (0, 1, 2)
    ]
    assert measured[0] == pytest.approx(expected, rel=1e-6)
    assert measured[0] > measured[1] > measured[2]


def test_borders_are_black_or_repeated_rows_and_columns():
    black = noise()
    black[:10] = 0
    black[:, -4:] = 3
    repeated = noise()
    repeated[:, :8] = repeated[:, 8:9]
    repeated[-6:] = repeated[-7]
    measured = measure_crops(np.concatenate([grey(noise()), grey(black), grey(repeated)]))
    shares = [0, 1 - 102 * 108 / 112**2, 1 - 104 * 106 / 112**2]
    np.testing.assert_allclose(measured["border"], shares, atol=1e-9)
    assert measure_crops(grey(np.zeros((112, 112))))["border"].iloc[0] == 1


def test_quality_of_a_run(orl, tmp_path):
    faces = orl.select(range(12))
    model = fl.load_model("mobilefacenet")
    store = tmp_path / "run.zarr"
    fl.embed(faces, models=[model], store=store, progress=False)
    found = fl.bias.quality(store, faces=faces.names[:8])
    assert found.index.tolist() == faces.names[:8]
    assert found.notna().all().all()
    across = fl.store.pixels_across(store)[faces.names[:8]]
    np.testing.assert_allclose(found["resolution"], across)
    points = faces.landmarks[:8]
    nose = points[:, 2, 0] - points[:, :2, 0].mean(axis=1)
    roughly = nose / (points[:, 1, 0] - points[:, 0, 0])  # eyes are nearly level
    assert np.corrcoef(found["yaw"], roughly)[0, 1] > 0.95
    with pytest.raises(StoreError, match="no crops of template"):
        fl.bias.quality(store, template="dlib")


def test_crops_that_were_not_kept_cannot_be_measured(synthetic, linear, tmp_path):
    fl.embed(
        synthetic, models=[linear], store=tmp_path / "a.zarr", keep_crops=False, progress=False
    )
    with pytest.raises(ParameterError, match="keep_crops=True"):
        fl.bias.quality(tmp_path / "a.zarr")
    fl.embed(synthetic, models=[linear], store=tmp_path / "b.zarr", progress=False)
    found = fl.bias.quality(tmp_path / "b.zarr")
    assert isinstance(found, pd.DataFrame)
    assert found["yaw"].isna().all()  # crops that were aligned elsewhere have no landmarks


def test_the_probability_of_a_detected_face_is_that_of_the_detector(orl, tmp_path):
    from facenet_pytorch import MTCNN
    from PIL import Image, ImageOps

    faces = fl.Faces(orl.table.iloc[[0, 30]], images=[orl.image(0), orl.image(30)])
    lower = fl.faces.degrade(faces, resolutions=[28])
    model, store = fl.load_model("mobilefacenet"), tmp_path / "run.zarr"
    fl.embed(lower, models=[model], store=store, progress=False)
    found = detection_probability(store, faces=lower.names)
    photograph = Image.fromarray(faces.image(0))
    scale = -(-256 // min(photograph.size))
    size = tuple(scale * side for side in photograph.size)
    prepared = ImageOps.expand(photograph.resize(size, Image.Resampling.BICUBIC), 50, (128,) * 3)
    _, scores = MTCNN(keep_all=True).detect(prepared)
    assert found.iloc[0] == pytest.approx(max(scores), abs=1e-5)
    np.testing.assert_array_equal(found.iloc[:2], found.iloc[2:])  # of the photograph
    fl.embed(orl.select([60]), models=[model], store=store, progress=False)
    known = detection_probability(store, faces=orl.names[60:61])
    assert known.isna().all()  # its landmarks are given
