"""Tables of the numbers of a pair, against the result."""

import io

import numpy as np
import pandas as pd
import pytest
from conftest import Linear, make_faces

import freqlab as fl
from freqlab.edits.numbers import band_numbers, model_numbers, rows_of


def test_numbers_of_a_pair_by_model_and_by_band(demo):
    part = {"pair": 2, "side": "reference"}
    table = model_numbers(demo, **part, fmr=1e-1)
    one = demo.sel(**part, model="mobilefacenet")
    influence = one["influence"].to_numpy()
    strongest = int(np.argmax(np.abs(influence)))
    row = table.loc["mobilefacenet"]
    assert row["similarity"] == pytest.approx(float(one["similarity"]))
    assert row["strongest band (cycles/image)"] == one["band"].to_numpy()[strongest]
    assert row["its influence"] == pytest.approx(influence[strongest])
    assert row["decision"] == "not decided"
    assert row["right"] == ""
    bands = band_numbers(demo, **part, model="mobilefacenet")
    assert bands["influence"].to_numpy() == pytest.approx(influence)
    assert (bands["influence"] + bands["similarity without it"]).to_numpy() == pytest.approx(
        np.full(15, row["similarity"])
    )


def test_decisions_and_the_bands_that_change_them(demo):
    result = demo.load().copy(deep=True)
    result["threshold"][:] = 0.5
    genuine = int(result["pair"].to_numpy()[result["genuine"].to_numpy()][0])
    result["similarity"].loc[{"pair": genuine}] = 0.6
    result["influence"].loc[{"pair": genuine}] = 0.0
    result["influence"].loc[{"pair": genuine, "band": result["band"].to_numpy()[4]}] = 0.2
    row = model_numbers(result, pair=genuine).loc["mobilefacenet"]
    assert (row["decision"], row["right"]) == ("match", "yes")
    assert row["bands that change the decision"] == "16-20"


def test_the_rows_of_an_edited_pair_read_back(tmp_path):
    """One row for each band, with every number of the tables."""
    faces, network = make_faces(), fl.wrap_model(Linear(), name="linear")
    pairs = fl.make_pairs(faces, seed=0)
    result = fl.influence(faces, pairs, models=[network], store=tmp_path / "r", progress=False)
    edited = fl.edits.Inspection(result, models=[network]).edit(
        pair=4, model="linear", bands=[0, 1]
    )
    rows = pd.read_csv(io.StringIO(rows_of(result, edited).to_csv(index=False)))
    assert rows["band"].tolist() == result["band"].to_numpy().tolist()
    assert rows["selected"].tolist() == [True, True] + [False] * 13
    assert rows["band_lower"].tolist() == pytest.approx([4.0 * k for k in range(15)])
    assert set(rows["unit"]) == {"cycles/image"}
    assert set(rows["selected_bands"]) == {"0-4 4-8"}
    assert rows["edited_similarity"].tolist() == pytest.approx([edited.edited_similarity] * 15)
    stored = result.sel(pair=4, model="linear", side="probe")
    assert rows["influence"].tolist() == pytest.approx(stored["influence"].to_numpy(), abs=1e-7)
    assert rows["contrast_removed"].tolist() == pytest.approx(stored["removed_rms"].to_numpy())
    assert (rows["influence"] + rows["similarity_without_band"]).tolist() == pytest.approx(
        [float(stored["similarity"])] * 15
    )
    assert set(rows["probe"]) == {str(stored["probe"].item())}
    on_page = model_numbers(result, pair=4).loc["linear"]
    assert set(rows["decision"]) == {on_page["decision"]}
    assert rows["strongest_influence"].tolist() == pytest.approx([on_page["its influence"]] * 15)
    of_tables = (
        model_numbers(result, pair=4).shape[1]
        + band_numbers(result, pair=4, model="linear").shape[1]
    )
    named = {"similarity", "threshold", "decision", "right", "strongest_band"}
    named |= {"strongest_influence", "bands_that_change_the_decision"}
    named |= {"influence", "similarity_without_band", "contrast_removed"}
    assert named <= set(rows.columns)
    assert len(named) == of_tables
