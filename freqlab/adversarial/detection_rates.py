"""Error rates of the detection of attacks, and their table."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr

from freqlab.adversarial.detection import SIZES, Floats
from freqlab.attrs import names_of, with_object_text
from freqlab.statistics.resampling import (
    ESTIMATES,
    FEWEST_PEOPLE,
    check_draws,
    draw_subjects,
    pair_weights,
    subject_codes,
    with_interval,
)
from freqlab.text.wording import with_bounds

__all__ = ["detection_errors", "detection_table", "estimate_text", "is_interval"]


def detection_errors(
    scores: xr.Dataset, *, n_draws: int = 1000, level: float = 0.95, seed: int = 0
) -> xr.Dataset:
    """Compute the area under the ROC curve and the accuracy of detectors.

    Parameters
    ----------
    scores
        From :func:`scores`.
    n_draws, level, seed
        Bootstrap draws over subjects, coverage of the intervals, seed of the draws. The weight of
        a pair in a draw is the count of its person, or the product of the counts of its two people.

    Returns
    -------
    xarray.Dataset
        ``auc(labels, attack, detector, estimate)``; ``accuracy``, likewise, of decisions at a
        score of 0, mean of natural and attacked faces; ``success(attack)`` and the sizes of the
        perturbations, as from :func:`scores`; ``n_pairs`` and ``n_people``, the numbers of tested
        pairs and of their people.

    Examples
    --------
    >>> import freqlab as fl
    >>> model = fl.testing.model()
    >>> result = fl.testing.influence(fl.testing.faces(6, 3), models=[model])
    >>> features = fl.adversarial.features(
    ...     result, model, attacks=[("FGSM", 2)], fmr=0.1, progress=False
    ... )
    >>> scores = fl.adversarial.scores(features, folds=3)
    >>> errors = fl.adversarial.detection_errors(scores, n_draws=50)
    >>> errors["detector"].to_numpy().tolist()
    ['Krawtchouk', 'Krawtchouk, secret', 'power spectrum', 'influence']
    """
    check_draws(n_draws, level, seed)
    codes = subject_codes(scores)
    used = scores["fold"].to_numpy() >= 0
    draws = draw_subjects(int(codes.max()) + 1, n_draws, seed)
    weights = np.concatenate([np.ones((1, used.sum())), pair_weights(codes[:, used], draws)])
    values = scores["score"].transpose("labels", "attack", "detector", "natural", "pair")
    tested = values.to_numpy()[..., used]
    estimates: Mapping[str, Floats] = {
        name: np.full((*tested.shape[:3], 3), np.nan) for name in ("auc", "accuracy")
    }
    total = weights.sum(axis=1)
    for index in np.ndindex(tested.shape[:3]):
        natural, attacked = tested[index]
        wins = (attacked[:, None] > natural) + 0.5 * (attacked[:, None] == natural)
        with np.errstate(invalid="ignore", divide="ignore"):
            auc = np.einsum("dp,pq,dq->d", weights, wins, weights, optimize=True) / total**2
            accuracy = (weights @ (natural <= 0) + weights @ (attacked > 0)) / total / 2
        for name, drawn in (("auc", auc), ("accuracy", accuracy)):
            estimates[name][index] = with_interval(drawn[:1], drawn[1:, None], level)[0]
    axes = ("labels", "attack", "detector", "estimate")
    computed = xr.Dataset(
        {
            "auc": (
                axes,
                estimates["auc"],
                {"long_name": "area under the ROC curve", "units": "1"},
            ),
            "accuracy": (axes, estimates["accuracy"], {"long_name": "accuracy", "units": "1"}),
            **{name: scores[name] for name in ("success", *SIZES) if name in scores},
            "n_pairs": int(used.sum()),
            "n_people": len(np.unique(codes[:, used])),
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
    """Tabulate the AUC and the accuracy of each detector for each attack, with intervals.

    Intervals are left out if there are fewer than 20 people, and where all bootstrap draws have the
    same value. Changes are absolute, in grey levels, and means over the attacked probes.

    Parameters
    ----------
    errors
        From :func:`detection_errors`.

    Returns
    -------
    pandas.DataFrame
        A row for each attack and detector, such as ``Krawtchouk, PGD 2``.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("saliency")
    >>> errors = study["attacks"].to_dataset()
    >>> fl.adversarial.detection_table(errors).columns.tolist()
    ['success', 'largest change', 'mean change', 'unchanged pixels', 'AUC', 'accuracy',
    'AUC, shuffled labels']
    """
    enough = int(errors["n_people"]) >= FEWEST_PEOPLE
    rows = []
    for attack in names_of(errors, "attack"):
        success = float(errors["success"].sel(attack=attack))
        for detector in names_of(errors, "detector"):
            one = errors.sel(attack=attack, detector=detector)
            true = one.sel(labels="true")
            row = {
                "detector": f"{detector}, {attack}",
                "success": "" if np.isnan(success) else f"{100 * success:.0f}\u00a0%",
                **_sizes_text(one),
                "AUC": estimate_text(true["auc"], interval=enough),
                "accuracy": estimate_text(
                    100 * true["accuracy"], 0, unit="\u00a0%", interval=enough
                ),
            }
            if "shuffled" in errors["labels"]:
                chance = float(one["auc"].sel(labels="shuffled", estimate="value"))
                row["AUC, shuffled labels"] = f"{chance:.2f}"
            rows.append(row)
    return pd.DataFrame(rows).set_index("detector").rename_axis(None)


def _sizes_text(of_attack: xr.Dataset) -> dict[str, str]:
    """Columns of :func:`detection_table` on the strength that an attack reaches."""
    if not all(name in of_attack for name in SIZES):
        return {}
    unchanged = 100 * float(of_attack["unchanged"])
    return {
        "largest change": f"{float(of_attack['largest_change']):g}",
        "mean change": f"{float(of_attack['mean_change']):.2f}",
        "unchanged pixels": f"{unchanged:.0f}\u00a0%",
    }


def is_interval(values: xr.DataArray) -> bool:
    """Whether the bounds of an estimate are known and do not coincide up to rounding.

    Bounds coincide where all bootstrap draws have the same value, as with two people.

    Parameters
    ----------
    values
        Value and bounds along ``estimate``.
    """
    lower, upper = (float(values.sel(estimate=bound)) for bound in ESTIMATES[1:])
    return lower < upper and not np.isclose(lower, upper, rtol=1e-9, atol=1e-12)


def estimate_text(
    values: xr.DataArray, digits: int = 2, *, sign: str = "", unit: str = "", interval: bool = True
) -> str:
    """Format an estimate and its interval, if it has one; empty where the estimate is NaN.

    Parameters
    ----------
    values
        Value and bounds along ``estimate``.
    digits
        Number of decimals; up to two more are shown where the bounds are the same as written.
    sign
        ``"+"`` to show the sign of positive numbers.
    unit
        Text after the value.
    interval
        Whether to show the interval.
    """
    if not interval or not is_interval(values):
        value = values.where(values["estimate"] == ESTIMATES[0])
        return with_bounds(value, f"{sign}.{digits}f", unit=unit)
    lower, upper = (float(values.sel(estimate=bound)) for bound in ESTIMATES[1:])
    forms = [f"{sign}.{n}f" for n in range(digits, digits + 3)]
    differing = [form for form in forms if f"{lower:{form}}" != f"{upper:{form}}"]
    return with_bounds(values, differing[0] if differing else forms[-1], unit=unit)
