"""Sentences on how well scores detect morphing attacks, with what limits each finding."""

from __future__ import annotations

import numpy as np
import xarray as xr

from freqlab.attrs import names_of
from freqlab.datasets.pair_tables import CONTROL
from freqlab.errors import check_name
from freqlab.morphing.detection import OWN_SCORES
from freqlab.morphing.paired import FEWEST_PEOPLE, points
from freqlab.morphing.score_fits import FUSION, RESIDUAL
from freqlab.statistics.resampling import excludes_zero
from freqlab.text.wording import join, percent

__all__ = ["best_score_sentences", "describe_best_score", "describe_fusion", "fusion_sentences"]

_POOLED = "all"
_CHANCE = 0.5  # D-EER of a score that does not separate attacks from bona fide pairs
_FEWEST_ERRORS = 30  # wrong decisions, of either score, from which a gain is stated
_RIVALS = ("power spectrum", "similarity")  # baselines that take no training


def describe_best_score(errors: xr.Dataset, *, attack: str = _POOLED) -> str:
    """State which score of influence alone is best, and its differences from the baselines.

    Parameters
    ----------
    errors
        From :func:`freqlab.morphing.detection_errors`.
    attack
        Name of the attack.

    Returns
    -------
    str
        Markdown: the score with the lowest D-EER among :data:`OWN_SCORES`, what limits this
        finding, and the paired differences of its D-EER from those of the power spectrum and the
        similarity. A difference is put into words only if its interval excludes zero, and it is
        based on at least :data:`FEWEST_PEOPLE` people.

    Raises
    ------
    UnknownNameError
        If there is no such attack.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("morphing")
    >>> errors = study["detection/linear"].to_dataset()
    >>> print(fl.morphing.describe_best_score(errors))
    The score of influence alone with the lowest observed D-EER is **mahalanobis**: ...
    """
    return " ".join(best_score_sentences(errors, attack=attack))


def best_score_sentences(errors: xr.Dataset, *, attack: str = _POOLED) -> list[str]:
    """Return the sentences of :func:`describe_best_score`.

    Parameters
    ----------
    errors, attack
        As for :func:`describe_best_score`.

    Raises
    ------
    UnknownNameError
        If there is no such attack.
    """
    check_name("attack", attack, names_of(errors, "attack"))
    data = errors.sel(attack=attack)
    value = data["d_eer"].sel(score_name=list(OWN_SCORES), estimate="value").to_numpy()
    if not np.isfinite(value).any():
        return ["No score could be tested: there are no attacks, or no bona fide pairs."]
    best = OWN_SCORES[int(np.nanargmin(value))]
    rate = percent(data["d_eer"].sel(score_name=best), 1)
    finding = (
        f"The score of influence alone with the lowest observed D-EER is **{best}**: {rate}. It "
        f"was chosen among {len(OWN_SCORES)} on these attacks, so this rate is optimistic"
    )
    control = _control_doubt(errors, best)
    return [f"{finding}{control}.", _against_baselines(data, best)]


def describe_fusion(errors: xr.Dataset, *, attack: str = _POOLED) -> str:
    """State whether influence adds to the similarity, on other people than those of the fit.

    Parameters
    ----------
    errors
        From :func:`freqlab.morphing.detection_errors`.
    attack
        Name of the attack.

    Returns
    -------
    str
        Markdown: D-EER of the fusion of similarity and influence, of the similarity alone, and
        their paired difference as **gain**, **no gain** or **loss**. No verdict is given for fewer
        than 30 wrong decisions of both scores, or fewer than :data:`FEWEST_PEOPLE` people. Then,
        if it was computed, the D-EER of the residual spectrum of the document, and the paired
        difference of the fusion from it.

    Raises
    ------
    UnknownNameError
        If there is no such attack.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.morphed_faces(n_subjects=20, per_subject=3)
    >>> result = fl.testing.influence(
    ...     faces, fl.morphing.make_pairs(faces), sides=["probe", "reference"]
    ... )
    >>> scores = fl.morphing.scores(result, model="linear")
    >>> print(fl.morphing.describe_fusion(fl.morphing.detection_errors(scores)))
    Similarity and influence fused, fitted with attacks on other people: D-EER ...
    """
    return " ".join(fusion_sentences(errors, attack=attack))


def fusion_sentences(errors: xr.Dataset, *, attack: str = _POOLED) -> list[str]:
    """Return the sentences of :func:`describe_fusion`, the verdict first.

    Parameters
    ----------
    errors, attack
        As for :func:`describe_fusion`.

    Raises
    ------
    UnknownNameError
        If there is no such attack.
    """
    check_name("attack", attack, names_of(errors, "attack"))
    data = errors.sel(attack=attack)
    rate = {name: percent(data["d_eer"].sel(score_name=name), 1) for name in (FUSION, "similarity")}
    if not rate[FUSION]:
        return [
            "Influence was not fused with the similarity: a fold of people has no attack pairs."
        ]
    change = data["d_eer_difference"].sel(score_name=FUSION)
    of_similarity = change.sel(baseline="similarity")
    text = (
        f"Similarity and influence fused, fitted with attacks on other people: D-EER "
        f"{rate[FUSION]}, against {rate['similarity']} of the similarity alone: "
        f"{_verdict(data, of_similarity)}."
    )
    if RESIDUAL not in names_of(data, "baseline"):
        return [text]
    of_spectrum = change.sel(baseline=RESIDUAL)
    rate_of_spectrum = percent(data["d_eer"].sel(score_name=RESIDUAL), 1)
    of_residual = (
        f"The residual spectrum of the document, which needs no face model, has a D-EER of "
        f"{rate_of_spectrum}"
    )
    if int(data["n_people"]) < FEWEST_PEOPLE or not points(of_spectrum):
        return [text, f"{of_residual}."]
    relation = "zero lies within the interval of the difference of the fusion from it"
    if excludes_zero(of_spectrum):
        above = "above" if float(of_spectrum.sel(estimate="value")) > 0 else "below"
        relation = f"the fusion lies {above} it"
    return [text, f"{of_residual}; {relation}: {points(of_spectrum)}."]


def _verdict(data: xr.Dataset, change: xr.DataArray) -> str:
    """State the verdict on the difference of the fusion from the similarity, with its numbers."""
    n_errors = int(data["n_errors"].sel(score_name=[FUSION, "similarity"]).max())
    n_people = int(data["n_people"])
    if n_people < FEWEST_PEOPLE:
        return f"{n_people} people are too few for a verdict"
    if n_errors < _FEWEST_ERRORS:
        return (
            f"{n_errors} wrong decisions are too few for a verdict, which takes {_FEWEST_ERRORS} "
            f"({points(change)})"
        )
    if not excludes_zero(change):
        return f"**no gain** ({points(change)})"
    kind = "gain" if float(change.sel(estimate="value")) < 0 else "loss"
    return f"**{kind}** of {points(change, absolute=True)}"


def _control_doubt(errors: xr.Dataset, score: str) -> str:
    """State whether a score also detects controls, after a semicolon; empty if it does not."""
    if CONTROL not in errors["attack"]:
        return "; there are no controls to show whether it detects the morph or the warp"
    rate = errors["d_eer"].sel(attack=CONTROL, score_name=score)
    if not float(rate.sel(estimate="upper")) < _CHANCE:
        return ""
    return (
        f"; it also separates controls from untouched documents (D-EER {percent(rate, 1)}, where "
        f"50 % is chance), so it detects the warp at least in part"
    )


def _against_baselines(data: xr.Dataset, score: str) -> str:
    """State the paired differences in D-EER of a score from the baselines."""
    people = int(data["n_people"])
    if people < FEWEST_PEOPLE:
        return (
            f"It is not compared with the baselines, since {people} people are fewer than "
            f"{FEWEST_PEOPLE}."
        )
    clear, unclear = [], []
    for baseline in _RIVALS:
        name = f"the {baseline}"
        change = data["d_eer_difference"].sel(score_name=score, baseline=baseline)
        if excludes_zero(change):
            sign = "below" if float(change.sel(estimate="value")) < 0 else "above"
            clear.append(f"{points(change, absolute=True)} {sign} that of {name}")
        elif points(change):
            unclear.append(f"{name}: {points(change)}")
    texts = [f"its D-EER is {join(clear)}"] if clear else []
    if unclear:
        which = (
            "interval of its difference" if len(unclear) == 1 else "intervals of its differences"
        )
        texts.append(f"zero lies within the {which} from {join(unclear)}")
    text = "; ".join(texts) or "its differences from the baselines are not known"
    return f"{text[0].upper()}{text[1:]}."
