"""Arguments of a cross-resolution study are checked before anything is computed."""

import pandas as pd
import pytest
import torch
from conftest import make_faces

import freqlab as fl
from freqlab.errors import ParameterError


class Unused(torch.nn.Module):
    """A network that must not be called."""

    def forward(self, images):
        raise AssertionError("an image was embedded")


@pytest.fixture(scope="module")
def faces():
    return make_faces(n_subjects=4, per_subject=3)


def study(faces, tmp_path, *listed, **options):
    models = [fl.wrap_model(Unused(), name="unused", version="1")]
    store = tmp_path / "run.zarr"
    try:
        fl.resolution.study(faces, *listed, models=models, store=store, progress=False, **options)
    finally:
        assert not store.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resolutions": []}, r"resolutions=\[\]"),
        ({"resolutions": 28}, r"resolutions=28 must be a list, as in \[56, 28, 14\]"),
        ({"resolutions": [28, 0]}, "resolutions=0 must be a whole number"),
        ({"resolutions": [28, 14.5]}, "resolutions=14.5 must be a whole number"),
        ({"resolutions": [28, 28]}, r"resolutions=\[28, 28\] must differ"),
        ({"resolutions": [112, 28]}, r"resolutions=\[112, 28\]: 112 must be below 112"),
        ({"kernel": "aera"}, "unknown kernel 'aera'.*Did you mean 'area'"),
        ({"control_kernels": "fourier"}, "control_kernels='fourier' must be a list"),
        ({"control_kernels": ["furier"]}, "unknown control_kernels 'furier'.*'fourier'"),
        (
            {"control_kernels": ["furier"], "noise": 2.0},  # with noise, controls are not used
            "unknown control_kernels 'furier'",
        ),
        ({"n_control": 0}, "n_control=0 must be a whole number of 1 or more"),
        ({"low": -1}, "low=-1 must be a number above 0"),
        ({"low": 2}, "low=2: no band lies below it; allowed: 4 or more"),
        ({"bands": "rings:8", "low": 7.9}, "low=7.9: no band lies below it; allowed: 8 or more"),
        ({"measure": "crops"}, "unknown measure 'crops'"),
        ({"measure": "face"}, "measure='face'"),
        ({"kernel": "fourier", "blur": 1.0}, "kernel='fourier' is the ideal control"),
        ({"jpeg": 100}, "jpeg=100"),
        ({"natural": True}, "natural=True needs photographs"),
        ({"n_pairs": 0}, "n_pairs=0"),
        ({"fmr": 1.3}, "fmr"),
        ({"n_draws": 0}, "n_draws=0"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_a_wrong_argument_stops_the_study_at_its_beginning(faces, tmp_path, options, message):
    with pytest.raises(ParameterError, match=message):
        study(faces, tmp_path, **options)


def test_a_list_with_an_unknown_face_stops_it(faces, tmp_path):
    listed = pd.DataFrame({"probe": ["p0/9"], "reference": ["p0/0"], "genuine": [True]})
    with pytest.raises(fl.FreqlabError, match="p0/9"):
        study(faces, tmp_path, listed)
