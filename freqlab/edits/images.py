"""Embed any edited versions of a crop: the one place where saliency runs a network.

Sets of bands have an engine of their own, :mod:`freqlab.edits.band_sets`, which remembers; what is
done here, masks in space, smooth masks of the spectrum, bands within a window, never comes twice.
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
"""Makes the edited images from one number up to another, ``(stop - start, 3, height, width)``."""


def crop_tensor(
    model: Model, crop: npt.NDArray[np.uint8] | npt.NDArray[np.floating]
) -> torch.Tensor:
    """A crop as float tensor.

    Parameters
    ----------
    model
        The model that is to see it.
    crop
        RGB ``(height, width, 3)``, 0..255.

    Returns
    -------
    torch.Tensor
        ``(3, height, width)``, in main memory.

    Raises
    ------
    ParameterError
        If it does not have the size of the model's input.
    """
    expected = (*model.template.size, 3)
    if crop.shape != expected:
        raise ParameterError(
            f"a crop of shape {crop.shape} does not fit model {model.name!r}, which takes "
            f"{expected}"
        )
    return torch.from_numpy(np.ascontiguousarray(crop, dtype=np.float32)).permute(2, 0, 1)


def embed_edits(
    model: Model, n: int, edit: Edit, *, batch_size: int | None = None
) -> npt.NDArray[np.float32]:
    """Embed `n` edited images, made in batches where the network runs.

    Parameters
    ----------
    model
        The model.
    n
        Number of images.
    edit
        Makes those of a batch: RGB, float, nominally 0..255, in main memory or on the model's
        device. It may be called from several threads at once.
    batch_size
        Images per forward pass; what suits the device by default.

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
