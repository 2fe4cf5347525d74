"""Scores, error rates and thresholds of face verification (ISO/IEC 19795-1 terms)."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from freqlab.errors import ParameterError, check_number

__all__ = [
    "FMRS",
    "all_comparisons",
    "check_fmr",
    "comparisons_needed",
    "equal_error_rate",
    "threshold_at_fmr",
]

FMRS = (1e-1, 1e-2, 1e-3, 1e-4)
"""False match rates at which every result carries its models' thresholds."""

Floats = npt.NDArray[np.floating]

_ROWS_PER_STEP = 256


def all_comparisons(
    embeddings: Floats,
    subjects: npt.NDArray[np.object_],
    sources: npt.NDArray[np.object_],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Cosine similarities of every face with every other, each pair once.

    Parameters
    ----------
    embeddings
        ``(n, feature)``; faces with NaN are left out.
    subjects
        ``(n,)``.
    sources
        ``(n,)``: the photograph a face goes back to; faces of one source are not compared.

    Returns
    -------
    genuine, impostor : numpy.ndarray
        Similarities, -1..1.
    """
    usable = np.isfinite(embeddings).all(axis=1)
    vectors = embeddings[usable].astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    subject = np.unique(subjects[usable].astype(str), return_inverse=True)[1]
    source = np.unique(sources[usable].astype(str), return_inverse=True)[1]
    genuine, impostor = [np.empty(0, np.float32)], [np.empty(0, np.float32)]
    for start in range(0, len(vectors), _ROWS_PER_STEP):
        rows = np.arange(start, min(start + _ROWS_PER_STEP, len(vectors)))
        scores = np.clip(vectors[rows] @ vectors[start:].T, -1, 1)
        others = np.arange(start, len(vectors))
        same = subject[rows, None] == subject[None, others]
        once = (others > rows[:, None]) & (source[rows, None] != source[None, others])
        genuine.append(scores[same & once])
        impostor.append(scores[~same & once])
    return np.concatenate(genuine), np.concatenate(impostor)


def check_fmr(fmr: float) -> None:
    """Refuse false match rates at which results carry no threshold.

    Raises
    ------
    ParameterError
        Saying which there are.
    """
    check_number("fmr", fmr, above=0)
    if not np.isclose(fmr, FMRS, rtol=1e-6).any():
        allowed = ", ".join(f"{rate:g}" for rate in FMRS)
        raise ParameterError(f"fmr={fmr!r} has no threshold in results; allowed: {allowed}")


def comparisons_needed(rate: float) -> int:
    """Comparisons from which on an error rate is resolved: ten expected errors.

    Raises
    ------
    ParameterError
        If the rate is not between 0 and 1.
    """
    if not 0 < rate < 1:
        raise ParameterError(f"an error rate of {rate!r} must lie between 0 and 1")
    return math.ceil(round(10 / rate, 6))


def threshold_at_fmr(impostor: Floats, fmr: float) -> float:
    """The threshold at which the false match rate is highest without exceeding `fmr`.

    A comparison is a match when its similarity is at or above the threshold.

    Parameters
    ----------
    impostor
        Similarities of impostor comparisons.
    fmr
        False match rate, between 0 and 1.

    Returns
    -------
    float
        NaN where there are fewer than :func:`comparisons_needed` comparisons.
    """
    scores = impostor[np.isfinite(impostor)]
    if len(scores) < comparisons_needed(fmr):
        return math.nan
    allowed = math.floor(fmr * len(scores) + 1e-9)
    highest_refused = np.partition(scores, len(scores) - allowed - 1)[len(scores) - allowed - 1]
    above = scores[scores > highest_refused]
    lowest_accepted = above.min() if len(above) else np.nextafter(highest_refused, np.inf)
    # half-way, so that rounding in another order of summation does not change a decision
    return float((np.float64(highest_refused) + np.float64(lowest_accepted)) / 2)


def equal_error_rate(genuine: Floats, impostor: Floats) -> float:
    """The error rate at which FMR and FNMR are equal, interpolated between thresholds.

    The rates are step functions of the threshold; where they cross within a step, the crossing
    of the straight line between its two ends is taken, so that the direction in which
    thresholds are swept makes no difference.

    Parameters
    ----------
    genuine, impostor
        Similarities; NaN are left out.

    Returns
    -------
    float
        0..1; NaN if either kind is missing.
    """
    genuine = np.sort(genuine[np.isfinite(genuine)])
    impostor = np.sort(impostor[np.isfinite(impostor)])
    if len(genuine) == 0 or len(impostor) == 0:
        return math.nan
    thresholds = np.append(np.unique(np.concatenate([genuine, impostor])), np.inf)
    fnmr = np.searchsorted(genuine, thresholds, side="left") / len(genuine)
    fmr = 1 - np.searchsorted(impostor, thresholds, side="left") / len(impostor)
    after = int(np.argmax(fnmr >= fmr))  # the last threshold has fnmr 1 and fmr 0
    if after == 0 or fnmr[after] == fmr[after]:
        return float(fnmr[after])
    gap_before, gap_after = fmr[after - 1] - fnmr[after - 1], fnmr[after] - fmr[after]
    share = gap_before / (gap_before + gap_after)
    return float(fnmr[after - 1] + share * (fnmr[after] - fnmr[after - 1]))
