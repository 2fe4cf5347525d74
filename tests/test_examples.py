"""The examples of the main functions are true: each runs, and prints what its docstring says."""

import doctest
import inspect
from functools import partial

import matplotlib.pyplot as plt
import pytest

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
PACKAGES = [name for name in fl.__all__ if inspect.ismodule(getattr(fl, name))]
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def exported():
    """Functions and classes of the package itself, in order."""
    names = [name for name in fl.__all__ if not inspect.ismodule(getattr(fl, name))]
    return [name for name in names if name not in WITHOUT]


def run(thing, folder, monkeypatch):
    """Run the examples of a function or class in a folder."""
    monkeypatch.chdir(folder)
    examples = doctest.DocTestFinder(recurse=False).find(thing, thing.__name__)
    assert sum(len(test.examples) for test in examples), f"{thing.__name__} has no example"
    told = []
    for test in examples:
        doctest.DocTestRunner(optionflags=FLAGS).run(test, out=told.append)
    plt.close("all")
    assert not told, "".join(told)


def marked(names):
    return [pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK)) for name in names]


def public(package):
    """Functions and classes that a package exports, except its errors and warnings, by name."""
    module = getattr(fl, package)
    values = {name: getattr(module, name) for name in module.__all__}
    return {
        name: value
        for name, value in values.items()
        if (inspect.isfunction(value) or inspect.isclass(value))
        and not (inspect.isclass(value) and issubclass(value, BaseException))
    }


def has_example(value):
    return ">>> " in (value.__doc__ or "")


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_function_has_an_example(package):
    missing = [name for name, value in public(package).items() if not has_example(value)]
    assert not missing


@pytest.mark.slow
@pytest.mark.parametrize("package", PACKAGES)
def test_packages(package, tmp_path, monkeypatch):
    for name, value in public(package).items():
        is_tested = value in map(partial(getattr, fl), fl.__all__) or name in ("study", "summary")
        if has_example(value) and not is_tested:
            folder = tmp_path / name
            folder.mkdir()
            run(value, folder, monkeypatch)
            plt.close("all")


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
