"""Findings of the study of what influence is good for, in a few sentences.

Each sentence is on one use of influence, at all resolutions of the probes. A lack of gain is stated
with the same emphasis as a gain. The numbers behind every verdict are in
:func:`freqlab.improve.overview_table`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import xarray as xr

from freqlab.attrs import names_of
from freqlab.improve.discarding import RANDOM
from freqlab.improve.report import Part, calibration_verdict, has_verdict, parts_of
from freqlab.improve.score_gains import FEWEST_ERRORS, GAIN, LOSS, NO_GAIN
from freqlab.results.selection import at_fmr, fmr_text
from freqlab.statistics.resampling import FEWEST_PEOPLE
from freqlab.text.shown import as_markdown
from freqlab.text.wording import NBSP, join, percent, signed

__all__ = ["summary"]

_WORDS = {
    "bands": "the mean without one band",
    "learnt": "learnt weights over bands",
    "influence": "influence beside the similarity",
    "energy": "band energies",
    "alike": "the reference degraded alike",
    "flip": "flip averaging",
}
_MATCHED_WORDS = {
    "nyquist": "the reference within the probe's limit",
    "influence": "the bands that support other people",
}
_SEARCHED_WORDS = _WORDS | {
    "alike": "the gallery degraded alike",
    "nyquist": "the gallery within the probe's limit",
}
_CONTROLS = ("energy", "alike", "flip")
_RIVALS = ("flip stability", "embedding norm", "sharpness", "contrast", "detection")


def summary(study: xr.DataTree) -> list[str]:
    """Summarise a study: where there is a gain, and where there is none, with the same emphasis.

    Parameters
    ----------
    study
        From :func:`freqlab.improve.study`.

    Returns
    -------
    list of str
        Five or six sentences for each model, in Markdown: the errors of the similarity alone, then
        the verdicts on scores, quality, calibration, matched bands (if probes are degraded) and
        searches.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("improve")
    >>> for sentence in fl.improve.summary(study):
    ...     print("-", sentence)
    - At FMR 1e-1, the similarity alone rejects 91.7 % [65.0, 99.6] of the genuine ...
    - Other scores: at 14 pixels **no verdict**, too few people (12); 20 are required.
    - Discarding up to 20 % of the samples by band stability instead of at random: at ...
    - Influence as a second input of log-likelihood ratios: at 14 pixels **no verdict** ...
    - Matched bands: at 14 pixels **no verdict**, too few people (12); 20 are required.
    - Searches among 12 people: at 14 pixels the similarity errs at rank 1 in ...
    """
    fmr, parts = float(study.attrs["fmr"]), parts_of(study)
    models = list(dict.fromkeys(part.model for part in parts))
    sentences = []
    for model in models:
        start = f"**{as_markdown(model)}.** " if len(models) > 1 else ""
        of_model = [part for part in parts if part.model == model]
        sentences += [start + text for text in _sentences(of_model, fmr)]
    level = 100 * float(parts[0].gains.attrs["level"])
    sentences[0] += f" Brackets hold {level:g}{NBSP}% intervals over people."
    return sentences


def _sentences(parts: Sequence[Part], fmr: float) -> list[str]:
    """Findings on one model."""
    measure = str(parts[0].discard.attrs["measure"])
    n_enrolled = int(parts[0].searches.attrs["n_enrolled"])
    texts = [
        _errors_text(parts, fmr),
        "Other scores: " + _by_text(parts, lambda part: _verdicts(at_fmr(part.gains, fmr), _WORDS)),
        f"Discarding up to 20{NBSP}% of the samples by band {measure} instead of at random: "
        + _by_text(parts, _quality_text),
        "Influence as a second input of log-likelihood ratios: "
        + _by_text(parts, lambda part: _calibration_text(part, fmr)),
    ]
    degraded = [part for part in parts if part.matched is not None]
    if degraded:
        texts.append("Matched bands: " + _by_text(degraded, lambda part: _matched_text(part, fmr)))
    searched = f"Searches among {n_enrolled:,} people: " + _by_text(parts, _search_text)
    return [f"{text}." for text in [*texts, searched]]


def _by_text(parts: Sequence[Part], text_of: Callable[[Part], str]) -> str:
    """Texts of the parts, each once, after the resolutions at which it holds."""
    groups: dict[str, list[Part]] = {}
    for part in parts:
        groups.setdefault(text_of(part), []).append(part)
    return "; ".join(f"{_where(these)} {text}" for text, these in groups.items())


def _where(parts: Sequence[Part]) -> str:
    """Name the probes of parts: "at 21 and 14 pixels"."""
    pixels = [part.resolution for part in parts if part.resolution.isdigit()]
    return f"at {join(pixels)}{NBSP}pixels" if pixels else "on the faces as they are"


def _errors_text(parts: Sequence[Part], fmr: float) -> str:
    """State the errors of the similarity alone."""
    texts: list[str] = []
    for part in parts:
        at = at_fmr(part.gains, fmr)
        base = at.sel(score_name=at.attrs["baseline"])
        rate = percent(base["false_non_match_rate"])
        if not rate:
            return f"There is no threshold at FMR {fmr_text(fmr)}: {base['verdict'].item()}"
        n_errors = int(base["n_errors"])
        of = " of the genuine comparisons" if not texts else ""
        plural = "" if n_errors == 1 else "s"
        texts.append(f"{rate}{of} {_where([part])} ({n_errors:,} error{plural})")
    return f"At FMR {fmr_text(fmr)}, the similarity alone rejects {join(texts)}"


def _verdicts(at: xr.Dataset, words: Mapping[str, str], *, prefix: str = "") -> str:
    """State the verdicts on the scores that have words; gains and losses by name."""
    others = [n for n in names_of(at, "score_name") if n != at.attrs["baseline"] and n in words]
    of_each = {name: str(at[f"{prefix}verdict"].sel(score_name=name).item()) for name in others}
    if not any(map(has_verdict, of_each.values())):
        return f"**no verdict**, {_reason(next(iter(of_each.values())))}"
    texts = []
    for verdict in (GAIN, LOSS):
        names = [name for name in others if of_each[name] == verdict]
        if names:
            size = _largest(at[f"{prefix}difference"], names, words, verdict)
            texts.append(f"**{verdict}** by {join([words[name] for name in names])} ({size})")
    level = [name for name in others if of_each[name] == NO_GAIN]
    if level and texts:
        which = words[level[0]] if len(level) == 1 else f"the other {len(level)}"
        texts.append(f"**{NO_GAIN}** by {which}")
    elif level:
        which = words[level[0]] if len(level) == 1 else f"any of the {len(level)}"
        texts.append(f"**{NO_GAIN}** by {which}")
    return ", ".join(texts)


def _largest(
    difference: xr.DataArray, names: Sequence[str], words: Mapping[str, str], verdict: str
) -> str:
    """State the largest of the gains or of the losses, and whether it is by a control."""
    sign = 1 if verdict == GAIN else -1
    values = {name: float(difference.sel(score_name=name, estimate="value")) for name in names}
    best = min(names, key=lambda name: sign * values[name])
    size = f"{signed(100 * difference.sel(score_name=best), 2)} points"
    control = ", a control without influence" if best in _CONTROLS and verdict == GAIN else ""
    if len(names) == 1:
        return f"{size}{control}"
    return f"largest by {words[best]}{control}: {size}"


def _quality_text(part: Part) -> str:
    """State whether discarding by band stability lowers errors."""
    data = part.discard
    one = data.sel(measure=RANDOM, protocol="fixed", up_to=0.2)
    verdict = str(one["verdict"].item())
    if not has_verdict(verdict):
        return f"**no verdict**, {_reason(verdict)}"
    size = signed(100 * one["area_difference"], 2)
    return f"**{verdict}** ({size} points of the mean FNMR){_rivals_text(data)}"


def _rivals_text(data: xr.Dataset) -> str:
    """State which baselines of quality band stability beats, and which beat it."""
    at = data.sel(protocol="fixed", up_to=0.2)
    present = [name for name in _RIVALS if name in names_of(data, "measure")]
    texts = []
    for verdict, word in ((GAIN, "better"), (LOSS, "worse")):
        names = [n for n in present if str(at["verdict"].sel(measure=n).item()) == verdict]
        if names:
            texts.append(f"{word} than {join(names)}")
    if not texts:
        return ", no better than any baseline" if present else ""
    return f", {join(texts)}"


def _calibration_text(part: Part, fmr: float) -> str:
    """State the verdict on the cost of log-likelihood ratios with influence."""
    verdict = calibration_verdict(part, fmr)
    if not has_verdict(verdict):
        return f"**no verdict**, {_reason(verdict)}"
    change = part.calibration["cllr_difference"].sel(calibration="influence")
    return f"**{verdict}** (Cllr {signed(change, 3)} bit)"


def _matched_text(part: Part, fmr: float) -> str:
    """State the verdicts on matched bands, compared with both references."""
    assert part.matched is not None
    text = _verdicts(at_fmr(part.matched, fmr), _MATCHED_WORDS)
    if part.matched_alike is None:
        return text
    at = at_fmr(part.matched_alike, fmr)
    names = [name for name in names_of(at, "score_name") if name in _MATCHED_WORDS]
    verdicts = [str(at["verdict"].sel(score_name=name).item()) for name in names]
    if not any(map(has_verdict, verdicts)):
        return text
    if len(set(verdicts)) == 1 and len(names) > 1:
        against = f"**{verdicts[0]}** by both"
    else:
        texts = [f"**{v}** by {_MATCHED_WORDS[n]}" for n, v in zip(names, verdicts, strict=True)]
        against = join(texts)
    return f"{text}, against the reference degraded alike {against}"


def _search_text(part: Part) -> str:
    """State the errors at rank 1, and the verdicts on other scores."""
    data = part.searches
    rate = percent(data["rank_1_error"].sel(score_name=data.attrs["baseline"]))
    verdicts = _verdicts(data, _SEARCHED_WORDS, prefix="rank_1_")
    return f"the similarity errs at rank 1 in {rate}, {verdicts}"


def _reason(verdict: str) -> str:
    """Reason for the lack of a verdict, with what would be enough."""
    if verdict.startswith("too few errors"):
        return f"{verdict}; {FEWEST_ERRORS} are required"
    if verdict.startswith("too few people"):
        return f"{verdict}; {FEWEST_PEOPLE} are required"
    return verdict
