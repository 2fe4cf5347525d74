"""A decision with a confidence: log-likelihood ratios of pairs, fitted and tested on other people.

:mod:`freqlab.improve.fits` keeps the people of a fit and of its test apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import xarray as xr

from freqlab.attrs import names_of, with_object_text
from freqlab.errors import ParameterError, check_name, check_number
from freqlab.improve.fits import (
    FEWEST_FOLDS,
    check_penalty,
    fold_parts,
    isotonic,
    logistic,
    penalised,
)
from freqlab.improve.likelihoods import check_kinds, check_prior, probability_of
from freqlab.results.selection import with_axes
from freqlab.results.sentences import probability_text
from freqlab.statistics.resampling import subject_codes

__all__ = ["CALIBRATIONS", "calibrate", "describe_probability", "profiles_of"]

CALIBRATIONS = {
    "platt": "similarity, logistic regression (Platt)",
    "isotonic": "similarity, isotonic regression",
    "influence": "similarity and influence, regularised logistic regression",
}
"""Names of the calibrations and their descriptions."""

_ALMOST_NO_PENALTY = 1e-9  # of the fit on the similarity alone

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
        the mean loss per pair. By default it is chosen from
        :data:`freqlab.improve.fits.PENALTIES` by the Cllr of two folds of the people in the fit;
        people in the test have no part in this.
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
    check_number("folds", folds, at_least=FEWEST_FOLDS, whole=True)
    check_penalty(penalty)
    check_number("seed", seed, at_least=0, whole=True)
    result = with_axes(result)
    name = names_of(result, "model")[0] if model is None else str(model)
    profiles = profiles_of(result, model=name)
    is_genuine = _labels(result, genuine)
    usable = np.asarray(np.isfinite(profiles).all(axis=1))
    check_kinds(is_genuine, usable)
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

    return {"platt": platt, "isotonic": isotonic, "influence": profile}


def describe_probability(
    calibrated: xr.Dataset, *, pair: int, calibration: str = "influence"
) -> str:
    """State the probability that a pair is genuine, and the log-likelihood ratio behind it.

    :func:`freqlab.results.describe_pair` adds this to the decision on the pair.

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
    return probability_text(calibrated.sel(calibration=calibration), pair=pair)
