"""EdgeFace: EdgeNeXt of timm with 512 features (George et al. 2024, arXiv 2307.01838).

In the low-rank variants every linear layer is split into two, whose rank is gamma times the
smaller dimension, at least 2. The tensors of a checkpoint show whether it is of that kind.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from freqlab.errors import ParameterError, WeightsError
from freqlab.models.checkpoints import load_weights, read_checkpoint
from freqlab.models.recipes import Recipe, in_torch_home
from freqlab.models.spec import ModelSpec
from freqlab.models.timm_models import create

__all__ = ["RECIPES", "low_rank", "split_linear_layers"]


class _LowRankLinear(nn.Module):
    """Two linear layers in place of one."""

    def __init__(self, layer: nn.Linear, rank: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(layer.in_features, rank, bias=False)
        self.linear2 = nn.Linear(rank, layer.out_features, bias=layer.bias is not None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.linear2(self.linear1(x))
        return y


def low_rank(n_in: int, n_out: int, gamma: float) -> int:
    """Rank of a split layer: `gamma` times the smaller dimension, rounded down, at least 2."""
    return max(2, int(min(n_in, n_out) * gamma))


def split_linear_layers(network: nn.Module, gamma: float) -> None:
    """Split every linear layer of a network into two, in place, with new weights."""
    for name, child in network.named_children():
        if isinstance(child, nn.Linear):
            rank = low_rank(child.in_features, child.out_features, gamma)
            setattr(network, name, _LowRankLinear(child, rank))
        else:
            split_linear_layers(child, gamma)


def _build(
    weights: Path,
    *,
    device: str,
    architecture: str,
    gamma: float | None = None,
    part: str | None = None,
) -> nn.Module:
    if gamma is not None and not (isinstance(gamma, (int, float)) and 0 < gamma <= 1):
        raise ParameterError(f"gamma={gamma!r} must be a number above 0, up to 1")
    state = read_checkpoint(weights, part=part)
    network = create(architecture, state, weights)
    split = any(name.endswith(".linear1.weight") for name in state)
    if split or gamma is not None:
        if not split:
            raise WeightsError(
                f"{weights} holds whole linear layers, not ones split with gamma={gamma:g}; load "
                f"it without gamma="
            )
        split_linear_layers(network, _gamma(state, network, weights) if gamma is None else gamma)
    load_weights(network, state, source=weights)
    return network


def _gamma(state: Mapping[str, torch.Tensor], network: nn.Module, weights: Path) -> float:
    """Estimate the ratio, in steps of 0.05, by which the layers of a checkpoint were split."""
    ranks = {n: len(t) for n, t in state.items() if n.endswith(".linear1.weight")}
    layers = {
        name: (layer.in_features, layer.out_features)
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Linear)
    }
    wanted = {
        sizes: rank
        for name, sizes in layers.items()
        for full, rank in ranks.items()
        if full.removesuffix(".linear1.weight").endswith(name)
    }
    for hundredths in range(5, 101, 5):
        gamma = hundredths / 100
        if wanted and all(low_rank(*sizes, gamma) == rank for sizes, rank in wanted.items()):
            return gamma
    raise WeightsError(f"{weights}: its split layers have no common ratio; give gamma=")


def _recipe(name: str, architecture: str, file: str, *, gamma: float | None = None) -> Recipe:
    build = functools.partial(_build, architecture=architecture)
    return Recipe(
        ModelSpec(
            name=name,
            mean=127.5,
            std=127.5,
            features=512,
            weights=f"the repository otroshi/edgeface, {file}",
            licence="BSD-3-Clause",
            citation="George et al. 2024, arXiv 2307.01838",
        ),
        build if gamma is None else functools.partial(build, gamma=gamma),
        find=in_torch_home(file),
        how_to_get=f"checkpoint={file}, or put it into {{home}}",
        known_file=file,
        options=("gamma", "part") if gamma is None else ("part",),
    )


RECIPES = (
    _recipe("edgeface-xxs", "edgenext_xx_small", "edgeface_xxs.pt"),
    _recipe("edgeface-xs", "edgenext_x_small", "edgeface_xs_q.pt"),
    _recipe("edgeface-xs-gamma-06", "edgenext_x_small", "edgeface_xs_gamma_06.pt", gamma=0.6),
    _recipe("edgeface-s", "edgenext_small", "edgeface_s_gamma_05.pt"),
    _recipe("edgeface-s-gamma-05", "edgenext_small", "edgeface_s_gamma_05.pt", gamma=0.5),
    _recipe("edgeface-base", "edgenext_base", "edgeface_base.pt"),
)
