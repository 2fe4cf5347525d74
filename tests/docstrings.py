"""Run the examples of docstrings, and find those of a package."""

import doctest
import inspect

import matplotlib.pyplot as plt

import freqlab as fl

PACKAGES = [name for name in fl.__all__ if inspect.ismodule(getattr(fl, name))]
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


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
