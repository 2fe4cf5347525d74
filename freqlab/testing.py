"""Small synthetic faces, models and results of every study, for documentation and tests.

No face is a photograph of a person, and no file is read. Each result comes from the function that
it is an example of, applied to a few random crops and a linear network, within a second or two.
Only :func:`result` is filled with numbers from the caller.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
import xarray as xr

from freqlab import bias, faithfulness, improve, morphing, resolution, saliency
from freqlab.attrs import named, to_json
from freqlab.bands.base import Bands
from freqlab.bands.radial import Rings
from freqlab.errors import ParameterError, check_name, check_number
from freqlab.faces.degraded import degrade, degraded_pairs
from freqlab.faces.groups import group_labels
from freqlab.faces.pairs import make_pairs
from freqlab.faces.table import Faces
from freqlab.models.callables import wrap_model
from freqlab.models.spec import Model
from freqlab.run.calls import influence as influence_of
from freqlab.verification import study as verification_study
from freqlab.verification import verify

__all__ = [
    "LinearNetwork",
    "corrrise_maps",
    "deletion_curves",
    "faces",
    "freqrise_maps",
    "gradient_maps",
    "group_profiles",
    "influence",
    "joint_maps",
    "model",
    "morph_profiles",
    "morphed_faces",
    "resolution_profiles",
    "result",
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
_SIDES = ("probe", "reference", "both")
_SIZE = 112
_GROUPS = {"colour": ("red", "green", "blue")}
_NAMES = {
    "influence": ("directed influence", "cosine similarity"),
    "removed_rms": ("RMS contrast removed", "grey levels"),
    "similarity": ("cosine similarity", "1"),
    "threshold": ("threshold", "cosine similarity"),
}


class LinearNetwork(torch.nn.Module):
    """A fixed random linear map of the pixels, so that influence is known in closed form.

    With the matrix ``A``, pixels ``x`` of one face and ``y`` of the other, and ``x_b`` the part of
    ``x`` in band ``b``, the similarity is ``cos(A x, A y)``. The influence of the band, removed
    from the first face, is ``cos(A x, A y) - cos(A (x - x_b), A y)``.

    Parameters
    ----------
    n_features
        Length of an embedding.
    size
        Width and height of a crop in pixels.
    seed
        Seed of the matrix.

    Examples
    --------
    >>> import torch
    >>> import freqlab as fl
    >>> network = fl.testing.LinearNetwork(n_features=8)
    >>> tuple(network(torch.zeros(2, 3, 112, 112)).shape)
    (2, 8)
    """

    matrix: torch.Tensor

    def __init__(self, n_features: int = 16, size: int = _SIZE, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        matrix = torch.randn(n_features, 3 * size * size, generator=generator)
        self.register_buffer("matrix", matrix / (3 * size * size) ** 0.5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Embeddings ``(n, feature)`` of images ``(n, channel, height, width)``."""
        return images.flatten(1) @ self.matrix.T


def model(name: str = "linear", *, n_features: int = 16, seed: int = 0) -> Model:
    """A :class:`LinearNetwork` as a model for any study.

    Parameters
    ----------
    name
        Name of the model in results.
    n_features, seed
        As for :class:`LinearNetwork`.

    Returns
    -------
    Model
        Model of the template ``"arcface"``.

    Examples
    --------
    >>> import freqlab as fl
    >>> fl.testing.model().name
    'linear'
    """
    return wrap_model(LinearNetwork(n_features, seed=seed), name=name)


def faces(
    n_subjects: int = 4,
    per_subject: int = 3,
    seed: int = 0,
    size: int = _SIZE,
    *,
    groups: Mapping[str, Sequence[str]] | None = None,
    ages: bool = False,
    **options: Any,
) -> Faces:
    """Aligned random crops with detail at all frequencies, similar within a subject.

    Parameters
    ----------
    n_subjects, per_subject
        Number of people (``p0``, ``p1``, ...) and of photographs of each (``p0/0``, ``p0/1``, ...).
    seed
        Seed of the pixels and ages.
    size
        Width and height in pixels.
    groups
        Columns of the table and their values, which are assigned to the subjects in turn.
    ages
        Whether to add a column ``age`` in years; the photographs of a subject are one to five
        years apart.
    **options
        Passed to :class:`freqlab.Faces`.

    Returns
    -------
    Faces
        Aligned to the template ``"arcface"``.

    Raises
    ------
    ParameterError
        If a number is below 1, or a group has no values.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.faces(2, 2, groups={"glasses": ["yes", "no"]})
    >>> faces.names
    ['p0/0', 'p0/1', 'p1/0', 'p1/1']
    >>> faces.table["glasses"].tolist()
    ['yes', 'yes', 'no', 'no']
    """
    for argument, number in (
        ("n_subjects", n_subjects),
        ("per_subject", per_subject),
        ("size", size),
    ):
        check_number(argument, number, at_least=1, whole=True)
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(n_subjects):
        own = rng.normal(128, 40, (size, size, 3))
        images += [
            np.clip(own + rng.normal(0, 20, own.shape), 0, 255).astype(np.uint8)
            for _ in range(per_subject)
        ]
    subject = np.repeat(np.arange(n_subjects), per_subject)
    photograph = np.tile(np.arange(per_subject), n_subjects)
    columns: dict[str, Any] = {"subject": [f"p{s}" for s in subject]}
    for column, values in (groups or {}).items():
        if not len(values):
            raise ParameterError(f"groups: {column!r} has no values")
        columns[column] = np.array(values, object)[subject % len(values)]
    if ages:
        years = np.random.default_rng(seed)
        first = years.integers(18, 60, (n_subjects, 1))
        later = years.integers(1, 6, (n_subjects, per_subject)).cumsum(axis=1)
        columns["age"] = (first + later - later[:, :1]).ravel()
    names = [f"p{s}/{i}" for s, i in zip(subject, photograph, strict=True)]
    table = pd.DataFrame(columns, index=pd.Index(names, name="face"))
    return Faces(table, images=images, **{"aligned": "arcface", "name": "synthetic", **options})


def influence(
    of: Faces | None = None,
    pairs: pd.DataFrame | None = None,
    *,
    models: Sequence[Model] | None = None,
    bands: Bands | str = "rings:28",
    store: str | os.PathLike[str] | None = None,
    **options: Any,
) -> xr.Dataset:
    """A result of :func:`freqlab.influence`, with influence, thresholds and contrast removed.

    Parameters
    ----------
    of
        Faces; :func:`faces` by default.
    pairs
        Pairs of these faces; by default from :func:`freqlab.make_pairs`.
    models
        Models; :func:`model` by default.
    bands
        Bands; few by default, because each costs a forward pass of every face.
    store
        Store of the run; in memory by default.
    **options
        Passed to :func:`freqlab.influence`.

    Returns
    -------
    xarray.Dataset
        Result in memory. Its attribute ``store`` is the store of the run, with crops and
        embeddings.

    Examples
    --------
    >>> import freqlab as fl
    >>> result = fl.testing.influence()
    >>> dict(result["influence"].sizes)
    {'model': 1, 'pair': 24, 'side': 3, 'band': 3}
    """
    of = faces() if of is None else of
    return influence_of(
        of,
        make_pairs(of, seed=0) if pairs is None else pairs,
        models=[model()] if models is None else models,
        bands=bands,
        store=store,
        **{"progress": False, **options},
    ).load()


def result(
    values: npt.ArrayLike,
    *,
    probe_subject: Sequence[str] | npt.NDArray[Any] | None = None,
    reference_subject: Sequence[str] | npt.NDArray[Any] | None = None,
    removed_rms: npt.ArrayLike = 1.0,
    similarity: npt.ArrayLike = 0.0,
    thresholds: Mapping[float, float] | None = None,
    bands: Bands | None = None,
    columns: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """A result in the form of :func:`freqlab.influence`, with given influence.

    Parameters
    ----------
    values
        Influence ``(model, pair, side, band)``. Models are named ``m``, ``m1``, and so on; sides
        are the first of ``probe``, ``reference`` and ``both``.
    probe_subject, reference_subject
        Subjects of the probes and references ``(pair,)``. By default each pair has a separate
        person, and the reference shows the person of the probe. A pair of one person is genuine.
    removed_rms
        Contrast removed, in grey levels; broadcast to the shape of `values`.
    similarity
        Similarity of the untouched pairs; broadcast to ``(model, pair)``.
    thresholds
        Decision thresholds by false match rate, the same for all models.
    bands
        Bands along the last axis; by default rings with a width of four cycles/image.
    columns
        Further coordinates of the pairs by name, such as ``probe`` and ``attack``; they replace
        default coordinates of the same name.

    Returns
    -------
    xarray.Dataset
        Result in memory, without a store.

    Raises
    ------
    ParameterError
        If `values` does not have four axes, has more than three sides, or does not match `bands`.

    Examples
    --------
    >>> import numpy as np
    >>> import freqlab as fl
    >>> result = fl.testing.result(np.ones((1, 4, 1, 3)))
    >>> result["band"].to_numpy().tolist()
    ['0-4', '4-8', '8-12']
    """
    array = np.asarray(values)
    if array.ndim != 4 or array.shape[2] > len(_SIDES):
        raise ParameterError(
            f"values must be (model, pair, side, band), of up to three sides; got {array.shape}"
        )
    n_models, n_pairs, n_sides, n_bands = array.shape
    bands = bands or Rings(tuple(4.0 * np.arange(n_bands + 1)))
    if len(bands) != n_bands:
        raise ParameterError(f"values have {n_bands} bands, but bands are {len(bands)}")
    names = ["m", *(f"m{k}" for k in range(1, n_models))]
    pair_columns = {
        **_default_columns(n_pairs, probe_subject, reference_subject),
        **(columns or {}),
    }
    dims = ("model", "pair", "side", "band")
    dataset = xr.Dataset(
        {
            "influence": (dims, array),
            "removed_rms": (dims, np.broadcast_to(removed_rms, array.shape)),
            "similarity": (dims[:2], np.broadcast_to(similarity, array.shape[:2])),
        },
        coords={
            "model": np.array(names, object),
            "pair": np.arange(n_pairs),
            "side": np.array(_SIDES[:n_sides], object),
            "band": ("band", np.array(bands.names, object), bands.axis_attrs),
            "frequency": ("band", bands.frequency),
            "band_bounds": (("band", "bound"), bands.bounds),
            **{name: ("band", one.values, one.attrs) for name, one in bands.coordinates.items()},
            **{name: ("pair", np.asarray(column)) for name, column in pair_columns.items()},
        },
        attrs={"identity": _identity(bands, names)},
    )
    if thresholds:
        dataset = dataset.assign_coords(fmr=list(thresholds))
        per_model = np.tile(list(thresholds.values()), (n_models, 1))
        dataset["threshold"] = (("model", "fmr"), per_model)
        n_comparisons = round(10 / min(thresholds))
        dataset["impostor_comparisons"] = ("model", np.full(n_models, n_comparisons))
    frequency = dict.fromkeys(("frequency", "band_bounds"), ("spatial frequency", bands.unit))
    return named(dataset, {**_NAMES, **frequency})


def _default_columns(
    n_pairs: int,
    probe_subject: Sequence[str] | npt.NDArray[Any] | None,
    reference_subject: Sequence[str] | npt.NDArray[Any] | None,
) -> dict[str, npt.NDArray[Any]]:
    """Names, subjects and labels of the pairs of :func:`result`."""
    if probe_subject is None:
        probe_subject = [f"p{i}" for i in range(n_pairs)]
    of_probe = np.asarray(probe_subject, object)
    of_reference = of_probe if reference_subject is None else np.asarray(reference_subject, object)
    numbers = np.arange(n_pairs).astype(str).astype(object)
    return {
        "probe": "probe" + numbers,
        "reference": "reference" + numbers,
        "probe_subject": of_probe,
        "reference_subject": of_reference,
        "genuine": (of_probe == of_reference).astype(bool),
    }


def _identity(bands: Bands, names: Sequence[str]) -> str:
    """Declaration of the bands and models of :func:`result`, as a run stores it."""
    about = {"input_size": [_SIZE, _SIZE], "eye_distance": None}
    return to_json({"bands": bands.declaration(), "models": dict.fromkeys(names, about)})


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


def morphed_faces(n_subjects: int = 6, per_subject: int = 3, seed: int = 0) -> Faces:
    """Faces of :func:`faces`, and a morph of each two neighbours, the mean of their pixels.

    Parameters
    ----------
    n_subjects, per_subject, seed
        As for :func:`faces`; at least two people and two photographs of each.

    Returns
    -------
    Faces
        Faces with the columns that :func:`freqlab.morphing.make_pairs` reads.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.morphed_faces()
    >>> faces.names[-1]
    'p5+p0'
    """
    for argument, number in (("n_subjects", n_subjects), ("per_subject", per_subject)):
        check_number(argument, number, at_least=2, whole=True)
    people = faces(n_subjects, per_subject, seed)
    images = [np.asarray(image) for image in people.images or ()]
    whole = people.table.assign(morph=False, contributor_a="", contributor_b="", tool="")
    rows, mixed = {}, []
    for k in range(n_subjects):
        a, b = f"p{k}", f"p{(k + 1) % n_subjects}"
        first, second = (images[per_subject * int(name[1:])] for name in (a, b))
        mixed.append(((first.astype(float) + second) / 2).round().astype(np.uint8))
        rows[f"{a}+{b}"] = (f"{a}+{b}", True, a, b, "mean")
    columns = ["subject", "morph", "contributor_a", "contributor_b", "tool"]
    morphs = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    table = pd.concat([whole, morphs]).rename_axis("face")
    return Faces(table, images=[*images, *mixed], aligned="arcface", name="synthetic")


def morph_profiles(*, n_draws: int = 30, seed: int = 0) -> xr.Dataset:
    """Result of :func:`freqlab.morphing.profiles` for pairs of :func:`morphed_faces`.

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
