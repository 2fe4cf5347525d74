"""The engine: embed crops with sets of bands removed. The only place that runs a network.

With bands of the periodic Fourier transform, a crop is transformed once, whatever the number of
removals; each removal costs a product and one inverse transform. Other kinds of bands subtract the
sum of the components of each removal from the pixels. All images go through the network in batches
of one fixed size. The work on a block of crops is divided into independent parts, so that each may
run on a separate thread: small batches on one core each are faster than large ones that all cores
share.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from freqlab.bands import spectrum
from freqlab.bands.decompositions import Decomposition, PeriodicDecomposition, as_decomposition
from freqlab.errors import ModelError, ParameterError
from freqlab.models.spec import Model

__all__ = [
    "NEGLIGIBLE_RMS",
    "Part",
    "PartDone",
    "Removals",
    "assemble",
    "block_parts",
    "default_batch_size",
    "embed_block",
    "forward_passes",
]

NEGLIGIBLE_RMS = 1e-5
"""RMS contrast in grey levels below which a removal changes an 8-bit image by less than rounding in
float32. Its embedding is that of the untouched crop, and needs no forward pass."""

_LARGEST_PART = 128  # upper bound on images per part, or four batches if that is more

_OUT_OF_MEMORY = ("not enough memory", "out of memory", "Failed to allocate memory")


def default_batch_size(device: str, precision: str = "float32") -> int:
    """Images per forward pass: few on a CPU, so that they stay in its caches, many elsewhere.

    Measured with MobileFaceNet on two cores: 370 images/s in batches of 8, 300 of 15, 230 of 30;
    EdgeFace-XS: 590 of 4, 700 of 8, 710 of 16; in bfloat16, which takes half the space, 990 of 8
    and 1,140 of 15. A block of 32 faces with 15 bands divides evenly into batches of 15 or 120.
    """
    if not device.startswith("cpu"):
        return 120
    return 15 if precision == "bfloat16" else 8


class Embedded(NamedTuple):
    """Result of :func:`embed_block`."""

    embeddings: npt.NDArray[np.float32]
    removed_rms: npt.NDArray[np.float32]


class PartDone(NamedTuple):
    """Result of a part."""

    embeddings: npt.NDArray[np.float32]
    removed_rms: npt.NDArray[np.float32]
    batch_size: int
    """Images per forward pass: as asked for, or what was left after memory ran out."""
    forward_passes: int
    """Images that were embedded; at most ``n_images`` of the part."""


class Part(NamedTuple):
    """Part of the work on a block: a range of its crops with a range of the removals."""

    crops: slice
    removals: slice
    n_images: int
    run: _Work
    """Does it, with the model the part was made for, compiled by now or not."""


class Removals:
    """Sets of bands to remove from crops of a model's size, with what can be made once.

    Parameters
    ----------
    model
        The model.
    removals
        ``(removal, band)``, True where the band is removed.
    bands
        The bands at that size: a decomposition, or a label map ``(height, width // 2 + 1)`` of
        the periodic Fourier transform.

    Raises
    ------
    ParameterError
        If they do not fit each other.
    """

    masks: torch.Tensor | None
    """1 where a coefficient stays, ``(removal, height, width // 2 + 1)``; None for other kinds."""

    def __init__(
        self,
        model: Model,
        removals: npt.NDArray[np.bool_],
        bands: npt.NDArray[np.int64] | Decomposition,
    ) -> None:
        if removals.ndim != 2:
            raise ParameterError(
                f"removals of shape {removals.shape} do not fit; expected (removal, band)"
            )
        parts = as_decomposition(bands, removals.shape[1], model.template.size)
        sets = torch.from_numpy(removals)
        self.untouched: list[bool] = [not (one & parts.present).any() for one in removals]
        self.sets = sets.to(model.device, torch.float32)
        self.parts = parts.to(model.device)
        self.masks = None
        if isinstance(parts, PeriodicDecomposition):
            self.masks = spectrum.removal_masks(sets, parts.labels).to(model.device, torch.float32)

    def __len__(self) -> int:
        return len(self.sets)


def embed_block(
    model: Model,
    crops: npt.NDArray[np.uint8] | npt.NDArray[np.float32],
    removals: npt.NDArray[np.bool_],
    bands: npt.NDArray[np.int64] | Decomposition,
    *,
    fill: npt.NDArray[np.uint8] | npt.NDArray[np.float32] | None = None,
    batch_size: int = 8,
    advance: Callable[[int], object] | None = None,
) -> Embedded:
    """Embed every crop once per removal.

    All images of the block, crop by crop and removal by removal, go through the network in
    batches of one fixed size; the last batch of each part is padded. An empty removal passes the
    crop on unchanged. All removals of less than :data:`NEGLIGIBLE_RMS` from a crop get the
    embedding of the unchanged crop, which is computed once per part. If memory runs out, a part is
    started again at half its batch size, down to single images.

    Parameters
    ----------
    model
        The model.
    crops
        RGB crops ``(n, height, width, 3)`` at the model's input size, 0..255, 8-bit or float.
    removals
        ``(removal, band)``, True where the band is removed.
    bands
        The bands at the model's input size: a decomposition
        (:meth:`freqlab.Bands.decompose`), or a label map ``(height, width // 2 + 1)`` of the
        periodic Fourier transform.
    fill
        An image for each crop, of the same shape, whose bands replace those removed; by default
        they are not replaced.
    batch_size
        Images per forward pass.
    advance
        Called with the number of images after each part of the work, for a progress bar.

    Returns
    -------
    embeddings : numpy.ndarray
        ``(n, removal, feature)``, as the network returns them.
    removed_rms : numpy.ndarray
        ``(n, removal)``: RMS contrast removed, in grey levels, over pixels and channels.

    Raises
    ------
    ParameterError
        If crops and bands do not fit the model.
    ModelError
        If the model fails, or its embeddings differ in length from batch to batch.

    Examples
    --------
    >>> import numpy as np
    >>> import freqlab as fl
    >>> from freqlab.engine import embed_block
    >>> faces = fl.testing.faces(1, 2)
    >>> crops = np.stack([faces.image(i) for i in range(2)])
    >>> labels = fl.rings(width=28).label_map(112, 112)
    >>> removals = np.eye(3, dtype=bool)
    >>> embedded = embed_block(fl.testing.model(), crops, removals, labels)
    >>> embedded.embeddings.shape
    (2, 3, 16)
    """
    made = Removals(model, removals, bands)
    parts = block_parts(model, crops, made, fill=fill, batch_size=batch_size)
    results = []
    for part in parts:
        results.append(part.run(model))
        if advance is not None:
            advance(part.n_images)
    return assemble(model, parts, results)


def block_parts(
    model: Model,
    crops: npt.NDArray[np.uint8] | npt.NDArray[np.float32],
    removals: Removals,
    *,
    fill: npt.NDArray[np.uint8] | npt.NDArray[np.float32] | None = None,
    batch_size: int,
) -> list[Part]:
    """Divide the work on a block of crops; parameters as for :func:`embed_block`.

    Raises
    ------
    ParameterError
        If the crops do not fit the model.
    """
    if crops.shape[1:] != (*model.template.size, 3):
        raise ParameterError(
            f"crops of shape {crops.shape} do not fit model {model.name!r}, "
            f"which takes (n, {model.template.size[0]}, {model.template.size[1]}, 3)"
        )
    if fill is not None and fill.shape != crops.shape:
        raise ParameterError(
            f"fill of shape {fill.shape} must have that of the crops, {crops.shape}"
        )
    most = _most_images(batch_size)
    of_removals = [slice(i, min(i + most, len(removals))) for i in range(0, len(removals), most)]
    n_together = _crops_together(min(most, len(removals)), batch_size, most)
    return [
        Part(part, which, n_images, _Work(crops[part], removals, which, batch_size, filling))
        for start in range(0, len(crops), n_together)
        for which in of_removals
        for part in [slice(start, min(start + n_together, len(crops)))]
        for n_images in [(part.stop - part.start) * (which.stop - which.start)]
        for filling in [None if fill is None else fill[part]]
    ]


def assemble(model: Model, parts: Sequence[Part], results: Sequence[PartDone]) -> Embedded:
    """Combine the results of the parts of a block.

    Raises
    ------
    ModelError
        If their embeddings differ in length.
    """
    n_crops, n_removals = parts[-1].crops.stop, parts[-1].removals.stop
    n_features = results[0].embeddings.shape[-1]
    embeddings = np.empty((n_crops, n_removals, n_features), np.float32)
    removed_rms = np.empty((n_crops, n_removals), np.float32)
    for part, result in zip(parts, results, strict=True):
        _check_length(model, n_features, result.embeddings.shape[-1])
        embeddings[part.crops, part.removals] = result.embeddings
        removed_rms[part.crops, part.removals] = result.removed_rms
    return Embedded(embeddings, removed_rms)


def forward_passes(removed_rms: npt.NDArray[np.float32], *, batch_size: int) -> int:
    """Number of images that :func:`embed_block` embeds, without a fill.

    Parameters
    ----------
    removed_rms
        RMS contrast that each removal takes from each crop ``(n, removal)``.
    batch_size
        Images per forward pass.

    Examples
    --------
    >>> import numpy as np
    >>> from freqlab.engine import removals
    >>> rms = np.array([[5.0, 0.0, 0.0, 0.0]], np.float32)
    >>> removals.forward_passes(rms, batch_size=8)  # three removals change nothing
    2
    """
    most, total = _most_images(batch_size), 0
    for start in range(0, removed_rms.shape[1], most):
        changed = removed_rms[:, start : start + most] >= NEGLIGIBLE_RMS
        total += int(changed.sum()) + int((~changed).any(axis=1).sum())
    return total


def _most_images(batch_size: int) -> int:
    """Upper bound on the images of a part."""
    return max(_LARGEST_PART, 4 * batch_size)


def _crops_together(n_removals: int, batch_size: int, most: int) -> int:
    """Number of crops per part: the one that fills batches best; of several, the largest."""

    def filled(n: int) -> float:
        return n * n_removals / (math.ceil(n * n_removals / batch_size) * batch_size)

    return max(range(1, max(1, most // n_removals) + 1), key=lambda n: (filled(n), n))


class _Work(NamedTuple):
    """The computation of a part, as a callable."""

    crops: npt.NDArray[np.uint8] | npt.NDArray[np.float32]
    removals: Removals
    which: slice
    batch_size: int
    fill: npt.NDArray[np.uint8] | npt.NDArray[np.float32] | None = None

    def __call__(self, model: Model) -> PartDone:
        work = self
        while True:
            try:
                with torch.inference_mode():
                    return work._embed(model)
            except Exception as error:
                if work.batch_size == 1 or not _is_out_of_memory(error):
                    raise
            # after the handler, which would keep the tensors of the traceback alive
            if model.device.startswith("cuda"):
                torch.cuda.empty_cache()
            work = work._replace(batch_size=work.batch_size // 2)

    def _embed(self, model: Model) -> PartDone:
        if self.removals.masks is None:
            return self._embed_components(model)
        prepared = _prepared(model, self.crops)
        filling = None if self.fill is None else torch.fft.rfft2(_prepared(model, self.fill))
        masked, transform = self._masked(prepared, filling, model)
        n_which = self.which.stop - self.which.start
        removed_rms = np.zeros((len(prepared), n_which), np.float32)
        if transform is not None:
            std = torch.tensor(model.spec.std, device=transform.device).reshape(-1, 1, 1)
            parts = self.removals.parts
            assert isinstance(parts, PeriodicDecomposition)
            energy = spectrum.energy_of_transform(
                transform * std, parts.labels, len(parts), prepared.shape[-1]
            )
            removed = (energy @ self.removals.sets[self.which].T).sqrt()
            removed_rms = removed.cpu().numpy()
        return self._done(model, prepared, masked, removed_rms)

    def _embed_components(self, model: Model) -> PartDone:
        """Subtract the components of each removal from the pixels; the network's input follows."""
        pixels = _pixels(model, self.crops)
        fill = None if self.fill is None else _pixels(model, self.fill)
        sets = self.removals.sets[self.which].bool()
        n_which, size = len(sets), pixels.shape[1:]
        touched = torch.tensor([not self.removals.untouched[r] for r in self._numbers])
        removed_rms = np.zeros((len(pixels), n_which), np.float32)
        masked = pixels.new_empty(len(pixels), n_which, *size)
        for k in range(len(pixels)):
            masked[k] = pixels[k]
            if not bool(touched.any()):
                continue  # no band is removed by any removal of this part
            removed = self.removals.parts.removed(pixels[k : k + 1], sets[touched])[0]
            rms = removed.square().mean(dim=(1, 2, 3)).sqrt()
            removed_rms[k, touched.numpy()] = rms.cpu().numpy()
            if fill is not None:
                removed = removed - self.removals.parts.removed(fill[k : k + 1], sets[touched])[0]
            masked[k, touched] = pixels[k] - removed
        prepared = model.prepare(masked.flatten(0, 1))
        return self._done(model, model.prepare(pixels), prepared, removed_rms)

    def _done(
        self,
        model: Model,
        untouched: torch.Tensor,
        masked: torch.Tensor,
        removed_rms: npt.NDArray[np.float32],
    ) -> PartDone:
        """Embed prepared images, once for all removals of a crop that change nothing of it.

        `untouched` are the crops, `masked` all images, crop by crop.
        """
        n, n_which = removed_rms.shape
        changed = removed_rms >= NEGLIGIBLE_RMS
        if self.fill is not None:  # what is put in may be more than what is removed
            changed |= ~np.array([self.removals.untouched[r] for r in self._numbers])
        if ((~changed).sum(axis=1) <= 1).all():  # nothing is embedded twice
            features = self._features(model, masked).reshape(n, n_which, -1)
            return PartDone(features, removed_rms, self.batch_size, n * n_which)
        first = changed.argmin(axis=1)  # the first removal that changes nothing, if there is one
        crops = np.flatnonzero(~changed[np.arange(n), first])
        needed = changed.copy()
        needed[crops, first[crops]] = True
        images = masked[torch.from_numpy(needed.ravel()).to(masked.device)]
        places = np.cumsum(needed.ravel()).reshape(n, n_which) - 1
        once = untouched[torch.from_numpy(crops)].to(images.dtype)
        images[torch.from_numpy(places[crops, first[crops]])] = once
        where = np.where(needed, places, places[np.arange(n), first][:, None])
        features = self._features(model, images)[where]
        return PartDone(features, removed_rms, self.batch_size, len(images))

    @property
    def _numbers(self) -> range:
        """Numbers of the removals of this part."""
        return range(self.which.start, self.which.stop)

    def _features(self, model: Model, images: torch.Tensor) -> npt.NDArray[np.float32]:
        """Embeddings of prepared images ``(image, feature)``."""
        features = torch.cat([self._forward(model, part) for part in images.split(self.batch_size)])
        model.check_features(features)
        return np.asarray(features.cpu().numpy())

    def _masked(
        self, images: torch.Tensor, filling: torch.Tensor | None, model: Model
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """All images of the part, crop by crop, and the transform of the crops if it was needed.

        Prepared images may be masked like pixels: they differ from pixels by a scale and by the
        mean, which no removal touches. They are masked in float32 and written as the network takes
        them: in bfloat16, half the bytes.
        """
        which, masks = self._numbers, self.removals.masks
        assert masks is not None
        if all(self.removals.untouched[r] for r in which):
            return images[:, None].expand(-1, len(which), -1, -1, -1).flatten(0, 1), None
        n, channels, height, width = images.shape
        # a grey photograph has one channel three times: transformed once; a GPU would have to wait
        on_cpu = images.device.type == "cpu"
        is_grey = filling is None and on_cpu and bool((images[:, :1] == images).all())
        transform = torch.fft.rfft2(images[:, :1] if is_grey else images)
        if model.channels_last:
            size = (n, len(which), height, width, channels)
            masked = images.new_empty(size, dtype=model.dtype).permute(0, 1, 4, 2, 3)
        else:
            masked = images.new_empty((n, len(which), channels, height, width), dtype=model.dtype)
        for k, r in enumerate(which):
            if self.removals.untouched[r]:
                masked[:, k] = images
            else:
                product = transform * masks[r]
                if filling is not None:
                    product += filling * (1 - masks[r])
                masked[:, k] = torch.fft.irfft2(product, s=(height, width))
        return masked.flatten(0, 1), transform.expand(-1, channels, -1, -1)

    def _forward(self, model: Model, images: torch.Tensor) -> torch.Tensor:
        """Embed one batch, padded to the fixed size."""
        n_missing = self.batch_size - len(images)
        if n_missing:
            filler = images[-1:].expand(n_missing, -1, -1, -1)
            full = torch.cat([images, filler]).contiguous(memory_format=model.layout)
            return model.forward(full)[: len(images)]
        return model.forward(images.contiguous(memory_format=model.layout))


def _prepared(model: Model, crops: npt.NDArray[np.uint8] | npt.NDArray[np.float32]) -> torch.Tensor:
    """Crops on the model's device, as its network takes them."""
    return model.prepare(_pixels(model, crops))


def _pixels(model: Model, crops: npt.NDArray[np.uint8] | npt.NDArray[np.float32]) -> torch.Tensor:
    """Crops on the model's device, RGB ``(n, 3, height, width)``, 0..255."""
    images = torch.from_numpy(np.ascontiguousarray(crops))
    if model.device.startswith("cuda"):
        images = images.pin_memory()
    images = images.to(model.device, non_blocking=True).permute(0, 3, 1, 2).float()
    return images.contiguous()


def _is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error or its cause is out of memory: in Python, PyTorch or ONNX Runtime."""
    while error is not None:
        if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
            return True
        if isinstance(error, RuntimeError) and any(t in str(error) for t in _OUT_OF_MEMORY):
            return True
        error = error.__cause__
    return False


def _check_length(model: Model, expected: int, length: int) -> None:
    if length != expected:
        raise ModelError(
            f"model {model.name!r} returned {length} features for one batch and "
            f"{expected} for another"
        )
