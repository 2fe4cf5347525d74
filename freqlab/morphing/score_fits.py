"""Scores of morphing attack detection, fitted on pairs of other people."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from freqlab.datasets.pair_tables import BONA_FIDE, CONTROL

__all__ = ["FUSION", "RESIDUAL", "Fit", "Pairs", "fits_apart", "scorers"]

FUSION = "fusion"
"""Name of the score of the similarity and influence together."""

RESIDUAL = "residual spectrum"
"""Name of the score of the residual spectra of the document."""

_LOW = 0.25  # share of the bands, from the lowest, that count as low in low/high
_TINY = 1e-9

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


class Pairs(NamedTuple):
    """Inputs of the scores, for one model."""

    document: Floats
    """Directed influence, the document masked, ``(pair, band)``."""
    live: Floats
    similarity: Floats
    energy: Floats
    """Of the document in each band ``(pair, band)``."""
    residual: Floats | None
    """Residual spectra of the document ``(pair, feature)``, NaN where unknown."""
    centre: Floats
    people: npt.NDArray[np.int64]
    """Both contributors of the document ``(2, pair)``, the same one of a bona fide document."""
    attack: npt.NDArray[np.object_]


class Fit(NamedTuple):
    """Pairs on which a score is fitted, and pairs of other people that it scores."""

    bona_fide: Bools
    attacks: Bools
    scored: Bools


def fits_apart(pairs: Pairs, fold: npt.NDArray[np.int64], folds: int, seed: int) -> Iterator[Fit]:
    """Iterate over fits such that no person is in the fit of a pair and in the pair.

    Every fit leaves two folds out: those of the two contributors of a morph; for a pair of one
    fold, this fold and another one, drawn for each person. Bona fide and attack pairs are therefore
    scored by fits on equally many people, so that their scores can be compared.

    Parameters
    ----------
    pairs
        The pairs.
    fold
        Fold of each person.
    folds
        Number of folds.
    seed
        Seed of the draws.
    """
    rng = np.random.default_rng([seed, folds])
    beside = (fold + rng.integers(1, folds, len(fold))) % folds
    first, second = fold[pairs.people]
    second = np.where(first == second, beside[pairs.people[0]], second)
    bona_fide = pairs.attack == BONA_FIDE
    attacks = ~np.isin(pairs.attack, [BONA_FIDE, CONTROL])
    usable = np.isfinite(pairs.similarity)
    for i, j in itertools.combinations(range(folds), 2):
        scored = usable & (np.minimum(first, second) == i) & (np.maximum(first, second) == j)
        known = usable & ~np.isin(fold[pairs.people], [i, j]).any(axis=0)
        fit = Fit(known & bona_fide, known & attacks, scored)
        if scored.any() and fit.bona_fide.any():
            yield fit


Scorer = Callable[[Fit], Floats]


def scorers(pairs: Pairs, bands: Sequence[str]) -> dict[str, Scorer]:
    """Return scorers by name, each called with a fit."""
    absolute = np.abs(pairs.document)
    total = np.maximum(absolute.sum(axis=1), _TINY)
    n_low = max(1, round(_LOW * len(bands)))
    if len(bands) > 1 and np.ptp(pairs.centre) == 0:
        n_low = 0  # such as sectors: no band is lower than another
    low = absolute[:, np.argsort(pairs.centre, kind="stable")[:n_low]].sum(axis=1)
    ratio = np.log((low + _TINY) / (total - low + _TINY))
    centroid = (absolute * pairs.centre).sum(axis=1) / total
    asymmetry = np.sqrt(np.square(pairs.document - pairs.live).sum(axis=1))
    both = np.concatenate([pairs.document, pairs.live], axis=1)
    of_bands: dict[str, Scorer] = {
        f"band {name}": _away(pairs.document[:, b]) for b, name in enumerate(bands)
    }
    spectra = {} if pairs.residual is None else {RESIDUAL: _supervised(pairs.residual)}
    return {
        **of_bands,
        "low/high": _away(ratio),
        "centroid": _away(centroid),
        "asymmetry": _away(asymmetry),
        "mahalanobis": _mahalanobis(both),
        FUSION: _supervised(np.column_stack([pairs.similarity, both])),
        "similarity": lambda fit: -pairs.similarity[fit.scored],
        "power spectrum": _mahalanobis(np.log(pairs.energy + _TINY)),
        **spectra,
        "supervised": _supervised(both),
    }


def _away(values: Floats) -> Scorer:
    """Distance from the bona fide mean in standard deviations."""

    def score(fit: Fit) -> Floats:
        known = values[fit.bona_fide]
        return np.abs(values[fit.scored] - known.mean()) / max(float(known.std()), _TINY)

    return score


def _mahalanobis(values: Floats) -> Scorer:
    """Mahalanobis distance from the bona fide mean, with shrunk covariance."""

    def score(fit: Fit) -> Floats:
        from sklearn.covariance import LedoitWolf

        known = values[fit.bona_fide]
        scale = np.maximum(known.std(axis=0), _TINY)  # bands differ by orders of magnitude
        model = LedoitWolf().fit(known / scale)
        return np.sqrt(np.maximum(model.mahalanobis(values[fit.scored] / scale), 0))

    return score


def _supervised(values: Floats) -> Scorer:
    """Linear discriminant analysis fitted with attacks on other people, at equal priors.

    The shares of attacks differ between the fits. With priors taken from these shares, the scores
    of the fits would differ by a constant, and pooled scores would be worse than chance where there
    is nothing to detect.
    """

    def score(fit: Fit) -> Floats:
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

        known: Bools = np.asarray(np.isfinite(values).all(axis=1))
        bona_fide, attacks = fit.bona_fide & known, fit.attacks & known
        scores = np.full(int(fit.scored.sum()), math.nan)
        here = known[fit.scored]
        if not (attacks.any() and bona_fide.any() and here.any()):
            return scores
        scale = np.maximum(values[bona_fide].std(axis=0), _TINY)
        seen = bona_fide | attacks
        model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=[0.5, 0.5])
        model.fit(values[seen] / scale, attacks[seen])
        scores[here] = model.decision_function(values[fit.scored & known] / scale)
        return scores

    return score
