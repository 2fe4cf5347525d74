"""Parameters of reports: declared with types, read from text by them, checked before a run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import freqlab as fl
from freqlab.errors import ParameterError, UnknownNameError
from freqlab.reports.calls import report_names, report_parameters, text_parameters
from freqlab.reports.parameters import check, convert, read_parameters

DECLARED = read_parameters(
    """# Parameters
from typing import Optional, Union

name: str = "a"  # a text, such as "b = c"
yes: bool = False
n_pairs: Optional[int] = 200  # how many
fmr: float = 1e-3
more: list[str] = []
resolutions: list[int] = [56, 28]
depths: list[float] = [0.0, 1.0]
group: Union[str, list[str]] = "glasses"
column: Optional[str] = None
threshold: Union[float, list[float], None] = None
"""
)


def test_declarations():
    assert DECLARED["n_pairs"].default == 200
    assert DECLARED["n_pairs"].about == "how many"
    assert DECLARED["n_pairs"].type_name == "int | None"
    assert DECLARED["group"].type_name == "str | list[str]"
    assert DECLARED["threshold"].type_name == "float | list[float] | None"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("yes", "False", False),
        ("yes", "true", True),
        ("n_pairs", "None", None),
        ("n_pairs", "null", None),
        ("n_pairs", "12", 12),
        ("fmr", "1e-2", 0.01),
        ("fmr", "1", 1.0),
        ("more", "[dlib]", ["dlib"]),
        ("more", '["dlib", "a b"]', ["dlib", "a b"]),
        ("more", "[]", []),
        ("more", "[0.5, 0:0.5]", ["0.5", "0:0.5"]),
        ("resolutions", "[28, 14]", [28, 14]),
        ("depths", "[0, 1e-1]", [0.0, 0.1]),
        ("group", "gender", "gender"),
        ("group", "[glasses, gender]", ["glasses", "gender"]),
        ("name", "None", "None"),
        ("name", "[a]", "[a]"),
        ("name", "12", "12"),
        ("column", "None", None),
        ("column", "12", "12"),
        ("threshold", "0.3", 0.3),
        ("threshold", "[0.3, 0.4]", [0.3, 0.4]),
    ],
)
def test_texts_are_read_by_the_type(name, text, value):
    found = convert(DECLARED[name], text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "allowed"),
    [
        ("yes", "perhaps", "True or False"),
        ("n_pairs", "many", "a whole number or None"),
        ("n_pairs", "1.5", "a whole number or None"),
        ("fmr", "low", "a number"),
        ("more", "dlib", "a list of texts"),
        ("more", "[dlib", "a list of texts"),
        ("resolutions", "[28, few]", "a list of whole numbers"),
        ("threshold", "high", "a number or a list of numbers or None"),
    ],
)
def test_texts_that_are_no_value(name, text, allowed):
    with pytest.raises(ParameterError) as caught:
        convert(DECLARED[name], text)
    assert str(caught.value) == f"parameter {name}={text!r} must be {allowed}"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"yes": "False"}, "yes='False' must be True or False"),
        ({"yes": 1}, "yes=1 must be True or False"),
        ({"n_pairs": "None"}, "n_pairs='None' must be a whole number or None"),
        ({"n_pairs": 0}, "n_pairs=0 must be a whole number of 1 or more"),
        ({"n_pairs": True}, "n_pairs=True must be a whole number or None"),
        ({"more": "dlib"}, "more='dlib' must be a list of texts"),
        ({"fmr": "1e-3"}, "fmr='1e-3' must be a number"),
        ({"fmr": -1.0}, "fmr=-1.0 must be a number above 0"),
        ({"resolutions": [28, 0]}, "resolutions=0 must be a whole number of 2 or more"),
        ({"name": {"a": 1}}, "must be text"),
    ],
)
def test_values_that_are_not_allowed(values, message):
    with pytest.raises(ParameterError, match=message):
        check(values, DECLARED)


def test_values_that_are_allowed():
    check({"n_pairs": None, "fmr": 0.1, "more": ("a",), "other": object()}, DECLARED)
    check({"fmr": 1e-1, "depths": [0, 1]}, DECLARED)


@pytest.mark.parametrize("name", report_names())
def test_defaults_and_first_looks_are_allowed(name):
    declared = report_parameters(name)
    check({key: parameter.default for key, parameter in declared.items()}, declared)
    assert all(parameter.about for parameter in declared.values())
    path = Path(__file__).parents[2] / f"notebooks/{name.replace('-', '_')}.ipynb"
    quick = json.loads(path.read_text())["metadata"]["freqlab"]["quick"]
    assert set(quick) <= set(declared)
    check(quick, declared)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("bias", {"bands": "circles"}, "circles"),
        ("bias", {"missing": "leave"}, "unknown missing 'leave'"),
        ("bias", {"cluster": "here"}, "cluster='here' must be"),
        ("bias", {"alpha": 5.0}, "alpha=5.0 must lie between 0 and 1"),
        ("explore", {"which_face": "best"}, "unknown which_face 'best'"),
        ("explore", {"aligned": "arcfaces"}, "arcface"),
        ("explore", {"model": "mobilefacenet,colour=red"}, "unknown option 'colour'"),
        ("cross-resolution", {"jpeg": 0}, "jpeg=0 must lie between 1 and 95"),
        ("cross-resolution", {"kernel": "nearest"}, "unknown kernel"),
        ("morphing", {"folds": 1}, "folds=1 must be a whole number of 2 or more"),
    ],
)
def test_a_report_refuses_values_before_it_starts(tmp_path, name, values, message):
    with pytest.raises(ParameterError, match=message):
        fl.report(name, out=tmp_path / "reports", **values)
    assert not (tmp_path / "reports").exists()


def test_texts_for_several_reports():
    found = text_parameters(["explore", "bias"], {"n_pairs": "12", "group": "gender"})
    assert found == {"n_pairs": 12, "group": "gender"}
    with pytest.raises(UnknownNameError, match="parameter of the reports 'grup'"):
        text_parameters(["explore", "bias"], {"grup": "gender"})
    with pytest.raises(UnknownNameError, match="parameter of report 'explore' 'group'"):
        text_parameters(["explore"], {"group": "gender"})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["-r", "upscale", "False"], "upscale='False' must be True or False"),
        (["-p", "side", "left"], "unknown side 'left'; allowed: probe, reference"),
        pytest.param(
            ["-p", "n_pairs", "0"],
            "n_pairs=0 must be a whole number of 1 or more",
            marks=pytest.mark.exhaustive,
        ),
    ],
)
def test_the_notebook_refuses_values_of_papermill(tmp_path, given, message):
    notebook = Path(__file__).parents[2] / "notebooks/bias.ipynb"
    ended = subprocess.run(
        [sys.executable, "-m", "papermill", notebook, tmp_path / "out.ipynb", *given],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert ended.returncode != 0
    assert message in ended.stderr
    executed = json.loads((tmp_path / "out.ipynb").read_text())
    ran = [c for c in executed["cells"] if c["cell_type"] == "code" and c["execution_count"]]
    assert len(ran) <= 3  # parameters, those given, the first cell after them
