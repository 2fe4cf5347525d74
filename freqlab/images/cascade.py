"""The face detector: a cascade of three small networks on a pyramid of one photograph.

The method is MTCNN (Zhang, Zhang, Li & Qiao 2016, *Joint face detection and alignment using
multitask cascaded convolutional networks*), with the networks and thresholds of facenet-pytorch.
The detections are those of its ``MTCNN(keep_all=True)`` up to rounding, in less time and memory:

- All resized images are averages over rectangles, taken from one table of sums per photograph. Its
  entries are whole numbers, so the sums are exact, and a level of the pyramid or a set of regions
  costs as much as it has pixels.
- Photographs go through the cascade one at a time, and regions in batches of a fixed number, so
  that memory does not depend on the number of photographs or faces.
- Images and batches are padded to a few sizes. The library of convolutions on a CPU prepares and
  keeps a program for each size that it meets, which takes as long as the convolution and more
  memory with each size of photograph.
- Maxima over windows are taken between shifted copies, which is faster than pooling on a CPU.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

__all__ = ["FINEST_FACE", "Cascade", "Found", "cascade"]

FINEST_FACE = 20
"""Size in pixels of the smallest faces for which the detector searches."""

_WINDOW = 12  # pixels of the first network's window
_FACTOR = 0.709  # from one level of the pyramid to the next
_THRESHOLDS = (0.6, 0.7, 0.7)  # on the probability of a face, for each network
_REGIONS_AT_ONCE = 128
# regions that the second network sees per photograph: those of the highest probability
_MOST_REGIONS = 10_000

Boxes = npt.NDArray[np.float32]


class Found(NamedTuple):
    """The faces in one photograph, by decreasing size."""

    boxes: Boxes
    """Left, top, right, bottom ``(face, 4)``, in pixels."""
    scores: npt.NDArray[np.float32]
    """Probability of a face ``(face,)``."""
    points: npt.NDArray[np.float32]
    """Five points ``(face, 5, 2)``, x and y in pixels."""


class Cascade:
    """The three networks on a device.

    Parameters
    ----------
    networks
        A detector of facenet-pytorch, whose networks are used.
    device
        Where they run.
    """

    def __init__(self, networks: Any, device: str) -> None:
        self._first, self._second, self._third = networks.pnet, networks.rnet, networks.onet
        self._device = torch.device(device)

    def detect(
        self,
        photograph: npt.NDArray[np.uint8],
        *,
        border: int = 0,
        smallest: float = FINEST_FACE,
    ) -> Found:
        """Find all faces in one photograph.

        Parameters
        ----------
        photograph
            RGB ``(height, width, 3)``.
        border
            Width of a border of one grey about the photograph, in pixels. Windows that show nothing
            else are left out.
        smallest
            Size in pixels of the smallest face that is searched. The pyramid of 20 pixels is cut
            above it: levels for smaller faces are left out, and the others do not change.
        """
        with torch.inference_mode():
            sums = _sums(photograph, self._device)
            boxes = self._refined(sums, self._proposals(sums, border, smallest))
            return self._located(sums, boxes)

    def _proposals(self, sums: torch.Tensor, border: int, smallest: float) -> torch.Tensor:
        """Square regions that may be faces ``(region, 5)``: corners and probability."""
        height, width = sums.shape[0] - 1, sums.shape[1] - 1
        kept = [torch.zeros((0, 9), device=sums.device)]
        for scale in _scales(min(height, width), smallest):
            shown = _Shown.of(height, scale, border), _Shown.of(width, scale, border)
            images = _normalised(_level(sums, *shown))
            regression, probability = _first_network(self._first, images)
            at = (probability[0, 1] >= _THRESHOLDS[0]).nonzero()
            if not len(at):
                continue
            score = probability[0, 1][at[:, 0], at[:, 1]]
            # the window of a cell, in pixels of the photograph
            before = torch.tensor([shown[1].start, shown[0].start], device=at.device)
            corner = (2 * at.flip(1) + before).to(score.dtype) + 1
            left_top = (corner / scale).floor()
            right_bottom = ((corner + (_WINDOW - 1)) / scale).floor()
            shift = regression[0][:, at[:, 0], at[:, 1]].T
            found = torch.cat([left_top, right_bottom, score[:, None], shift], dim=1)
            kept.append(found[_distinct(found, 0.5)])
        found = torch.cat(kept)
        found = found[_distinct(found, 0.7)][:_MOST_REGIONS]
        extent = (found[:, 2:4] - found[:, :2]).repeat(1, 2)
        moved = found[:, :4] + found[:, 5:] * extent
        return _squares(torch.cat([moved, found[:, 4:5]], dim=1))

    def _refined(self, sums: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        """The regions that the second network takes for faces, moved by it."""
        boxes, outputs = _through(self._second, sums, boxes, 24)
        if not outputs:
            return boxes
        shift, probability = outputs
        is_face = probability[:, 1] > _THRESHOLDS[1]
        boxes = torch.cat([boxes[is_face, :4], probability[is_face, 1:]], dim=1)
        distinct = _distinct(boxes, 0.7)
        return _squares(_moved(boxes[distinct], shift[is_face][distinct]))

    def _located(self, sums: torch.Tensor, boxes: torch.Tensor) -> Found:
        """Faces with their points, by the third network."""
        boxes, outputs = _through(self._third, sums, boxes, 48)
        if not outputs:
            return Found(*(np.zeros((0, *size), np.float32) for size in ((4,), (), (5, 2))))
        shift, points, probability = outputs
        is_face = probability[:, 1] > _THRESHOLDS[2]
        boxes = torch.cat([boxes[is_face, :4], probability[is_face, 1:]], dim=1)
        extent = boxes[:, 2:4] - boxes[:, :2] + 1
        places = points[is_face].reshape(-1, 2, 5).transpose(1, 2)
        places = places * extent[:, None] + boxes[:, None, :2] - 1
        found = _moved(boxes, shift[is_face]).cpu().numpy()
        kept = _not_inside(found[:, :4], found[:, 4])
        found, located = found[kept], places.cpu().numpy()[kept]
        size = found[:, 2:4] - found[:, :2]
        order = np.argsort(-size[:, 0] * size[:, 1], kind="stable")
        return Found(found[order, :4], found[order, 4], located[order])


@functools.cache
def cascade(device: str) -> Cascade:
    """The detector of a device, loaded once."""
    from facenet_pytorch import MTCNN

    return Cascade(MTCNN(keep_all=True, device=device), device)


def _scales(shorter: int, smallest: float) -> list[float]:
    """Scales of the pyramid, from the finest level on.

    The finest level is that of :data:`FINEST_FACE`, or the last one whose faces are not larger than
    `smallest`.
    """
    scale, scales = _WINDOW / FINEST_FACE, []
    side = shorter * scale
    while side >= _WINDOW:
        if _WINDOW / (scale * _FACTOR) > smallest:
            scales.append(scale)
        scale *= _FACTOR
        side *= _FACTOR
    return scales


def _sums(photograph: npt.NDArray[np.uint8], device: torch.device) -> torch.Tensor:
    """Sum of the pixels above and to the left of each corner ``(height + 1, width + 1, 3)``.

    32 bits hold the sums of 8 million pixels, six times the largest photograph that is detected in.
    """
    height, width, _ = photograph.shape
    sums = torch.zeros((height + 1, width + 1, 3), dtype=torch.int32, device=device)
    pixels = torch.tensor(photograph).to(device)
    inside = sums[1:, 1:]
    torch.cumsum(pixels, dim=0, dtype=torch.int32, out=inside)
    torch.cumsum(inside.clone(), dim=1, dtype=torch.int32, out=inside)
    return sums


class _Shown(NamedTuple):
    """What a level of the pyramid shows along one axis: its pixels without most of a border."""

    n_pixels: int
    """Of the photograph."""
    size: int
    """Of the level, border included."""
    start: int
    """Pixels of the level that are left out at either end; even, as windows start at even ones."""

    @classmethod
    def of(cls, n_pixels: int, scale: float, border: int) -> _Shown:
        size = int(n_pixels * scale + 1)
        # averages of nothing but border; of windows, one more than these shows something else
        n_plain = border * size // n_pixels
        start = max(0, n_plain - _WINDOW + 2) // 2 * 2
        return cls(n_pixels, size, start)

    def windows(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """First pixel of the photograph in each pixel of the level, and the one after its last."""
        # an even number less at the end, so that the last window is where it would be
        places = torch.arange(self.start, self.size - self.start, device=device)
        begin = places * self.n_pixels // self.size
        return begin, ((places + 1) * self.n_pixels + self.size - 1) // self.size


def _level(sums: torch.Tensor, vertical: _Shown, horizontal: _Shown) -> torch.Tensor:
    """What a level of the pyramid shows ``(1, 3, height, width)``."""
    top, bottom = vertical.windows(sums.device)
    left, right = horizontal.windows(sums.device)
    rows = sums.index_select(0, bottom) - sums.index_select(0, top)
    cells = rows.index_select(1, right) - rows.index_select(1, left)
    areas = (bottom - top)[:, None] * (right - left)
    return (cells.permute(2, 0, 1) / areas)[None]


def _regions(sums: torch.Tensor, places: torch.Tensor, size: int) -> torch.Tensor:
    """Regions of the photograph averaged to a square size ``(region, 3, size, size)``.

    `places` ``(region, 4)`` are left, top, and the pixels after the last column and row.
    """
    at = torch.arange(size, device=sums.device)
    corner, extent = places[:, :2, None], (places[:, 2:] - places[:, :2])[:, :, None]
    begin = corner + at * extent // size
    end = corner + ((at + 1) * extent + size - 1) // size
    (left, top), (right, bottom) = begin.unbind(1), end.unbind(1)
    width = sums.shape[1]
    flat = sums.reshape(-1, 3)

    def at_corners(rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        where = rows[:, :, None] * width + columns[:, None, :]
        return flat.index_select(0, where.flatten()).view(*where.shape, 3)

    cells = at_corners(bottom, right) - at_corners(top, right)
    cells -= at_corners(bottom, left) - at_corners(top, left)
    areas = (bottom - top)[:, :, None] * (right - left)[:, None, :]
    return (cells / areas[..., None]).permute(0, 3, 1, 2).contiguous()


def _normalised(images: torch.Tensor) -> torch.Tensor:
    """Pixels as the networks take them."""
    return (images - 127.5) * 0.0078125


def _through(
    network: Any, sums: torch.Tensor, boxes: torch.Tensor, size: int
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Boxes that show a part of the photograph, and what a network says of them."""
    height, width = sums.shape[0] - 1, sums.shape[1] - 1
    places = boxes[:, :4].trunc().long()
    places[:, :2] = places[:, :2].clamp(min=1) - 1  # counted from one
    places[:, 2].clamp_(max=width)
    places[:, 3].clamp_(max=height)
    inside = (places[:, 2:] > places[:, :2]).all(dim=1)
    boxes, places = boxes[inside], places[inside]
    if not len(boxes):
        return boxes, []
    forward = _second_network if size == 24 else _third_network
    parts = []
    for part in places.split(_REGIONS_AT_ONCE):
        n_padded = _round_up(len(part), least=1)
        padded = torch.cat([part, part[-1:].expand(n_padded - len(part), -1)])
        outputs = forward(network, _normalised(_regions(sums, padded, size)))
        parts.append([output[: len(part)] for output in outputs])
    return boxes, [torch.cat(column) for column in zip(*parts, strict=True)]


def _first_network(network: Any, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Shift of the box and probability of each cell."""
    height, width = images.shape[2:]
    features = network.prelu1(network.conv1(_padded(images)))
    # only what depends on no padding: a window at the edge is cut there
    features = _padded(_largest(features[:, :, : height - 2, : width - 2], 2))
    features = network.prelu2(network.conv2(features))
    features = network.prelu3(network.conv3(features))
    height, width = (-(-(n - 2) // 2) - 4 for n in (height, width))
    features = features[:, :, :height, :width]
    return network.conv4_2(features), network.softmax4_1(network.conv4_1(features))


def _padded(images: torch.Tensor) -> torch.Tensor:
    """Images with zeros below and to the right, so that few sizes occur."""
    if images.device.type != "cpu":
        return images
    height, width = images.shape[2:]
    missing = (0, _round_up(width) - width, 0, _round_up(height) - height)
    return torch.nn.functional.pad(images, missing)


def _round_up(n: int, least: int = 4) -> int:
    """The next of at most four numbers per octave, a multiple of `least`, a power of two."""
    step = max(least, 1 << max(0, n.bit_length() - 3))
    return -(-n // step) * step


def _second_network(network: Any, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Shift of the box and probability of each region."""
    features = _largest(network.prelu1(network.conv1(images)), 3)
    features = _largest(network.prelu2(network.conv2(features)), 3)
    features = network.prelu3(network.conv3(features)).permute(0, 3, 2, 1).flatten(1)
    features = network.prelu4(network.dense4(features))
    return network.dense5_2(features), network.softmax5_1(network.dense5_1(features))


def _third_network(
    network: Any, images: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Shift of the box, points and probability of each region."""
    features = _largest(network.prelu1(network.conv1(images)), 3)
    features = _largest(network.prelu2(network.conv2(features)), 3)
    features = _largest(network.prelu3(network.conv3(features)), 2)
    features = network.prelu4(network.conv4(features)).permute(0, 3, 2, 1).flatten(1)
    features = network.prelu5(network.dense5(features))
    probability = network.softmax6_1(network.dense6_1(features))
    return network.dense6_2(features), network.dense6_3(features), probability


def _largest(images: torch.Tensor, size: int) -> torch.Tensor:
    """Maxima over square windows of `size` pixels at every second pixel, the last ones cut."""
    if images.device.type != "cpu":
        return torch.nn.functional.max_pool2d(images, size, 2, ceil_mode=True)
    for dim in (2, 3):
        n = -(-(images.shape[dim] - size) // 2) + 1
        missing = 2 * (n - 1) + size - images.shape[dim]
        if missing:
            edge = images.narrow(dim, images.shape[dim] - missing, missing)
            images = torch.cat([images, torch.full_like(edge, -torch.inf)], dim)
        every = [slice(None)] * 4
        largest = None
        for k in range(size):
            every[dim] = slice(k, k + 2 * n - 1, 2)
            shifted = images[tuple(every)]
            largest = shifted if largest is None else torch.maximum(largest, shifted)
        assert largest is not None
        images = largest
    return images


def _distinct(boxes: torch.Tensor, overlap: float) -> torch.Tensor:
    """Numbers of boxes ``(box, >= 5)`` that overlap no better one, by decreasing probability."""
    from torchvision.ops import nms

    if not len(boxes):
        return torch.zeros(0, dtype=torch.long, device=boxes.device)
    kept: torch.Tensor = nms(boxes[:, :4], boxes[:, 4], overlap)
    return kept


def _not_inside(boxes: Boxes, scores: npt.NDArray[np.float32]) -> list[int]:
    """Numbers of boxes that share at most 0.7 of the smaller area with each better box."""
    size = boxes[:, 2:] - boxes[:, :2] + 1
    areas = size[:, 0] * size[:, 1]
    left = np.argsort(scores)
    kept = []
    while len(left):
        best, left = left[-1], left[:-1]
        kept.append(int(best))
        shared = np.minimum(boxes[best, 2:], boxes[left, 2:])
        shared = shared - np.maximum(boxes[best, :2], boxes[left, :2]) + 1
        common = np.prod(np.maximum(shared, 0), axis=1)
        left = left[common <= 0.7 * np.minimum(areas[best], areas[left])]
    return kept


def _moved(boxes: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """Boxes with their corners moved by shares of their size, which counts the last pixel."""
    extent = (boxes[:, 2:4] - boxes[:, :2] + 1).repeat(1, 2)
    return torch.cat([boxes[:, :4] + shift * extent, boxes[:, 4:]], dim=1)


def _squares(boxes: torch.Tensor) -> torch.Tensor:
    """Squares about the same centres, as long as the longer side."""
    extent = boxes[:, 2:4] - boxes[:, :2]
    longer = extent.max(dim=1, keepdim=True).values
    corner = boxes[:, :2] + extent * 0.5 - longer * 0.5
    return torch.cat([corner, corner + longer, boxes[:, 4:]], dim=1)
