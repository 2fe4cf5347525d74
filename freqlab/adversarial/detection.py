"""Features that distinguish adversarially perturbed faces from natural faces of unseen people.

Three kinds of features are compared: Krawtchouk moments in bands of order at several positions
(:mod:`freqlab.adversarial.krawtchouk`), the power spectrum, and the influence of bands on the
pair's similarity. Only the last kind uses the model. Each kind is the input of a linear support
vector machine that is fitted on natural and attacked faces of some people, and tested on those of
others. Both people of a pair are in the same fold. A fit on shuffled labels shows the chance level.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr

from freqlab.adversarial.attacks import (
    ATTACKS,
    PerturbationSizes,
    adversarial_crops,
    perturbation_sizes,
)
from freqlab.adversarial.krawtchouk import krawtchouk_features, secret_selection
from freqlab.attrs import named, names_of, with_object_text
from freqlab.bands import spectrum
from freqlab.bands.base import Bands
from freqlab.bands.radial import cache_identity, rings
from freqlab.edits.pair_sets import PairSets
from freqlab.engine.removals import default_batch_size, embed_block
from freqlab.errors import ParameterError, check_name, check_number
from freqlab.models.spec import Model
from freqlab.results.selection import threshold_of
from freqlab.run.context import label_map
from freqlab.statistics.resampling import (
    subject_codes,
)
from freqlab.statistics.vectors import cosines
from freqlab.store.cache import Arrays, digest_of, kept
from freqlab.system.progress import one_output

__all__ = [
    "FEATURES",
    "SIZES",
    "check_attacks",
    "features",
    "scores",
]

FEATURES = ("Krawtchouk", "Krawtchouk, secret", "power spectrum", "influence")
"""Features of the detectors; a secret key selects those of the second."""

_SPECTRUM = rings(width=2)  # of the power spectrum: about twice as many as bands of influence
_TINY = 1e-6
_VARIABLES = ("krawtchouk", "secret", "spectrum", "influence")
_C = 0.1  # strong regularisation: there are many features and few faces
_ENDS = ("probe", "reference", "probe_subject", "reference_subject", "genuine")
SIZES = PerturbationSizes._fields
"""Names of the sizes of a perturbation."""
_NAMES = {
    "krawtchouk": ("log energy of Krawtchouk moments", "1"),
    "secret": ("log energy of Krawtchouk moments, selected", "1"),
    "spectrum": ("log energy of rings", "1"),
    "influence": ("directed influence", "cosine similarity"),
    "similarity": ("similarity", "cosine similarity"),
    "success": ("share of correct decisions that the attack changes", "1"),
    "largest_change": ("largest change of a pixel", "grey levels"),
    "mean_change": ("mean absolute change of a pixel", "grey levels"),
    "unchanged": ("share of unchanged pixels", "1"),
}

Floats = npt.NDArray[np.float64]
Attacks = Sequence[tuple[str, float]]


class _Probes(NamedTuple):
    """Probes of the pairs that can be compared, and the embeddings of their references."""

    rows: npt.NDArray[np.intp]
    """Rows of the pairs in the result."""
    crops: npt.NDArray[np.uint8]
    partners: npt.NDArray[np.floating]
    genuine: npt.NDArray[np.bool_]


@one_output()
def features(
    result: xr.Dataset,
    model: Model,
    *,
    attacks: Attacks = (("FGSM", 2), ("FGSM", 4), ("PGD", 1), ("PGD", 2)),
    steps: int = 10,
    key: str = "freqlab",
    share: float = 0.5,
    fmr: float = 1e-3,
    seed: int = 0,
    progress: bool = True,
) -> xr.Dataset:
    """Attack the probes of pairs, and compute features of natural and attacked probes.

    Parameters
    ----------
    result
        From :func:`freqlab.influence`, with the store that keeps its crops.
    model
        One of the models of the result, loaded. It is attacked, and used to compute influence.
    attacks
        Kind and strength in grey levels of each attack: ``"FGSM"`` or ``"PGD"``, and the largest
        change of a pixel.
    steps
        Number of steps of PGD.
    key, share
        Key and share of the secret selection of Krawtchouk features.
    fmr
        False match rate of the threshold at which attacks count as successful.
    seed
        Seed of the random starts of PGD.
    progress
        Whether progress bars are shown.

    Returns
    -------
    xarray.Dataset
        ``krawtchouk``, ``secret``, ``spectrum`` and ``influence``, along ``attack``, ``pair`` and
        the features of each kind; ``similarity(attack, pair)``; ``success(attack)``, the share of
        correct decisions that the attack changes, NaN where the threshold is not resolved;
        ``largest_change``, ``mean_change`` and ``unchanged(attack, pair)``, the strength that the
        attack reaches, as in :func:`freqlab.adversarial.perturbation_sizes`. The first
        attack is ``none``.

    Raises
    ------
    ParameterError
        If an argument is invalid.

    Examples
    --------
    >>> import freqlab as fl
    >>> model = fl.testing.model()
    >>> result = fl.testing.influence(fl.testing.faces(6, 3), models=[model])
    >>> features = fl.adversarial.features(
    ...     result, model, attacks=[("FGSM", 2)], fmr=0.1, progress=False
    ... )
    >>> features["attack"].to_numpy().tolist()
    ['none', 'FGSM 2']
    """
    check_attacks(attacks)
    sets = PairSets(result, model, progress=progress)
    probes = _probes(sets)
    threshold = threshold_of(result, model=model.name, fmr=fmr)
    names = ["none", *(f"{kind} {strength:g}" for kind, strength in attacks)]
    about = {
        "model": model.fingerprint(),
        "attacks": names,
        "steps": steps,
        "seed": seed,
        "rounding": "nearest",
        **cache_identity(sets.bands),
        "content": digest_of(probes.crops, probes.partners, probes.genuine),
    }
    store = str(sets.data.attrs["store"])
    arrays, seconds, known = kept(
        store, "attacks", about, lambda: _computed(sets, probes, attacks, steps, seed)
    )
    passes = int(arrays["passes"][0])
    chosen = secret_selection(arrays["krawtchouk"].shape[-1], key, share=share)
    data = sets.data.isel(pair=probes.rows)
    computed = xr.Dataset(
        {
            "krawtchouk": (("attack", "pair", "moment"), arrays["krawtchouk"]),
            "secret": (("attack", "pair", "chosen"), arrays["krawtchouk"][..., chosen]),
            "spectrum": (("attack", "pair", "ring"), arrays["spectrum"]),
            "influence": (("attack", "pair", "band"), arrays["influence"]),
            "similarity": (("attack", "pair"), arrays["similarity"]),
            "success": ("attack", _success(arrays["similarity"], probes.genuine, threshold)),
            **{name: (("attack", "pair"), arrays[name]) for name in SIZES},
        },
        coords={
            "attack": names,
            **{name: data[name] for name in ("pair", *_ENDS, "fold") if name in data.coords},
        },
        attrs={
            "model": model.name,
            "fmr": fmr,
            "seed": seed,
            "steps": steps,
            "passes": passes,
            "seconds": seconds,
            "forward_passes": 0 if known else passes,
            "store": store,
        },
    )
    return named(computed.drop_vars("model", errors="ignore"), _NAMES)


def check_attacks(attacks: Attacks) -> None:
    """Refuse attacks of an unknown kind or with a strength below one grey level.

    Raises
    ------
    ParameterError
        With the kind or the strength of the attack.
    """
    if not attacks:
        raise ParameterError("attacks=[]: give at least one attack, such as ('PGD', 2)")
    for kind, strength in attacks:
        check_name("attack", kind, ATTACKS)
        check_number("strength", strength, at_least=1)


def _probes(sets: PairSets) -> _Probes:
    """Select the pairs of which both faces were embedded."""
    rows = np.flatnonzero(sets.usable)
    return _Probes(
        rows,
        sets.crops[sets.ends[0, rows]],
        sets.intact[sets.ends[1, rows]],
        sets.data["genuine"].to_numpy()[rows],
    )


def _computed(sets: PairSets, probes: _Probes, attacks: Attacks, steps: int, seed: int) -> Arrays:
    """Compute the features of natural and attacked probes, and count forward passes."""
    parts = []
    for kind, strength in [("none", 0.0), *attacks]:
        crops = probes.crops
        if kind != "none":
            crops = adversarial_crops(
                sets.model,
                probes.crops,
                probes.partners,
                probes.genuine,
                attack=kind,
                strength=strength,
                steps=steps,
                seed=seed,
            )
        sizes = perturbation_sizes(probes.crops, crops)._asdict()
        parts.append({**_features(sets, crops, probes.partners), **sizes})
    arrays: Arrays = {name: np.stack([one[name] for one in parts]) for name in parts[0]}
    n_steps = sum(steps if kind == "PGD" else 1 for kind, _ in attacks)
    n_masked = len(parts) * (int(sets.held.sum()) + 1)
    # each step has a forward pass and a backward pass, which counts as two
    arrays["passes"] = np.array([len(probes.crops) * (3 * n_steps + n_masked)])
    return arrays


def _success(similarity: Floats, genuine: npt.NDArray[np.bool_], threshold: float) -> Floats:
    """Share of the correct decisions that each attack changes; the first row is unattacked."""
    correct = (similarity >= threshold) == genuine
    n_correct = int(correct[0].sum())
    if not np.isfinite(threshold) or not n_correct:
        return np.full(len(similarity), np.nan)
    return np.asarray((correct[:1] & ~correct).sum(axis=1) / n_correct)


def _features(
    sets: PairSets, crops: npt.NDArray[np.uint8], partners: npt.NDArray[np.floating]
) -> dict[str, npt.NDArray[Any]]:
    """Compute the features and similarities of crops; the first axis is the crop."""
    model, n_bands = sets.model, len(sets.held)
    removals = np.concatenate([np.zeros((1, n_bands), bool), np.eye(n_bands, dtype=bool)])
    batch_size = default_batch_size(model.device, model.precision)
    parts = sets.sets.parts
    embedded = embed_block(model, crops, removals, parts, batch_size=batch_size).embeddings
    similarity = np.stack(
        [cosines(one, partner[None])[:, 0] for one, partner in zip(embedded, partners, strict=True)]
    )
    return {
        "krawtchouk": krawtchouk_features(crops),
        "spectrum": _log_spectrum(crops, _SPECTRUM, model),
        "influence": similarity[:, :1] - similarity[:, 1:],
        "similarity": similarity[:, 0],
    }


def _log_spectrum(crops: npt.NDArray[np.uint8], bands: Bands, model: Model) -> Floats:
    """Log mean square of each band with coefficients, over pixels and colour channels."""
    labels = label_map(bands, model)
    images = torch.from_numpy(crops.astype(np.float32)).permute(0, 3, 1, 2)
    energy = spectrum.energy(images, torch.from_numpy(labels), len(bands)).numpy()
    return np.asarray(np.log(energy[:, np.unique(labels[labels >= 0])] + _TINY), float)


def scores(
    features: xr.Dataset, *, folds: int = 5, shuffled: bool = True, seed: int = 0
) -> xr.Dataset:
    """Compute the scores of detectors on faces of people who are not in the fit.

    Parameters
    ----------
    features
        From :func:`features`.
    folds
        Number of folds to which people are assigned, two or more. If the pairs have a column
        ``fold``, from :func:`freqlab.make_pairs` or a list of pairs, its folds are used instead.
    shuffled
        Whether to repeat the fits with labels that are shuffled among the fitted faces.
    seed
        Seed of the assignment of people and the shuffling of labels.

    Returns
    -------
    xarray.Dataset
        ``score(labels, attack, detector, natural, pair)``: a face with a score above 0 is
        classified as attacked. ``natural`` is True for the natural face and False for the attacked
        one; ``labels`` are ``true`` or ``shuffled``. ``fold(pair)`` is -1 and the score NaN where
        the people of a pair are in different folds. ``success(attack)``, and the means over pairs
        of ``largest_change``, ``mean_change`` and ``unchanged``.

    Raises
    ------
    ParameterError
        If an argument is invalid, there are fewer people than folds, or the column ``fold`` has
        fewer than two folds or folds that share people.

    Examples
    --------
    >>> import freqlab as fl
    >>> model = fl.testing.model()
    >>> result = fl.testing.influence(fl.testing.faces(6, 3), models=[model])
    >>> features = fl.adversarial.features(
    ...     result, model, attacks=[("FGSM", 2)], fmr=0.1, progress=False
    ... )
    >>> scores = fl.adversarial.scores(features, folds=3)
    >>> scores["score"].dims
    ('labels', 'attack', 'detector', 'natural', 'pair')
    """
    check_number("folds", folds, at_least=2, whole=True)
    check_number("seed", seed, at_least=0, whole=True)
    codes = subject_codes(features)
    rng = np.random.default_rng(seed)
    fold, folds = _folds(features, codes, folds, rng)
    attacks = names_of(features, "attack")[1:]
    kinds = ["true", "shuffled"] if shuffled else ["true"]
    values = [features[name].to_numpy().astype(float) for name in _VARIABLES]
    score = np.full((len(kinds), len(attacks), len(values), 2, len(fold)), np.nan)
    for number in range(folds):
        # a pair in two folds is not used: one of its people would be in the fit
        fitted, tested = (fold >= 0) & (fold != number), fold == number
        if not fitted.any() or not tested.any():
            continue
        truth = np.repeat([0, 1], fitted.sum())
        for k, kind in enumerate(kinds):
            for d, of_kind in enumerate(values):
                for a in range(len(attacks)):
                    labels = truth if kind == "true" else rng.permutation(truth)
                    both = of_kind[[0, a + 1]]
                    machine = _fitted(both[:, fitted].reshape(len(labels), -1), labels)
                    for m in range(2):
                        score[k, a, d, m, tested] = machine.decision_function(both[m, tested])
    computed = xr.Dataset(
        {
            "score": (
                ("labels", "attack", "detector", "natural", "pair"),
                score,
                {"long_name": "score of the detector", "units": "1"},
            ),
            "fold": ("pair", fold),
            "success": features["success"].isel(attack=slice(1, None)),
            **_mean_sizes(features),
        },
        coords={
            "labels": kinds,
            "attack": attacks,
            "detector": list(FEATURES),
            "natural": [True, False],
            **{
                name: features[name].drop_vars("fold", errors="ignore") for name in ("pair", *_ENDS)
            },
        },
        attrs={**features.attrs, "folds": folds},
    )
    return with_object_text(computed)


def _mean_sizes(features: xr.Dataset) -> dict[str, xr.DataArray]:
    """Mean over pairs of the sizes of perturbations, ``(attack,)`` each, without unattacked faces.

    Features that are not from :func:`features` may lack them.
    """
    return {
        name: features[name].isel(attack=slice(1, None)).mean("pair", keep_attrs=True)
        for name in SIZES
        if name in features
    }


def _fitted(values: Floats, labels: npt.NDArray[np.integer]) -> Any:
    """Fit a linear support vector machine to features ``(face, feature)``."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC

    machine = make_pipeline(StandardScaler(), LinearSVC(C=_C, max_iter=20_000))
    return machine.fit(values, labels)


def _folds(
    features: xr.Dataset, codes: npt.NDArray[np.int64], folds: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], int]:
    """Fold of each pair, -1 if its people are in different folds, and the number of folds."""
    n_people = int(codes.max()) + 1
    if "fold" in features.coords:
        names, fold = np.unique(features["fold"].to_numpy(), return_inverse=True)
        seen = np.full((len(names), n_people), 0)
        np.add.at(seen, (fold, codes[0]), 1)
        np.add.at(seen, (fold, codes[1]), 1)
        if len(names) < 2 or ((seen > 0).sum(axis=0) > 1).any():
            raise ParameterError(
                "the column 'fold' of the pairs must have two or more folds that share no person"
            )
        return fold, len(names)
    if n_people < folds:
        raise ParameterError(f"folds={folds!r} must not exceed the number of people, {n_people}")
    of_pair = rng.permutation(np.arange(n_people) % folds)[codes]
    return np.where(of_pair[0] == of_pair[1], of_pair[0], -1), folds
