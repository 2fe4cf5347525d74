"""Effects of low resolution on an image: fewer pixels, blur, noise and JPEG. Pure arrays.

A crop is reduced to a number of pixels across and restored to its size, or the photograph is
reduced so that the face in it has a number of pixels across, before the crop is cut out. A camera's
image has 8 bits, so both the reduced and the final image are rounded; only ``fourier``, the ideal
low-pass that serves as the reference for the others, is not.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from freqlab.errors import ParameterError, check_name, check_number
from freqlab.literals import PixelsOf

__all__ = ["FACE_WIDTH", "KERNELS", "MEASURES", "Degradation", "resized"]

KERNELS = ("area", "bicubic", "lanczos", "fourier")
"""How pixels are reduced and brought back: means over areas, back by cubic interpolation; cubic
or Lanczos (a = 3) both ways, as wide as the reduction asks; the ideal low-pass."""

MEASURES: tuple[PixelsOf, ...] = ("crop", "face")
"""What a resolution counts the pixels of: the width of the crop, or of the face."""

FACE_WIDTH = 2.2
"""Width of a face in distances between the eyes (our choice: bizygomatic over interpupillary
breadth of adults is about that)."""

_WORST_JPEG, _BEST_JPEG = 1, 95

Pixels = npt.NDArray[np.uint8]
Image = npt.NDArray[np.uint8] | npt.NDArray[np.float32]


@dataclass(frozen=True)
class Degradation:
    """Declaration of how an image is degraded.

    Parameters
    ----------
    resolution
        Pixels across the crop, or across the face.
    kernel
        One of :data:`KERNELS`.
    measure
        ``"crop"``: the aligned crop is reduced to `resolution` pixels across and restored;
        ``"face"``: the photograph is reduced so that the face in it, :data:`FACE_WIDTH` eye
        distances wide, is `resolution` pixels wide, as if farther away, and then cut out.
    blur
        Standard deviation of the point spread of the optics (Gaussian), in pixels of the reduced
        image; the image is blurred before it is reduced.
    noise
        Standard deviation of Gaussian noise in grey levels, for each pixel and channel of the
        reduced image. It differs between faces and is the same for the same `seed`.
    jpeg
        Quality at which the reduced image is stored as JPEG, 1 to 95; None for no compression.
    seed
        Seed of the noise.

    Raises
    ------
    ParameterError
        If a value is not allowed, or two values are incompatible.
    """

    resolution: int
    kernel: str = "area"
    measure: PixelsOf = "crop"
    blur: float = 0.0
    noise: float = 0.0
    jpeg: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_number("resolution", self.resolution, at_least=1, whole=True)
        check_name("kernel", self.kernel, KERNELS)
        check_name("measure", self.measure, MEASURES)
        check_number("blur", self.blur, at_least=0)
        check_number("noise", self.noise, at_least=0)
        check_number("seed", self.seed, at_least=0, whole=True)
        if self.jpeg is not None:
            check_number("jpeg", self.jpeg, at_least=_WORST_JPEG, whole=True)
            if self.jpeg > _BEST_JPEG:
                raise ParameterError(
                    f"jpeg={self.jpeg!r} must be a quality of {_WORST_JPEG} to {_BEST_JPEG}"
                )
        if self.kernel == "fourier":
            if self.measure != "crop":
                raise ParameterError(
                    "kernel='fourier' is exact in the plane of the crop only; it goes with "
                    "measure='crop'"
                )
            if self.blur or self.noise or self.jpeg is not None:
                raise ParameterError(
                    "kernel='fourier' is the ideal control: it takes no blur, noise or jpeg"
                )

    @property
    def exact(self) -> bool:
        """Whether the result is not rounded to 8 bits."""
        return self.kernel == "fourier"

    @property
    def kind(self) -> str:
        """All settings but the resolution, as text: ``"area"``, ``"lanczos-blur1-jpeg40"``."""
        parts = [self.kernel]
        if self.measure != "crop":
            parts.append(self.measure)
        if self.blur:
            parts.append(f"blur{self.blur:g}")
        if self.noise:
            parts.append(f"noise{self.noise:g}")
        if self.jpeg is not None:
            parts.append(f"jpeg{self.jpeg}")
        if self.noise and self.seed:
            parts.append(f"seed{self.seed}")
        return "-".join(parts)

    def name_of(self, face: str) -> str:
        """Return the name of a face degraded in this way: ``"id@28"``, ``"id@28-lanczos"``."""
        default = Degradation(self.resolution).kind
        return f"{face}@{self.resolution}" + (f"-{self.kind}" if self.kind != default else "")

    def declaration(self) -> str:
        """Return the declaration as a store keeps it."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    def of_crop(self, crop: Pixels, face: str) -> Image:
        """Degrade an aligned crop.

        Parameters
        ----------
        crop
            RGB ``(height, width, 3)``, 0..255.
        face
            Name of the face, which determines its noise.

        Returns
        -------
        numpy.ndarray
            As `crop`; float32 and not rounded with ``kernel="fourier"``.

        Raises
        ------
        ParameterError
            If the crop has fewer pixels across than `resolution`.
        """
        height, width = crop.shape[:2]
        if self.resolution > width:
            raise ParameterError(
                f"resolution={self.resolution} is above the native size, {width} pixels across "
                f"the crop"
            )
        if self.measure != "crop":
            raise ParameterError("measure='face' degrades photographs, not crops")
        small = (max(1, round(height * self.resolution / width)), self.resolution)
        if self.kernel == "fourier":
            return _ideal_low_pass(crop, small)
        if small == (height, width) and self.kind == self.kernel:
            return crop
        reduced = self._camera(crop, small, face)
        way_back = "bicubic" if self.kernel == "area" else self.kernel
        return _eight_bits(resized(reduced, (height, width), way_back))

    def of_photograph(
        self, photograph: Pixels, landmarks: npt.NDArray[np.floating], face: str
    ) -> Pixels | None:
        """Reduce a photograph until its face is `resolution` pixels wide.

        Parameters
        ----------
        photograph
            RGB ``(height, width, 3)``.
        landmarks
            Five points ``(5, 2)`` in its pixels, the eyes first.
        face
            Name of the face, which determines its noise.

        Returns
        -------
        numpy.ndarray or None
            The reduced photograph; None if the face is narrower than `resolution`.
        """
        scale = self.resolution / (FACE_WIDTH * float(np.linalg.norm(landmarks[1] - landmarks[0])))
        if not scale <= 1:
            return None
        height, width = photograph.shape[:2]
        small = (max(1, round(height * scale)), max(1, round(width * scale)))
        return self._camera(photograph, small, face)

    def _camera(self, image: Pixels, small: tuple[int, int], face: str) -> Pixels:
        """Simulate the image that a camera with fewer pixels would have stored."""
        from scipy import ndimage

        made = image.astype(np.float32)
        if self.blur:
            spread = [self.blur * image.shape[axis] / small[axis] for axis in (0, 1)]
            made = ndimage.gaussian_filter(made, (*spread, 0), mode="nearest")
        made = resized(made, small, self.kernel)
        if self.noise:
            digest = hashlib.sha256(f"{self.seed} {face}".encode()).digest()
            rng = np.random.default_rng(int.from_bytes(digest[:8], "little"))
            made = made + rng.normal(0, self.noise, made.shape).astype(np.float32)
        seen = _eight_bits(made)
        return seen if self.jpeg is None else _as_jpeg(seen, self.jpeg)


def resized(
    image: npt.NDArray[np.floating] | Pixels, size: tuple[int, int], kernel: str
) -> npt.NDArray[np.float32]:
    """Resize with a kernel as wide as a reduction needs, in float, channel by channel.

    Parameters
    ----------
    image
        ``(height, width, 3)``.
    size
        Height and width of the result.
    kernel
        ``"area"``, ``"bicubic"`` or ``"lanczos"``.
    """
    from PIL import Image

    filters = {
        "area": Image.Resampling.BOX,
        "bicubic": Image.Resampling.BICUBIC,
        "lanczos": Image.Resampling.LANCZOS,
    }
    channels = (Image.fromarray(image[..., i].astype(np.float32)) for i in range(3))
    made = [np.asarray(channel.resize(size[::-1], filters[kernel])) for channel in channels]
    return np.stack(made, axis=-1)


def _ideal_low_pass(crop: Pixels, small: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Keep the frequencies that a grid of the reduced size can hold, without rounding."""
    from scipy import signal

    made = crop.astype(np.float64)
    for axis in (0, 1):
        if small[axis] < crop.shape[axis]:
            made = signal.resample(made, small[axis], axis=axis)
            made = signal.resample(made, crop.shape[axis], axis=axis)
    return made.astype(np.float32)


def _eight_bits(image: npt.NDArray[np.floating]) -> Pixels:
    return np.rint(np.clip(image, 0, 255)).astype(np.uint8)


def _as_jpeg(image: Pixels, quality: int) -> Pixels:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer).convert("RGB"))
