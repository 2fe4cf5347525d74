"""Pairs of pristine and manipulated images, by hand."""

import pandas as pd
import pytest

import freqlab as fl
from freqlab.errors import PairError, ParameterError, UnknownNameError

ROWS = {
    "a1": ("a", "pristine", ""),
    "a2": ("a", "pristine", ""),
    "a3": ("a", "manipulated", "swap"),
    "b1": ("b", "manipulated", "filter"),
    "b2": ("b", "pristine", ""),
    "b3": ("b", "manipulated", ""),
}


def faces_of(rows, columns=("subject", "label", "method")):
    table = pd.DataFrame.from_dict(rows, orient="index", columns=list(columns))
    return fl.Faces(table.assign(path=table.index).rename_axis("face"), name="made")


def test_probes_meet_the_first_pristine_photograph_of_their_subject():
    pairs = fl.morphing.manipulation_pairs(faces_of(ROWS))
    assert list(pairs.itertuples(index=False, name=None)) == [
        ("a2", "a1", True, "pristine", "pristine"),
        ("a3", "a1", True, "manipulated", "swap"),
        ("b1", "b2", True, "manipulated", "filter"),
        ("b3", "b2", True, "manipulated", "manipulated"),
    ]
    assert pairs.index.name == "pair"


@pytest.mark.parametrize(
    ("pristine", "manipulated"),
    [("real", "fake"), (0, 1), (0.0, 1.0), ("Bona fide", "FAKE"), ("0", "1")],
)
def test_labels_are_understood_as_the_field_spells_them(pristine, manipulated):
    spelled = {"pristine": pristine, "manipulated": manipulated}
    faces = faces_of({name: (s, spelled[label], m) for name, (s, label, m) in ROWS.items()})
    expected = fl.morphing.manipulation_pairs(faces_of(ROWS))
    pd.testing.assert_frame_equal(fl.morphing.manipulation_pairs(faces), expected)


def test_columns_may_be_called_otherwise():
    faces = faces_of(ROWS, ("subject", "kind", "how"))
    pairs = fl.morphing.manipulation_pairs(faces, label="kind", method="how")
    assert pairs["method"].tolist() == ["pristine", "swap", "filter", "manipulated"]
    pairs = fl.morphing.manipulation_pairs(faces, label="kind", method=None)
    assert pairs["method"].tolist() == ["pristine", *["manipulated"] * 3]
    with pytest.raises(UnknownNameError, match="unknown label 'label'"):
        fl.morphing.manipulation_pairs(faces)
    with pytest.raises(UnknownNameError, match="unknown method 'way'"):
        fl.morphing.manipulation_pairs(faces, label="kind", method="way")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"a3": ("a", "altered", "swap")},
            ParameterError,
            "'label' contains 'altered'; allowed are",
        ),
        (
            {"a3": ("a", None, "swap")},
            ParameterError,
            "'label' contains ''; allowed are 'pristine'",
        ),
        ({"a3": ("a", "fake", "pristine")}, ParameterError, "cannot have the method 'pristine'"),
        ({"b2": ("b", "fake", "x")}, PairError, "1 subjects .* no pristine photograph .*: b"),
        ({"a2": ("a", "fake", "x")}, PairError, "no pristine pair .* two pristine photographs"),
    ],
)
def test_what_does_not_fit_is_told(change, error, message):
    with pytest.raises(error, match=message):
        fl.morphing.manipulation_pairs(faces_of(ROWS | change))


def test_a_set_without_manipulated_images_is_told():
    whole = {name: row for name, row in ROWS.items() if row[1] == "pristine"}
    with pytest.raises(PairError, match="no manipulated pair"):
        fl.morphing.manipulation_pairs(faces_of(whole))


def test_an_image_made_of_the_reference_is_left_out():
    faces = faces_of(ROWS | {"a4": ("a", "fake", "swap")})
    faces.table["source"] = ["", "", "a1", "", "", "b2", "a2"]
    pairs = fl.morphing.manipulation_pairs(faces)
    assert pairs["probe"].tolist() == ["a2", "b1", "a4"]
    faces.table["source"] = ["", "", "a1", "b2", "", "b2", "a1"]
    with pytest.raises(PairError, match="no manipulated pair .* made from the reference itself"):
        fl.morphing.manipulation_pairs(faces)
