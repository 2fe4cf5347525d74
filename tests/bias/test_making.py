"""Arguments of a bias study are checked before anything is computed."""

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
    plain = make_faces(n_subjects=4, per_subject=3)
    groups = ["yes" if name[:2] in ("p0", "p1") else "no" for name in plain.names]
    table = plain.table.assign(glasses=groups, pose="frontal", age=range(12), room="a")
    return fl.Faces(table, images=plain.images, aligned="arcface", name="synthetic")


def study(faces, tmp_path, *listed, **options):
    given = {"group": "glasses", "models": [fl.wrap_model(Unused(), name="unused", version="1")]}
    store = tmp_path / "run.zarr"
    try:
        fl.bias.study(faces, *listed, store=store, progress=False, **{**given, **options})
    finally:
        assert not store.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group": "glases"}, "unknown group 'glases'.*Did you mean 'glasses'"),
        ({"group": "room"}, r"group='room': the faces have 1 group\(s\) \['a'\]"),
        ({"baseline": "maybe"}, "unknown baseline 'maybe'; allowed: no, yes"),
        ({"match_on": "sharpnes"}, "unknown match_on 'sharpnes'.*Did you mean 'sharpness'"),
        ({"match_on": "age"}, "unknown match_on 'age'"),
        ({"match_on": "pose", "match_exact": ["pose"]}, "match_on='pose' must name a measure"),
        ({"match_on": "yaw"}, "match_on='yaw' needs the photographs"),
        ({"match_exact": ["poes"]}, "unknown match_exact 'poes'.*Did you mean 'pose'"),
        ({"match_exact": ["glasses"]}, "unknown match_exact 'glasses'"),
        ({"match_exact": "pose"}, r"match_exact='pose' must be a list, as in \['pose'\]"),
        ({"caliper": 0}, "caliper=0 must be a number above 0"),
        ({"alpha": -1}, "alpha=-1 must be a number above 0"),
        ({"fmr": 1.3}, "fmr"),
        ({"n_draws": 0}, "n_draws=0"),
        ({"n_permutations": 0}, "n_permutations=0"),
        ({"n_pairs": 0}, "n_pairs=0"),
        ({"impostors_per_genuine": -1}, "impostors_per_genuine=-1"),
        ({"seed": -1}, "seed=-1"),
        ({"bands": "rings:0"}, "width=0.0"),
    ],
)
def test_a_wrong_argument_stops_the_study_at_its_beginning(faces, tmp_path, options, message):
    with pytest.raises(ParameterError, match=message):
        study(faces, tmp_path, **options)


def test_a_list_with_an_unknown_face_stops_it(faces, tmp_path):
    listed = pd.DataFrame({"probe": ["p0/9"], "reference": ["p0/0"], "genuine": [True]})
    with pytest.raises(fl.FreqlabError, match="p0/9"):
        study(faces, tmp_path, listed)


def test_a_sample_of_one_group_stops_it(faces, tmp_path):
    listed = fl.make_pairs(faces.select([0, 1, 2, 3, 4, 5]), seed=0)
    with pytest.raises(ParameterError, match=r"the explained pairs have 1 group\(s\) \['yes'\]"):
        study(faces, tmp_path, listed)


def test_a_sample_without_the_baseline_stops_it(faces, tmp_path):
    table = faces.table.assign(team=["a"] * 3 + ["b"] * 3 + ["c"] * 6)
    three = fl.Faces(table, images=faces.images, aligned="arcface", name="three")
    listed = fl.make_pairs(three.select([0, 1, 2, 3, 4, 5]), seed=0)
    with pytest.raises(ParameterError, match="baseline='c': the explained pairs have faces of"):
        study(three, tmp_path, listed, group="team", baseline="c")
