"""The two residual networks behind most published face models, in depths of 18, 34, 50 and 100.

``IResNet`` (Duta et al. 2021) as insightface, ElasticFace and MagFace publish it, and ``IRNet``,
the older layout of the same idea, as CurricularFace and AdaFace do. The modules are named as in
the published files, so that these load strictly.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from freqlab.errors import ParameterError, WeightsError, WeightsMismatchError
from freqlab.models.checkpoints import load_weights, read_checkpoint, shapes_of
from freqlab.models.recipes import Recipe
from freqlab.models.spec import ModelSpec

__all__ = ["DEPTHS", "RECIPES", "IRNet", "IResNet"]

DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 14, 3), 100: (3, 13, 30, 3)}
"""Blocks per stage of each depth; what some call 101 is 100."""
_WIDTHS = (64, 128, 256, 512)
_LAST = 7  # rows and columns that are left of 112


class _IResBlock(nn.Module):
    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(n_in)
        self.conv1 = nn.Conv2d(n_in, n_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.prelu = nn.PReLU(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, stride, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(n_out)
        self.downsample: nn.Module | None = None
        if stride != 1:
            self.downsample = nn.Sequential(
                nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn3(self.conv2(self.prelu(self.bn2(self.conv1(self.bn1(x))))))
        shortcut = x if self.downsample is None else self.downsample(x)
        return y + shortcut


class IResNet(nn.Module):
    """IResNet. Maps crops ``(n, 3, 112, 112)``, normalised, to embeddings ``(n, n_features)``."""

    def __init__(self, depth: int, n_features: int = 512) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.prelu = nn.PReLU(64)
        n_in = 64
        for i, (width, n_blocks) in enumerate(zip(_WIDTHS, DEPTHS[depth], strict=True), 1):
            blocks = [_IResBlock(n_in, width, 2)]
            blocks += [_IResBlock(width, width, 1) for _ in range(n_blocks - 1)]
            self.add_module(f"layer{i}", nn.Sequential(*blocks))
            n_in = width
        self.bn2 = nn.BatchNorm2d(512)
        self.fc = nn.Linear(512 * _LAST * _LAST, n_features)
        self.features = nn.BatchNorm1d(n_features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Embed normalised crops."""
        x = self.prelu(self.bn1(self.conv1(x)))
        for i in range(1, 5):
            x = self.get_submodule(f"layer{i}")(x)
        features: torch.Tensor = self.features(self.fc(self.bn2(x).flatten(1)))
        return features


class _IRBlock(nn.Module):
    def __init__(self, n_in: int, n_out: int, stride: int, middle_norm: bool) -> None:
        super().__init__()
        if n_in == n_out:
            self.shortcut_layer: nn.Module = nn.MaxPool2d(1, stride)
        else:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out)
            )
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(n_in),
            nn.Conv2d(n_in, n_out, 3, 1, 1, bias=False),
            *([nn.BatchNorm2d(n_out)] if middle_norm else []),
            nn.PReLU(n_out),
            nn.Conv2d(n_out, n_out, 3, stride, 1, bias=False),
            nn.BatchNorm2d(n_out),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.res_layer(x) + self.shortcut_layer(x)
        return y


class IRNet(nn.Module):
    """IR network. Maps crops ``(n, 3, 112, 112)``, normalised, to embeddings ``(n, n_features)``.

    Parameters
    ----------
    depth
        One of :data:`DEPTHS`.
    middle_norm
        Whether a block normalises between its convolutions: AdaFace does, CurricularFace does not.
    n_features
        Length of the embedding.
    """

    def __init__(self, depth: int, middle_norm: bool, n_features: int = 512) -> None:
        super().__init__()
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64)
        )
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(512),
            nn.Dropout(0.4),
            nn.Flatten(),
            nn.Linear(512 * _LAST * _LAST, n_features),
            nn.BatchNorm1d(n_features, affine=False),
        )
        blocks, n_in = [], 64
        for width, n_blocks in zip(_WIDTHS, DEPTHS[depth], strict=True):
            for i in range(n_blocks):
                blocks.append(_IRBlock(n_in, width, 1 if i else 2, middle_norm))
                n_in = width
        self.body = nn.Sequential(*blocks)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Embed normalised crops."""
        features: torch.Tensor = self.output_layer(self.body(self.input_layer(x)))
        return features


def _build_iresnet(weights: Path, *, device: str, depth: int | None = None) -> IResNet:
    state = read_checkpoint(weights)
    blocks = [_count(state, rf"layer{i}\.(\d+)\.") for i in range(1, 5)]
    depth = _settle_depth(depth, tuple(blocks), weights, state)
    network = IResNet(depth, _n_features(state, "fc.weight"))
    load_weights(network, state, source=weights)
    return network


def _build_curricularface(weights: Path, *, device: str, depth: int | None = None) -> IRNet:
    return _build_irnet(weights, depth, middle_norm=False)


def _build_adaface(weights: Path, *, device: str, depth: int | None = None) -> IRNet:
    return _build_irnet(weights, depth, middle_norm=True)


def _build_irnet(weights: Path, depth: int | None, *, middle_norm: bool) -> IRNet:
    state = read_checkpoint(weights)
    n_blocks = _count(state, r"body\.(\d+)\.")
    blocks = {sum(stages): stages for stages in DEPTHS.values()}.get(n_blocks, (n_blocks,))
    depth = _settle_depth(depth, blocks, weights, state)
    has_middle = any(name.endswith("body.0.res_layer.5.weight") for name in state)
    if has_middle != middle_norm:
        raise WeightsMismatchError(
            f"{weights} holds blocks {'with' if has_middle else 'without'} a normalisation "
            f"between their convolutions",
            shapes_of(state),
        )
    network = IRNet(depth, middle_norm, _n_features(state, "output_layer.3.weight"))
    load_weights(network, state, source=weights)
    return network


def _count(state: Mapping[str, torch.Tensor], pattern: str) -> int:
    """Number of blocks whose index stands in the names of tensors."""
    found = [match for name in state if (match := re.search(rf"(?:^|\.){pattern}", name))]
    return 1 + max((int(match[1]) for match in found), default=-1)


def _n_features(state: Mapping[str, torch.Tensor], name: str) -> int:
    heads = [t for key, t in state.items() if key == name or key.endswith(f".{name}")]
    fitting = [len(t) for t in heads if t.ndim == 2 and t.shape[1] == 512 * _LAST * _LAST]
    return fitting[0] if fitting else 512


def _settle_depth(
    asked: int | None, blocks: tuple[int, ...], weights: Path, state: Mapping[str, torch.Tensor]
) -> int:
    """The depth that a file has; an error where another was asked for, or none is recognised."""
    if asked is not None:
        asked = 100 if asked == 101 else asked
        if asked not in DEPTHS:
            raise ParameterError(f"depth={asked!r} must be one of {', '.join(map(str, DEPTHS))}")
    for depth, stages in DEPTHS.items():
        if stages == blocks:
            if asked not in (None, depth):
                raise WeightsError(f"{weights} holds a network of depth {depth}, not {asked}")
            return depth
    if not any(blocks):
        raise WeightsMismatchError(
            f"{weights} does not hold such a network: it has none of its residual blocks",
            shapes_of(state),
        )
    raise WeightsError(
        f"{weights} has {' + '.join(map(str, blocks))} residual blocks, as none of the depths "
        f"{', '.join(map(str, DEPTHS))} has"
    )


def _spec(
    name: str, channels: str, mean: float, std: float, where: str, licence: str, citation: str
) -> ModelSpec:
    return ModelSpec(
        name=name,
        template="arcface",
        channels="BGR" if channels == "BGR" else "RGB",
        mean=mean,
        std=std,
        weights=where,
        licence=licence,
        citation=citation,
    )


RECIPES = (
    Recipe(
        _spec(
            "elasticface",
            *("RGB", 127.5, 127.5),
            "the repository fdbtrs/ElasticFace",
            "CC BY-NC-SA 4.0",
            "Boutros et al. 2022, arXiv 2109.09416",
        ),
        _build_iresnet,
        how_to_get="checkpoint=FILE, from fdbtrs/ElasticFace or your own",
        options=("depth",),
    ),
    Recipe(
        _spec(
            "curricularface",
            *("RGB", 127.5, 127.5),
            "the repository HuangYG123/CurricularFace",
            "MIT",
            "Huang et al. 2020, arXiv 2004.00288",
        ),
        _build_curricularface,
        how_to_get="checkpoint=FILE, from HuangYG123/CurricularFace or your own",
        options=("depth",),
    ),
    Recipe(
        _spec(
            "arcface",
            *("RGB", 127.5, 127.5),
            "the model zoo of deepinsight/insightface",
            "non-commercial research",
            "Deng et al. 2019, arXiv 1801.07698",
        ),
        _build_iresnet,
        how_to_get="checkpoint=FILE, from deepinsight/insightface (arcface_torch) or your own",
        options=("depth",),
    ),
    Recipe(
        _spec(
            "magface",
            *("BGR", 0.0, 255.0),
            "the repository IrvingMeng/MagFace",
            "Apache-2.0",
            "Meng et al. 2021, arXiv 2103.06627",
        ),
        _build_iresnet,
        how_to_get="checkpoint=FILE, from IrvingMeng/MagFace or your own",
        options=("depth",),
    ),
    Recipe(
        _spec(
            "adaface",
            *("BGR", 127.5, 127.5),
            "the repository mk-minchul/AdaFace",
            "MIT",
            "Kim et al. 2022, arXiv 2204.00964",
        ),
        _build_adaface,
        how_to_get="checkpoint=FILE, from mk-minchul/AdaFace or your own",
        options=("depth",),
    ),
)
