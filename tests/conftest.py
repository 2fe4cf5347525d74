"""Faces, models and results that several tests share."""

import os
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import settings

import freqlab as fl

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


def make_faces(n_subjects=4, per_subject=3, seed=0, size=112, **kwargs):
    """Aligned random crops with detail at all frequencies, alike within a subject."""
    rng = np.random.default_rng(seed)
    images, subjects, names = [], [], []
    for s in range(n_subjects):
        own = rng.normal(128, 40, (size, size, 3))
        for i in range(per_subject):
            pixels = own + rng.normal(0, 20, own.shape)
            images.append(np.clip(pixels, 0, 255).astype(np.uint8))
            subjects.append(f"p{s}")
            names.append(f"p{s}/{i}")
    table = pd.DataFrame({"subject": subjects}, index=pd.Index(names, name="face"))
    return fl.Faces(table, images=images, aligned="arcface", name="synthetic", **kwargs)


class Linear(torch.nn.Module):
    """A fixed random linear map of the pixels, so that influence is known in closed form."""

    def __init__(self, n_features=16, size=112, seed=0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        matrix = torch.randn(n_features, 3 * size * size, generator=generator)
        self.register_buffer("matrix", matrix / (3 * size * size) ** 0.5)

    def forward(self, images):
        return images.flatten(1) @ self.matrix.T


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
