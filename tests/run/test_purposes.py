"""What results are computed for, and their names where the caller gives none."""

import numpy as np
import pytest
import zarr

import freqlab as fl
from freqlab.errors import ParameterError, StoreConflictError
from freqlab.run import purposes


@pytest.fixture
def store(tmp_path):
    return tmp_path / "run.zarr"


@pytest.fixture
def report():
    """Declare that this process makes a report; take it back at the end."""
    yield purposes.begin_report
    purposes.begin_report("")


def compute(store, sides=("probe",), **options):
    return fl.testing.influence(store=store, sides=list(sides), **options)


def about(store):
    return fl.store.results_table(store)["purpose"].to_dict()


def test_a_call_by_the_user(store):
    first = compute(store)
    assert len(first.attrs["name"]) == 8
    named = compute(store, ["reference"], name="mine")
    assert named.attrs["purpose"] == "called by you"
    assert about(store) == {first.attrs["name"]: "called by you", "mine": "called by you"}


def test_a_report_names_its_results_after_itself(store, report):
    report("cross-resolution")
    first = compute(store)
    second = compute(store, ["reference"])
    assert about(store) == dict.fromkeys(
        ["report-cross-resolution", "report-cross-resolution-2"], "report cross-resolution"
    )
    for result, sides in ((first, ["probe"]), (second, ["reference"])):
        stored = fl.open_influence(store, result.attrs["name"])
        assert stored["side"].to_numpy().tolist() == sides
        np.testing.assert_array_equal(stored["influence"], result["influence"])


def test_a_report_within_a_study_stays_a_report(store, report):
    of_study = purposes.Purpose("study bias", "study-bias")
    with purposes.made_for(of_study):
        assert compute(store).attrs["name"] == "study-bias"
        with purposes.made_for(purposes.Purpose("study other", "study-other")):
            assert purposes.current_purpose() == of_study
    assert purposes.current_purpose() == purposes.CALLED
    report("bias")
    with purposes.made_for(of_study):
        assert compute(store, ["both"]).attrs["purpose"] == "report bias"
    with pytest.raises(ParameterError, match=r"report=\{\} must be the name of a report"):
        report({})


def test_the_same_inputs_are_found_under_any_name(store, report):
    """Whoever computed a result first, and under which name, nobody computes it again."""
    mine = compute(store, name="mine")
    report("explore")
    for side in (["probe"], ["reference"], ["probe"]):
        result = compute(store, side)
        assert result.attrs["name"] == ("mine" if side == ["probe"] else "report-explore")
    again = compute(store)
    assert again.attrs["created_at"] == mine.attrs["created_at"]
    assert again.attrs["forward_passes"] == 0
    report("")
    assert compute(store, ["reference"]).attrs["name"] == "report-explore"
    assert sorted(about(store)) == ["mine", "report-explore"]


def test_results_of_earlier_versions_are_found(store, report):
    """They have a hash for a name, and no purpose."""
    first = compute(store)
    del zarr.open_group(store)[f"influence/{first.attrs['name']}"].attrs["purpose"]
    report("explore")
    again = compute(store)
    assert again.attrs["name"] == first.attrs["name"]
    assert about(store) == {first.attrs["name"]: "not recorded"}


def test_a_name_of_the_user_is_never_taken(store, report):
    mine = compute(store, name="report-bias").load()
    report("bias")
    other = compute(store, ["reference"])
    assert other.attrs["name"] == "report-bias-2"
    np.testing.assert_array_equal(
        fl.open_influence(store, "report-bias")["influence"], mine["influence"]
    )
    with pytest.raises(StoreConflictError, match="holds another 'influence/report-bias-2'"):
        compute(store, ["both"], name="report-bias-2")
    assert compute(store, ["both"]).attrs["name"] == "report-bias-3"


def test_an_unfinished_result_is_made_again_under_its_name(store, report):
    report("bias")
    whole = compute(store).load()
    del zarr.open_group(store)["influence/report-bias"].attrs["complete"]
    again = compute(store)
    assert again.attrs["name"] == "report-bias"
    np.testing.assert_array_equal(again["influence"], whole["influence"])
