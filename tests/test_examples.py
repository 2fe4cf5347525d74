"""The examples of the main functions are true: each runs, and prints what its docstring says."""

import inspect

import pytest
from docstrings import run

import freqlab as fl

STUDIES = ("verification", "bias", "resolution", "morphing", "faithfulness", "saliency")
QUICK = {
    "load_faces",
    "make_pairs",
    "read_pairs",
    "rings",
    "Faces",
    "parse_bands",
    "octaves",
    "sectors",
}
WITHOUT = {"FreqlabError"}


def exported():
    """Functions and classes of the package itself, in order."""
    names = [name for name in fl.__all__ if not inspect.ismodule(getattr(fl, name))]
    return [name for name in names if name not in WITHOUT]


def marked(names):
    return [pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK)) for name in names]


@pytest.mark.parametrize("name", marked(exported()))
def test_main_functions(name, tmp_path, monkeypatch):
    run(getattr(fl, name), tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder for each subject, so that the study of one example is opened by the other."""
    return {subject: tmp_path_factory.mktemp(subject) for subject in STUDIES}


@pytest.mark.parametrize("subject", marked(STUDIES))
@pytest.mark.parametrize("name", ["study", "summary"])
def test_studies(subject, name, folders, monkeypatch):
    run(getattr(getattr(fl, subject), name), folders[subject], monkeypatch)


def test_tables(tmp_path, monkeypatch):
    run(fl.store.results_table, tmp_path, monkeypatch)


def test_help_begins_with_the_first_names():
    """The five names of the first hour come before all others, in the order of their use."""
    lines = [line.strip() for line in fl.__doc__.splitlines()]
    first = [line.split("``")[1] for line in lines if line.startswith("``fl.")][:5]
    names = [text.removeprefix("fl.").split("(")[0] for text in first]
    assert names == ["load_faces", "make_pairs", "influence", "inspect", "report"]
    for name in fl.__all__:
        assert f"``{name}``" in fl.__doc__ or name in names, name


@pytest.mark.slow
def test_the_first_steps_run(tmp_path, monkeypatch):
    """The code of the package's docstring, as it is."""
    monkeypatch.chdir(tmp_path)
    lines = fl.__doc__.split("demo::\n")[1].split("Where the rest")[0].splitlines()
    names = {}
    exec("\n".join(line[4:] for line in lines), names)
    assert names["result"].sizes["pair"] == 20
    assert fl.store.results_table("runs/orl.zarr")["pairs"].tolist() == [20]
