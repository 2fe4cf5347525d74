"""Embed edited versions of a crop, for saliency maps.

Sets of bands have a separate engine, :mod:`freqlab.edits.band_sets`, which stores embeddings. The
edits here (masks in space, smooth masks of the spectrum, bands within a window) do not recur, so
their embeddings are not stored.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from freqlab.engine.removals import default_batch_size
from freqlab.engine.workers import working
from freqlab.errors import ParameterError
from freqlab.models.spec import Model

__all__ = ["Edit", "crop_tensor", "embed_edits"]

Edit = Callable[[int, int], torch.Tensor]
"""Make the edited images from `start` to `stop`, ``(stop - start, 3, height, width)``."""


def crop_tensor(
    model: Model, crop: npt.NDArray[np.uint8] | npt.NDArray[np.floating]
) -> torch.Tensor:
    """Convert a crop to a float tensor.

    Parameters
    ----------
    model
        The model that is to embed it.
    crop
        RGB ``(height, width, 3)``, 0..255.

    Returns
    -------
    torch.Tensor
        ``(3, height, width)``, in main memory.

    Raises
    ------
    ParameterError
        If its size is not the input size of the model.
    """
    expected = (*model.template.size, 3)
    if crop.shape != expected:
        raise ParameterError(
            f"crop has shape {crop.shape}, but model {model.name!r} requires {expected}"
        )
    return torch.from_numpy(np.ascontiguousarray(crop, dtype=np.float32)).permute(2, 0, 1)


def embed_edits(
    model: Model, n: int, edit: Edit, *, batch_size: int | None = None
) -> npt.NDArray[np.float32]:
    """Embed `n` edited images, made in batches by the threads that run the network.

    Parameters
    ----------
    model
        The model.
    n
        Number of images.
    edit
        Makes the images of a batch: RGB, float, nominally 0..255, in main memory or on the model's
        device. It may be called from several threads at once.
    batch_size
        Images per forward pass; by default chosen for the device.

    Returns
    -------
    numpy.ndarray
        ``(n, feature)``, as the network returns them.

    Raises
    ------
    ModelError
        If the model fails.
    """
    size = batch_size or default_batch_size(model.device, model.precision)

    def embed(start: int) -> torch.Tensor:
        with torch.inference_mode():
            return model(edit(start, min(start + size, n)).to(model.device)).cpu()

    with working() as workers:
        jobs = [workers.submit_for(model, embed, start) for start in range(0, n, size)]
        return torch.cat([job.result() for job in jobs]).numpy()
