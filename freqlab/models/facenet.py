"""FaceNet: InceptionResnetV1 of facenet-pytorch (Schroff et al. 2015; weights by D. Sandberg)."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import torch
from torch import nn

from freqlab.errors import WeightsNotFoundError
from freqlab.models.checkpoints import load_weights, read_checkpoint
from freqlab.models.recipes import Recipe, in_torch_home, torch_home
from freqlab.models.spec import ModelSpec
from freqlab.system.progress import say

__all__ = ["RECIPES"]

_RELEASE = "https://github.com/timesler/facenet-pytorch/releases/download/v2.2.9/"


def build(weights: Path, *, device: str, part: str | None = None) -> nn.Module:
    """Make the network from a state dictionary of facenet-pytorch, without its classifier."""
    from facenet_pytorch import InceptionResnetV1

    network: nn.Module = InceptionResnetV1()
    state = read_checkpoint(weights, part=part)
    load_weights(network, state, source=weights, ignore=("logits.",))
    return network


def _fetch(file: str) -> Path:
    """Download a weight file to PyTorch's folder for such files, with a message."""
    path = torch_home() / file
    path.parent.mkdir(parents=True, exist_ok=True)
    say(f"freqlab: downloading {_RELEASE}{file} (about 110 MB) to {path}")
    try:
        torch.hub.download_url_to_file(_RELEASE + file, str(path), progress=sys.stderr.isatty())
    except OSError as error:
        raise WeightsNotFoundError(
            f"{file} could not be downloaded ({error}). Fetch {_RELEASE}{file} elsewhere and put "
            f"it at {path}, or give checkpoint= with its path"
        ) from error
    return path


def _recipe(name: str, file: str, trained_on: str) -> Recipe:
    return Recipe(
        ModelSpec(
            name=name,
            template="facenet",
            channels="RGB",
            mean=127.5,
            std=128.0,
            features=512,
            weights=f"facenet-pytorch, {file}, trained on {trained_on}",
            licence="MIT",
            citation="Schroff et al. 2015, arXiv 1503.03832; weights by D. Sandberg and T. Esler",
        ),
        build,
        find=in_torch_home(file),
        how_to_get=f"downloaded on first use; or put {file} into {{home}}",
        known_file=file,
        options=("part",),
        fetch=functools.partial(_fetch, file),
    )


RECIPES = (
    _recipe("facenet-vggface2", "20180402-114759-vggface2.pt", "VGGFace2"),
    _recipe("facenet-casia", "20180408-102900-casia-webface.pt", "CASIA-WebFace"),
)
