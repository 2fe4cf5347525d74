"""The two residual networks behind most published face models, in depths of 18 to 200.

``IResNet`` (Duta et al. 2021) is published by insightface, ElasticFace and MagFace. ``IRNet``,
the older layout of the same idea, is published by CurricularFace, AdaFace, face.evoLVe and
InsightFace_Pytorch, with or without squeeze and excitation (Hu et al. 2018). The modules are named
as in the published files, so that these load strictly; the variant is read from the file.
"""

from __future__ import annotations

import functools
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

DEPTHS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 14, 3),
    100: (3, 13, 30, 3),
    152: (3, 8, 36, 3),
    200: (6, 26, 60, 6),
}
"""Blocks per stage of each depth; what some call 101 is 100."""
_WIDTHS = (64, 128, 256, 512)
_LAST = 7  # rows and columns that remain of 112
_SQUEEZED = 16  # reduction of channels between the layers of squeeze and excitation


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


class _SqueezeExcitation(nn.Module):
    """Weigh the channels by their mean content."""

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(n_channels, n_channels // _SQUEEZED, 1, bias=False)
        self.fc2 = nn.Conv2d(n_channels // _SQUEEZED, n_channels, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weights = self.fc2(self.fc1(x.mean((2, 3), keepdim=True)).relu()).sigmoid()
        return x * weights


class _IRBlock(nn.Module):
    def __init__(
        self, n_in: int, n_out: int, stride: int, middle_norm: bool, excitation: str
    ) -> None:
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
        if excitation:
            self.res_layer.add_module(excitation, _SqueezeExcitation(n_out))

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
    excitation
        Name of the module of squeeze and excitation in each block; empty for none. It is
        ``"se_block"`` in AdaFace, ``"5"`` in InsightFace_Pytorch and CurricularFace.
    affine
        Whether the last normalisation has a factor and an offset.
    """

    def __init__(
        self,
        depth: int,
        middle_norm: bool,
        n_features: int = 512,
        excitation: str = "",
        affine: bool = False,
    ) -> None:
        super().__init__()
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64)
        )
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(512),
            nn.Dropout(0.4),
            nn.Flatten(),
            nn.Linear(512 * _LAST * _LAST, n_features),
            nn.BatchNorm1d(n_features, affine=affine),
        )
        blocks, n_in = [], 64
        for width, n_blocks in zip(_WIDTHS, DEPTHS[depth], strict=True):
            for i in range(n_blocks):
                blocks.append(_IRBlock(n_in, width, 1 if i else 2, middle_norm, excitation))
                n_in = width
        self.body = nn.Sequential(*blocks)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Embed normalised crops."""
        features: torch.Tensor = self.output_layer(self.body(self.input_layer(x)))
        return features


def _build_iresnet(
    weights: Path, *, device: str, depth: int | None = None, part: str | None = None
) -> IResNet:
    state = read_checkpoint(weights, part=part)
    blocks = [_count(state, rf"layer{i}\.(\d+)\.") for i in range(1, 5)]
    depth = _settle_depth(depth, tuple(blocks), weights, state)
    network = IResNet(depth, _n_features(state, "fc.weight"))
    load_weights(network, state, source=weights)
    return network


def _build_irnet(
    weights: Path,
    *,
    device: str,
    depth: int | None = None,
    part: str | None = None,
    middle_norm: bool | None = None,
    excitation: bool | None = None,
) -> IRNet:
    """Build the variant that a file holds; raise an error if another one was asked for."""
    state = read_checkpoint(weights, part=part)
    n_blocks = _count(state, r"body\.(\d+)\.")
    blocks = {sum(stages): stages for stages in DEPTHS.values()}.get(n_blocks, (n_blocks,))
    depth = _settle_depth(depth, blocks, weights, state)
    if _has(state, r"body\.0\.res_layer\.7\.weight"):
        raise WeightsMismatchError(
            f"{weights} holds blocks of three convolutions, as AdaFace's networks of depth 152 and "
            f"200 do; they are not supported",
            shapes_of(state),
        )
    has_middle = _has(state, r"body\.0\.res_layer\.5\.weight")
    excitation_layer = next(
        (name for name in ("5", "se_block") if _has(state, rf"res_layer\.{name}\.fc1\.weight")), ""
    )
    for asked, actual, what in (
        (middle_norm, has_middle, "a normalisation between their convolutions"),
        (excitation, bool(excitation_layer), "squeeze and excitation"),
    ):
        if asked is not None and asked != actual:
            raise WeightsMismatchError(
                f"{weights} holds blocks {'with' if actual else 'without'} {what}", shapes_of(state)
            )
    network = IRNet(
        depth,
        has_middle,
        _n_features(state, "output_layer.3.weight"),
        excitation_layer,
        _has(state, r"output_layer\.4\.weight"),
    )
    load_weights(network, state, source=weights)
    return network


def _has(state: Mapping[str, torch.Tensor], pattern: str) -> bool:
    """Whether the name of a tensor ends with this pattern."""
    return any(re.search(rf"(?:^|\.){pattern}$", name) for name in state)


def _count(state: Mapping[str, torch.Tensor], pattern: str) -> int:
    """Number of blocks whose index occurs in the names of tensors."""
    matches = [match for name in state if (match := re.search(rf"(?:^|\.){pattern}", name))]
    return 1 + max((int(match[1]) for match in matches), default=-1)


def _n_features(state: Mapping[str, torch.Tensor], name: str) -> int:
    heads = [t for key, t in state.items() if key == name or key.endswith(f".{name}")]
    fitting = [len(t) for t in heads if t.ndim == 2 and t.shape[1] == 512 * _LAST * _LAST]
    return fitting[0] if fitting else 512


def _settle_depth(
    asked: int | None, blocks: tuple[int, ...], weights: Path, state: Mapping[str, torch.Tensor]
) -> int:
    """Determine the depth of a file; raise an error if it differs from `asked` or is unknown."""
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
            f"{weights} does not hold such a network: its residual blocks are missing",
            shapes_of(state),
        )
    raise WeightsError(
        f"{weights} has {' + '.join(map(str, blocks))} residual blocks, which fit none of the "
        f"depths {', '.join(map(str, DEPTHS))}"
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
        options=("depth", "part"),
    ),
    Recipe(
        _spec(
            "curricularface",
            *("RGB", 127.5, 127.5),
            "the repository HuangYG123/CurricularFace",
            "MIT",
            "Huang et al. 2020, arXiv 2004.00288",
        ),
        functools.partial(_build_irnet, middle_norm=False),
        how_to_get="checkpoint=FILE, from HuangYG123/CurricularFace or your own",
        options=("depth", "part"),
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
        options=("depth", "part"),
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
        options=("depth", "part"),
    ),
    Recipe(
        _spec(
            "adaface",
            *("BGR", 127.5, 127.5),
            "the repository mk-minchul/AdaFace",
            "MIT",
            "Kim et al. 2022, arXiv 2204.00964",
        ),
        functools.partial(_build_irnet, middle_norm=True),
        how_to_get="checkpoint=FILE, from mk-minchul/AdaFace or your own",
        options=("depth", "part"),
    ),
    *(
        Recipe(
            _spec(
                name,
                *("RGB", 127.5, 127.5),
                "the repository TreB1eN/InsightFace_Pytorch",
                "MIT",
                "Deng et al. 2019, arXiv 1801.07698; Hu et al. 2018, arXiv 1709.01507",
            ),
            functools.partial(_build_irnet, depth=depth, excitation=True),
            how_to_get="checkpoint=FILE, from TreB1eN/InsightFace_Pytorch or your own",
            options=("part",),
        )
        for name, depth in (("ir_se50", 50), ("ir_se101", 100), ("ir_se152", 152))
    ),
)
