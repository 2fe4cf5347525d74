"""The section on orientation: when it is left out, and when it is among the findings."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

import freqlab as fl
from freqlab.errors import ParameterError
from freqlab.reports import orientation, parts
from freqlab.reports.parameters import check, read_parameters


def oriented(n_people, horizontal):
    rng = np.random.default_rng(0)
    values = rng.gamma(3, size=(1, n_people, 1, 8))
    values[..., [0, 1, 7]] *= horizontal
    return fl.testing.result(values, bands=fl.sectors(8))


@pytest.fixture
def shown(monkeypatch):
    outputs = []
    monkeypatch.setattr(parts, "_display", lambda one, **options: outputs.append(one.data))
    return outputs


def test_sectors_are_removed_from_genuine_pairs_on_the_side_of_the_report():
    faces = fl.testing.faces(3, 2)
    pairs = fl.make_pairs(faces, seed=0)
    options = {"models": [fl.testing.model()], "progress": False}
    result = orientation.influence_of_sectors(faces, pairs, 4, side="reference", **options)
    assert result["genuine"].to_numpy().tolist() == [True] * 3
    assert result["side"].to_numpy().tolist() == ["reference"]
    assert result["orientation"].to_numpy().tolist() == [0, 45, 90, 135]
    none = orientation.influence_of_sectors(faces, pairs, None, side="probe", **options)
    impostors = pairs[~pairs["genuine"]]
    without = orientation.influence_of_sectors(faces, impostors, 4, side="probe", **options)
    assert none is without is None


def test_a_section_that_is_left_out_shows_nothing(shown):
    orientation.show_section(None, model="m", side="probe")
    assert orientation.findings(None, model="m", side="probe") == []
    assert shown == []


def test_a_difference_is_a_finding_of_enough_people():
    (told,) = orientation.findings(oriented(30, horizontal=3), model="m", side="probe")
    assert told.startswith("On 30 genuine pairs of 30 people, bands of horizontal structure carry")
    assert orientation.findings(oriented(19, horizontal=3), model="m", side="probe") == []
    alike = oriented(30, horizontal=1)
    assert orientation.findings(alike, model="m", side="probe") == []


def test_the_section_has_its_heading_its_sentence_and_its_rose(shown, monkeypatch):
    drawn = []
    monkeypatch.setattr(plt, "show", lambda: drawn.append(plt.gcf()))
    orientation.show_section(oriented(30, horizontal=1), model="m", side="probe")
    (text,) = shown
    assert text.startswith("## Orientation\n\n")
    assert "a difference that is compatible with zero" in text
    (figure,) = drawn
    assert len(figure.axes[0].patches) >= 16
    assert "RMS contrast removed" in figure.axes[1].get_ylabel()


def test_the_number_of_sectors_is_checked_before_anything_is_computed():
    declared = read_parameters("n_sectors: Optional[int] = 8  # sectors")
    check({"n_sectors": None}, declared)
    check({"n_sectors": 2}, declared)
    with pytest.raises(ParameterError, match="n_sectors=1 must be a whole number of 2 or more"):
        check({"n_sectors": 1}, declared)
