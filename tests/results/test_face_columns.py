"""Columns of faces at the pairs: against the table of faces, pair by pair."""

import numpy as np
import pytest

import freqlab as fl
from freqlab.errors import ParameterError, UnknownNameError
from freqlab.results.selection import column_values, ordered_pairs, pair_columns
from freqlab.testing import faces, influence

PART = {"model": "linear", "side": "probe"}


@pytest.fixture(scope="module")
def people():
    made = faces(6, 2, groups={"ethnicity": ("x", "y", "z"), "gender": ("f", "m")}, ages=True)
    made.table.loc["p0/0", "ethnicity"] = np.nan
    return made


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("columns") / "run.zarr"


@pytest.fixture(scope="module")
def result(people, store):
    return influence(people, store=store)


def test_every_pair_has_the_values_of_its_two_faces(people, result):
    table = people.table
    told = fl.with_columns(result, people)
    for end in ("probe", "reference"):
        for column in ("ethnicity", "gender", "age"):
            found = told[f"{end}_{column}"].values
            expected = table.loc[result[end].values, column]
            assert found.tolist() == expected.fillna("").tolist()
    assert told["probe_age"].dtype.kind == "i"
    assert "probe_path" not in told
    assert {"ethnicity", "probe_ethnicity"} <= set(pair_columns(told))
    again = fl.with_columns(told, people)
    assert again.identical(told)


def test_results_are_grouped_by_a_column(people, result, tmp_path):
    told = fl.with_columns(result, people, ["gender"])
    assert "probe_age" not in told
    means = told["similarity"].groupby("probe_gender").mean()
    genders = people.table.loc[result["probe"].values, "gender"].to_numpy()
    for gender in "fm":
        expected = result["similarity"].values[:, genders == gender].mean()
        assert means.sel(probe_gender=gender).item() == pytest.approx(expected, rel=1e-5)
    told.to_netcdf(tmp_path / "told.nc")


def test_pairs_are_chosen_by_a_column_of_either_face(people, result):
    told = fl.with_columns(result, people)
    assert pair_columns(told)[:5] == ["comparison", "subject", "age", "ethnicity", "gender"]
    assert column_values(told, "ethnicity") == ["", "x", "y", "z"]
    chosen = ordered_pairs(told, **PART, where={"ethnicity": "y"})
    either = (told["probe_ethnicity"] == "y") | (told["reference_ethnicity"] == "y")
    assert chosen.tolist() == told["pair"].values[either.values].tolist()
    probes = ordered_pairs(told, **PART, where={"probe_ethnicity": "y"})
    assert set(probes) < set(chosen)
    own = told.assign_coords(gender=("pair", ["?"] * told.sizes["pair"]))
    assert column_values(own, "gender") == ["?"]  # the pairs' own column comes first
    assert "ethnicity" not in pair_columns(result)


def test_columns_come_from_a_table_or_a_run(people, result, store):
    expected = fl.with_columns(result, people, ["gender", "age"])
    assert fl.with_columns(result, people.table, ["gender", "age"]).identical(expected)
    stored = fl.open_run(store)["faces"].to_dataset()
    found = fl.with_columns(result, stored, ["gender", "age"])
    np.testing.assert_array_equal(found["probe_age"], expected["probe_age"])
    np.testing.assert_array_equal(found["reference_gender"], expected["reference_gender"])


def test_the_inspector_offers_the_columns(people, result):
    pytest.importorskip("ipywidgets")
    told = fl.with_columns(result, people, ["gender"])
    inspector = fl.inspect(told, models=[fl.testing.model()])
    inspector.where = {"gender": "f"}
    assert inspector.where == {"gender": "f"}


def test_columns_that_do_not_fit_are_refused(people, result):
    with pytest.raises(UnknownNameError, match="column 'race'; allowed: ethnicity, gender, age"):
        fl.with_columns(result, people, ["race"])
    with pytest.raises(ParameterError, match=r"columns='gender' must be a list .* \['gender'\]"):
        fl.with_columns(result, people, "gender")
    with pytest.raises(ParameterError, match="faces lack 1 of the faces in the pairs, such as 'p"):
        fl.with_columns(result, people.select(range(11)))
    other = people.table.assign(gender="n")
    told = fl.with_columns(result, people)
    with pytest.raises(ParameterError, match="already has 'probe_gender', with other values"):
        fl.with_columns(told, other)
    with pytest.raises(ParameterError, match="a list must be Faces"):
        fl.with_columns(result, ["gender"])
    with pytest.raises(ParameterError, match="no coordinate 'probe'"):
        fl.with_columns(result.drop_vars("probe"), people)
