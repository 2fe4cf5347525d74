"""A decision with a confidence: log-likelihood ratios of pairs, fitted and tested on other people.

People are dealt into folds. A pair is scored by a fit on the pairs of which both people are in
other folds than its own people, so that no person is in the fit and in the test.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from freqlab.attrs import names_of, with_object_text
from freqlab.errors import ParameterError, check_name, check_number
from freqlab.improve.likelihoods import (
    N_BINS,
    calibration_error,
    check_prior,
    cllr,
    costs_of,
    min_cllr,
    probability_of,
    reliability,
)
from freqlab.results.selection import with_axes
from freqlab.statistics.resampling import (
    ESTIMATES,
    check_draws,
    draw_subjects,
    means_over_pairs,
    pair_weights,
    subject_codes,
    with_interval,
)

__all__ = [
    "CALIBRATIONS",
    "PENALTIES",
    "calibrate",
    "calibration_figures",
    "check_penalty",
    "describe_probability",
    "fold_parts",
    "learnt_on_others",
    "logistic",
    "penalised",
    "profiles_of",
]

CALIBRATIONS = {
    "platt": "similarity, logistic regression (Platt)",
    "isotonic": "similarity, isotonic regression",
    "influence": "similarity and influence, regularised logistic regression",
}
"""Names of the calibrations and their descriptions."""

_FEWEST_FOLDS = 3
_FEWEST_PER_FIT = 10  # pairs of each kind
_ALMOST_NO_PENALTY = 1e-9  # of the fit on the similarity alone
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)
"""Penalties from which that of a fit is chosen."""

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Fit = Callable[[Floats, Bools, npt.NDArray[np.int64]], Callable[[Floats], Floats]]


def calibrate(
    result: xr.Dataset,
    *,
    model: str | None = None,
    genuine: npt.NDArray[np.bool_] | None = None,
    prior: float = 0.5,
    folds: int = 5,
    penalty: float | None = None,
    apply_to: xr.Dataset | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """Compute log-likelihood ratios of pairs, and the probability that a pair is genuine.

    Parameters
    ----------
    result
        From :func:`freqlab.influence`, with genuine and impostor pairs.
    model
        Name of the model; the first by default.
    genuine
        Whether each pair is genuine ``(pair,)``; by default as in the result.
    prior
        Probability that a pair is genuine, before it is compared.
    folds
        Number of folds of people, three or more.
    penalty
        Strength of the quadratic penalty on the weights of the standardised features, relative to
        the mean loss per pair. By default it is chosen from :data:`PENALTIES` by the Cllr of two
        folds of the people in the fit; people in the test have no part in this.
    apply_to
        A result of the same model, bands and sides over *other* people. The fit is then on all
        pairs of `result`, and the pairs of this result are scored.
    seed
        Seed of the assignment of people to folds.

    Returns
    -------
    xarray.Dataset
        ``log_likelihood_ratio(calibration, pair)``, natural logarithms, and
        ``probability(calibration, pair)``; NaN for a pair without a similarity or influence. The
        calibrations are those of :data:`CALIBRATIONS`. Coordinates ``genuine``, ``probe``,
        ``reference``, ``probe_subject``, ``reference_subject``; ``attrs["prior"]``.

    Raises
    ------
    ParameterError, UnknownNameError
        If there are too few people for the folds, a kind of pairs is missing, the similarity is
        constant, a person is in both results, or an argument does not fit.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("improve")
    >>> result = study["influence"].to_dataset()
    >>> calibrated = fl.improve.calibrate(result, folds=3)
    >>> calibrated["calibration"].to_numpy().tolist()
    ['platt', 'isotonic', 'influence']
    """
    check_prior(prior)
    check_number("folds", folds, at_least=_FEWEST_FOLDS, whole=True)
    check_penalty(penalty)
    check_number("seed", seed, at_least=0, whole=True)
    result = with_axes(result)
    name = names_of(result, "model")[0] if model is None else str(model)
    profiles = profiles_of(result, model=name)
    is_genuine = _labels(result, genuine)
    usable = np.asarray(np.isfinite(profiles).all(axis=1))
    _check_kinds(is_genuine, usable)
    if np.ptp(profiles[usable, 0]) == 0:
        raise ParameterError(
            f"result: the similarity is {profiles[usable, 0][0]:g} for all {int(usable.sum()):,} "
            f"pairs; a constant score cannot be calibrated"
        )
    fits = _fits(penalty)
    scored, subjects = result, subject_codes(result)
    if apply_to is None:
        ratios = np.full((len(fits), len(profiles)), np.nan)
        for fit_on, tested in fold_parts(subjects, usable, is_genuine, folds=folds, seed=seed):
            for k, fit in enumerate(fits.values()):
                fitted = fit(profiles[fit_on], is_genuine[fit_on], subjects[:, fit_on])
                ratios[k, tested] = fitted(profiles[tested])
    else:
        scored = with_axes(apply_to)
        _check_applicable(result, scored)
        others = profiles_of(scored, model=name)
        known = np.isfinite(others).all(axis=1)
        ratios = np.full((len(fits), len(others)), np.nan)
        for k, fit in enumerate(fits.values()):
            fitted = fit(profiles[usable], is_genuine[usable], subjects[:, usable])
            ratios[k, known] = fitted(others[known])
        is_genuine = scored["genuine"].to_numpy().astype(bool)
    axes = ("calibration", "pair")
    columns = ("probe", "reference", "probe_subject", "reference_subject")
    computed = xr.Dataset(
        {
            "log_likelihood_ratio": (
                axes,
                ratios,
                {"long_name": "log-likelihood ratio", "units": "1"},
            ),
            "probability": (
                axes,
                probability_of(ratios, prior),
                {"long_name": "probability that the pair is genuine", "units": "1"},
            ),
        },
        coords={
            "calibration": np.array(list(fits), object),
            "pair": scored["pair"].to_numpy(),
            "genuine": ("pair", is_genuine),
            **{c: ("pair", scored[c].to_numpy().astype(str).astype(object)) for c in columns},
        },
        attrs={"model": name, "prior": prior, "folds": folds, "seed": seed}
        | ({} if penalty is None else {"penalty": penalty}),
    )
    return with_object_text(computed)


def profiles_of(result: xr.Dataset, *, model: str) -> Floats:
    """Similarity of each pair, and its influence for each side and band ``(pair, 1 + feature)``.

    Bands without coefficients at the model's input size are left out.

    Raises
    ------
    UnknownNameError
        If the result has no such model.
    ParameterError
        If it has no influence for any pair.
    """
    check_name("model", model, names_of(result, "model"))
    data = result.sel(model=model)
    similarity = data["similarity"].to_numpy().astype(float)
    influence = data["influence"].transpose("pair", "side", "band").to_numpy().astype(float)
    flat = influence.reshape(len(similarity), -1)
    some = np.isfinite(flat).any(axis=0)
    if not some.any():
        raise ParameterError(
            f"result: no pair has an influence for model {model!r}; its bands were not embedded"
        )
    return np.column_stack([similarity, flat[:, some]])


def fold_parts(
    subjects: npt.NDArray[np.int64], usable: Bools, genuine: Bools, *, folds: int, seed: int
) -> Iterator[tuple[Bools, Bools]]:
    """Split pairs so that no person is in the fit and in the test.

    Parameters
    ----------
    subjects
        Numbers of the two subjects of each pair ``(2, pair)``.
    usable
        Pairs with all values ``(pair,)``.
    genuine
        Whether each pair is genuine ``(pair,)``.
    folds
        Number of folds of people.
    seed
        Seed of the assignment.

    Yields
    ------
    fit_on, tested : numpy.ndarray
        Whether each pair is in the fit and in the test ``(pair,)``. Every usable pair is tested
        once.

    Raises
    ------
    ParameterError
        If there are too few people, or a fit would have too few pairs of a kind.
    """
    people = np.unique(subjects[:, usable & genuine])
    if len(people) < 2 * folds:
        raise ParameterError(
            f"folds={folds}: {len(people)} people have genuine pairs; {2 * folds} or more are "
            f"required, two per fold"
        )
    n_all = int(subjects.max()) + 1
    of_person = np.empty(n_all, np.int64)
    rng = np.random.default_rng(seed)
    of_person[people] = rng.permutation(len(people)) % folds  # folds of equal size
    rest = np.setdiff1d(np.arange(n_all), people)
    of_person[rest] = rng.permutation(len(rest)) % folds
    of_pair = of_person[subjects]
    low, high = of_pair.min(axis=0), of_pair.max(axis=0)
    for i, j in itertools.combinations_with_replacement(range(folds), 2):
        tested = (low == i) & (high == j) & usable
        if not tested.any():
            continue
        fit_on = ~np.isin(of_pair, [i, j]).any(axis=0) & usable
        for kind, n in (
            ("genuine", int((fit_on & genuine).sum())),
            ("impostor", int((fit_on & ~genuine).sum())),
        ):
            if n < _FEWEST_PER_FIT:
                raise ParameterError(
                    f"folds={folds}: a fit would have {n} {kind} pairs of people who are not in "
                    f"its test; {_FEWEST_PER_FIT} or more are required"
                )
        yield fit_on, tested


def learnt_on_others(
    features: Floats,
    genuine: Bools,
    subjects: npt.NDArray[np.int64],
    *,
    folds: int,
    penalty: float | None,
    seed: int,
) -> Floats:
    """Log-likelihood ratio of each pair by logistic regression on pairs of other people.

    Parameters
    ----------
    features
        ``(pair, feature)``; a pair with NaN is neither fitted nor scored.
    genuine, subjects, folds, seed
        As for :func:`fold_parts`.
    penalty
        As for :func:`calibrate`.

    Returns
    -------
    numpy.ndarray
        ``(pair,)``.
    """
    usable = np.asarray(np.isfinite(features).all(axis=1))
    ratios = np.full(len(features), np.nan)
    for fit_on, tested in fold_parts(subjects, usable, genuine, folds=folds, seed=seed):
        fitted = penalised(features[fit_on], genuine[fit_on], subjects[:, fit_on], penalty)
        ratios[tested] = fitted(features[tested])
    return ratios


def _labels(result: xr.Dataset, genuine: npt.NDArray[np.bool_] | None) -> Bools:
    own = result["genuine"].to_numpy().astype(bool)
    if genuine is None:
        return own
    labels = np.asarray(genuine)
    if labels.shape != own.shape or labels.dtype != bool:
        raise ParameterError(
            f"genuine has shape {labels.shape} and type {labels.dtype} for {len(own):,} pairs; "
            f"expected one truth value per pair"
        )
    return labels


def _check_kinds(genuine: Bools, usable: Bools) -> None:
    for kind, n in (
        ("genuine", int((genuine & usable).sum())),
        ("impostor", int((~genuine & usable).sum())),
    ):
        if n == 0:
            n_nan = int((~usable).sum())
            raise ParameterError(
                f"result: there are no {kind} pairs with similarity and influence ({n_nan:,} of "
                f"{len(usable):,} pairs are NaN); both kinds are required"
            )


def _check_applicable(result: xr.Dataset, other: xr.Dataset) -> None:
    for axis in ("side", "band"):
        if names_of(result, axis) != names_of(other, axis):
            raise ParameterError(
                f"apply_to has other {axis}s than result: {names_of(other, axis)[:4]}, not "
                f"{names_of(result, axis)[:4]}"
            )
    ends = ("probe_subject", "reference_subject")
    own, others = (
        {str(name) for end in ends for name in data[end].to_numpy()} for data in (result, other)
    )
    shared = sorted(own & others)
    if shared:
        raise ParameterError(
            f"apply_to: {len(shared)} people, such as {shared[0]!r}, are in result too; a fit is "
            f"applied to other people only"
        )


def _fits(penalty: float | None) -> Mapping[str, Fit]:
    def platt(
        values: Floats, genuine: Bools, subjects: npt.NDArray[np.int64]
    ) -> Callable[[Floats], Floats]:
        fitted = logistic(values[:, :1], genuine, _ALMOST_NO_PENALTY)
        return lambda others: fitted(others[:, :1])

    def profile(
        values: Floats, genuine: Bools, subjects: npt.NDArray[np.int64]
    ) -> Callable[[Floats], Floats]:
        return penalised(values, genuine, subjects, penalty)

    return {"platt": platt, "isotonic": _isotonic, "influence": profile}


def check_penalty(penalty: float | None) -> None:
    """Refuse penalties that are neither None nor above zero.

    Raises
    ------
    ParameterError
        Naming the value.
    """
    if penalty is not None:
        check_number("penalty", penalty, above=0)


def penalised(
    values: Floats, genuine: Bools, subjects: npt.NDArray[np.int64], penalty: float | None
) -> Callable[[Floats], Floats]:
    """Fit logistic regression with a given penalty, or one chosen on the pairs of the fit.

    Parameters
    ----------
    values, genuine
        As for :func:`logistic`.
    subjects
        Numbers of the two subjects of each pair ``(2, pair)``.
    penalty
        The penalty; None to choose it: people are halved, each half is scored by a fit on the
        other, and the penalty of lowest Cllr is taken.
    """
    if penalty is None:
        people = np.unique(subjects[:, genuine])
        half = np.isin(subjects, people[::2])
        parts = [half.all(axis=0), (~half).all(axis=0)]
        costs = []
        for tried in PENALTIES:
            ratios = [
                logistic(values[fit_on], genuine[fit_on], tried)(values[tested])
                for fit_on, tested in (parts, parts[::-1])
            ]
            tested = np.concatenate([genuine[parts[1]], genuine[parts[0]]])
            costs.append(cllr(np.concatenate(ratios), tested))
        penalty = PENALTIES[int(np.argmin(costs))]
    return logistic(values, genuine, penalty)


def logistic(values: Floats, genuine: Bools, penalty: float) -> Callable[[Floats], Floats]:
    """Fit logistic regression with both kinds of equal weight, so that it gives the ratio itself.

    Parameters
    ----------
    values
        Features ``(pair, feature)``, standardised here.
    genuine
        Whether each pair is genuine ``(pair,)``.
    penalty
        Strength of the quadratic penalty, relative to the mean loss per pair.

    Returns
    -------
    callable
        Log-likelihood ratio ``(pair,)`` of values.
    """
    from sklearn.linear_model import LogisticRegression

    mean, spread = values.mean(axis=0), values.std(axis=0)
    spread[spread == 0] = 1.0
    strength = 1 / (penalty * len(values))
    regression = LogisticRegression(C=strength, class_weight="balanced", max_iter=2000)
    regression.fit((values - mean) / spread, genuine)

    def ratio(others: Floats) -> Floats:
        return np.asarray(regression.decision_function((others - mean) / spread), float)

    return ratio


def _isotonic(
    values: Floats, genuine: Bools, subjects: npt.NDArray[np.int64]
) -> Callable[[Floats], Floats]:
    """Fit isotonic regression of the similarity, both kinds of equal weight.

    Probabilities of zero and one, which would be infinite ratios, are limited to what one more pair
    of the other kind would have given.
    """
    from scipy.special import logit
    from sklearn.isotonic import IsotonicRegression

    n = np.array([(~genuine).sum(), genuine.sum()], float)
    weights = 0.5 / n[genuine.astype(int)]
    fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
    fitted.fit(values[:, 0], genuine.astype(float), weights)
    lowest, highest = 0.5 / (n[1] + 1), 1 - 0.5 / (n[0] + 1)

    def ratio(others: Floats) -> Floats:
        return np.asarray(logit(np.clip(fitted.predict(others[:, 0]), lowest, highest)), float)

    return ratio


def calibration_figures(
    calibrated: xr.Dataset, *, n_draws: int = 1000, level: float = 0.95, seed: int = 0
) -> xr.Dataset:
    """Compute how well log-likelihood ratios are calibrated, with intervals over people.

    Parameters
    ----------
    calibrated
        From :func:`calibrate`.
    n_draws, level, seed
        Bootstrap draws over people, coverage of the intervals, seed of the draws.

    Returns
    -------
    xarray.Dataset
        Along ``calibration``: ``cllr`` with ``estimate`` (value, lower, upper), ``min_cllr``,
        ``cllr_difference`` from ``"platt"``, paired over the draws; ``calibration_error`` at the
        prior; along ``bin``, ``predicted``, ``observed(estimate)`` and ``share``, the reliability
        diagram; ``n_genuine``, ``n_impostor``, ``n_people``.

    Raises
    ------
    ParameterError
        If an argument does not fit, or a kind of pairs is missing.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("improve")
    >>> result = study["influence"].to_dataset()
    >>> calibrated = fl.improve.calibrate(result, folds=3)
    >>> figures = fl.improve.calibration_figures(calibrated, n_draws=50)
    >>> sorted(figures.data_vars)
    ['calibration_error', 'cllr', 'cllr_difference', 'min_cllr', 'n_genuine', 'n_impostor',
    'n_people', 'observed', 'predicted', 'share']
    """
    check_draws(n_draws, level, seed)
    names = names_of(calibrated, "calibration")
    ratios = calibrated["log_likelihood_ratio"].transpose("calibration", "pair").to_numpy()
    kept = np.isfinite(ratios).all(axis=0)
    genuine = calibrated["genuine"].to_numpy().astype(bool)[kept]
    _check_kinds(calibrated["genuine"].to_numpy().astype(bool), kept)
    prior = float(calibrated.attrs["prior"])
    subjects = subject_codes(calibrated)[:, kept]
    draws = draw_subjects(int(subjects.max(initial=-1)) + 1, n_draws, seed)
    couples, cell = np.unique(subjects, axis=1, return_inverse=True)
    cell = cell.ravel()
    costs, curves, of_bins, errors, smallest = [], [], [], [], []
    for values in ratios[:, kept]:
        costs.append(_cost_draws(costs_of(values, genuine), genuine, subjects, draws))
        probabilities = probability_of(values, prior)
        predicted, observed, share = reliability(probabilities, genuine, prior=prior)
        curves.append(
            _observed_draws(probabilities, genuine, couples, cell, draws, prior, observed, level)
        )
        of_bins.append((predicted, share))
        errors.append(calibration_error(probabilities, genuine, prior=prior))
        smallest.append(min_cllr(values, genuine))
    cost = np.stack(costs)  # (calibration, 1 + draw)
    base = names.index("platt") if "platt" in names else 0
    change = np.stack(
        [with_interval(np.array(c[0]), c[1:, None], level).ravel() for c in cost - cost[base]]
    )
    change[base] = np.nan
    axis = ("calibration", "estimate")
    people = np.unique(subjects[:, genuine])
    data: dict[str, Any] = {
        "cllr": (
            axis,
            np.stack([with_interval(np.array(c[0]), c[1:, None], level).ravel() for c in cost]),
            {"long_name": "Cllr", "units": "bit"},
        ),
        "min_cllr": ("calibration", smallest, {"long_name": "minimum Cllr", "units": "bit"}),
        "cllr_difference": (axis, change, {"long_name": "difference in Cllr", "units": "bit"}),
        "calibration_error": (
            "calibration",
            errors,
            {"long_name": "expected calibration error", "units": "1"},
        ),
        "predicted": (
            ("calibration", "bin"),
            np.stack([one[0] for one in of_bins]),
            {"long_name": "mean probability", "units": "1"},
        ),
        "observed": (
            ("calibration", "bin", "estimate"),
            np.stack(curves),
            {"long_name": "share of genuine pairs", "units": "1"},
        ),
        "share": (
            ("calibration", "bin"),
            np.stack([one[1] for one in of_bins]),
            {"long_name": "share of pairs", "units": "1"},
        ),
        "n_genuine": ((), int(genuine.sum()), {"long_name": "genuine pairs"}),
        "n_impostor": ((), int((~genuine).sum()), {"long_name": "impostor pairs"}),
        "n_people": ((), len(people), {"long_name": "people with genuine pairs"}),
    }
    coords = {
        "calibration": np.array(names, object),
        "bin": np.arange(N_BINS),
        "estimate": list(ESTIMATES),
    }
    attrs = {**calibrated.attrs, "n_draws": n_draws, "level": level}
    return with_object_text(xr.Dataset(data, coords=coords, attrs=attrs))


def _cost_draws(
    costs: Floats,
    genuine: Bools,
    subjects: npt.NDArray[np.int64],
    draws: npt.NDArray[np.int64],
) -> Floats:
    """Cllr as observed and in each draw ``(1 + draw,)``."""
    kinds = []
    for kind in (genuine, ~genuine):
        couples, cell = np.unique(subjects[:, kind], axis=1, return_inverse=True)
        n_each = np.bincount(cell.ravel()).astype(float)
        summed = np.bincount(cell.ravel(), weights=costs[kind])
        means = means_over_pairs(np.stack([summed, n_each], axis=1), couples, draws)
        with np.errstate(invalid="ignore", divide="ignore"):
            kinds.append(means[:, 0] / means[:, 1])
    return np.asarray((kinds[0] + kinds[1]) / 2)


def _observed_draws(
    probabilities: Floats,
    genuine: Bools,
    couples: npt.NDArray[np.int64],
    cell: npt.NDArray[np.int64],
    draws: npt.NDArray[np.int64],
    prior: float,
    observed: Floats,
    level: float,
) -> Floats:
    """Share of genuine pairs in each bin with its interval ``(bin, 3)``."""
    place = np.clip((probabilities * N_BINS).astype(int), 0, N_BINS - 1)
    n_cells = couples.shape[1]
    sums = [
        np.bincount(cell[kind] * N_BINS + place[kind], minlength=n_cells * N_BINS)
        .reshape(n_cells, N_BINS)
        .astype(float)
        for kind in (genuine, ~genuine)
    ]
    drawn = np.full((len(draws), N_BINS), np.nan)
    for start in range(0, len(draws), 64):
        weights = pair_weights(couples, draws[start : start + 64].astype(float))
        own, others = (weights @ one for one in sums)
        with np.errstate(invalid="ignore", divide="ignore"):
            own *= prior / own.sum(axis=1, keepdims=True)
            others *= (1 - prior) / others.sum(axis=1, keepdims=True)
            drawn[start : start + 64] = own / (own + others)
    return with_interval(observed, drawn, level)


def describe_probability(
    calibrated: xr.Dataset, *, pair: int, calibration: str = "influence"
) -> str:
    """State the probability that a pair is genuine, and the log-likelihood ratio behind it.

    Parameters
    ----------
    calibrated
        From :func:`calibrate`.
    pair
        Label of the pair.
    calibration
        One of :data:`CALIBRATIONS`.

    Returns
    -------
    str
        Sentences.

    Raises
    ------
    UnknownNameError, ParameterError
        If there is no such pair or calibration.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("improve")
    >>> result = study["influence"].to_dataset()
    >>> calibrated = fl.improve.calibrate(result, folds=3)
    >>> print(fl.improve.describe_probability(calibrated, pair=0))
    The probability that both faces show one person is 0.523 at a prior of 0.5 ...
    """
    check_name("calibration", calibration, names_of(calibrated, "calibration"))
    labels = calibrated["pair"].to_numpy()
    if pair not in labels:
        raise ParameterError(
            f"pair={pair!r} is not among the {len(labels):,} pairs, {labels.min()} to "
            f"{labels.max()}"
        )
    one = calibrated.sel(pair=pair, calibration=calibration)
    ratio = float(one["log_likelihood_ratio"])
    if not np.isfinite(ratio):
        return "No probability: one of the two faces has no embedding."
    prior = float(calibrated.attrs["prior"])
    probability = float(one["probability"])
    text = f"{probability:.3g}"
    if not 0.001 <= probability <= 0.999:
        text = "above 0.999" if probability > 0.5 else "below 0.001"
    return (
        f"The probability that both faces show one person is {text} at a prior of {prior:g} "
        f"(natural log-likelihood ratio {ratio:+.2f}, fitted on other people)."
    )
