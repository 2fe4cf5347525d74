"""Decision thresholds of the models, at which morphs are tested."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from freqlab.attrs import names_of, with_object_text
from freqlab.errors import ParameterError, check_name
from freqlab.faces.table import Faces
from freqlab.morphing.sets import untouched
from freqlab.results.selection import fmr_text
from freqlab.statistics.error_rates import check_fmr, impostor_thresholds, rates_with
from freqlab.text.wording import join
from freqlab.verification.performance import check_embeddings

__all__ = ["describe_threshold", "thresholds"]


def thresholds(
    embeddings: Mapping[str, npt.NDArray[np.floating]],
    faces: Faces,
    pairs: pd.DataFrame,
    *,
    fmr: float = 1e-3,
    given: float | list[float] | None = None,
) -> xr.Dataset:
    """Compute the decision threshold of each model at which morphs are tested.

    Parameters
    ----------
    embeddings
        Untouched embeddings ``(face, feature)`` of each model, by its name, in the order of the
        faces; NaN for a face without an embedding.
    faces
        All photographs of the set, not only those in the pairs: more photographs resolve a lower
        rate. Morphs, documents of attack and control pairs, and degraded faces are left out.
    pairs
        From :func:`freqlab.morphing.make_pairs`, or a table of them.
    fmr
        Requested false match rate. If there are too few impostor comparisons to resolve it, the
        next higher resolved rate is used.
    given
        Thresholds carried over from a larger set, in the order of the models, to use instead.

    Returns
    -------
    xarray.Dataset
        Along ``model``: ``threshold``, ``fmr`` (at which it was set; NaN if it was given) and
        ``impostor_comparisons``; attribute ``fmr``, the requested rate.

    Raises
    ------
    ParameterError
        If an argument is invalid, or the comparisons are too few to resolve any rate.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.morphed_faces()
    >>> pairs = fl.morphing.make_pairs(faces)
    >>> tree = fl.embed(faces, models=[fl.testing.model()], store="run.zarr", progress=False)
    >>> vectors = fl.open_embeddings("run.zarr", model="linear").sel(face=faces.names).to_numpy()
    >>> thresholds = fl.morphing.thresholds({"linear": vectors}, faces, pairs, fmr=0.1)
    >>> sorted(thresholds.data_vars)
    ['fmr', 'impostor_comparisons', 'threshold']
    """
    check_fmr(fmr)
    checked = check_embeddings(embeddings, faces)
    names = list(checked)
    thresholds, rates = np.full((2, len(names)), np.nan)
    counts = np.zeros(len(names), np.int64)
    if given is not None:
        carried = np.atleast_1d(np.asarray(given, float))
        if carried.shape != (len(names),):
            raise ParameterError(
                f"given={given!r} must be {len(names)} thresholds, one for each of "
                f"{join(list(names))}"
            )
        thresholds = carried
    else:
        allowed = sorted(rate for rate in rates_with(fmr) if rate >= fmr * (1 - 1e-6))
        whole = untouched(faces, pairs)
        for k, vectors in enumerate(checked.values()):
            edges, n_impostor = impostor_thresholds(
                vectors[whole], faces.subjects[whole], faces.sources[whole], allowed
            )
            counts[k] = n_impostor
            resolved = np.flatnonzero(np.isfinite(edges))
            if not len(resolved):
                raise ParameterError(
                    f"{n_impostor} impostor comparisons of the photographs resolve no false match "
                    f"rate; give a threshold from a larger set"
                )
            thresholds[k], rates[k] = edges[resolved[0]], allowed[resolved[0]]
    computed = xr.Dataset(
        {
            "threshold": ("model", thresholds, {"units": "cosine similarity"}),
            "fmr": ("model", rates, {"long_name": "false match rate"}),
            "impostor_comparisons": ("model", counts),
        },
        coords={"model": np.array(names, object)},
        attrs={"fmr": fmr},
    )
    return with_object_text(computed)


def describe_threshold(thresholds: xr.Dataset, *, model: str) -> str:
    """State the source of a model's threshold.

    Parameters
    ----------
    thresholds
        From :func:`thresholds`.
    model
        Name of the model.

    Returns
    -------
    str
        Sentences.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("morphing")
    >>> thresholds = study["thresholds"].to_dataset()
    >>> print(fl.morphing.describe_threshold(thresholds, model="linear"))
    threshold 0.600, carried over from a larger set.
    """
    check_name("model", model, names_of(thresholds, "model"))
    data = thresholds.sel(model=model)
    text = f"threshold {float(data['threshold']):.3f}"
    rate, asked = float(data["fmr"]), float(thresholds.attrs["fmr"])
    if np.isnan(rate):
        return f"{text}, carried over from a larger set."
    few = f" (too few to resolve FMR {fmr_text(asked)})" if rate > asked * (1 + 1e-6) else ""
    return (
        f"{text}, set at FMR {fmr_text(rate)} on {int(data['impostor_comparisons']):,} impostor "
        f"comparisons of the photographs{few}."
    )
