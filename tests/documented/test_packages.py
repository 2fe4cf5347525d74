"""Every public function of the packages has an example, which prints what its docstring says."""

from functools import partial

import matplotlib.pyplot as plt
import pytest
from docstrings import PACKAGES, has_example, public, run

import freqlab as fl


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
