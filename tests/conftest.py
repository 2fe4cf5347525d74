"""Faces, models and results that several tests share."""

import os
from pathlib import Path

import matplotlib
import pytest
import torch
from hypothesis import settings

import freqlab as fl
from freqlab.testing import LinearNetwork as Linear
from freqlab.testing import faces as make_faces

__all__ = ["TESTS", "Deep", "Linear", "make_faces"]

TESTS = str(Path(__file__).parent)
"""Folder of the tests, for programs that import from it."""

os.environ["FREQLAB_CACHE"] = "off"  # what the user's cache holds must not decide what tests find
if "PYTEST_XDIST_WORKER" in os.environ:  # several run side by side: one thread each
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"

matplotlib.use("agg")
# the same examples each time, as long as they take: what a test finds must not depend on the day
settings.register_profile("freqlab", deadline=None, derandomize=True)
settings.load_profile("freqlab")


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


@pytest.fixture
def assets():
    """Folder of real faces and weights for development; tests that use it skip without it."""
    folder = Path(os.environ.get("FREQLAB_ASSETS", Path(__file__).parents[2] / "shared" / "assets"))
    if not folder.is_dir():
        pytest.skip("the development assets (FREQLAB_ASSETS) are not here")
    return folder


class Deep(torch.nn.Module):
    """A small network of three layers."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.first = torch.nn.Conv2d(3, 6, 5, stride=4)
        self.second = torch.nn.Conv2d(6, 8, 5, stride=4)
        self.head = torch.nn.Linear(8 * 6 * 6, 24)

    def forward(self, images):
        x = torch.tanh(self.first(images / 128 - 1))
        return self.head(torch.tanh(self.second(x)).flatten(1))


@pytest.fixture
def synthetic():
    return make_faces()


@pytest.fixture
def linear():
    return fl.wrap_model(Linear(), name="linear")


@pytest.fixture(scope="session")
def orl():
    return fl.load_faces("orl")


@pytest.fixture(scope="session")
def demo(orl, tmp_path_factory):
    """A small run of the demo: 12 ORL faces of 4 people, MobileFaceNet, three sides."""
    rows = [10 * subject + image for subject in (0, 9, 19, 31) for image in (0, 3, 5)]
    faces = orl.select(rows)
    pairs = fl.make_pairs(faces, seed=0)
    store = tmp_path_factory.mktemp("demo") / "orl.zarr"
    return fl.influence(faces, pairs, models=["mobilefacenet"], store=store, progress=False)


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
