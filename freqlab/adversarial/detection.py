"""Features that distinguish adversarially perturbed faces from natural faces of unseen people.

Three kinds of features are compared: Krawtchouk moments in bands of order at several places
(:mod:`freqlab.adversarial.krawtchouk`), the power spectrum, and the influence of bands on the
pair's similarity, the only kind that uses the model. Each is the input of a linear support vector
machine, fitted on natural and attacked faces of some people and tested on those of others; both
people of a pair are in the same fold. The same fit on shuffled labels shows chance level.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from freqlab.adversarial.attacks import ATTACKS, adversarial_crops
from freqlab.adversarial.krawtchouk import krawtchouk_features, secret_selection
from freqlab.attrs import names_of, with_object_text
from freqlab.bands.radial import Bands, rings
from freqlab.edits.pair_sets import PairSets
from freqlab.engine.removals import default_batch_size, embed_block
from freqlab.errors import ParameterError, check_name, check_number
from freqlab.models.spec import Model
from freqlab.results.selection import threshold_of
from freqlab.run.context import label_map
from freqlab.statistics.resampling import (
    ESTIMATES,
    check_draws,
    draw_subjects,
    pair_weights,
    subject_codes,
    with_interval,
)
from freqlab.statistics.vectors import cosines
from freqlab.store.cache import Arrays, digest_of, kept
from freqlab.text.wording import percent, with_bounds

__all__ = [
    "FEATURES",
    "detection_errors",
    "detection_table",
    "features",
    "scores",
]

FEATURES = ("Krawtchouk", "Krawtchouk, secret", "power spectrum", "influence")
"""Features of the detectors; the secret features are those that a key selects."""

_SPECTRUM = rings(width=2)  # for the power spectrum: about twice the number of influence bands
_TINY = 1e-6
_VARIABLES = ("krawtchouk", "secret", "spectrum", "influence")
_SOFTNESS = 0.1  # softness of the margin: there are many features and few faces

Floats = npt.NDArray[np.float64]


def features(
    result: xr.Dataset,
    model: Model,
    *,
    attacks: Sequence[tuple[str, float]] = (("FGSM", 2), ("FGSM", 4), ("PGD", 1), ("PGD", 2)),
    steps: int = 10,
    key: str = "freqlab",
    share: float = 0.5,
    fmr: float = 1e-3,
    seed: int = 0,
    progress: bool = True,
) -> xr.Dataset:
    """Attack the probes of a result's pairs, and compute features of natural and attacked probes.

    Parameters
    ----------
    result
        From :func:`freqlab.influence`, with the store that keeps its crops.
    model
        One of the models of the result, loaded. It is attacked, and used to compute influence.
    attacks
        Kind and strength in grey levels of each attack, as for :func:`adversarial_crops`.
    steps
        Number of steps of PGD.
    key, share
        Key and share of the secret selection of Krawtchouk features.
    fmr
        False match rate of the threshold at which attacks count as successful.
    seed
        Seed of random starts.
    progress
        Whether bars are written to standard error.

    Returns
    -------
    xarray.Dataset
        ``krawtchouk``, ``secret``, ``spectrum``, ``influence``, along ``attack, pair`` and the
        features of each kind; ``similarity(attack, pair)``; ``success(attack)``, the share of
        pairs decided correctly before and wrongly after the attack, NaN where the threshold is
        not resolved. The first attack is ``none``.

    Raises
    ------
    ParameterError
        If an argument is invalid.
    """
    if not attacks:
        raise ParameterError("attacks=[]: name at least one, such as ('PGD', 2)")
    for kind, strength in attacks:
        check_name("attack", kind, ATTACKS)
        check_number("strength", strength, at_least=1)
    names = ["none", *(f"{kind} {strength:g}" for kind, strength in attacks)]
    sets = PairSets(result, model, progress=progress)
    rows = np.flatnonzero(sets.usable)
    crops = sets.crops[sets.ends[0, rows]]
    partners = sets.intact[sets.ends[1, rows]]
    genuine = sets.data["genuine"].to_numpy()[rows]
    labels = sets.sets.labels

    def compute() -> Arrays:
        parts: list[dict[str, npt.NDArray[Any]]] = []
        for kind, strength in [("none", 0), *attacks]:
            changed = crops
            if kind != "none":
                changed = adversarial_crops(
                    model,
                    crops,
                    partners,
                    genuine,
                    attack=kind,
                    strength=strength,
                    steps=steps,
                    seed=seed,
                )
            parts.append(_features(model, changed, partners, labels, len(sets.held)))
        found: Arrays = {name: np.stack([one[name] for one in parts]) for name in parts[0]}
        n_steps = sum(steps if kind == "PGD" else 1 for kind, _ in attacks)
        masked = len(names) * (int(sets.held.sum()) + 1)
        # a backward pass counts as two
        found["passes"] = np.array([len(crops) * (3 * n_steps + masked)])
        return found

    about = {
        **{"model": model.fingerprint(), "attacks": names, "steps": steps, "seed": seed},
        **{"edges": [float(edge) for edge in sets.bands.edges], "unit": sets.bands.unit},
        "content": digest_of(crops, partners, genuine),
    }
    arrays, seconds, known = kept(str(sets.data.attrs["store"]), "attacks", about, compute)
    chosen = secret_selection(arrays["krawtchouk"].shape[-1], key, share=share)
    similarity = arrays["similarity"]
    threshold = threshold_of(result, model=model.name, fmr=fmr)
    right = (similarity >= threshold) == genuine
    n_right = int(right[0].sum())
    success = np.full(len(names), np.nan)
    if np.isfinite(threshold) and n_right:
        success = (right[:1] & ~right).sum(axis=1) / n_right
    passes = int(arrays["passes"][0])
    ends = ("probe", "reference", "probe_subject", "reference_subject", "genuine")
    data = sets.data.isel(pair=rows)
    found = xr.Dataset(
        {
            "krawtchouk": (("attack", "pair", "moment"), arrays["krawtchouk"]),
            "secret": (("attack", "pair", "chosen"), arrays["krawtchouk"][..., chosen]),
            "spectrum": (("attack", "pair", "ring"), arrays["spectrum"]),
            "influence": (("attack", "pair", "band"), arrays["influence"]),
            "similarity": (("attack", "pair"), similarity),
            "success": ("attack", success),
        },
        coords={
            "attack": names,
            **{name: data[name] for name in ("pair", *ends, "fold") if name in data.coords},
        },
        attrs={
            **{"model": model.name, "fmr": fmr, "seed": seed, "steps": steps, "passes": passes},
            **{"seconds": seconds, "forward_passes": 0 if known else passes},
            "store": str(sets.data.attrs["store"]),
        },
    ).drop_vars("model", errors="ignore")
    texts = {
        "krawtchouk": ("log energy of Krawtchouk moments", "1"),
        "secret": ("log energy of Krawtchouk moments, selected", "1"),
        "spectrum": ("log energy of rings", "1"),
        "influence": ("directed influence", "cosine similarity"),
        "similarity": ("similarity", "cosine similarity"),
        "success": ("attacks that turn a right decision", "1"),
    }
    for name, (long_name, units) in texts.items():
        found[name].attrs.update(long_name=long_name, units=units)
    return with_object_text(found)


def _features(
    model: Model,
    crops: npt.NDArray[np.uint8],
    partners: npt.NDArray[np.floating],
    labels: npt.NDArray[np.int64],
    n_bands: int,
) -> dict[str, npt.NDArray[Any]]:
    """Compute features of crops, along crop and feature."""
    removals = np.concatenate([np.zeros((1, n_bands), bool), np.eye(n_bands, dtype=bool)])
    batch_size = default_batch_size(model.device, model.precision)
    embedded = embed_block(model, crops, removals, labels, batch_size=batch_size).embeddings
    scores = np.stack(
        [cosines(one, partner[None])[:, 0] for one, partner in zip(embedded, partners, strict=True)]
    )
    return {
        "krawtchouk": krawtchouk_features(crops),
        "spectrum": _log_spectrum(crops, _SPECTRUM, model),
        "influence": scores[:, :1] - scores[:, 1:],
        "similarity": scores[:, 0],
    }


def _log_spectrum(crops: npt.NDArray[np.uint8], bands: Bands, model: Model) -> Floats:
    """Log mean square of each band with coefficients, over pixels and colours."""
    import torch

    from freqlab.bands import spectrum

    labels = label_map(bands, model)
    images = torch.from_numpy(crops.astype(np.float32)).permute(0, 3, 1, 2)
    energy = spectrum.energy(images, torch.from_numpy(labels), len(bands)).numpy()
    return np.asarray(np.log(energy[:, np.unique(labels[labels >= 0])] + _TINY), float)


def scores(
    features: xr.Dataset, *, folds: int = 5, shuffled: bool = True, seed: int = 0
) -> xr.Dataset:
    """Compute scores of detectors, each tested on people who are not in its fit.

    Parameters
    ----------
    features
        From :func:`features`.
    folds
        Number of folds to which people are assigned, two or more. If the pairs have a column
        ``fold`` (:func:`freqlab.make_pairs`, lists that are read), its folds are used.
    shuffled
        Whether to repeat this with labels shuffled among the fitted faces.
    seed
        Seed of the assignment of people and the shuffling of labels.

    Returns
    -------
    xarray.Dataset
        ``score(labels, attack, detector, natural, pair)``: scores above 0 classify the face as
        attacked; ``natural`` is whether the face is unperturbed. ``labels`` is ``true`` or
        ``shuffled``. Pairs whose people are in different folds are NaN, with ``fold(pair)`` -1.
    """
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC

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
        fitted, tried = fold >= 0, fold == number
        fitted &= ~tried
        if not fitted.any() or not tried.any():
            continue
        # a pair in two folds is not used: whichever fold tests it, the other person is in the fit
        truth = np.repeat([0, 1], fitted.sum())
        for k, kind in enumerate(kinds):
            for d, one in enumerate(values):
                for a in range(len(attacks)):
                    labels = truth if kind == "true" else rng.permutation(truth)
                    both = np.concatenate([one[0, fitted], one[a + 1, fitted]])
                    machine = make_pipeline(
                        StandardScaler(), LinearSVC(C=_SOFTNESS, max_iter=20_000)
                    ).fit(both, labels)
                    for m, some in enumerate((one[0, tried], one[a + 1, tried])):
                        score[k, a, d, m, tried] = machine.decision_function(some)
    ends = ("probe", "reference", "probe_subject", "reference_subject", "genuine")
    computed = xr.Dataset(
        {
            "score": (
                ("labels", "attack", "detector", "natural", "pair"),
                score,
                {"long_name": "score of the detector", "units": "1"},
            ),
            "fold": ("pair", fold),
            "success": features["success"].isel(attack=slice(1, None)),
        },
        coords={
            "labels": kinds,
            "attack": attacks,
            "detector": list(FEATURES),
            "natural": [True, False],
            **{name: features[name].drop_vars("fold", errors="ignore") for name in ("pair", *ends)},
        },
        attrs={**features.attrs, "folds": folds},
    )
    return with_object_text(computed)


def _folds(
    features: xr.Dataset, codes: npt.NDArray[np.int64], folds: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], int]:
    """Return the fold of each pair, -1 if its people are in two, and the number of folds."""
    n_people = int(codes.max()) + 1
    if "fold" in features.coords:
        names, fold = np.unique(features["fold"].to_numpy(), return_inverse=True)
        seen = np.full((len(names), n_people), 0)
        np.add.at(seen, (fold, codes[0]), 1)
        np.add.at(seen, (fold, codes[1]), 1)
        if len(names) < 2 or ((seen > 0).sum(axis=0) > 1).any():
            raise ParameterError(
                "the pairs' column fold must hold two folds or more that share no person"
            )
        return fold, len(names)
    if n_people < folds:
        raise ParameterError(f"folds={folds!r} needs as many people; there are {n_people}")
    of_pair = rng.permutation(np.arange(n_people) % folds)[codes]
    return np.where(of_pair[0] == of_pair[1], of_pair[0], -1), folds


def detection_errors(
    scores: xr.Dataset, *, n_draws: int = 1000, level: float = 0.95, seed: int = 0
) -> xr.Dataset:
    """Compute the area under the ROC curve and accuracy of detectors, with intervals over people.

    Parameters
    ----------
    scores
        From :func:`scores`.
    n_draws, level, seed
        Bootstrap draws over subjects, coverage, seed. A pair is weighted by the count of its
        person, or by the product of the counts of its two people.

    Returns
    -------
    xarray.Dataset
        ``auc`` and ``accuracy`` ``(labels, attack, detector, estimate)``; accuracy is the mean
        over natural and attacked faces at a score of 0; ``n_pairs``, the number of tested pairs.
    """
    check_draws(n_draws, level, seed)
    codes = subject_codes(scores)
    used = scores["fold"].to_numpy() >= 0
    draws = draw_subjects(int(codes.max()) + 1, n_draws, seed)
    weights = np.concatenate([np.ones((1, used.sum())), pair_weights(codes[:, used], draws)])
    values = scores["score"].transpose("labels", "attack", "detector", "natural", "pair")
    known = values.to_numpy()[..., used]
    found: Mapping[str, Floats] = {
        name: np.full((*known.shape[:3], 3), np.nan) for name in ("auc", "accuracy")
    }
    total = weights.sum(axis=1)
    for place in np.ndindex(known.shape[:3]):
        natural, attacked = known[place]
        wins = (attacked[:, None] > natural) + 0.5 * (attacked[:, None] == natural)
        with np.errstate(invalid="ignore", divide="ignore"):
            auc = np.einsum("dp,pq,dq->d", weights, wins, weights, optimize=True) / total**2
            right = (weights @ (natural <= 0) + weights @ (attacked > 0)) / total / 2
        for name, drawn in (("auc", auc), ("accuracy", right)):
            found[name][place] = with_interval(drawn[:1], drawn[1:, None], level)[0]
    axes = ("labels", "attack", "detector", "estimate")
    computed = xr.Dataset(
        {
            "auc": (axes, found["auc"], {"long_name": "area under the ROC curve", "units": "1"}),
            "accuracy": (axes, found["accuracy"], {"long_name": "accuracy", "units": "1"}),
            "success": scores["success"],
            "n_pairs": int(used.sum()),
        },
        coords={
            "labels": scores["labels"],
            "attack": scores["attack"],
            "detector": scores["detector"],
            "estimate": list(ESTIMATES),
        },
        attrs={**scores.attrs, "n_draws": n_draws, "level": level},
    )
    return with_object_text(computed)


def detection_table(errors: xr.Dataset) -> pd.DataFrame:
    """Tabulate detectors against attacks: AUC with its interval, and accuracy.

    Parameters
    ----------
    errors
        From :func:`detection_errors`.
    """
    rows = []
    for attack in errors["attack"].to_numpy():
        here = errors.sel(attack=attack)
        success = float(here["success"])
        row = {
            ("", "attack"): str(attack),
            ("", "success"): "" if np.isnan(success) else f"{100 * success:.0f}\u00a0%",
        }
        for detector in errors["detector"].to_numpy():
            one = here.sel(detector=detector, labels="true")
            row[(str(detector), "AUC")] = with_bounds(one["auc"], ".2f")
            row[(str(detector), "accuracy")] = percent(one["accuracy"], 0)
            if "shuffled" in errors["labels"]:
                chance = float(here["auc"].sel(detector=detector, labels="shuffled")[0])
                row[(str(detector), "AUC, shuffled")] = f"{chance:.2f}"
        rows.append(row)
    table = pd.DataFrame(rows)
    table.columns = pd.MultiIndex.from_tuples(list(rows[0]))
    return table.set_index(("", "attack")).rename_axis("attack")
