"""Results of every study on synthetic faces."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from freqlab import bias, faithfulness, improve, morphing, resolution, saliency
from freqlab.errors import check_name
from freqlab.faces.degraded import degrade, degraded_pairs
from freqlab.faces.groups import group_labels
from freqlab.faces.pairs import make_pairs
from freqlab.models.spec import Model
from freqlab.testing.influences import influence
from freqlab.testing.inputs import faces, model, morphed_faces
from freqlab.verification import study as verification_study
from freqlab.verification import verify

__all__ = [
    "corrrise_maps",
    "deletion_curves",
    "freqrise_maps",
    "gradient_maps",
    "group_profiles",
    "joint_maps",
    "morph_profiles",
    "resolution_profiles",
    "study",
    "verification",
]

_STUDIES = (
    "verification",
    "bias",
    "resolution",
    "morphing",
    "faithfulness",
    "saliency",
    "improve",
)
_GROUPS = {"colour": ("red", "green", "blue")}


def study(subject: str) -> xr.DataTree:
    """Return a study of a subject on a few synthetic faces, with a linear network.

    It takes a few seconds at the first call in a process; later calls return copies. The run is
    kept in memory, with crops and embeddings.

    Parameters
    ----------
    subject
        One of ``"verification"``, ``"bias"``, ``"resolution"``, ``"morphing"``,
        ``"faithfulness"``, ``"saliency"`` and ``"improve"``.

    Returns
    -------
    xarray.DataTree
        As returned by the function ``study`` of the package of this name. The attribute ``store``
        is the store of the run.

    Raises
    ------
    ParameterError
        If there is no study of this subject.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("verification")
    >>> study["figures"].to_dataset().sizes["model"]
    2
    """
    check_name("subject", subject, _STUDIES)
    return _study(subject).copy(deep=True)


@functools.cache
def _study(subject: str) -> xr.DataTree:
    """Make a study, once in a process."""
    store = f"memory://freqlab-testing/{subject}"
    few: dict[str, Any] = {"fmr": 0.1, "n_draws": 30, "store": store, "progress": False}
    bands: dict[str, Any] = {"bands": "rings:28"}
    options: dict[str, Any]
    models = [model()]
    if subject == "verification":
        people = faces(8, 3, groups={"glasses": ("yes", "no")})
        both = [*models, model("other", seed=1)]
        tree = verification_study(people, models=both, group="glasses", **few)
    elif subject == "bias":
        people = faces(12, 3, groups=_GROUPS)
        few |= {"group": "colour", "baseline": "red", "n_permutations": 50}
        tree = bias.study(people, models=models, **bands, **few)
    elif subject == "resolution":
        options = {"resolutions": [28, 14], "n_control": 2}
        tree = resolution.study(faces(4, 2), models=models, **options, **bands, **few)
    elif subject == "morphing":
        mixed = morphed_faces(20, 3)
        pairs = morphing.make_pairs(mixed)
        tree = morphing.study(mixed, pairs, models=models, threshold=0.6, **bands, **few)
    elif subject == "faithfulness":
        options = {"n_sample": 4, "most_permutations": 4}
        tree = faithfulness.study(faces(6, 2), models=models, **options, **bands, **few)
    elif subject == "saliency":
        options = {"n_pairs": 12, "n_explained": 4, "n_joint": 1, "grid": 2, "steps": 2}
        options |= {"n_masks_space": 20, "n_masks_plane": 20, "folds": 2}
        attacks = ["FGSM:2"]
        tree = saliency.study(
            faces(6, 3), model=models[0], attacks=attacks, **options, **bands, **few
        )
    else:
        options = {"n_impostor": 400, "folds": 3}
        tree = improve.study(
            faces(12, 3), models=models, resolutions=[14], **options, **bands, **few
        )
    tree.load().attrs["store"] = store
    return tree


def verification(*, n_draws: int = 30, seed: int = 0) -> xr.Dataset:
    """Result of :func:`freqlab.verify` for two models and eight people of two groups.

    Parameters
    ----------
    n_draws
        Number of bootstrap draws.
    seed
        Seed of the pixels.

    Returns
    -------
    xarray.Dataset
        As returned by :func:`freqlab.verify`.

    Examples
    --------
    >>> import freqlab as fl
    >>> figures = fl.testing.verification()
    >>> figures["model"].to_numpy().tolist()
    ['linear', 'other']
    """
    return verify(
        faces(8, 3, seed, groups={"glasses": ("yes", "no")}),
        models=[model(), model("other", seed=1)],
        group="glasses",
        n_draws=n_draws,
        progress=False,
    )


def group_profiles(
    *, baseline: str | None = "red", n_draws: int = 30, n_permutations: int = 50, seed: int = 0
) -> xr.Dataset:
    """Result of :func:`freqlab.bias.profiles` for twelve people of three groups, two sides.

    Parameters
    ----------
    baseline, n_draws, n_permutations
        As for :func:`freqlab.bias.profiles`; the groups are ``red``, ``green`` and ``blue``.
    seed
        Seed of the pixels.

    Returns
    -------
    xarray.Dataset
        As returned by :func:`freqlab.bias.profiles`.

    Examples
    --------
    >>> import freqlab as fl
    >>> profiles = fl.testing.group_profiles()
    >>> profiles["group"].to_numpy().tolist()
    ['blue', 'green', 'red']
    """
    people = faces(12, 2, seed, groups=_GROUPS)
    pairs = make_pairs(people, impostors_per_genuine=5, seed=0)
    result = influence(people, pairs, sides=["probe", "reference"])
    labels = group_labels(people, "colour")
    return bias.profiles(
        result, labels, baseline=baseline, n_draws=n_draws, n_permutations=n_permutations
    )


def resolution_profiles(
    *, resolutions: Sequence[int] = (56, 28, 14), n_draws: int = 30, seed: int = 0
) -> xr.Dataset:
    """Result of :func:`freqlab.resolution.profiles` for probes of several resolutions.

    Parameters
    ----------
    resolutions
        Resolutions of the probes in pixels, in addition to that of the crops.
    n_draws
        Number of bootstrap draws.
    seed
        Seed of the pixels.

    Returns
    -------
    xarray.Dataset
        As returned by :func:`freqlab.resolution.profiles`.

    Examples
    --------
    >>> import freqlab as fl
    >>> profiles = fl.testing.resolution_profiles()
    >>> profiles["resolution"].to_numpy().tolist()
    [112.0, 56.0, 28.0, 14.0]
    """
    people = faces(4, 2, seed)
    lower = degrade(people, resolutions=list(resolutions))
    pairs = degraded_pairs(make_pairs(people, seed=0), lower)
    result = influence(lower, pairs, bands="rings:14", sides=["probe", "reference"])
    return resolution.profiles(result, n_draws=n_draws)


def morph_profiles(*, n_draws: int = 30, seed: int = 0) -> xr.Dataset:
    """Result of :func:`freqlab.morphing.profiles` for synthetic faces and their morphs.

    Parameters
    ----------
    n_draws
        Number of bootstrap draws.
    seed
        Seed of the pixels.

    Returns
    -------
    xarray.Dataset
        As returned by :func:`freqlab.morphing.profiles`.

    Examples
    --------
    >>> import freqlab as fl
    >>> profiles = fl.testing.morph_profiles()
    >>> [str(attack) for attack in profiles["attack"].to_numpy()]
    ['bona fide', 'mean']
    """
    mixed = morphed_faces(seed=seed)
    result = influence(mixed, morphing.make_pairs(mixed), sides=["probe", "reference"])
    return morphing.profiles(result, n_draws=n_draws)


def deletion_curves(*, fmr: float = 1e-1, n_random: int = 2, seed: int = 0) -> xr.Dataset:
    """Result of :func:`freqlab.faithfulness.deletion_curves` for one model and three bands.

    Parameters
    ----------
    fmr, n_random
        As for :func:`freqlab.faithfulness.deletion_curves`.
    seed
        Seed of the pixels.

    Returns
    -------
    xarray.Dataset
        As returned by :func:`freqlab.faithfulness.deletion_curves`.

    Examples
    --------
    >>> import freqlab as fl
    >>> curves = fl.testing.deletion_curves()
    >>> curves["protocol"].to_numpy().tolist()
    ['deletion', 'insertion']
    """
    network = model()
    result = influence(faces(4, 2, seed), models=[network])
    return faithfulness.deletion_curves(
        result, [network], fmr=fmr, n_random=n_random, progress=False
    )


def corrrise_maps(*, n_masks: int = 40, seed: int = 0) -> xr.Dataset:
    """Maps of :func:`freqlab.saliency.corrrise_maps` for two pairs.

    Parameters
    ----------
    n_masks
        As for :func:`freqlab.saliency.corrrise_maps`.
    seed
        Seed of the pixels.

    Returns
    -------
    xarray.Dataset
        As returned by :func:`freqlab.saliency.corrrise_maps`.

    Examples
    --------
    >>> import freqlab as fl
    >>> maps = fl.testing.corrrise_maps()
    >>> maps.sizes["pair"]
    2
    """
    result, network, pairs = _to_explain(seed)
    return saliency.corrrise_maps(result, network, pairs=pairs, n_masks=n_masks, progress=False)


def freqrise_maps(*, n_masks: int = 40, seed: int = 0) -> xr.Dataset:
    """Maps of :func:`freqlab.saliency.freqrise_maps` for two pairs.

    Parameters
    ----------
    n_masks
        As for :func:`freqlab.saliency.freqrise_maps`.
    seed
        Seed of the pixels.

    Returns
    -------
    xarray.Dataset
        As returned by :func:`freqlab.saliency.freqrise_maps`.

    Examples
    --------
    >>> import freqlab as fl
    >>> maps = fl.testing.freqrise_maps()
    >>> maps.sizes["pair"]
    2
    """
    result, network, pairs = _to_explain(seed)
    return saliency.freqrise_maps(result, network, pairs=pairs, n_masks=n_masks, progress=False)


def gradient_maps(*, steps: int = 2, seed: int = 0) -> xr.Dataset:
    """Maps of :func:`freqlab.saliency.gradient_maps` for two pairs.

    Parameters
    ----------
    steps
        As for :func:`freqlab.saliency.gradient_maps`.
    seed
        Seed of the pixels.

    Returns
    -------
    xarray.Dataset
        As returned by :func:`freqlab.saliency.gradient_maps`.

    Examples
    --------
    >>> import freqlab as fl
    >>> maps = fl.testing.gradient_maps()
    >>> maps.sizes["pair"]
    2
    """
    result, network, pairs = _to_explain(seed)
    return saliency.gradient_maps(result, network, pairs=pairs, steps=steps, progress=False)


def joint_maps(*, grid: int = 2, seed: int = 0) -> xr.Dataset:
    """Maps of :func:`freqlab.saliency.joint_maps` for two pairs.

    Parameters
    ----------
    grid
        As for :func:`freqlab.saliency.joint_maps`.
    seed
        Seed of the pixels.

    Returns
    -------
    xarray.Dataset
        As returned by :func:`freqlab.saliency.joint_maps`.

    Examples
    --------
    >>> import freqlab as fl
    >>> maps = fl.testing.joint_maps()
    >>> maps.sizes["pair"]
    2
    """
    result, network, pairs = _to_explain(seed)
    return saliency.joint_maps(result, network, pairs=pairs, grid=grid, progress=False)


def _to_explain(seed: int) -> tuple[xr.Dataset, Model, list[int]]:
    """A result, its model, and the labels of a genuine and an impostor pair."""
    network = model()
    result = influence(faces(3, 2, seed), models=[network])
    genuine = result["genuine"].to_numpy()
    return result, network, [int(np.argmax(genuine)), int(np.argmin(genuine))]
