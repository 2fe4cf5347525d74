"""Differences between groups and a baseline: in which bands, and beside the gaps in error rates.

Summaries of :func:`freqlab.bias.profiles` and :func:`freqlab.bias.errors`; no new estimate.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from freqlab.attrs import named, names_of, with_object_text
from freqlab.bias.group_names import with_group_labels
from freqlab.errors import ParameterError, check_name, check_number, check_side
from freqlab.literals import Comparison, Side
from freqlab.results.selection import at_fmr, band_coordinates
from freqlab.statistics.error_rates import check_fmr
from freqlab.statistics.resampling import estimates_of

__all__ = [
    "GAPS",
    "MIN_POINTS",
    "MIN_SPREAD",
    "differences",
    "drawable_gaps",
    "gap_points",
    "gaps",
    "gaps_together",
]

GAPS = {
    "EER gap": "eer_difference",
    "FMR gap": "false_match_rate_difference",
    "FNMR gap": "false_non_match_rate_difference",
}
"""Columns of :func:`gap_points`, and the variables of :func:`gaps` that they show."""

_ROUNDING = 12  # decimals kept of a gap, so that equal rates give a gap of zero
MIN_POINTS = 3
"""Fewest points of a scatter."""
MIN_SPREAD = 1e-9
"""Smallest spread of the values along an axis of a scatter; a smaller one is rounding."""

_NAMES = {
    "differs": ("band differs from the baseline", "1"),
    "n_differing": ("bands that differ from the baseline", "1"),
    "n_tested": ("bands tested", "1"),
    "largest_difference": (
        "largest difference from the baseline",
        "cosine similarity (per_contrast: per grey level)",
    ),
    "largest_effect": ("Cohen's d of the largest difference", "1"),
    "n_subjects": ("subjects of the smaller of the two groups", "1"),
}
_AXES = ("kind", "comparison", "group", "model", "side")


def differences(profiles: xr.Dataset, *, alpha: float = 0.05) -> xr.Dataset:
    """Summarise in how many bands each group differs from the baseline, and where most.

    A band differs where its p-value, adjusted over the bands of the profile, is at most `alpha`
    and the interval of the paired difference excludes zero.

    Parameters
    ----------
    profiles
        From :func:`freqlab.bias.profiles`.
    alpha
        Level of the adjusted p-values.

    Returns
    -------
    xarray.Dataset
        Along ``kind`` (directed, absolute, per_contrast), ``comparison``, ``group`` (without the
        baseline), ``model`` and ``side``: ``differs``, along ``band``; ``n_differing`` and
        ``n_tested``, counts of bands; ``largest_band``, ``largest_difference`` (along
        ``estimate``) and ``largest_effect`` (Cohen's d) of the band with the largest absolute
        difference, among the differing bands if there are any; ``n_subjects``, the smaller of the
        numbers of subjects of the group and of the baseline.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("bias")
    >>> profiles = study["profiles"].to_dataset()
    >>> found = fl.bias.differences(profiles)
    >>> found["differs"].dims
    ('kind', 'comparison', 'group', 'model', 'side', 'band')
    """
    check_number("alpha", alpha, above=0)
    baseline = str(profiles.attrs["baseline"])
    others = [name for name in names_of(profiles, "group") if name != baseline]
    data = profiles.sel(group=others)
    kinds = names_of(profiles, "kind")
    values = xr.concat([data[f"{kind}_difference"] for kind in kinds], pd.Index(kinds, name="kind"))
    values = values.transpose(*_AXES, "band", "estimate")
    p, effect = (
        data[name].transpose(*_AXES, "band").to_numpy() for name in ("p_adjusted", "effect_size")
    )
    value, lower, upper = estimates_of(values)
    tested = np.isfinite(p)
    with np.errstate(invalid="ignore"):
        differs = tested & (p <= alpha) & ((lower > 0) | (upper < 0))
    among = np.where(differs.any(axis=-1, keepdims=True), differs, tested)
    size = np.where(among & np.isfinite(value), np.abs(value), -1.0)
    place = size.argmax(axis=-1)[..., None]
    known = np.take_along_axis(size, place, -1)[..., 0] >= 0
    largest = np.take_along_axis(values.to_numpy(), place[..., None], -2)[..., 0, :]
    names = np.array(names_of(profiles, "band"), object)
    subjects = profiles["n_subjects"].transpose("comparison", "group", "model")
    summarised = xr.Dataset(
        {
            "differs": ((*_AXES, "band"), differs),
            "n_differing": (_AXES, differs.sum(axis=-1)),
            "n_tested": (_AXES, tested.sum(axis=-1)),
            "largest_band": (_AXES, np.where(known, names[place[..., 0]], "")),
            "largest_difference": (
                (*_AXES, "estimate"),
                np.where(known[..., None], largest, np.nan),
            ),
            "largest_effect": (
                _AXES,
                np.where(known, np.take_along_axis(effect, place, -1)[..., 0], np.nan),
            ),
            "n_subjects": np.minimum(
                subjects.sel(group=others), subjects.sel(group=baseline, drop=True)
            ),
        },
        coords={
            **{name: data[name] for name in (*_AXES, "estimate", "group_label")},
            **band_coordinates(profiles),
        },
        attrs={
            **{name: profiles.attrs[name] for name in ("baseline", "group", "level")},
            "alpha": alpha,
        },
    )
    return named(summarised, _NAMES)


def gaps(profiles: xr.Dataset, errors: xr.Dataset) -> xr.Dataset:
    """Put the distances between profiles beside the differences in error rates.

    Parameters
    ----------
    profiles
        From :func:`freqlab.bias.profiles`.
    errors
        From :func:`freqlab.bias.errors`, of the same models, with the same baseline.

    Returns
    -------
    xarray.Dataset
        Along ``model`` and ``group``, without the baseline and groups without error rates:
        ``distance(comparison, group, model, side, estimate)`` of the directed profiles from that
        of the baseline, and ``distance_p``; group minus baseline, ``eer_difference``,
        ``false_match_rate_difference`` and ``false_non_match_rate_difference``, the latter two
        along ``fmr``; NaN where a rate is not resolved. Differences in EER have no interval.

    Raises
    ------
    ParameterError
        If the baselines differ.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("bias")
    >>> profiles = study["profiles"].to_dataset()
    >>> errors = study["errors"].to_dataset()
    >>> fl.bias.gaps(profiles, errors)["distance"].dims
    ('comparison', 'group', 'model', 'side', 'estimate')
    """
    baseline, other = str(profiles.attrs["baseline"]), str(errors.attrs["baseline"])
    if baseline != other:
        raise ParameterError(
            f"errors have the baseline {other!r}, profiles the baseline {baseline!r}; "
            f"compute both with the same baseline="
        )
    data, rates = _beside(profiles, errors)
    paired = {
        name: (rates[name].dims, rates[name].to_numpy().round(_ROUNDING), rates[name].attrs)
        for name in list(GAPS.values())[1:]
    }
    eer = _gap(rates, "eer", errors.sel(group=baseline))
    together = xr.Dataset(
        {
            "distance": data["distance"],
            "distance_p": data["distance_p"],
            "eer_difference": eer.expand_dims(estimate=rates["estimate"], axis=-1).where(
                rates["estimate"] == "value"
            ),
            **paired,
        },
        coords={"fmr": rates["fmr"]},
        attrs={name: profiles.attrs[name] for name in ("baseline", "group", "level")},
    )
    together["eer_difference"].attrs = {
        "long_name": "difference in equal error rate",
        "units": "1",
    }
    return with_group_labels(with_object_text(together))


def gap_points(
    study: xr.DataTree, *, side: Side = "probe", comparison: Comparison = "genuine"
) -> pd.DataFrame:
    """Select the gaps of a study at its false match rate, for :func:`freqlab.plots.gaps_plot`.

    Parameters
    ----------
    study
        From :func:`freqlab.bias.study`.
    side, comparison
        Side and comparison of the profiles.

    Returns
    -------
    pandas.DataFrame
        By model and group (with its column, as in ``"glasses=yes"``): ``distance`` of the directed
        profiles, ``EER gap``, ``FMR gap`` and ``FNMR gap``, group minus baseline; NaN where a rate
        is not resolved.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("bias")
    >>> fl.bias.gap_points(study).columns.tolist()
    ['distance', 'EER gap', 'FMR gap', 'FNMR gap']
    """
    stored = study["gaps"].to_dataset()
    check_side(side, names_of(stored, "side"))
    check_name("comparison", comparison, names_of(stored, "comparison"))
    at = stored.sel(side=side, comparison=comparison, estimate="value")
    at = at_fmr(at, float(study.attrs["fmr"]))
    names = {"distance": "distance"} | GAPS
    columns = {
        column: at[name].transpose("model", "group").to_numpy().ravel()
        for column, name in names.items()
    }
    index = pd.MultiIndex.from_product(
        [names_of(at, "model"), names_of(at, "group_label")], names=["model", "group"]
    )
    return pd.DataFrame(columns, index=index)


def drawable_gaps(points: pd.DataFrame) -> list[str]:
    """Choose the gaps that a scatter over the distances can show.

    A scatter needs at least three points, and values along both axes that differ by more than
    rounding.

    Parameters
    ----------
    points
        From :func:`gap_points` or :func:`gaps_together`.

    Returns
    -------
    list of str
        Columns of `points`, the gap in FNMR first; empty if no scatter is worth drawing.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("bias")
    >>> points = fl.bias.gap_points(study)
    >>> fl.bias.drawable_gaps(points)
    []
    """
    return [column for column in ("FNMR gap", "FMR gap", "EER gap") if _spreads(points, column)]


def gaps_together(
    profiles: xr.Dataset,
    errors: xr.Dataset,
    *,
    side: Side = "probe",
    comparison: Comparison = "genuine",
    fmr: float = 1e-3,
) -> pd.DataFrame:
    """Tabulate profile distances and error gaps, a row per model and non-baseline group.

    Parameters
    ----------
    profiles
        From :func:`freqlab.bias.profiles`.
    errors
        From :func:`freqlab.bias.errors`.
    side, comparison
        Side and comparison of the profiles.
    fmr
        Nominal false match rate of the threshold.

    Returns
    -------
    pandas.DataFrame
        Columns ``distance`` of the directed profiles, ``EER gap``, ``FMR gap`` and ``FNMR gap``,
        group minus baseline; missing where a rate is not resolved.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("bias")
    >>> profiles = study["profiles"].to_dataset()
    >>> errors = study["errors"].to_dataset()
    >>> fl.bias.gaps_together(profiles, errors, fmr=0.1).columns.tolist()
    ['distance', 'EER gap', 'FMR gap', 'FNMR gap']
    """
    check_fmr(fmr)
    check_name("baseline", str(profiles.attrs["baseline"]), names_of(errors, "group"))
    data, rates = _beside(profiles, errors)
    base = errors.sel(group=profiles.attrs["baseline"])
    values = {
        "distance": data["distance"].sel(estimate="value", side=side, comparison=comparison),
        "EER gap": _gap(rates, "eer", base),
        "FMR gap": at_fmr(_gap(rates, "false_match_rate", base), fmr),
        "FNMR gap": at_fmr(_gap(rates, "false_non_match_rate", base), fmr),
    }
    columns = {
        name: one.transpose("model", "group").to_numpy().ravel() for name, one in values.items()
    }
    index = pd.MultiIndex.from_product(
        [names_of(data, "model"), names_of(data, "group")], names=["model", "group"]
    )
    return pd.DataFrame(columns, index=index).round(_ROUNDING)


def _beside(profiles: xr.Dataset, errors: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset]:
    """Profiles and error rates of the same models and groups, without the baseline."""
    baseline, known = str(profiles.attrs["baseline"]), names_of(errors, "group")
    models = names_of(profiles, "model")
    for model in models:
        check_name("model", model, names_of(errors, "model"))
    groups = [name for name in names_of(profiles, "group") if name != baseline and name in known]
    return profiles.sel(group=groups), errors.sel(model=models, group=groups)


def _gap(rates: xr.Dataset, name: str, base: xr.Dataset) -> xr.DataArray:
    """Difference of the value of a rate from that of the baseline, rounded."""
    value = rates[name].sel(estimate="value", drop=True)
    gap = value - base[name].sel(model=rates["model"], estimate="value", drop=True).drop_vars(
        ["group", "group_label"], errors="ignore"
    )
    return gap.round(_ROUNDING)


def _spreads(points: pd.DataFrame, column: str) -> bool:
    """Whether a scatter of a gap over the distances has enough points that differ."""
    known = points[["distance", column]].dropna().to_numpy(float)
    return len(known) >= MIN_POINTS and bool((np.ptp(known, axis=0) > MIN_SPREAD).all())
